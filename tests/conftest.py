"""Fixtures that every folder of tests may use.

Heavy libraries are imported where they are used: what shares tests out among processes reads this
file as well, and would spend seconds on them before the first process starts.
"""

import functools
import gc
import os
import zlib

import pytest

import swiftpie
from swiftpie.cli.main import COLLECT_EVERY

# Comparisons to the bit hold for sums of one order, and two workers share two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.set_threshold(COLLECT_EVERY)  # as the command line; looking more often takes a tenth of all time

PARTS = 16  # of the longer tests
LIMITS_S = {"thorough": 400, "slow": 1200, "gpu": 1200, "weights": 1200}  # CI runs all else first


def pytest_addoption(parser):
    parser.addoption("--part", type=int, choices=range(PARTS), help=f"of {PARTS}, by name")


def pytest_collection_modifyitems(config, items):
    """Give longer tests without a time limit of their own a longer one, and keep one part."""
    part = config.getoption("part")
    if part is not None:
        parts = [[] for _ in range(PARTS)]
        for item in items:
            parts[zlib.crc32(item.nodeid.encode()) % PARTS].append(item)
        items[:] = parts.pop(part)
        config.hook.pytest_deselected(items=[item for rest in parts for item in rest])
    for item in items:
        limits = [LIMITS_S[mark.name] for mark in item.iter_markers() if mark.name in LIMITS_S]
        if limits and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(max(limits)))


@pytest.fixture(scope="session", autouse=True)
def _commands_are_built_once():
    """Hundreds of tests run command lines, and to build all commands takes 40 ms."""
    from typer.main import get_command

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="session")
def session():
    return swiftpie.load("mini", size_px=128)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder of tiny models a family, all that tests load; they are not to be changed."""
    from tests.tiny.sessions import make_models

    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def editor():
    """A session of a random model of Stable Diffusion 2.1's shape, with an inversion network."""
    from tests.tiny.editor import tiny_editor

    return swiftpie.Session(tiny_editor())


@pytest.fixture(scope="session")
def subjects():
    from swiftpie_lab.data.subjects import sample_subjects

    return sample_subjects()


@pytest.fixture(scope="session")
def sprite(subjects):
    import torch
    from PIL import Image

    tile = subjects.tiles[subjects.indices("held_out")[0]].float() / 255
    colour = tile[:3] / tile[3:].clamp_min(1 / 255)
    values = (torch.cat([colour, tile[3:]]) * 255).round().to(torch.uint8).permute(1, 2, 0)
    return Image.fromarray(values.numpy())


@pytest.fixture(scope="session")
def identity(session, sprite):
    return session.encode_identity(sprite)
