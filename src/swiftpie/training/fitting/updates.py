"""One training step: every update that the micro-batches ask for, in order."""

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from swiftpie.errors import ConfigError, SwiftPieError
from swiftpie.training.fitting.optimizers import Group
from swiftpie.training.fitting.processes import Processes

Stream = Iterator[tuple[str, dict[str, Tensor]]]  # updates of one micro-batch: group and terms


class NotFiniteError(SwiftPieError):
    """A loss or a gradient stopped being a number."""


def run_updates(
    streams: Sequence[Stream],
    groups: Mapping[str, Group],
    network: nn.Module,
    *,
    processes: Processes,
    max_norm: float,
    step: int,
) -> dict[str, list[float]]:
    """Step groups until `streams` end; return all loss terms and gradient norms on the way.

    The micro-batches advance together: each gives its terms, the gradients are averaged over
    micro-batches and processes, and what the group owns gets a step before any of them goes on.

    Raises:
        NotFiniteError: A loss or gradient is not a number; the message names it and the step.
        ConfigError: Micro-batches disagree on the group, or name an unknown one.
    """
    figures: dict[str, list[float]] = {}
    while True:
        network.zero_grad()  # also what the last update left on weights of other groups
        updates = [_backward(stream, share=1 / len(streams)) for stream in streams]
        asked, bad_losses = _merge(updates, figures)
        everywhere = processes.gather((asked, bad_losses))
        asked = set().union(*(found for found, _ in everywhere))
        if asked == {None}:
            return figures
        name = _agreed(asked, groups, step=step)
        group = groups[name]
        processes.average_gradients(group.parameters.values())
        gradients = [p.grad for p in group.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        problems = [problem for _, found in everywhere for problem in found]
        if problems or not bool(torch.isfinite(norm)):
            problem = (problems or [_bad_gradient(group)])[0]
            raise NotFiniteError(
                f"{problem} at step {step}; training needs finite numbers. Lower "
                "loop.learning_rate, or see what the stage computes at that step. The state that "
                "was saved last is intact."
            )
        torch.nn.utils.clip_grads_with_norm_(group.parameters.values(), max_norm, norm)
        for optimizer in group.optimizers.values():
            optimizer.step()
        figures.setdefault(f"gradient_{name}" if name else "gradient", []).append(float(norm))


def _backward(stream: Stream, *, share: float) -> tuple[str | None, dict[str, float]]:
    """Add `share` of the next update's gradient; return its group, if any, and its terms."""
    update = next(stream, None)
    if update is None:
        return None, {}
    group, terms = update
    stacked = torch.stack(list(terms.values()))
    (share * stacked.sum()).backward()
    return group, dict(zip(terms, stacked.tolist(), strict=True))


def _merge(
    updates: Sequence[tuple[str | None, dict[str, float]]], figures: dict[str, list[float]]
) -> tuple[set[str | None], list[str]]:
    """Collect terms in `figures`; return the groups asked for and the terms that are no number."""
    problems = []
    for _, terms in updates:
        for name, value in terms.items():
            figures.setdefault(name, []).append(value)
            if not math.isfinite(value):
                problems.append(f"Loss {name!r} is {value}")
    return {group for group, _ in updates}, problems


def _agreed(asked: set[str | None], groups: Mapping[str, Group], *, step: int) -> str:
    """Return the one group that every micro-batch of every process asks for.

    Raises:
        ConfigError: They disagree, or the group is unknown.
    """
    if len(asked) > 1:
        named = " and ".join(sorted("the end" if name is None else repr(name) for name in asked))
        raise ConfigError(
            f"At step {step} some micro-batches of the stage ask for {named} at the same time. "
            "All need the same updates in the same order: let `updates` choose them by `step`, "
            "never by `draw`."
        )
    (name,) = asked
    if name is None or name not in groups:
        raise ConfigError(
            f"The stage asks for an update of {name!r}, which is not one of its groups: "
            f"{', '.join(groups)}. Correct `updates` or `groups` of the stage."
        )
    return name


def _bad_gradient(group: Group) -> str:
    for name, parameter in group.parameters.items():
        if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
            return f"The gradient of {name!r} is not finite"
    return "The norm of the gradient is not finite"  # its square does not fit into 32 bits
