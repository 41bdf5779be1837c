"""Which optimizer trains which parameter, for every objective of a stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from swiftpie.errors import ConfigError
from swiftpie.training.muon import Muon, is_matrix_like

EVERYTHING = ""  # the group of a stage with one objective
EDGES = ("embedding.weight", "conv_out", "positions")  # first and last layers, which AdamW suits

Parameters = Mapping[str, nn.Parameter]  # by their name in the network


@dataclass(frozen=True)
class Group:
    """What one objective trains, and with what."""

    parameters: Parameters
    optimizers: Mapping[str, torch.optim.Optimizer]  # by kind
    learning_rate: float  # at the peak

    def set_learning_rate(self, factor: float) -> None:
        """Use `factor` times the peak learning rate from now on."""
        for optimizer in self.optimizers.values():
            for options in optimizer.param_groups:
                options["lr"] = self.learning_rate * factor


def make_groups(
    network: nn.Module,
    owners: Mapping[str, Sequence[str]] | None,
    *,
    rates: Sequence[float],
    uses_muon: bool,
) -> dict[str, Group]:
    """Return the groups of a network, by name.

    Args:
        network: What is trained; frozen parameters stay as they are.
        owners: The children of `network` that each group trains; None is one group for all.
        rates: Peak learning rates in the order of `owners`.
        uses_muon: Whether matrices and convolutions are trained with Muon.

    Raises:
        ConfigError: A parameter belongs to no group or to several, or the rates are too few or
            too many.
    """
    parts = {EVERYTHING: _trained(network)} if owners is None else _partition(network, owners)
    if len(rates) != len(parts):
        names = ", ".join(parts) if owners else "one for all"
        raise ConfigError(
            f"loop.learning_rates has {len(rates)} values; this stage needs {len(parts)}: "
            f"{names}. Give that many, or none to use loop.learning_rate for each."
        )
    return {
        name: _make_group(parameters, rate, uses_muon=uses_muon)
        for (name, parameters), rate in zip(parts.items(), rates, strict=True)
    }


def named_optimizers(groups: Mapping[str, Group]) -> dict[str, torch.optim.Optimizer]:
    """Return every optimizer by the name that its state is saved under."""
    return {
        f"{name}.{kind}" if name else kind: optimizer
        for name, group in groups.items()
        for kind, optimizer in group.optimizers.items()
    }


def _make_group(parameters: Parameters, learning_rate: float, *, uses_muon: bool) -> Group:
    """Muon for hidden matrices and convolutions, AdamW for embeddings, biases and outputs."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        is_edge = any(word in name for word in EDGES)
        suits = uses_muon and is_matrix_like(parameter) and not is_edge
        (matrices if suits else others).append(parameter)
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if others:
        optimizers["adamw"] = torch.optim.AdamW(
            others, lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
    if matrices:
        optimizers["muon"] = Muon(matrices, lr=learning_rate)
    return Group(parameters, optimizers, learning_rate)


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def _partition(
    network: nn.Module, owners: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, nn.Parameter]]:
    """Return the parameters of each group by their names in `network`.

    Raises:
        ConfigError: A child does not exist, or a parameter belongs to no group or to several.
    """
    children = dict(network.named_children())
    parts: dict[str, dict[str, nn.Parameter]] = {group: {} for group in owners}
    owner: dict[nn.Parameter, str] = {}
    for group, child in ((group, child) for group, names in owners.items() for child in names):
        if child not in children:
            raise ConfigError(
                f"The group {group!r} trains {child!r}, which the network does not have; it has "
                f"{', '.join(children)}. Correct `groups` of the stage."
            )
        for name, parameter in _trained(children[child]).items():
            if owner.setdefault(parameter, group) != group:
                raise ConfigError(
                    f"The parameter '{child}.{name}' belongs to {owner[parameter]!r} and "
                    f"{group!r}; one group has to train it. Correct `groups` of the stage."
                )
            if not any(parameter is other for other in parts[group].values()):
                parts[group][f"{child}.{name}"] = parameter
    idle = [name for name, parameter in _trained(network).items() if parameter not in owner]
    if idle:
        raise ConfigError(
            f"The parameter {idle[0]!r} belongs to no group ({len(idle)} of that kind); each "
            "needs one. Add its child to `groups` of the stage, or freeze it."
        )
    return parts
