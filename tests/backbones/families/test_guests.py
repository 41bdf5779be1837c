"""A family and its preset that another distribution offers by entry points, as a door for any."""

import importlib
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import swiftpie
from swiftpie import CapabilityError, ConfigError, InputError, SwiftPiePipeline
from swiftpie.backbones.components import FAMILIES, Family
from swiftpie.backbones.families.flux2 import FAMILY as KLEIN
from swiftpie.backbones.families.flux2 import PRESETS, flow_times
from swiftpie.backbones.presets import Capability, describe, read_preset
from swiftpie.cli.main import app
from swiftpie.diffusers.modules import to_modules
from swiftpie.imageio.decoding import load_image
from tests.parity import flux2 as klein
from tests.parity.sdxs import levels
from tests.processes import install

NAME = "guest"
SQUARE = (klein.FRAME_PX, klein.FRAME_PX)
PRESET = replace(klein.PRESET, name=NAME, family=NAME, capabilities=frozenset({Capability.TEXT}))


class Guest(type(KLEIN)):
    name = NAME


FAMILY = Guest()


@pytest.fixture(scope="module", autouse=True)
def _offered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guest")
    presets = ("[swiftpie.presets]", f"{NAME} = {__name__}:PRESET")
    install(folder, "guest_family", *presets, "[swiftpie.families]", f"{NAME} = {__name__}:FAMILY")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        yield


@pytest.fixture(scope="module")
def place(tiny):
    return tiny("flux2")


@pytest.fixture(scope="module")
def session(place):
    return swiftpie.load(NAME, weights=place, steps=4)


def test_every_way_to_draw_finds_it(session, place, tmp_path):
    assert PRESETS["flux2-klein-4b"].timesteps == flow_times(4, (1024 // 16) ** 2)
    assert FAMILIES.get(NAME) is FAMILY
    assert read_preset(describe(PRESET)) == PRESET
    drawn = klein.ours(session, (), SQUARE, 1)
    call = ["personalize", klein.PROMPT, "--preset", NAME, "--weights", place, "--steps", 4]
    call += ["--seed", klein.SEED, "-o", tmp_path / "out.png"]
    done = CliRunner().invoke(app, [str(word) for word in call])
    assert done.exit_code == 0, done.output
    assert levels(drawn, [load_image(tmp_path / "out.png").convert("RGB")]) == 0


def test_its_pipeline_moves_one_denoiser(session):
    pipe = SwiftPiePipeline.from_components(session.components)
    call = {"prompt": klein.PROMPT, "seeds": [klein.SEED], "height": SQUARE[0], "width": SQUARE[1]}
    drawn = klein.ours(session, (), SQUARE, 1)
    assert pipe.unet is None
    assert levels(drawn, pipe(**call).images) == 0
    pipe.enable_model_cpu_offload(device="cpu")
    assert levels(drawn, pipe(**call).images) <= 1
    pipe.remove_all_hooks()
    modules = to_modules(session.components)
    for given in (modules | {"transformer": None}, modules | {"unet": modules["transformer"]}):
        with pytest.raises(InputError, match="one denoiser"):
            SwiftPiePipeline(**given)


def test_what_it_does_not_offer_says_so(session, place):
    with pytest.raises(CapabilityError, match="pipeline of diffusers"):
        Family.to_modules(FAMILY, session.components)
    with pytest.raises(InputError, match="multiples"):
        session.generate(klein.PROMPT, size=(100, 100))
    with pytest.raises(CapabilityError, match="reads no pictures of subjects"):
        session.encode_identity(klein.reference(), cutout="none")
    with pytest.raises(ConfigError, match="7 steps"):
        swiftpie.load(NAME, weights=place, steps=7)
