"""Low-rank changes in subspaces of their own, W + A Bᵀ with fixed B. From arXiv:2312.02432.

The columns of B are a block of one orthogonal basis, chosen by the seed. Changes of different
blocks have BᵢᵀBⱼ = 0, so that their sum does to what each of them reads what each does alone.
"""

import torch
from torch import Tensor, nn

from swiftpie.tuning import TuneSettings
from swiftpie.tuning.change import Change, Method, Start
from swiftpie.tuning.projections import ProjectionChange

BASIS_SEED = 0  # the same for all subjects, or their blocks would not be orthogonal


class OrthogonalLinear(nn.Module):
    """A frozen linear layer with a change that reads one block of the basis alone."""

    block: Tensor

    def __init__(self, linear: nn.Linear, *, rank: int, number: int) -> None:
        super().__init__()
        self.linear = linear
        block = basis_block(linear.in_features, rank=rank, number=number).to(linear.weight)
        self.register_buffer("block", block, persistent=False)
        self.change = nn.Parameter(linear.weight.new_zeros(linear.out_features, block.shape[1]))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the projection (..., D_out) of rows (..., D_in)."""
        return self.linear(rows) + (rows @ self.block) @ self.change.T


def basis_block(width: int, *, rank: int, number: int) -> Tensor:
    """Return block `number` of the orthogonal basis, (width, rank); numbers beyond the last wrap.

    A rank above the width takes all columns.
    """
    generator = torch.Generator().manual_seed(BASIS_SEED)
    basis = torch.linalg.qr(torch.randn(width, width, generator=generator)).Q
    blocks = basis.split(min(rank, width), dim=1)
    whole = [block for block in blocks if block.shape[1] == blocks[0].shape[1]]
    return whole[number % len(whole)].contiguous()


def _make(start: Start, settings: TuneSettings) -> Change:
    def change(layers: nn.ModuleList) -> nn.ModuleList:
        changed = [
            OrthogonalLinear(one, rank=settings.rank, number=settings.seed)
            for one in layers
            if isinstance(one, nn.Linear)
        ]
        return nn.ModuleList(changed)

    return ProjectionChange(start, change)


METHOD = Method(learning_rate=0.02, make=_make)
