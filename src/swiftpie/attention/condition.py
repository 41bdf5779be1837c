"""What layers of attention read of one call, and the formulas by which they read it.

A condition holds tensors only, so one graph serves all calls.
"""

import math
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.validation import Size

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

EPSILON = 1e-5  # added to variances, as in the code of StyleAligned
MASKED = -1e4  # logit of a key that must not be seen; finite, so that half precision stays finite
MAP_PREFIX = "identity map "  # notes with this prefix are averaged into the inline mask
INLINE_MASK = "inline mask"  # the note that holds it
RETURN_CELLS = 1.5  # distance within which the way back of a match has to end
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


class StyleTokens(NamedTuple):
    """What one layer reads of a style picture: tokens beside the text, or inputs of its own."""

    tokens: Tensor  # (B, K, D)
    scale: Tensor  # (B,)


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
    caps: dict[str, Tensor]  # ENERGY: (B,) factor by which a layer may grow a token's size
    layer_scales: dict[str, Tensor]  # factor of the semantic branch by module path, each (B, S)
    reshaping: dict[str, Reshaping]  # changes of identity maps, by part of U-Net
    style: dict[str, StyleTokens]  # by module path: tokens beside text, or inputs of a layer

    def grid(self, num_tokens: int) -> Size:
        """Return rows and columns of a layer with so many tokens."""
        return token_grid(num_tokens, *self.region.shape[-2:])

    def reference_grid(self, layer: str) -> Size:
        """Return rows and columns of the keys of one reference picture in a layer."""
        num_keys = self.keys[layer].shape[2] // self.coverage.shape[2]
        return token_grid(num_keys, *self.coverage.shape[-2:])

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


