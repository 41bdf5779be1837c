"""Mask-guided rescaling: one factor for a branch inside the subject's mask, one outside."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import sum_of_subjects, token_grid
from swiftpie.masks import attention_to_mask, resize_mask

MAP_PREFIX = "identity map "  # notes with this prefix are averaged into the inline mask
INLINE_MASK = "inline mask"  # the note that holds it
UNMASKED_SHARE = 0.7  # of the scales, in the layers before an inline mask is known
SEPARATION = 0.1  # temperature of the softmax that divides a place between subjects


def region_scale(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """Return `inside * mask + outside * (1 - mask)` with a last axis of 1.

    From arXiv:2605.01510, mask-guided rescaling. Equal scales give exactly that scale. Shapes:
    scales (...,), mask (..., N) in [0, 1].
    """
    return torch.lerp(outside[..., None], inside[..., None], mask).unsqueeze(-1)


def layer_masks(condition: AttentionCondition, num_tokens: int, notes: Notes) -> Tensor:
    """Return the share of each subject in each token of a layer, (B, S, N); they sum to <= 1."""
    rows, columns = token_grid(num_tokens, *condition.region.shape[-2:])
    mask = resize_mask(condition.region, (rows, columns))
    if INLINE_MASK in notes:
        found = resize_mask(notes[INLINE_MASK], (rows, columns)).to(mask.dtype)
        mask = torch.lerp(mask, found, condition.is_inline[:, None, None, None])
    mask = mask / sum_of_subjects(mask).unsqueeze(1).clamp_min(1)
    return mask.flatten(2)


def detail_masks(condition: AttentionCondition, num_tokens: int, notes: Notes) -> Tensor:
    """Return the share of each subject's detail in each token of a layer, (B, S, N)."""
    shares = layer_masks(condition, num_tokens, notes)
    size = token_grid(num_tokens, *condition.region.shape[-2:])
    own = resize_mask(condition.detail_mask, size)
    if INLINE_MASK in notes:
        found = resize_mask(notes[INLINE_MASK], size).to(own.dtype)
        own = torch.lerp(own, found, condition.detail_is_inline[:, None, None, None])
    return shares * own.flatten(2)


def masks_from_maps(notes: Notes) -> Tensor:
    """Return the masks (B, S, h', w') that all noted identity maps together show."""
    maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
    rows, columns = zip(*(one.shape[-2:] for one in maps), strict=True)
    finest = (max(rows), max(columns))
    same = [F.interpolate(one, size=finest, mode="bilinear", align_corners=False) for one in maps]
    average = torch.stack(same).mean(dim=0)
    masks = attention_to_mask(average.flatten(0, 1).unsqueeze(1)).view_as(average)
    divided = torch.softmax(average / SEPARATION, dim=1)
    # One subject keeps its mask; several share each place by how much it attends to them.
    return masks * (divided / divided.amax(dim=1, keepdim=True))


def caution(is_sought: Tensor, notes: Notes) -> Tensor:
    """Return the factor (B, 1) on a branch's scales in a layer: less while its mask is sought.

    `is_sought` (B,) is 1 where one is, else 0.
    """
    if INLINE_MASK in notes:
        return torch.ones_like(is_sought)[:, None]
    return (1 - (1 - UNMASKED_SHARE) * is_sought)[:, None]


def cap_energy(output: Tensor, base: Tensor, cap: Tensor) -> Tensor:
    """Shrink tokens of `output` whose size exceeds `cap` times that of `base`, (B, N, D).

    Prevents burnt pictures where several scales add up. `cap` is (B,); inf changes nothing.
    """
    # Divided in this order, an infinite cap gives a zero gradient; the product would give a NaN.
    growth = _size(output) / _size(base) / cap[:, None, None]
    return output / growth.clamp_min(1).to(output.dtype)


def _size(states: Tensor) -> Tensor:
    """Return the root mean square of each token (B, N, 1), kept off zero for its gradient."""
    return (states.float().square().mean(-1, keepdim=True) + 1e-12).sqrt()
