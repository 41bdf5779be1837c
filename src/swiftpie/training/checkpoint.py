"""Training state as one safetensors file, written so that a crash never leaves half of it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

STATE_FILE = "state.safetensors"


def save_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: Mapping[str, int | float],
) -> None:
    """Write everything that the next step depends on to `folder`, atomically."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"network/{name}/{key}"] = value.detach().cpu().contiguous().clone()
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = value.detach().cpu().contiguous()
    temporary = folder / f".{STATE_FILE}.part"
    save_file(tensors, temporary, metadata={"progress": json.dumps(dict(progress))})
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    temporary.replace(folder / STATE_FILE)


def load_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, float]:
    """Restore what `save_state` wrote and return its progress; {} if there is nothing yet."""
    path = folder / STATE_FILE
    if not path.exists():
        return {}
    with safe_open(path, framework="pt") as stored:
        progress: dict[str, float] = json.loads(stored.metadata()["progress"])
        keys = list(stored.keys())
        tensors = {key: stored.get_tensor(key) for key in keys}
    for name, network in networks.items():
        network.load_state_dict(_below(tensors, f"network/{name}/"))
    for name, optimizer in optimizers.items():
        _restore_optimizer(optimizer, _below(tensors, f"optimizer/{name}/"))
    return progress


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, field = key.split("/")
        state.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
