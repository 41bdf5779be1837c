"""Training states fit the networks that they were saved from, also those of earlier versions."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from swiftpie.errors import ConfigError
from swiftpie.training.state import STATE_FILE, load_state, save_state


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
