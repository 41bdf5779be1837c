"""What attention needs to know about one call: tensors only, so one graph serves all calls."""

from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.attention.kernels import StyleTokens

MAP_PREFIX = "identity map "  # notes with this prefix are averaged into the inline mask
INLINE_MASK = "inline mask"  # the note that holds it
EVERY_LAYER = "every layer"  # where it is noted, layers of self-attention all note their inputs

# Values that layers pass on during one call: self-attention inputs by module path, and the
# identity maps from which an inline mask is made.
Notes = dict[str, Tensor]


class Block(StrEnum):
    """Part of the U-Net, spelled as diffusers spells its modules."""

    DOWN = "down_blocks"
    MIDDLE = "mid_block"
    UP = "up_blocks"


ENERGY = "energy"  # the one key of `AttentionCondition.caps`


class Kind(StrEnum):
    """A change of a map."""

    POWER = "power"  # map ** strength
    SCALE = "scale"  # map * strength, at most `CEILING`
    SOFT_MASK = "soft mask"  # a steep step of the stretched map at the raw one's quantile `level`
    FIXED_SOFT_MASK = "fixed soft mask"  # the same at `level` itself


class Operation(NamedTuple):
    """One change with its numbers, one a row, so that new numbers need no new graph."""

    kind: Kind
    strength: Tensor  # (B,)
    level: Tensor  # (B,)


class Reshaping(NamedTuple):
    """What happens to the maps of one part of the U-Net in one call."""

    operations: tuple[Operation, ...]
    share: Tensor | None  # (B,) of the new map in the stabiliser's mix; None leaves that out
    inverts_first: bool  # whether each reference's first token is reshaped upside down
    spans_batch: bool = False  # whether soft masks stretch maps over the batch


class AttentionCondition(NamedTuple):
    """The one channel from a pipeline to every attention layer, for S subjects in each picture.

    The scales are the factors of mask-guided rescaling. A scale of 0 turns a branch off exactly.
    """

    identity_tokens: Tensor  # (B, S, K, D); K is 0 where no subject is shown
    keys: dict[str, Tensor]  # detail branch, by module path, each (B, S, R*N, D_layer)
    values: dict[str, Tensor]  # the same shapes
    coverage: Tensor  # (B, S, R, h, w) subject share of each reference cell in [0, 1]
    affine: Tensor  # (B, S, 2, 3) picture to reference frame, see swiftpie.geometry.layout
    has_layout: Tensor  # (B, S) 1 = `affine` is known and guides the detail branch, else 0
    region: Tensor  # (B, S, h, w) where each subject goes in [0, 1]
    sampled: Tensor  # (B, S, H, W) in place of `region` in the semantic branch; H may be 0
    is_inline: Tensor  # (B,) 1 = replace `region` by the one found during the call, else 0
    detail_mask: Tensor  # (B, S, h, w) in [0, 1], where in its region the detail branch acts
    detail_is_inline: Tensor  # (B,) 1 = replace `detail_mask` by the region found, else 0
    class_tokens: Tensor  # (B, S, T) 1 = text token that names the subject, else 0; T may be 0
    identity_scale: Tensor  # (B, S) semantic branch inside the region
    identity_background_scale: Tensor  # (B, S) semantic branch outside
    detail_scale: Tensor  # (B, S) detail branch inside the region
    detail_background_scale: Tensor  # (B, S) detail branch outside
    text_scale: Tensor  # (B,) text inside the union of all regions
    text_background_scale: Tensor  # (B,) text outside
    caps: dict[
        str, Tensor
    ]  # ENERGY: (B,) factor by which a layer may grow a token's size; or empty
    layer_scales: dict[str, Tensor]  # factor of the semantic branch by module path, each (B, S)
    reshaping: dict[str, Reshaping]  # changes of identity maps, by part of U-Net
    style: dict[str, StyleTokens]  # by module path: tokens beside text, or inputs of a layer

    @property
    def shows_subjects(self) -> bool:
        """Whether there are tokens of subjects, or words that name them."""
        return self.identity_tokens.shape[2] > 0 or self.class_tokens.shape[2] > 0


def silent_condition(latents: Tensor, *, width: int, num_subjects: int = 1) -> AttentionCondition:
    """Return the condition that leaves every layer exactly what it is without identity.

    `latents` (B, C, h, w) gives batch, grid, device and dtype, `width` that of an identity token.
    There are no tokens of subjects, and no words that name them, so no layer looks for either.
    """
    batch, _, rows, columns = latents.shape
    ones = latents.new_ones(batch)
    off = latents.new_zeros(batch, num_subjects)
    identity = torch.eye(2, 3, dtype=latents.dtype, device=latents.device)
    return AttentionCondition(
        identity_tokens=latents.new_zeros(batch, num_subjects, 0, width),
        keys={},
        values={},
        coverage=latents.new_zeros(batch, num_subjects, 1, rows, columns),
        affine=identity.expand(batch, num_subjects, 2, 3),
        has_layout=off,
        region=latents.new_ones(batch, num_subjects, rows, columns),
        sampled=latents.new_zeros(batch, num_subjects, 0, 0),
        is_inline=latents.new_zeros(batch),
        detail_mask=latents.new_ones(batch, num_subjects, rows, columns),
        detail_is_inline=latents.new_zeros(batch),
        class_tokens=latents.new_zeros(batch, num_subjects, 0),
        identity_scale=off,
        identity_background_scale=off,
        detail_scale=off,
        detail_background_scale=off,
        text_scale=ones,
        text_background_scale=ones,
        caps={},
        layer_scales={},
        reshaping={},
        style={},
    )
