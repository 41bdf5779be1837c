"""Folders of tiny random models of every Stable Diffusion family."""

import shutil
import sys
from functools import cache, partial

import pytest

from swiftpie.backbones.components import load_components
from swiftpie.engine.session import Session
from tests.backbones import tiny_flux2, tiny_models
from tests.fixtures.mock_hub import clean_machine, serving
from tests.parity.pipelines import preset_of

SDXS = preset_of("sdxs", detail="joint", noise_scale="unit", renoise="tcd")
MAKERS = {
    "flux2": tiny_flux2.make_pipeline,
    "sdxs": partial(tiny_models.make_pipeline, family="sdxs", is_shallow=True),
}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder a family; they are not to be changed.

    SDXL's has one transformer layer where the model has up to ten: layers are numbered alike, and
    files of all of them are compared with diffusers elsewhere.
    """
    root, few = tmp_path_factory.mktemp("models"), {"is_shallow": True}
    for family in tiny_models.ADAPTERS:
        tiny_models.make_pipeline(root / family / "pipeline", family, **few)
        tiny_models.make_public_adapter(root / family / "public.safetensors", family, **few)
        tiny_models.make_own_adapter(root / family / "own.safetensors", family, **few)
        tiny_models.make_unet(root / family / "other_unet", family, **few)
        tiny_models.make_lora(root / family / "lora.safetensors", family, **few)
    return root


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Returns the folder of a pipeline that is used as it was published, made on first use."""

    @cache
    def folder(family):
        return MAKERS[family](tmp_path_factory.mktemp(family) / "pipeline")

    return folder


@pytest.fixture(scope="session")
def audited():
    """Lists that each get the name of every global that a pickle looks up.

    One hook for all tests: hooks stay as long as the process, and each slows it down.
    """
    listening = []

    def note(event, arguments):
        if listening and event == "pickle.find_class":
            for server in listening:
                server.append(arguments)

    sys.addaudithook(note)
    return listening


@pytest.fixture
def lookups(audited):
    seen = []
    audited.append(seen)
    yield seen
    audited.remove(seen)


@pytest.fixture
def copied(place, tmp_path):
    return shutil.copytree(place / "sd21" / "pipeline", tmp_path / "pipeline")


@pytest.fixture(scope="session")
def opened(place):
    """Loads one family with its tiny folders; `adapter` is own, public or None."""

    def open_tiny(family, adapter="own", *, preset=None, **changes):
        choices = tiny_models.choices_in(place / family, adapter and f"{adapter}.safetensors")
        return Session(load_components(preset or preset_of(family), **choices | changes))

    return open_tiny


@pytest.fixture(scope="module")
def hub():
    with serving({}) as hub:
        yield hub


@pytest.fixture
def machine(hub, tmp_path):
    hub.repositories.clear()
    with clean_machine(hub, tmp_path) as home:
        yield home