def split_heads(hidden_states: Tensor, heads: int) -> Tensor:
    """Return (B, N, D) as (B, heads, N, D / heads)."""
    return hidden_states.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(hidden_states: Tensor) -> Tensor:
    """Return (B, heads, N, d) as (B, N, heads * d)."""
    return hidden_states.transpose(1, 2).flatten(2)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax attention, all (B, heads, N, d); `mask` is added to the logits."""
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class OwnAttention(NamedTuple):
    """What a layer of self-attention reads besides references."""

    query: Tensor  # (B, heads, N, d)
    key: Tensor  # (B, heads, n, d)
    value: Tensor  # (B, heads, n, d)
    bias: Tensor | None = None  # (B, n), added to the logits of keys

    @property
    def output(self) -> Tensor:
        """The attention to them, (B, N, D)."""
        bias = None if self.bias is None else self.bias[:, None, None].to(self.query.dtype)
        return merge_heads(attend(self.query, self.key, self.value, bias))


def thin(hidden_states: Tensor, cells: tuple[int, int], stride: int) -> Tensor:
    """Return one of each `stride` x `stride` tokens, (B, M, D), of a finest layer's (B, N, D).

    `cells` are the rows and columns of the latents; layers on coarser grids keep all tokens.
    """
    if stride == 1 or hidden_states.shape[1] != cells[0] * cells[1]:
        return hidden_states
    return hidden_states.unflatten(1, cells)[:, ::stride, ::stride].flatten(1, 2)


def sum_of_subjects(rows: Tensor) -> Tensor:
    """Return (B, S, ...) summed to (B, ...); a single subject, the usual case, is not summed."""
    return rows.squeeze(1) if rows.shape[1] == 1 else rows.sum(dim=1)


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

    Shapes: query (B, heads, N, d), key and value (B, heads, M, d); positions (B, N, 2) and (M, 2)
    in units of key cells; sharpness (B, heads), >= 0, where 0 ignores places; key_bias (B, M).
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
    return _attend_as_wide(
        torch.cat([query, (columns * width**0.5).to(query.dtype)], dim=-1),
        torch.cat([key, rows[:, None].expand(-1, heads, -1, -1).to(key.dtype)], dim=-1),
        value,
        scale=width**-0.5,
    )


def attend_jointly(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    reference_key: Tensor,
    reference_value: Tensor,
    offset: Tensor,
    key_bias: Tensor,
    own_bias: Tensor | None = None,
) -> Tensor:
    """Return one softmax over own keys and the keys of S subjects, (B, heads, N, d).

    The logit of a query on any key of subject s gets `offset` of that query and subject, and
    `key_bias` of the key; own keys get `own_bias`, if any. They are sums of S + 1 rank-one terms,
    so they travel as feature columns and no dense (N, N + S*M) bias is built.

    Shapes: query, key and value (B, heads, N, d), those of references (B, S, heads, M, d); offset
    (B, S, N), key_bias (B, S, M), own_bias (B, n).
    """
    batch, subjects, heads, count, width = reference_key.shape
    columns = torch.cat([offset, torch.ones_like(offset[:, :1])], dim=1).transpose(1, 2)
    belongs = torch.eye(subjects, dtype=offset.dtype, device=offset.device)
    rows = torch.cat(
        [belongs[None, :, None].expand(batch, subjects, count, subjects), key_bias.unsqueeze(-1)],
        dim=-1,
    ).flatten(1, 2)
    unbiased = rows.new_zeros(batch, key.shape[2], subjects + 1)
    if own_bias is not None:
        unbiased[..., -1] = own_bias
    rows = torch.cat([unbiased, rows], dim=1)
    padding = -(subjects + 1) % 8  # fused kernels want widths that are multiples of eight
    # Half of the smallest: an infinite column times a row of zeros would give NaN in float16.
    columns = (columns * width**0.5).clamp_min(torch.finfo(query.dtype).min / 2)
    columns = F.pad(columns, (0, padding)).to(query.dtype)
    rows = F.pad(rows, (0, padding)).to(query.dtype)
    keys = torch.cat([key, reference_key.transpose(1, 2).flatten(2, 3)], dim=2)
    values = torch.cat([value, reference_value.transpose(1, 2).flatten(2, 3)], dim=2)
    return _attend_as_wide(
        torch.cat([query, columns[:, None].expand(-1, heads, -1, -1)], dim=-1),
        torch.cat([keys, rows[:, None].expand(-1, heads, -1, -1)], dim=-1),
        values,
        scale=width**-0.5,
    )


def mass_on(
    query: Tensor,
    key: Tensor | None,
    text_key: Tensor,
    *,
    text_mask: Tensor | None,
    is_ours: Tensor,
    num_views: int = 1,
) -> Tensor:
    """Return how much of one joint softmax over identity and text falls on a subject, (B, S, N).

    Averaged over heads, values in [0, 1]. The K keys come from `num_views` references, which
    together weigh as much as one; without any, None, the text alone tells. `text_mask` is added to
    the logits of the text.

    Shapes: query (B, heads, N, d), key (B, S, heads, K, d), text_key (B, heads, T, d), text_mask
    (B, heads, 1, T), is_ours (B, S, T), 1 for text tokens that name the subject, or (B, S, 0).
    """
    if is_ours.shape[2] == 0:  # no word names a subject
        is_ours = is_ours.new_zeros(*is_ours.shape[:2], 1)
    scale = query.shape[-1] ** -0.5
    text = (query @ text_key.transpose(-1, -2)).float() * scale
    if text_mask is not None:
        text = text + text_mask
    named = torch.where(is_ours[:, :, None, None] > 0, 0.0, MASKED)
    others = torch.where(is_ours[:, :, None, None] > 0, MASKED, 0.0)
    ours = text[:, None] + named
    if key is not None:
        shown = (query[:, None] @ key.transpose(-1, -2)).float() * scale  # (B, S, heads, N, K)
        ours = torch.cat([shown - math.log(num_views), ours], dim=-1)
    on_subject = ours.logsumexp(-1)
    elsewhere = (text[:, None] + others).logsumexp(-1)
    return torch.sigmoid(on_subject - elsewhere).mean(dim=2)


class Matches(NamedTuple):
    """Where each place finds itself in the references of a subject."""

    places: Tensor  # (B, S, N) long, among all cells of all references
    is_mutual: Tensor  # (B, S, N) 1 = the way back ends at the place or beside it


def match(keys: Tensor, references: Tensor, grid: tuple[int, int]) -> Matches:
    """Match places by the cosines of their keys, after DreamMatcher (arXiv:2402.09812), untrained.

    A layer attends with its own queries and keys, so what is where stays the prompt's. The value of
    each place becomes that of the reference's place whose key is most alike. From its abstract and
    a review. Differs from the paper: keys of the same layer match, no intermediate features of
    several, and a match counts if the way back ends near where it began.

    Shapes: keys (B, N, D) on a `grid` of rows and columns, those of S subjects (B, S, M, D).
    """
    cosines = F.normalize(keys, dim=-1)[:, None] @ F.normalize(references, dim=-1).transpose(2, 3)
    places = cosines.argmax(3)
    back = cosines.argmax(2).gather(2, places)
    start = torch.arange(keys.shape[1], device=keys.device)
    away = [
        (torch.div(back, grid[1], rounding_mode="floor") - start // grid[1]).abs(),
        (back % grid[1] - start % grid[1]).abs(),
    ]
    return Matches(places, (torch.stack(away).amax(0) <= RETURN_CELLS).to(keys))


def matched_values(value: Tensor, references: Tensor, matches: Matches, weight: Tensor) -> Tensor:
    """Return `value` (B, N, D) mixed with what references (B, S, M, D) have at their matches.

    `weight` (B, S, N) is the share of each subject in each place; they sum to 1 at most.
    """
    chosen = matches.places[..., None].expand(-1, -1, -1, value.shape[-1])
    moved = weight[..., None].to(value) * (references.gather(2, chosen) - value[:, None])
    return value + moved.sum(1)


def attend_to_style(query: Tensor, key: Tensor, value: Tensor, scale: Tensor) -> Tensor:
    """Return scaled attention to a style picture, (B, N, D), after InstantStyle (arXiv:2404.02733).

    Shapes: query (B, heads, N, d), key and value (B, K, D), scale (B,).
    """
    heads = query.shape[1]
    attended = attend(query, split_heads(key, heads), split_heads(value, heads))
    return scale[:, None, None] * merge_heads(attended)


def shared_with(style: StyleTokens, attn: "Attention", own: OwnAttention) -> OwnAttention:
    """Return what a layer reads of itself and of a style picture, whose `tokens` are its inputs.

    After StyleAligned (arXiv:2312.02133): queries and keys take mean and deviation of those of the
    style picture, channel by channel, and its keys and values stand beside the drawing's own.
    Differs from the paper: the picture is read once, a little noised, and a strength weighs both.

    At a scale of 1 that is StyleAligned. Below, statistics are mixed by the scale; it weighs the
    keys of the style as a factor, so that 0 leaves the layer unchanged.
    """
    tokens, scale = style
    query, key, value = (
        split_heads(project(tokens), attn.heads) for project in (attn.to_q, attn.to_k, attn.to_v)
    )
    share = scale.clamp(max=1)[:, None, None, None].to(query.dtype)
    own_query = torch.lerp(own.query, _aligned(own.query, query), share)
    own_key = torch.lerp(own.key, _aligned(own.key, key), share)
    # All of the style weighs as much as all of the drawing, whatever their sizes are.
    weight = scale * own.key.shape[2] / key.shape[2]
    offset = torch.where(scale > 0, weight.clamp_min(1e-6).log(), MASKED)[:, None]
    zeros = torch.zeros_like(offset).expand(-1, own.key.shape[2])
    return OwnAttention(
        own_query,
        torch.cat([own_key, key], dim=2),
        torch.cat([own.value, value], dim=2),
        torch.cat([zeros, offset.expand(-1, key.shape[2])], dim=1),
    )


def _aligned(values: Tensor, like: Tensor) -> Tensor:
    """Return `values` (B, heads, N, d) with mean and deviation of `like` over its tokens."""
    mean, deviation = _statistics(values)
    its_mean, its_deviation = _statistics(like)
    return (values - mean) / deviation * its_deviation + its_mean


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    variance = values.var(dim=2, correction=0, keepdim=True)
    return values.mean(dim=2, keepdim=True), (variance + EPSILON).sqrt()


def token_grid(num_tokens: int, height: int, width: int) -> tuple[int, int]:
    """Return the (rows, columns) of a layer with `num_tokens` on latents of (height, width).

    U-Nets halve and round up, so the shape is found by halving; the square root of the token
    count would be wrong for every picture that is not square.

    Raises:
        ValueError: No halving of the latents has so many cells.
    """
    rows, columns = height, width
    while rows * columns > max(num_tokens, 1):  # one cell cannot be halved
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
    if rows * columns != num_tokens:
        raise ValueError(f"{num_tokens} tokens do not fit latents of {height} x {width}")
    return rows, columns


def _attend_as_wide(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> Tensor:
    """Attend with values as wide as keys: where widths differ, CPUs have no fused kernel."""
    padded = F.pad(value, (0, key.shape[-1] - value.shape[-1]))
    return F.scaled_dot_product_attention(query, key, padded, scale=scale)[..., : value.shape[-1]]


def _two_parts(tensor: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    high = tensor.to(dtype).float()
    return high, tensor - high
