"""Training states fit the networks that they were saved from, also those of earlier versions."""

import importlib.util
import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from swiftpie.errors import ConfigError, InputError, MissingExtra, WeightsError
from swiftpie_lab.training.context import SINGLE_PROCESS
from swiftpie_lab.training.state import (
    INDEX_FILE,
    LOG_FILE,
    MIB,
    STATE_FILE,
    RunningFigures,
    find_state,
    kept_whole,
    load_state,
    open_log,
    read_state,
    save_state,
    write_state,
)


def parts(width=4):
    network = nn.Linear(width, 2)
    return {"network": network}, {"adamw": torch.optim.AdamW(network.parameters())}


def test_the_layout_of_the_file_is_stable(tmp_path):
    tensors = {"network/network/weight": torch.ones(2, 4), "network/network/bias": torch.ones(2)}
    for index, shape in enumerate([(2, 4), (2,)]):
        tensors[f"optimizer/adamw/{index}/step"] = torch.tensor(3.0)
        tensors[f"optimizer/adamw/{index}/exp_avg"] = torch.full(shape, 0.5)
        tensors[f"optimizer/adamw/{index}/exp_avg_sq"] = torch.full(shape, 0.25)
    save_file(tensors, tmp_path / STATE_FILE, metadata={"progress": json.dumps({"step": 3})})
    networks, optimizers = parts()
    assert load_state(tmp_path, networks=networks, optimizers=optimizers) == {"step": 3}
    weight = networks["network"].weight
    assert torch.equal(weight, torch.ones(2, 4))
    assert float(optimizers["adamw"].state[weight]["exp_avg"][0, 0]) == 0.5


def test_a_state_of_another_network_or_optimizer_is_refused(tmp_path):
    networks, optimizers = parts()
    networks["network"](torch.ones(1, 4)).sum().backward()
    optimizers["adamw"].step()
    save_state(tmp_path, networks=networks, optimizers=optimizers, progress={"step": 1})
    wider, its_optimizers = parts(width=5)
    with pytest.raises(ConfigError, match="Give the same --set, or start anew with --fresh"):
        load_state(tmp_path, networks=wider, optimizers=its_optimizers)
    with pytest.raises(ConfigError, match="of the optimizers adamw"):
        load_state(tmp_path, networks=networks, optimizers={"muon": its_optimizers["adamw"]})
    with pytest.raises(ConfigError, match="weight 0 of the optimizer adamw"):
        load_state(tmp_path, networks=networks, optimizers=its_optimizers)


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


HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def test_rows_beyond_the_state_and_half_rows_are_dropped(tmp_path):
    with open_log(tmp_path, step=0, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.write(step, {"error": 1 / step})
    with (tmp_path / LOG_FILE).open("a") as log:
        log.write('{"step": 4, "er')
    with open_log(tmp_path, step=2, tensorboard=False) as log:
        log.write(3, {"error": 7.0})
    rows = [json.loads(row) for row in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[-1]["error"] == 7.0


def test_means_are_over_batches_and_terms_may_be_absent():
    tally = RunningFigures()
    tally.add({"error": [1.0, 3.0]})
    tally.add({"error": [5.0], "rare": [2.0]})
    assert tally.steps == 2
    assert tally.means(SINGLE_PROCESS) == {"error": 3.0, "rare": 2.0}


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs the extra train")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages below tensorboard
def test_tensorboard_gets_the_same_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(tmp_path, step=0, tensorboard=True) as log:
        for step in (1, 2):
            log.write(step, {"error": 0.5 * step})
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(row.step, row.value) for row in read.Scalars("error")] == [(1, 0.5), (2, 1.0)]


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    # What an environment without it looks like: no folder on the path has it.
    folders = [folder for folder in sys.path if "site-packages" not in folder]
    monkeypatch.setattr(sys, "path", folders)
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    sys.path_importer_cache.clear()
    with pytest.raises(MissingExtra, match=r"swiftpie\[train\]"):
        open_log(tmp_path, step=0, tensorboard=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "progress",
    ["[]", "3", "null", "{}", '{"step": "1"}', '{"step": 1e400}', '{"step": -1}', '{"step": null}',
     '{"step": [1]}', "[" * 5000, '{"step": 1, "more": {}}'],
)  # fmt: skip
def test_progress_of_a_wrong_kind_is_refused(tmp_path, tensors, progress):
    save_file(tensors, tmp_path / STATE_FILE, metadata={"progress": progress})
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path)


@pytest.mark.parametrize(
    "index",
    ["[]", "3", "{}", '{"progress": {"step": 1}, "parts": 3, "shapes": {}}', "[" * 5000,
     '{"progress": {"step": 1}, "parts": [3], "shapes": {}}',
     '{"progress": {"step": 1}, "parts": ["../x"], "shapes": {}}',
     '{"progress": {"step": 1}, "parts": [], "shapes": [1]}',
     '{"progress": {"step": 1}, "parts": [], "shapes": {"a": [1]}}'],
)  # fmt: skip
@pytest.mark.parametrize("is_beside", [True, False])
def test_an_index_of_a_wrong_kind_is_refused(tmp_path, tensors, index, is_beside):
    if is_beside:  # as after a crash while the form changed
        write_state(tmp_path, tensors, progress={"step": 0})
    (tmp_path / INDEX_FILE).write_text(index)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path)


def test_a_full_disk_ends_a_save_in_a_sentence_and_keeps_the_state(tmp_path, tensors):
    resource = pytest.importorskip("resource", reason="limits of processes are of Unix")
    write_state(tmp_path, tensors, progress={"step": 1})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with pytest.raises(InputError, match="Room on the disk is needed"), kept_whole(tmp_path):
            write_state(tmp_path, tensors, progress={"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_state(tmp_path, tensors, 1)
    assert [path.name for path in tmp_path.iterdir()] == [STATE_FILE]


def whole_state(folder):
    """Save a state after one step, and return its tensors with what is to be restored."""
    networks, optimizers = parts()
    networks["network"](torch.ones(1, 4)).sum().backward()
    optimizers["adamw"].step()
    save_state(folder, networks=networks, optimizers=optimizers, progress={"step": 1})
    return read_state(folder).tensors, {"networks": networks, "optimizers": optimizers}


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer/adamw/0/exp_avg": None},
        {"optimizer/adamw/0/exp_avg": torch.ones(2, 4, dtype=torch.int64)},
        {"optimizer/adamw/0/exp_avg": torch.ones(())},
        {"optimizer/adamw/0/step": torch.ones(2, 4)},
        {"optimizer/adamw/0/step": torch.tensor(-3.0)},
        {"optimizer/adamw/0/step": torch.tensor(float("nan"))},
        {"optimizer/adamw/-1/step": torch.ones(())},
        {"optimizer/adamw/x/step": torch.ones(())},
        {"optimizer/adamw/0": torch.ones(())},
        {"optimizer/adamw/0/more": torch.ones(())},
    ],
)
def test_what_an_optimizer_does_not_remember_is_refused(tmp_path, changes):
    tensors, restored = whole_state(tmp_path)
    kept = {name: one for name, one in (tensors | changes).items() if one is not None}
    write_state(tmp_path, kept, progress={"step": 1})
    with pytest.raises(ConfigError, match="does not fit"):
        load_state(tmp_path, **restored)
