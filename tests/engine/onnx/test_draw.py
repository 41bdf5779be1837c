"""The embedded model draws without PyTorch what it draws with it."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.load import model_without_torch
from swiftpie.engine.onnx.draw import ASSETS, packaged
from swiftpie.engine.onnx.graphs import Graphs
from swiftpie.engine.onnx.session import OnnxSession
from swiftpie.errors import InputError
from swiftpie.imageio.images import sample_pictures
from swiftpie.pipelines.drawing.request import Subject
from swiftpie.pipelines.drawing.settings import MaskSource, Scales
from swiftpie.scenes import OWN_PICTURE
from tests.policy.project import ROOT

PROMPT = "a subject on a beach"
ALIKE_DB = 60  # a rounding of a few pixels
SCENES_ALIKE_DB = 48  # PyTorch rounds to 8 bits between the place, the subject and the weather
HALF_A_LEVEL = 1 / 255  # of pixels in [-1, 1]

HEAVY = ["torch", "diffusers", "transformers", "accelerate"]
COMMAND = """
import json, sys
from swiftpie.apps.cli.main import main
try:
    main()
finally:
    print(json.dumps([name for name in {heavy} if name in sys.modules]))
"""


def likeness_db(one, other):
    error = np.square(np.asarray(one, float) - np.asarray(other, float)).mean()
    return 10 * np.log10(255**2 / max(error, 1e-6))


@pytest.fixture(scope="module")
def model():
    return packaged()


@pytest.fixture(scope="module")
def light(model):
    return model.encode_identity(sample_pictures(1)[0])


@pytest.fixture(scope="module")
def full(session):
    return session.encode_identity(sample_pictures(1)[0])


def test_the_shipped_graphs_are_of_the_shipped_weights(model):
    preset = PRESETS.get("mini")
    fingerprint = FAMILIES.get(preset.family).packaged_fingerprint(preset)
    assert model.graphs.sheet.fingerprint == fingerprint, "run `make light`"


@pytest.mark.parametrize(
    "asked",
    [
        {"seed": 7},
        {"seed": 2**40 + 3, "box": (0.1, 0.3, 0.5, 0.9)},
        {"seed": 1, "scales": Scales(0.7, 1.4, text_scale=1.2, balance=-0.5)},
    ],
)
def test_pictures_are_alike(session, model, light, full, asked):
    found = model.personalize(light, PROMPT, **asked, scene="words")
    expected = session.personalize(full, PROMPT, **asked, scene="words")
    assert likeness_db(found.images[0], expected.images[0]) > ALIKE_DB
    assert likeness_db(found.subject_masks[0], expected.subject_masks[0]) > ALIKE_DB
    assert found.engine == model.graphs.runtime
    assert (found.seeds, found.cutouts) == (expected.seeds, expected.cutouts)
    assert found.branches == expected.branches


@pytest.mark.parametrize(
    "prompt",
    [
        PROMPT,
        "a subject at a castle at sunset in the rain",
        "a subject in a park in winter while it is snowing",
        "a subject in a forest at dawn in the fog",
        "a subject in space",
    ],
)
def test_scenes_are_alike(session, model, light, full, prompt):
    found = model.personalize(light, prompt, seed=5)
    expected = session.personalize(full, prompt, seed=5)
    assert likeness_db(found.images[0], expected.images[0]) > SCENES_ALIKE_DB
    assert likeness_db(found.subject_masks[0], expected.subject_masks[0]) > SCENES_ALIKE_DB
    assert found.origin == expected.origin
    assert found.timings_ms["scene"] > 0


def test_a_photograph_is_a_scene_without_pytorch(session, model, light, full):
    photo = Image.effect_noise((300, 200), 60).convert("RGB")  # some of it would light up at night
    found = model.personalize(light, "a subject at night", seed=5, scene=photo)
    expected = session.personalize(full, "a subject at night", seed=5, scene=photo)
    assert likeness_db(found.images[0], expected.images[0]) > SCENES_ALIKE_DB
    assert found.origin["scene"] == expected.origin["scene"] == OWN_PICTURE
    assert found.regions.equal(expected.regions)
    for one, other in zip(found.layouts[0], expected.layouts[0], strict=True):
        assert (one - other).abs().max() < 1e-4


def test_silent_branches_are_said_to_be_silent(session, model, light, full):
    scales = Scales(identity_scale=0.0, detail_scale=0.0)
    found = model.personalize(light, PROMPT, seed=3, scales=scales)
    expected = session.personalize(full, PROMPT, seed=3, scales=scales)
    assert found.branches == expected.branches == ()
    assert likeness_db(found.images[0], expected.images[0]) > ALIKE_DB


def test_strange_words_and_numbers_are_told_as_ever(session, model, light, full, caplog):
    for draw, identity in ((model.personalize, light), (session.personalize, full)):
        draw(identity, "a subject in a zzyzx", seed=1)
    one, other = (record.getMessage() for record in caplog.records)
    assert one == other
    for prompt, seed in (("  ", 1), (PROMPT, -1), (PROMPT, 2**63)):
        errors = []
        for draw, identity in ((model.personalize, light), (session.personalize, full)):
            with pytest.raises(InputError) as refused:
                draw(identity, prompt, seed=seed)
            errors.append(str(refused.value))
        assert errors[0] == errors[1]


class Loader:
    def __init__(self, session):
        self.session, self.count = session, 0

    def __call__(self):
        self.count += 1
        return self.session


@pytest.mark.thorough
def test_what_a_light_session_cannot_do_a_full_one_does(session, model, full):
    loader = Loader(session)
    light = OnnxSession(model, loader)
    picture = sample_pictures(1)[0]
    identity = light.encode_identity(picture)
    assert light.personalize(identity, PROMPT, seed=2).engine == model.graphs.runtime
    assert loader.count == 0
    for asked in ({"mask": MaskSource.INLINE}, {"view": (20.0, 0.0)}):
        found = light.personalize(identity, PROMPT, seed=2, **asked)
        expected = session.personalize(full, PROMPT, seed=2, **asked)
        assert likeness_db(found.images[0], expected.images[0]) > ALIKE_DB
    both = light.personalize([Subject(identity), Subject(identity)], PROMPT, seed=2)
    expected = session.personalize([Subject(full), Subject(full)], PROMPT, seed=2)
    assert likeness_db(both.images[0], expected.images[0]) > ALIKE_DB
    several = light.encode_identity([picture, picture])
    assert light.personalize(several, PROMPT, seed=2).images
    assert light.components is session.components
    assert loader.count == 1


def test_only_what_the_package_holds_model_without_torch():
    assert model_without_torch(None, "auto") is packaged()
    assert model_without_torch("mini", ["auto"], device="auto", weights=None, offline=False)
    for preset, engine, others in (
        ("sd-turbo", "auto", {}),
        ("mini", (), {}),
        ("mini", ["auto", "compile"], {}),
        ("mini", "auto", {"device": "cpu"}),
        ("mini", "auto", {"steps": 2}),
        (None, "auto", {"recipe": "sdxl-turbo"}),
    ):
        assert not model_without_torch(preset, engine, **others)


def test_the_command_line_draws_without_pytorch(tmp_path, session):
    picture, out = sample_pictures(1)[0], tmp_path / "out.png"
    command = ["personalize", str(picture), PROMPT, "-o", str(out), "--seed", "7"]
    ended = subprocess.run(
        [sys.executable, "-c", COMMAND.format(heavy=HEAVY), *command],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ended.stdout) == []
    expected = session.personalize(session.encode_identity(picture), PROMPT, seed=7)
    assert likeness_db(Image.open(out), expected.images[0]) > ALIKE_DB


@pytest.mark.thorough
def test_openvino_draws_it_too(model, light):
    if importlib.util.find_spec("openvino") is None:  # an import here would report its use
        pytest.skip("needs swiftpie[openvino]")
    other = Graphs(ASSETS / "mini", runtime="openvino")
    inputs = {**other.defaults(), **light.features, **model.graphs.read(PROMPT)}
    inputs["noise"] = np.zeros(other.sheet.graphs["draw"].inputs["noise"].shape, np.float32)
    one, two = (graphs["draw"](inputs)["image"] for graphs in (model.graphs, other))
    assert np.abs(one - two).max() < 0.02
    assert (np.abs(one - two) > HALF_A_LEVEL).mean() < 0.01
