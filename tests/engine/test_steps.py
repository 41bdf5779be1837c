"""Step files of long drawings: going on, and drawing anew whatever lies there instead."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

from swiftpie import AnimateRequest
from swiftpie.engine.steps import StepFile, seed_in
from swiftpie.guidance import Plain
from swiftpie.pipelines.choose import STEP
from tests.golden.networks import moving_networks

SEED = 3
REQUEST = AnimateRequest(subjects=(), prompt="a red cube", seeds=(SEED,), num_frames=3)


class StoppedError(Exception):
    pass


@pytest.fixture(scope="module")
def session():
    return moving_networks()


@pytest.fixture(scope="module")
def whole(session):
    return session.draw(REQUEST).images


@pytest.fixture
def path(session, tmp_path):
    """The file of a drawing that was stopped in its last step."""
    steps_drawn, found = [], tmp_path / ".film.gif.steps"

    def stop(stage):
        steps_drawn.extend([stage] * (stage == STEP))
        if len(steps_drawn) > 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        session.draw(REQUEST, on_stage=stop, on_step=StepFile(found, seed=SEED))
    return found


def drawn(session, path, request=REQUEST):
    """Return the frames and how many steps they took."""
    stages = []
    steps = StepFile(path, seed=request.seeds[0])
    return session.draw(request, on_stage=stages.append, on_step=steps).images, stages.count(STEP)


def is_same(frames, expected):
    pairs = zip(frames, expected, strict=True)
    return all(np.abs(np.subtract(*np.asarray(pair, int))).max() <= 1 for pair in pairs)


def test_an_interrupted_drawing_goes_on_after_its_last_step(session, whole, path):
    assert seed_in(path) == SEED
    frames, num_steps = drawn(session, path)
    assert num_steps == 1
    assert is_same(frames, whole)
    StepFile(path, seed=SEED).remove()
    assert not path.exists()
    assert seed_in(path) is None


def test_the_last_step_is_not_kept_as_the_picture_follows(session, path):
    before = path.read_bytes()
    drawn(session, path)
    assert path.read_bytes() == before
    with safe_open(path, "pt") as file:
        assert file.metadata()["steps"] == "1"


def test_another_drawing_begins_at_its_start(session, path):
    assert drawn(session, path, replace(REQUEST, seeds=(SEED + 1,)))[1] == 2
    assert seed_in(path) == SEED + 1


@pytest.mark.parametrize("change", [{"prompt": "a blue cone"}, {"guidance": Plain()}], ids=str)
def test_what_else_decides_about_latents_begins_at_the_start_too(session, path, change):
    assert drawn(session, path, replace(REQUEST, **change))[1] == 2


def put(**changes):
    """Write the same file with other facts (None: left out), or other latents."""

    def change(path):
        with safe_open(path, "pt") as file:
            facts = {**file.metadata(), **changes}
        latents = facts.pop("latents", lambda tensor: tensor)(load_file(path)["latents"])
        name = facts.pop("name", "latents")
        kept = {key: value for key, value in facts.items() if value is not None}
        path.write_bytes(save({name: latents}, kept))

    return change


def instead(make):
    def change(path):
        path.unlink()
        make(path)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        put(latents=torch.zeros_like),
        put(latents=lambda latents: latents[:1, :, :3, :3].contiguous()),
        put(latents=lambda latents: latents.int()),
        put(latents=lambda latents: latents * torch.nan),
        put(steps="-1"),
        put(steps="2"),
        put(steps="x"),
        put(steps=None),
        put(sum=None),
        put(seed="9" * 5000),
        put(seed=str(SEED + 1)),
        lambda path: path.write_bytes(path.read_bytes()[:-9]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"half"),
        instead(lambda path: path.mkdir()),
        instead(lambda path: path.symlink_to(path)),
        instead(lambda path: path.symlink_to("/dev/zero")),
        instead(lambda path: os.mkfifo(path)),  # noqa: PLW0108 - Windows has none
    ],
)
def test_what_is_not_as_it_was_written_is_drawn_anew(session, whole, path, damage):
    damage(path)
    assert seed_in(path) is None
    frames, num_steps = drawn(session, path)
    assert num_steps == 2
    assert is_same(frames, whole)
    StepFile(path, seed=SEED).remove()


def test_the_file_of_another_user_is_not_ours(path):
    if not hasattr(os, "getuid") or os.getuid():
        pytest.skip("only root can give files away")
    os.chown(path, 12345, 12345)
    assert seed_in(path) is None


def test_a_file_behind_a_link_is_neither_read_nor_written(session, path):
    kept = path.rename(path.with_name("kept"))
    before = kept.read_bytes()
    path.symlink_to(kept)
    assert drawn(session, path)[1] == 2
    assert kept.read_bytes() == before


def test_a_drawing_that_cannot_keep_its_steps_is_drawn(session, whole, tmp_path):
    (tmp_path / "steps").mkdir()
    frames, _ = drawn(session, tmp_path / "steps")
    assert is_same(frames, whole)
    assert (tmp_path / "steps").is_dir()
