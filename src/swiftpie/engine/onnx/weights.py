"""Weights of exported graphs: where each tensor lies in files of safetensors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

WEIGHTS = "weights.safetensors"


class Place(NamedTuple):
    """Where the numbers of a tensor are."""

    file: str  # relative to the graph
    offset: int
    num_bytes: int
    dtype: str  # as safetensors calls it
    shape: tuple[int, ...]


def places_in(folder: Path, file: str, *, prefix: str = "") -> dict[str, Place]:
    """Return the place of each tensor of a file below `folder`, by its name behind `prefix`."""
    with (folder / file).open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    start = 8 + length
    return {
        prefix + name: Place(
            file,
            start + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
            entry["dtype"],
            tuple(entry["shape"]),
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def write_weights(networks: Mapping[str, nn.Module], folder: Path) -> dict[str, Place]:
    """Write all weights into one file, each in half precision if that loses nothing."""
    tensors: dict[str, Tensor] = {}
    for name, network in networks.items():
        for key, value in network.state_dict().items():
            whole = value.detach().cpu().contiguous()
            half = whole.to(torch.float16)
            is_exact = whole.is_floating_point() and torch.equal(half.to(whole.dtype), whole)
            tensors[f"{name}.{key}"] = (half if is_exact else whole).clone()
    save_file(tensors, folder / WEIGHTS)
    return places_in(folder, WEIGHTS)
