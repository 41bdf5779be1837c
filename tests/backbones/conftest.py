"""Folders of tiny random models of every Stable Diffusion family."""

import shutil
import sys
from functools import cache, partial

import pytest

from swiftpie.engine.session import Session
from tests.fixtures.mock_hub import clean_machine, serving
from tests.tiny import klein
from tests.tiny.folders import make_pipeline
from tests.tiny.sessions import components_in, preset_of

SDXS = preset_of("sdxs", detail="joint", noise_scale="unit", renoise="tcd")
MAKERS = {"flux2": klein.make_pipeline, "sdxs": partial(make_pipeline, family="sdxs")}


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
def copied(models, tmp_path):
    return shutil.copytree(models / "sd21" / "pipeline", tmp_path / "pipeline")


@pytest.fixture(scope="session")
def opened(models):
    return lambda family, *args, **changes: Session(
        components_in(models / family, *args, **changes)
    )


@pytest.fixture(scope="module")
def hub():
    with serving({}) as hub:
        yield hub


@pytest.fixture
def machine(hub, tmp_path):
    hub.repositories.clear()
    with clean_machine(hub, tmp_path) as home:
        yield home
