"""A low-rank change of a U-Net that is trained, and can be turned off to have the U-Net back."""

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from swiftpie.errors import MissingExtra

ADAPTED = ("to_q", "to_v")  # the layers that are changed, as in arXiv:2312.05239
SEED = 1  # of the first weights


def add_low_rank(unet: UNet2DConditionModel, *, rank: int, alpha: int) -> None:
    """Add a trainable change of zero to queries and values of `unet`, and freeze the rest.

    Raises:
        MissingExtra: peft is not installed.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra(
            "Score distillation adds a LoRA to the teacher with the package 'peft'. "
            'It is not installed. Run: pip install "swiftpie[lora]"'
        )
    from peft import LoraConfig

    unet.requires_grad_(requires_grad=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(ADAPTED)))


@contextmanager
def without_low_rank(unet: UNet2DConditionModel) -> Iterator[None]:
    """Make `unet` the teacher again inside the `with` block."""
    unet.disable_adapters()
    try:
        yield
    finally:
        unet.enable_adapters()


def low_rank_parts(unet: UNet2DConditionModel) -> dict[str, nn.Linear]:
    """Return every trained factor of the change that `unet` has, by module path."""
    return {
        path: module
        for path, module in unet.named_modules()
        if isinstance(module, nn.Linear) and {"lora_A", "lora_B"} & {*path.split(".")}
    }


def wear_low_rank(unet: UNet2DConditionModel, parts: Mapping[str, nn.Linear]) -> None:
    """Let `unet` change by the factors in `parts`; they take the place of earlier ones."""
    for path, part in parts.items():
        unet.set_submodule(path, part)
