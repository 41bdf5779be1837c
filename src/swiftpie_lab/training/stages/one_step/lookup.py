"""Teaches the semantic branch where to look: at the token that shows what a cell has to show."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition
from swiftpie.attention.kernels import split_heads, token_grid
from swiftpie.geometry.layout import cell_positions, to_reference
from swiftpie.masks import resize_mask
from swiftpie.mini.denoiser import TinyDenoiser


@contextmanager
def noted_queries(denoiser: TinyDenoiser) -> Iterator[dict[str, Tensor]]:
    """Yield a dict that gets the queries (B, N, D) of each semantic layer, by its path."""
    queries: dict[str, Tensor] = {}

    def note(name: str) -> torch.utils.hooks.RemovableHandle:
        layer = denoiser.unet.get_submodule(name).to_q
        assert isinstance(layer, nn.Linear)
        return layer.register_forward_hook(
            lambda _layer, _inputs, output: queries.__setitem__(name, output)
        )

    handles = [note(name) for name in denoiser.installation.semantic]
    try:
        yield queries
    finally:
        for handle in handles:
            handle.remove()


def lookup_loss(
    denoiser: TinyDenoiser,
    queries: dict[str, Tensor],
    condition: AttentionCondition,
    mask: Tensor,
    *,
    grid: int,
) -> Tensor | None:
    """Return how little attention goes to the token that shows a cell's part of the subject.

    It is the cross entropy of the first subject's identity attention with the tokens around the
    cell's place in the reference frame, over all layers and heads. The pictures alone teach it
    slowly, because a blur is right on average wherever a layer looks.

    Args:
        denoiser: Whose layers look.
        queries: Of `noted_queries`.
        condition: What the layers read.
        mask: Where the subject is visible, (B, 1, H, W) in [0, 1].
        grid: Identity tokens a side; the first token, which summarises them, is no place.

    Returns:
        None where several references are read together: then several tokens are right.
    """
    tokens = condition.identity_tokens[:, 0]
    if tokens.shape[1] != grid**2 + 1:
        return None
    terms = []
    for name, query in queries.items():
        rows, columns = token_grid(query.shape[1], *condition.region.shape[-2:])
        points = cell_positions(rows, columns, like=condition.affine)
        places = to_reference(condition.affine[:, 0].float(), points.float())
        right = nearest_tokens(places, grid)
        layer: Any = denoiser.unet.get_submodule(name)
        heads = layer.heads
        key = split_heads(denoiser.installation.semantic[name].to_k_ip(tokens).float(), heads)
        logits = split_heads(query.float(), heads) @ key.transpose(-1, -2) * key.shape[-1] ** -0.5
        chances = logits.log_softmax(dim=-1)[..., 1:]
        missed = -(right[:, None] * chances).sum(dim=-1).mean(dim=1)  # (B, N)
        is_inside = places.abs().amax(dim=-1) < 1
        weight = is_inside * resize_mask(mask, (rows, columns)).flatten(1)
        terms.append((missed * weight).sum() / weight.sum().clamp_min(1))
    return torch.stack(terms).mean()


def nearest_tokens(places: Tensor, grid: int) -> Tensor:
    """Return the shares (B, N, grid²) of the tokens around places (B, N, 2) in [-1, 1]."""
    centres = torch.arange(grid, device=places.device)
    away = ((places + 1) / 2 * grid - 0.5)[..., None] - centres  # (B, N, 2, grid)
    across, down = (1 - away.abs()).clamp_min(0).unbind(dim=2)
    shares = (down[..., :, None] * across[..., None, :]).flatten(-2)
    return shares / shares.sum(dim=-1, keepdim=True).clamp_min(1e-6)
