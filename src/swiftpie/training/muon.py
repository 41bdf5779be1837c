"""Muon, for matrices and convolutions: momentum whose update is made orthogonal.

`torch.optim.Muon` takes matrices only; most weights here are convolutions, seen as matrices.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic coefficients, after K. Jordan's Muon (2024)
ITERATIONS = 5
MATCH_ADAM = 0.2  # root mean square of an update, so that Adam's learning rates carry over
MIN_SIDE = 16  # thinner matrices gain nothing from orthogonal updates


class Muon(torch.optim.Optimizer):
    """Orthogonalised Nesterov momentum; parameters need two or more dimensions."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ANN401
        """Update every parameter that has a gradient."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(parameter.grad)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(state["momentum"], group["momentum"])
                matrix = update.reshape(len(update), -1)
                size = MATCH_ADAM * max(matrix.shape) ** 0.5
                direction = orthogonalise(matrix).view_as(parameter)
                parameter.add_(direction, alpha=-group["lr"] * size)


def orthogonalise(matrix: Tensor) -> Tensor:
    """Return the nearest (semi-)orthogonal matrix, approximately, by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    work = matrix.bfloat16()
    work = work / (work.norm() + 1e-7)
    is_tall = work.shape[0] > work.shape[1]
    if is_tall:
        work = work.T
    for _ in range(ITERATIONS):
        gram = work @ work.T
        work = a * work + (b * gram + c * gram @ gram) @ work
    return (work.T if is_tall else work).to(matrix.dtype)


def is_matrix_like(parameter: Tensor) -> bool:
    """Tell whether Muon suits `parameter`: two or more dimensions, none of them thin."""
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= MIN_SIDE
