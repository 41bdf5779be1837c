"""Linear layers with weights in 8 bits, by torchao."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.engine.transforms import Transform
from swiftpie.engine.wrappers import shared_copy, with_networks, with_text_encoders

MIN_WIDTH = 64  # narrower layers hold little and lose most
WIDTH_UNIT = 16  # matrices in 8 bits come in multiples of it
FLOAT8_CAPABILITY = (8, 9)  # of CUDA devices, from which they multiply in 8-bit floats


def apply(components: Components) -> Components:
    """Return components whose wide linear layers hold 8 bits a weight.

    On the CPU activations are rounded to 8 bits too, row by row, while a layer computes. On CUDA
    devices that can, bfloat16 networks compute in 8-bit floats; others round weights only.
    On the CPU this saves memory, and uncompiled it takes longer.
    Convolutions and everything else are shared with the given components.
    """
    device = components.device  # networks that are offloaded later are not there yet

    def changed(network: nn.Module) -> nn.Module:
        return _quantized(network, device)

    quantized = with_networks(components, changed, ("denoiser", "image_encoder", "inversion"))
    text = with_text_encoders(components.text, lambda encoder: changed(shared_copy(encoder)))
    return replace(quantized, text=text)


def _quantized(network: nn.Module, device: torch.device) -> nn.Module:
    from torchao.quantization import quantize_

    quantize_(network, _scheme(next(network.parameters()), device), filter_fn=_is_wide)
    for weight in (*network.parameters(), *network.buffers()):
        if type(weight.data) is Tensor and weight.untyped_storage().nbytes() > weight.nbytes:
            weight.data = weight.data.clone()  # else one piece of memory with all is kept for it
    return network


def _scheme(weight: Tensor, device: torch.device) -> Any:  # noqa: ANN401 - torchao is not annotated
    """Return what torchao does to weights of the type of `weight` that compute on `device`."""
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
    )

    if device.type == "cpu":
        return Int8DynamicActivationInt8WeightConfig()
    has_float8 = (
        device.type == "cuda"
        and weight.dtype is torch.bfloat16
        and torch.cuda.get_device_capability(device) >= FLOAT8_CAPABILITY
    )
    return Float8DynamicActivationFloat8WeightConfig() if has_float8 else Int8WeightOnlyConfig()


def _is_wide(module: nn.Module, _: str) -> bool:
    if type(module) is not nn.Linear:
        return False
    widths = (module.in_features, module.out_features)
    return min(widths) >= MIN_WIDTH and all(width % WIDTH_UNIT == 0 for width in widths)


TRANSFORM = Transform(
    summary="Linear layers in 8 bits: a quarter to half of their memory, not quicker by itself.",
    apply=apply,
    extra="quantize",
    packages=("torchao",),
)
