"""A state that is damaged anywhere is reported, and left alone."""

import json
import logging

import pytest
import torch

from swiftpie.backbones.load.safe import read_metadata, read_tensors, write_tensors
from swiftpie.tuning.state import KEY, MOMENTS, Progress, StateFile

FACTS = {"subject": "a dog"}
PROGRESS = Progress(step=40, psnr=21.5, first_psnr=20, best_psnr=22.5, best_step=20, stale=1)
ABSENT = "absent"
BROKEN = (ABSENT, None, True, "20", [], {}, 10**400, float("nan"), float("inf"))
TENSORS = ("weight", "best", *MOMENTS)


@pytest.fixture
def state(tmp_path):
    """A file after one step, its weight and its optimizer."""
    weight = torch.ones(2, 3, requires_grad=True)
    optimizer = torch.optim.Adam([weight])
    weight.sum().backward()
    optimizer.step()
    path = tmp_path / "one.tuning"
    StateFile(path, facts=FACTS).save(PROGRESS, [weight], [weight], optimizer)
    return path


def loaded(path):
    """What a new run finds in a file."""
    weight = torch.zeros(2, 3, requires_grad=True)
    with torch.no_grad():
        found = StateFile(path, facts=FACTS).load([weight], torch.optim.Adam([weight]))
    assert found is not None or not weight.any()
    return found


def rewrite(path, *, metadata=None, tensors=None):
    metadata = metadata or read_metadata(path)[KEY]
    write_tensors(path, tensors or read_tensors(path), metadata={KEY: metadata}, force=True)


def test_a_whole_state_goes_on(state):
    progress, [best] = loaded(state)
    assert progress == PROGRESS
    assert best.shape == (2, 3)


@pytest.mark.parametrize("value", BROKEN, ids=lambda value: str(value)[:8])
@pytest.mark.parametrize("field", Progress._fields)
def test_a_broken_field_of_the_progress_is_reported(state, caplog, field, value):
    stored = json.loads(read_metadata(state)[KEY])
    if value == ABSENT:
        del stored["progress"][field]
    else:
        stored["progress"][field] = value
    rewrite(state, metadata=json.dumps(stored))
    with caplog.at_level(logging.WARNING):
        assert loaded(state) is None
    assert "starts anew" in caplog.text


@pytest.mark.parametrize("field", ["step", "best_step", "stale"])
@pytest.mark.parametrize("value", [-1, 0.5, 10_001])
def test_a_count_is_a_whole_number_of_steps(state, field, value):
    stored = json.loads(read_metadata(state)[KEY])
    stored["progress"][field] = value
    rewrite(state, metadata=json.dumps(stored))
    assert loaded(state) is None


@pytest.mark.parametrize(
    "metadata",
    ["null", "[]", "{}", "1", "", "[" * 20_000, '{"facts": 1}']
    + [json.dumps({"facts": FACTS, "progress": value}) for value in (None, [], 1, "x", {})],
    ids=lambda text: text[:20],
)
def test_broken_facts_are_reported(state, caplog, metadata):
    rewrite(state, metadata=metadata or " ")
    with caplog.at_level(logging.WARNING):
        assert loaded(state) is None
    assert "starts anew" in caplog.text


@pytest.mark.parametrize("damage", ["absent", "shape", "nan", "type"])
@pytest.mark.parametrize("name", TENSORS)
def test_a_broken_tensor_is_reported(state, caplog, name, damage):
    tensors = dict(read_tensors(state))
    whole = tensors.pop(f"{name}/0")
    broken = {"shape": whole.flatten().repeat(2), "nan": whole / 0 * 0, "type": whole.half()}
    if damage in broken:
        tensors[f"{name}/0"] = broken[damage]
    rewrite(state, tensors=tensors)
    with caplog.at_level(logging.WARNING):
        assert loaded(state) is None
    assert "starts anew" in caplog.text
