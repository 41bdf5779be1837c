"""The example of the method by hand draws what a session draws."""

import re
import runpy

import pytest
import torch

from swiftpie import PersonalizeRequest, Session, Subject, load_image
from swiftpie.pipelines.request import Output
from tests import traces
from tests.policy.project import ROOT
from tests.tiny.sessions import components_in, subject


@pytest.fixture(scope="module")
def components(models):
    return components_in(models / "sd15")


def test_the_method_by_hand_is_that_of_a_session(components):
    example = runpy.run_path(str(ROOT / "examples" / "by_hand.py"))
    photo, session = load_image(subject()), Session(components)
    pixels = example["draw"](components, photo, "a red cube", seed=3)
    shown = Subject(session.encode_identity(photo), box=example["BOX"])
    request = PersonalizeRequest(
        subjects=(shown,), prompt="a red cube", seeds=(3,), output=Output.PIXELS
    )
    assert torch.equal(pixels, session.draw(request).tensor)
    assert pixels.std() > 0


def test_the_page_lists_the_way_of_a_picture_of_other_models(components):
    session = Session(components)
    identity = session.encode_identity(subject())
    found = traces.trace(lambda: session.personalize(identity, "a red cube", seed=3))
    page = (ROOT / "docs" / "concepts.md").read_text()
    told = page.partition("A picture of Stable Diffusion 1.5")[2].partition("No file of `mini`")[0]
    assert re.findall(r"`([\w/]+\.py)`", told) == found.handing_on
    assert not [file for file in found.files if file.startswith("mini/")]
