"""The example of the method by hand draws what a session draws."""

import runpy

import torch

from swiftpie import PersonalizeRequest, Session, Subject, load_image
from swiftpie.backbones.components import load_components
from swiftpie.pipelines.request import Output
from tests.backbones import tiny_models
from tests.parity.pipelines import preset_of, subject
from tests.policy.project import ROOT


def test_the_method_by_hand_is_that_of_a_session(tmp_path):
    weights = tiny_models.make_pipeline(tmp_path / "pipeline", "sd15", is_shallow=True)
    adapter = tmp_path / "own.safetensors"
    tiny_models.make_own_adapter(adapter, "sd15", is_shallow=True)
    parts = {"weights": weights, "adapter": adapter, "image_encoder": tmp_path / "encoder"}
    components = load_components(preset_of("sd15"), **parts)
    example = runpy.run_path(str(ROOT / "examples" / "by_hand.py"))
    photo, session = load_image(subject()), Session(components)
    pixels = example["draw"](components, photo, "a red cube", seed=3)
    shown = Subject(session.encode_identity(photo), box=example["BOX"])
    request = PersonalizeRequest(
        subjects=(shown,), prompt="a red cube", seeds=(3,), output=Output.PIXELS
    )
    assert torch.equal(pixels, session.draw(request).tensor)
    assert pixels.std() > 0
