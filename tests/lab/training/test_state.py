import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from swiftpie.errors import ConfigError, WeightsError
from swiftpie_lab.training import state


def parts(width=4):
    network = nn.Linear(width, 2)
    return {"network": network}, {"adamw": torch.optim.AdamW(network.parameters())}


def whole_state(folder):
    networks, optimizers = parts()
    networks["network"](torch.ones(1, 4)).sum().backward()
    optimizers["adamw"].step()
    state.save_state(folder, networks=networks, optimizers=optimizers, progress={"step": 1})
    return state.read_state(folder).tensors, {"networks": networks, "optimizers": optimizers}


def test_a_state_of_another_network_or_optimizer_is_refused(tmp_path):
    _, own = whole_state(tmp_path)
    networks, optimizers = parts(width=5)
    other = {"muon": optimizers["adamw"]}
    for restored, word in (
        ({"networks": networks, "optimizers": optimizers}, "Give the same --set, or start anew"),
        (own | {"optimizers": other}, "of the optimizers adamw"),
        (own | {"optimizers": optimizers}, "weight 0 of the optimizer adamw"),
    ):
        with pytest.raises(ConfigError, match=word):
            state.load_state(tmp_path, **restored)


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


def test_what_is_written_is_read(tmp_path, tensors):
    assert state.read_state(tmp_path) is None
    state.write_state(tmp_path, tensors, progress={"step": 5})
    stored = state.read_state(tmp_path)
    assert stored.progress == {"step": 5}
    assert stored.tensors.keys() == tensors.keys()
    for name, value in tensors.items():
        assert stored.tensors[name].dtype == value.dtype
        assert torch.equal(stored.tensors[name], value)


def test_rows_beyond_the_state_and_half_rows_are_dropped(tmp_path):
    log = tmp_path / state.LOG_FILE
    state.cut_log(log, step=0)
    for step in (1, 2, 3):
        state.append_row(log, step, {"error": 1 / step})
    with log.open("a") as file:
        file.write('{"step": 4, "er')
    state.cut_log(log, step=2)
    state.append_row(log, 3, {"error": 7.0})
    rows = [json.loads(row) for row in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[-1]["error"] == 7.0


@pytest.mark.parametrize(
    "progress",
    ["[]", "3", "null", "{}", '{"step": "1"}', '{"step": 1e400}', '{"step": -1}', '{"step": null}',
     '{"step": [1]}', "[" * 5000, '{"step": 1, "more": {}}'],
)  # fmt: skip
def test_progress_of_a_wrong_kind_is_refused(tmp_path, tensors, progress):
    save_file(tensors, tmp_path / state.STATE_FILE, metadata={"progress": progress})
    with pytest.raises(WeightsError, match="cannot be read"):
        state.read_state(tmp_path)


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
    kept = {name: value for name, value in (tensors | changes).items() if value is not None}
    state.write_state(tmp_path, kept, progress={"step": 1})
    with pytest.raises(ConfigError, match="does not fit"):
        state.load_state(tmp_path, **restored)
