"""Muon, and which optimizer trains which parameter for every objective of a stage."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftpie.errors import ConfigError

WHOLE_NETWORK = ""  # the group of a stage with one objective
EDGES = ("embedding.weight", "conv_out", "positions")  # first and last layers, which AdamW suits

Parameters = Mapping[str, nn.Parameter]  # by their name in the network
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients, after K. Jordan's Muon (2024)
ITERATIONS = 5
MATCH_ADAM = 0.2  # root mean square of an update, so that Adam's learning rates carry over
MIN_SIDE = 16  # thinner matrices gain nothing from orthogonal updates


@dataclass(frozen=True)
class Adam:
    """Constants of Adam's steps, which Muon leaves to it."""

    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    is_decoupled: bool = True  # AdamW; else the decay is part of the gradient, as Adam has it

    def over(self, weights: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        kind = torch.optim.AdamW if self.is_decoupled else torch.optim.Adam
        return kind(weights, lr=learning_rate, betas=self.betas, weight_decay=self.weight_decay)


ADAMW = Adam()


@dataclass(frozen=True)
class OptimizerGroup:
    """What one objective trains, and with what."""

    parameters: Parameters
    optimizers: Mapping[str, torch.optim.Optimizer]  # by kind
    learning_rate: float  # at the peak

    def set_learning_rate(self, factor: float) -> None:
        for optimizer in self.optimizers.values():
            for options in optimizer.param_groups:
                options["lr"] = self.learning_rate * factor


def make_groups(
    network: nn.Module,
    owners: Mapping[str, Sequence[str]] | None,
    *,
    rates: Sequence[float],
    uses_muon: bool,
    adam: Adam = ADAMW,
) -> dict[str, OptimizerGroup]:
    """Return the groups of a network, by name; frozen parameters stay as they are.

    `owners` are the children of `network` that each group trains, None is one group for all;
    `rates` are their peak learning rates, in that order, and `adam` the constants of what Muon does
    not train.

    Raises:
        ConfigError: A parameter belongs to no group or to several, or the rates are too few or
            too many.
    """
    parts = {WHOLE_NETWORK: _trained(network)} if owners is None else _partition(network, owners)
    if len(rates) != len(parts):
        names = ", ".join(parts) if owners else "one for all"
        raise ConfigError(
            f"loop.learning_rates has {len(rates)} values; this stage needs {len(parts)}: "
            f"{names}. Give that many, or none to use loop.learning_rate for each."
        )
    return {
        name: _make_group(parameters, rate, uses_muon=uses_muon, adam=adam)
        for (name, parameters), rate in zip(parts.items(), rates, strict=True)
    }


def named_optimizers(groups: Mapping[str, OptimizerGroup]) -> dict[str, torch.optim.Optimizer]:
    """Return every optimizer by the name that its state is saved under."""
    return {
        f"{name}.{kind}" if name else kind: optimizer
        for name, group in groups.items()
        for kind, optimizer in group.optimizers.items()
    }


def state_shapes(optimizer: torch.optim.Optimizer, weight: Tensor) -> dict[str, torch.Size]:
    """Return the shapes of what an optimizer remembers of a weight that it has moved."""
    if isinstance(optimizer, Muon):
        return {"momentum": weight.shape}
    return {"step": torch.Size(), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}


def _make_group(
    parameters: Parameters, learning_rate: float, *, uses_muon: bool, adam: Adam
) -> OptimizerGroup:
    """Muon for hidden matrices and convolutions, Adam for embeddings, biases and outputs."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in parameters.items():
        is_edge = any(word in name for word in EDGES)
        is_thick = parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= MIN_SIDE
        suits = uses_muon and is_thick and not is_edge
        (matrices if suits else others).append(parameter)
    optimizers: dict[str, torch.optim.Optimizer] = {}
    if others:
        optimizers["adamw" if adam.is_decoupled else "adam"] = adam.over(others, learning_rate)
    if matrices:
        optimizers["muon"] = Muon(matrices, lr=learning_rate)
    return OptimizerGroup(parameters, optimizers, learning_rate)


def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


def _partition(
    network: nn.Module, owners: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, nn.Parameter]]:
    children = dict(network.named_children())
    parts: dict[str, dict[str, nn.Parameter]] = {group: {} for group in owners}
    owner: dict[nn.Parameter, str] = {}
    for group, child in ((group, child) for group, names in owners.items() for child in names):
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


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum for parameters of two or more dimensions.

    Convolutions count as matrices of (out channels, everything else). `torch.optim.Muon` with
    `adjust_lr_fn="match_rms_adamw"` takes the same steps but refuses weights that are no matrices,
    and a flattened view of a channels-last convolution would be a copy, which it could not train.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401
        """Update every parameter that has a gradient, those of one shape together."""
        assert closure is None
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shape = len(parameter), parameter[0].numel()
                    alike.setdefault(shape, []).append(parameter)
            for shape, parameters in alike.items():
                updates = [self._update(parameter, group["momentum"]) for parameter in parameters]
                matrices = torch.stack([update.reshape(shape) for update in updates])
                size = MATCH_ADAM * max(shape) ** 0.5
                for parameter, direction in zip(parameters, orthogonalise(matrices), strict=True):
                    parameter.add_(direction.view_as(parameter), alpha=-group["lr"] * size)

    def _update(self, parameter: Tensor, momentum: float) -> Tensor:
        assert parameter.grad is not None, "others are left out"
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter.grad)
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Return the nearest (semi-)orthogonal matrices (..., rows, columns), approximately.

    By Newton-Schulz iteration on Gram matrices, as many processors are slow in bfloat16.
    """
    a, b, c = NEWTON_SCHULZ
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    work = (matrices.mT if is_tall else matrices).float()
    work = work / (work.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram = work @ work.mT
    unit = factor = torch.eye(gram.shape[-1], device=gram.device)
    for _ in range(ITERATIONS):
        step = a * unit + b * gram + c * gram @ gram
        factor, gram = step @ factor, step @ gram @ step
    return ((factor @ work).mT if is_tall else factor @ work).to(matrices.dtype)
