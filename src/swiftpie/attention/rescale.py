"""Mask-guided rescaling: one factor for a branch inside the subject's mask, one outside."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import token_grid
from swiftpie.masks import attention_to_mask, resize_mask

INLINE_PREFIX = "identity map "  # notes with this prefix are averaged into the inline mask


def region_scale(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """Return `inside * mask + outside * (1 - mask)` as (B, N, 1) for scales (B,), mask (B, N).

    From arXiv:2605.01510, mask-guided rescaling. Equal scales give exactly that scale.
    """
    return torch.lerp(outside[:, None], inside[:, None], mask).unsqueeze(-1)


def layer_mask(condition: AttentionCondition, num_tokens: int, notes: Notes) -> Tensor:
    """Return the subject's mask (B, N) on the grid of a layer with `num_tokens` tokens."""
    rows, columns = token_grid(num_tokens, *condition.mask.shape[-2:])
    mask = resize_mask(condition.mask, (rows, columns))
    maps = [value for name, value in notes.items() if name.startswith(INLINE_PREFIX)]
    if maps:
        found = attention_to_mask(average_maps(maps))
        found = resize_mask(found, (rows, columns)).to(mask.dtype)
        mask = torch.lerp(mask, found, condition.is_inline[:, None, None, None])
    return mask.flatten(1)


def average_maps(maps: list[Tensor]) -> Tensor:
    """Return the mean of identity maps (B, 1, h', w'), brought to the size of the finest."""
    size = max((one.shape[-2:] for one in maps), key=lambda shape: shape[0] * shape[1])
    finest = (int(size[0]), int(size[1]))
    same = [F.interpolate(one, size=finest, mode="bilinear", align_corners=False) for one in maps]
    return torch.stack(same).mean(dim=0)
