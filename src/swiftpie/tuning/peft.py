"""Adapters of the package peft around a subject's projections."""

import importlib.util
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from swiftpie.errors import MissingExtra

if TYPE_CHECKING:
    from peft import PeftConfig


def check_peft(method: str) -> None:
    """Check that peft is installed.

    Raises:
        MissingExtra: It is not.
    """
    if importlib.util.find_spec("peft") is None:
        raise MissingExtra(
            f"The method {method} needs the package 'peft'. It is not installed. Run: pip install "
            '"swiftpie[lora]", or choose the method tokens.'
        )


def adapted(layers: nn.ModuleList, config: "PeftConfig", *, seed: int) -> nn.ModuleList:
    """Return `layers` inside of adapters of `config`, whose weights alone are trained."""
    from peft import inject_adapter_in_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject: Any = inject_adapter_in_model  # its annotations know whole models alone
        inject(config, layers)
    return layers


def all_layers(layers: nn.ModuleList) -> list[str]:
    """Return the names of all layers, as a configuration takes them."""
    return [str(number) for number in range(len(layers))]
