"""Weights of a network in eight bits a number: how they are written, and read back."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = "diffusion_pytorch_model.safetensors"  # of a network in the layout of diffusers
SCALES = "_scales"  # behind the name of a weight: what its numbers are multiplied by
LEVELS = 127  # of int8 on either side of 0


def to_eight_bits(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is stored of weights by name: matrices and filters in eight bits.

    Each of their output channels has a scale of its own in float32. All else is in float16.
    """
    stored = {}
    for name, weight in weights.items():
        if weight.ndim < 2:
            stored[name] = weight.half()
            continue
        rows = weight.half().float().flatten(1)  # so that written again they stay what they are
        scales = (rows.abs().amax(dim=1) / LEVELS).clamp_min(torch.finfo().tiny)
        stored[name] = (rows / scales[:, None]).round().to(torch.int8).view(weight.shape)
        stored[name + SCALES] = scales
    return {name: tensor.cpu().contiguous() for name, tensor in stored.items()}


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a safetensors file as float32, whether in eight bits or not.

    Those in eight bits are rounded to float16, so that exports in half precision lose nothing.
    Every weight has memory of its own.
    """
    stored = load_file(path)
    eight_bits = {name for name in stored if name + SCALES in stored}
    scales = {name: stored.pop(name + SCALES) for name in eight_bits}
    for name, tensor in stored.items():
        if name in scales:
            # A shape that does not fit raises an error, where one that spreads takes any memory.
            shape = (len(tensor), *[1] * (tensor.ndim - 1))
            stored[name] = (tensor.float() * scales[name].reshape(shape)).half().float()
        elif tensor.is_floating_point():
            stored[name] = tensor.to(torch.float32, copy=True)
    return stored
