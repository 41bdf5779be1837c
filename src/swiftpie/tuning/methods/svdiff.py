"""Shifts of singular values, W = U diag(relu(σ + δ)) Vᵀ with δ = 0. From arXiv:2303.11305."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.change import Change, Method, Start
from swiftpie.tuning.projections import ProjectionChange


class SpectralLinear(nn.Module):
    """A linear layer whose singular values are shifted, by no more than the largest of them."""

    left: Tensor
    right: Tensor
    values: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        left, values, right = torch.linalg.svd(weight.detach().float(), full_matrices=False)
        for name, tensor in {"left": left, "right": right, "values": values}.items():
            self.register_buffer(name, tensor, persistent=False)
        self.shift = nn.Parameter(torch.zeros_like(values))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the projection (..., D_out) of rows (..., D_in)."""
        most = float(self.values[0])
        shifted = F.relu(self.values + self.shift.clamp(-most, most))
        return ((rows @ self.right.T) * shifted) @ self.left.T


def _make(start: Start, settings: TuneSettings) -> Change:
    del settings

    def change(layers: nn.ModuleList) -> nn.ModuleList:
        known = [one for one in layers if isinstance(one, nn.Linear)]
        return nn.ModuleList(SpectralLinear(one.weight) for one in known)

    return ProjectionChange(start, change)


METHOD = Method(learning_rate=0.02, make=_make)
