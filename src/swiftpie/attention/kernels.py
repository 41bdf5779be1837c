"""Attention as pure functions over tensors."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import pixel_grid

MASKED = -1e4  # logit of a key that must not be seen; finite, so that half precision stays finite


def split_heads(hidden_states: Tensor, heads: int) -> Tensor:
    """Return (B, N, D) as (B, heads, N, D / heads)."""
    return hidden_states.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(hidden_states: Tensor) -> Tensor:
    """Return (B, heads, N, d) as (B, N, heads * d)."""
    return hidden_states.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax attention, all (B, heads, N, d); `mask` is added to the logits."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def attend_near(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    positions: Tensor,
    key_positions: Tensor,
    sharpness: Tensor,
    key_bias: Tensor,
) -> Tensor:
    """Attend with the extra logit `-sharpness * |position - key_position|² + key_bias`.

    The quadratic form splits into a few more feature columns of query and key, so no dense
    (N, M) bias is built and any fused kernel serves. The term in |position|² is the same for all
    keys of a query and cancels in the softmax. Coordinates travel as high and low part, because
    bfloat16 keeps eight bits of each.

    Args:
        query: (B, heads, N, d).
        key: (B, heads, M, d).
        value: (B, heads, M, d).
        positions: Where each query sits, (B, N, 2), in units of key cells.
        key_positions: Where each key sits, (M, 2), in units of key cells.
        sharpness: One factor a sample and head, (B, heads), >= 0; 0 ignores places.
        key_bias: Added to the logits of each key, (B, M).
    """
    heads, width = query.shape[1], query.shape[-1]
    gamma = sharpness.to(query.dtype).float()[:, :, None, None]
    pull = 2 * gamma * positions.float()[:, None]  # (B, heads, N, 2)
    ones = torch.ones_like(pull[..., :1])
    pushes = -gamma * ones
    columns = torch.cat([*_two_parts(pull, query.dtype), pushes, pushes, ones, 0 * ones], dim=-1)
    distance = _two_parts(key_positions.float().square().sum(-1, keepdim=True), query.dtype)
    shared = torch.cat([key_positions, key_positions, *distance], dim=-1)
    rows = torch.cat(
        [
            shared.expand(key.shape[0], -1, -1),
            key_bias.unsqueeze(-1),
            torch.zeros_like(key_bias).unsqueeze(-1),  # pads to a multiple of eight
        ],
        dim=-1,
    )
    return F.scaled_dot_product_attention(
        torch.cat([query, (columns * width**0.5).to(query.dtype)], dim=-1),
        torch.cat([key, rows[:, None].expand(-1, heads, -1, -1).to(key.dtype)], dim=-1),
        value,
        scale=width**-0.5,
    )


def mass_on(query: Tensor, key: Tensor, rival_key: Tensor, rival_mask: Tensor | None) -> Tensor:
    """Return how much of one joint softmax over both key sets falls on `key`, (B, N) in [0, 1].

    Averaged over heads. `rival_mask` is added to the logits of `rival_key`.
    """
    scale = query.shape[-1] ** -0.5
    ours = (query @ key.transpose(-1, -2)).float() * scale
    theirs = (query @ rival_key.transpose(-1, -2)).float() * scale
    if rival_mask is not None:
        theirs = theirs + rival_mask
    return torch.sigmoid(ours.logsumexp(-1) - theirs.logsumexp(-1)).mean(dim=1)


def token_grid(num_tokens: int, height: int, width: int) -> tuple[int, int]:
    """Return the (rows, columns) of a layer with `num_tokens` on latents of (height, width).

    U-Nets halve and round up, so the shape is found by halving; the square root of the token
    count would be wrong for every picture that is not square.

    Raises:
        ValueError: No halving of the latents has so many cells.
    """
    rows, columns = height, width
    while rows * columns > num_tokens:
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    if rows * columns != num_tokens:
        raise ValueError(f"{num_tokens} tokens do not fit latents of {height} x {width}")
    return rows, columns


def cell_positions(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Return cell centres (rows * columns, 2) in [-1, 1], x first."""
    return pixel_grid(rows, columns, like=like).flatten(0, 1)


def _two_parts(tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    high = tensor.to(dtype).float()
    return high, tensor - high
