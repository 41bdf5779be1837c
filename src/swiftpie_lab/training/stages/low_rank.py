"""Low-rank changes of a frozen U-Net by peft, whose factors a stage's network owns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from swiftpie.errors import check_installed
from swiftpie_lab.training.stages.adapter.networks import copied_layers, layers_by_path

QUERIES_AND_VALUES = r".*\.to_[qv]"  # what arXiv:2312.05239 changes
KEYS_AND_VALUES = r".*attn2\.to_[kv]"  # of cross-attention, as Custom Diffusion trains it
ATTENTION = r".*attn[12]\.to_([qkv]|out\.0)"
FIRST_WEIGHTS = 1  # seed


class LowRank(NamedTuple):
    """A change of layers whose paths match a pattern, scaled by alpha / rank."""

    rank: int  # 0 stands for none
    alpha: int
    layers: str


def add_low_rank(unet: UNet2DConditionModel, change: LowRank) -> None:
    """Freeze `unet` and add a trainable change of zero; MissingExtra if peft is not installed."""
    check_installed("peft", extra="lora", use="Training of a low-rank change")
    from peft import LoraConfig

    unet.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(FIRST_WEIGHTS)
        unet.add_adapter(
            LoraConfig(r=change.rank, lora_alpha=change.alpha, target_modules=change.layers)
        )


@contextmanager
def without_low_rank(unet: UNet2DConditionModel) -> Iterator[None]:
    """Leave the change of `unet` out inside the `with` block.

    Nothing is made anew there for gradients, which are taken when the change is back.
    """
    is_checkpointing = unet.is_gradient_checkpointing
    unet.disable_adapters()
    unet.disable_gradient_checkpointing()
    try:
        yield
    finally:
        unet.enable_adapters()
        if is_checkpointing:
            unet.enable_gradient_checkpointing()


def low_rank_factors(unet: UNet2DConditionModel) -> nn.ModuleDict:
    """Return trained copies of the factors of the change that `unet` has."""
    found = {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear) and {"lora_A", "lora_B"} & {*path.split(".")}
    }
    return copied_layers(found).float().requires_grad_(requires_grad=True)


def use_low_rank(unet: UNet2DConditionModel, factors: nn.ModuleDict) -> None:
    """Let `unet` change by `factors`, which take the place of earlier ones."""
    for path, factor in layers_by_path(factors, nn.Linear).items():
        unet.set_submodule(path, factor)


def low_rank_tensors(factors: nn.ModuleDict) -> dict[str, Tensor]:
    """Return factors by the names that diffusers gives them in a file."""
    return {
        f"unet.{path.removesuffix('.default')}.weight": factor.weight.detach()
        for path, factor in layers_by_path(factors, nn.Linear).items()
    }
