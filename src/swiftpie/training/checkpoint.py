"""What the next step depends on: weights, their average, optimizers and progress."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from swiftpie.errors import ConfigError, short_reason
from swiftpie.training.state_files import read_state, write_state


def save_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    progress: Mapping[str, int],
    max_file_mib: float | None = None,
) -> None:
    """Replace the state in `folder` at once; `progress` says how to go on, with at least a `step`.

    Raises:
        ConfigError: `max_file_mib`, which no file exceeds, is too small.
    """
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            tensors[f"network/{name}/{key}"] = value.detach().cpu().contiguous().clone()
    for name, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"optimizer/{name}/{index}/{key}"] = value.detach().cpu().contiguous()
    write_state(folder, tensors, progress=progress, max_file_mib=max_file_mib)


def load_state(
    folder: Path,
    *,
    networks: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, int]:
    """Restore what `save_state` wrote and return its progress; {} if there is nothing yet.

    Raises:
        WeightsError: A file is broken or missing.
        ConfigError: The state is that of another network, or of other optimizers.
    """
    stored = read_state(folder)
    if stored is None:
        return {}
    try:
        for name, network in networks.items():
            network.load_state_dict(_below(stored.tensors, f"network/{name}/"))
        _restore_optimizers(optimizers, _below(stored.tensors, "optimizer/"))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The training state in {folder} does not fit ({short_reason(error)}). It needs the "
            "settings that it was saved with. Give the same --set, or start anew with --fresh."
        ) from error
    return stored.progress


def _restore_optimizers(
    optimizers: Mapping[str, torch.optim.Optimizer], tensors: dict[str, Tensor]
) -> None:
    """Give every optimizer its state; one that never took a step has none.

    Raises:
        ValueError: There is a state for another optimizer, or of another shape.
    """
    unknown = {key.partition("/")[0] for key in tensors} - optimizers.keys()
    if unknown:
        raise ValueError(f"it is of the optimizers {', '.join(sorted(unknown))}")
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in _below(tensors, f"{name}/").items():
            index, field = key.split("/")
            state.setdefault(int(index), {})[field] = value
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        for position, fields in state.items():
            shapes = {value.shape for value in fields.values() if value.ndim}
            if position >= len(weights) or shapes - {weights[position].shape}:
                raise ValueError(f"weight {position} of the optimizer {name} is another one")
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
