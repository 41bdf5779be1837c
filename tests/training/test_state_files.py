"""State files: any crash leaves a whole state, and parts keep to their size."""

import pytest
import torch

from swiftpie.errors import ConfigError, WeightsError
from swiftpie.training.state import (
    INDEX_FILE,
    MIB,
    STATE_FILE,
    find_state,
    read_state,
    write_state,
)

LIMIT_MIB = 0.01


@pytest.fixture
def tensors():
    draw = torch.Generator().manual_seed(0)
    return {
        "wide/0": torch.randn(70, 90, generator=draw),
        "step": torch.tensor(3.0),
        "half": torch.randn(5, 4, generator=draw).half(),
        "count": torch.tensor(7),
        "none": torch.empty(0, 3),
    }


def assert_state(folder, tensors, step):
    stored = read_state(folder)
    assert stored.progress == {"step": step}
    assert stored.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert stored.tensors[name].dtype == value.dtype
        assert torch.equal(stored.tensors[name], value)


@pytest.mark.parametrize("limit", [None, LIMIT_MIB, 1.0])
def test_what_is_written_is_read(tmp_path, tensors, limit):
    assert read_state(tmp_path) is None
    write_state(tmp_path, tensors, progress={"step": 5}, max_file_mib=limit)
    assert_state(tmp_path, tensors, 5)


def test_no_part_exceeds_the_limit_and_large_tensors_are_cut(tmp_path, tensors):
    write_state(tmp_path, tensors, progress={"step": 5}, max_file_mib=LIMIT_MIB)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert max(sizes) <= LIMIT_MIB * MIB < tensors["wide/0"].nbytes
    assert len(sizes) >= 4


def test_a_change_of_form_leaves_only_the_new_one(tmp_path, tensors):
    for step, limit in enumerate([None, LIMIT_MIB, 1.0, None]):
        write_state(tmp_path, tensors, progress={"step": step}, max_file_mib=limit)
        assert_state(tmp_path, tensors, step)
        assert (find_state(tmp_path).name == STATE_FILE) is (limit is None)
        assert (tmp_path / STATE_FILE).exists() is (limit is None)
        assert (tmp_path / INDEX_FILE).exists() is (limit is not None)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def test_when_a_crash_leaves_both_forms_the_later_step_counts(tmp_path, tensors):
    write_state(tmp_path, tensors, progress={"step": 9})
    old = (tmp_path / STATE_FILE).read_bytes()
    write_state(tmp_path, tensors, progress={"step": 10}, max_file_mib=LIMIT_MIB)
    (tmp_path / STATE_FILE).write_bytes(old)
    assert_state(tmp_path, tensors, 10)


def test_parts_of_an_unfinished_save_change_nothing(tmp_path, tensors):
    write_state(tmp_path, tensors, progress={"step": 1}, max_file_mib=LIMIT_MIB)
    (tmp_path / "state-step2-00001-of-00003.safetensors").write_bytes(b"half")
    assert_state(tmp_path, tensors, 1)
    write_state(tmp_path, tensors, progress={"step": 2}, max_file_mib=LIMIT_MIB)
    assert_state(tmp_path, tensors, 2)


def test_a_missing_part_is_an_error_that_says_what_to_do(tmp_path, tensors):
    write_state(tmp_path, tensors, progress={"step": 1}, max_file_mib=LIMIT_MIB)
    next(tmp_path.glob("state-step*")).unlink()
    with pytest.raises(WeightsError, match="Copy them again, or start anew with --fresh"):
        read_state(tmp_path)


def test_a_limit_below_any_part_is_refused(tmp_path, tensors):
    with pytest.raises(ConfigError, match="max_file_mib"):
        write_state(tmp_path, tensors, progress={"step": 1}, max_file_mib=0.001)
