"""The attention processors: plain self-attention, and both identity branches.

Mask-guided rescaling gives each branch one factor inside of the subject's mask and one outside. The
idea is that of SwiftPie (arXiv:2605.01510), whose full text is not public: the formulas and the
masks here are ours, written from its abstract and a figure. docs/concepts.md numbers them (E1) to
(E3).
"""

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.condition import (
    ENERGY,
    EVERY_LAYER,
    INLINE_MASK,
    MAP_PREFIX,
    MASKED,
    AttentionCondition,
    Notes,
    OwnAttention,
    attend,
    attend_jointly,
    attend_near,
    attend_to_style,
    mass_on,
    match,
    matched_values,
    merge_heads,
    shared_with,
    split_heads,
    sum_of_subjects,
    thin,
)
from swiftpie.attention.manipulate import attend_reshaped
from swiftpie.geometry.layout import cell_positions, to_reference
from swiftpie.masks import attention_to_mask, resize_mask
from swiftpie.validation import Size

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

MIN_COVERAGE = 0.5  # a reference cell with less subject than this is background: never attended
UNMASKED_SHARE = 0.7  # share of the scales that layers use before an inline mask is known
SEPARATION = 0.1  # temperature of the softmax that divides a place between subjects
EDGE_CELLS = 1.0  # width of the soft border of the reference frame, in cells of the layer
WIDEST, NARROWEST = -1.5, 0.7  # log sharpness of the first and last head, from wide to narrow


class Merge(StrEnum):
    """How reference keys meet a layer's own."""

    DECOUPLED = "decoupled"  # a second softmax, added through a gate; exact and trainable
    JOINT = "joint"  # one softmax over both; needs no training
    MATCHED = "matched"  # own keys, the references' values at matching places; needs none either


class MaskRole(StrEnum):
    """A layer's part in finding the inline mask."""

    NONE = "none"
    NOTES = "notes"
    LAST = "last"  # notes, and then makes the mask of all notes


class SelfAttention(nn.Module):
    """Self-attention as the network has it, for layers that the plan gives no detail branch."""

    def __init__(self, name: str) -> None:
        """Attend to every token, in the layer at module path `name`."""
        super().__init__()
        self.name = name
        self.stride = 1  # keys come from every `stride`-th row and column of the finest grid

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (B, N, D) for `hidden_states` (B, N, D)."""
        del encoder_hidden_states, attention_mask  # diffusers passes them to every processor
        result = self.attended(attn, hidden_states, condition, notes)
        output: Tensor = attn.to_out[0](result.to(hidden_states.dtype))
        return output

    def attended(
        self, attn: "Attention", hidden_states: Tensor, condition: AttentionCondition, notes: Notes
    ) -> Tensor:
        """Return the result (B, N, D) for `hidden_states` (B, N, D) before the last projection."""
        if EVERY_LAYER in notes:
            notes[self.name] = hidden_states
        return self.with_style(
            attn, self.project_own(attn, hidden_states, condition), condition
        ).output

    def project_own(
        self, attn: "Attention", hidden_states: Tensor, condition: AttentionCondition
    ) -> OwnAttention:
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        rows, columns = condition.region.shape[-2:]
        seen = thin(hidden_states, (rows, columns), self.stride)
        key = split_heads(attn.to_k(seen), attn.heads)
        value = split_heads(attn.to_v(seen), attn.heads)
        return OwnAttention(query, key, value)

    def with_style(
        self, attn: "Attention", own: OwnAttention, condition: AttentionCondition
    ) -> OwnAttention:
        """Return the same with what the layer reads of a style picture, if there is one."""
        style = condition.style.get(self.name)
        return own if style is None else shared_with(style, attn, own)


class DetailAttention(SelfAttention):
    """Second half of dual-branch identity injection, after arXiv:2605.01510 by our formulas.

    Decoupled: `out = Attn(q, k, v) + Σ_s gate * detail_scale_s * Attn(q, k_s, v_s)`. Where the
    place of the subject is known, the logits of reference keys fall with the squared distance
    between the query, mapped into the reference frame, and the key; one sharpness a head.

    Joint: `out = Attn(q, [k, k_s…], [v, v_s…])` with `log(detail_scale_s / R)` added to the logits
    of subject s; one reference at scale 1 is plain reference attention. It needs no training, and
    then no projections of its own either: the layer reads references as it reads itself.

    Matched: `out = Attn(q, k, v + Σ_s detail_scale_s * (v_s[match] - v))`, see `match`.
    """

    def __init__(
        self,
        name: str,
        *,
        width: int,
        heads: int,
        gate: float,
        merge: Merge = Merge.DECOUPLED,
        own_projections: bool = True,
    ) -> None:
        """Build the projections, if any; `gate` is the decoupled branch's initial weight."""
        super().__init__(name)
        self.width = width
        self.merge = merge
        self.to_k_ref = nn.Linear(width, width, bias=False) if own_projections else None
        self.to_v_ref = nn.Linear(width, width, bias=False) if own_projections else None
        self.gate = nn.Parameter(torch.full((heads,), gate))
        # Without memory, PyTorch would import its compiler to know the shape.
        spread = torch.linspace(WIDEST, NARROWEST, heads, device="cpu")
        self.log_sharpness = nn.Parameter(spread)

    def projections(self, attn: "Attention") -> tuple[nn.Linear, nn.Linear]:
        """Return what makes reference keys and values: the branch's own, or those of its layer."""
        if self.to_k_ref is None or self.to_v_ref is None:
            return attn.to_k, attn.to_v
        return self.to_k_ref, self.to_v_ref

    def project(self, attn: "Attention", hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return reference keys and values (R, N, D) of inputs (R, N, D) of its layer `attn`."""
        to_key, to_value = self.projections(attn)
        noted = hidden_states.to(to_key.weight.dtype)
        return to_key(noted), to_value(noted)

    def attended(
        self, attn: "Attention", hidden_states: Tensor, condition: AttentionCondition, notes: Notes
    ) -> Tensor:
        """Return the layer's own attention and that to references, (B, N, D); see the class."""
        notes[self.name] = hidden_states
        own = self.project_own(attn, hidden_states, condition)
        if self.merge is Merge.MATCHED and self.name in condition.keys:
            own = own._replace(value=self._matched(own, condition, notes))
            return self.with_style(attn, own, condition).output
        styled = self.with_style(attn, own, condition)
        if self.merge is Merge.JOINT and self.name in condition.keys:
            # An own key weighs as much as it stands for.
            stands_for = own.query.shape[2] / own.key.shape[2]
            return self._joint(styled, stands_for, condition=condition, notes=notes)
        if self.name not in condition.keys:
            return styled.output
        seen = self._decoupled(own.query, condition, notes)
        return capped(styled.output + seen, styled.output, condition)

    def _decoupled(self, query: Tensor, condition: AttentionCondition, notes: Notes) -> Tensor:
        """Return the rescaled sum over subjects, (B, N, D)."""
        heads, subjects = query.shape[1], condition.region.shape[1]
        grid, key_grid = condition.grid(query.shape[2]), condition.reference_grid(self.name)
        points, key_points, cells = _places(grid, key_grid, condition)
        has_layout = condition.has_layout.flatten()
        attended = attend_near(
            query[:, None].expand(-1, subjects, -1, -1, -1).flatten(0, 1),
            split_heads(condition.keys[self.name].flatten(0, 1), heads),
            split_heads(condition.values[self.name].flatten(0, 1), heads),
            positions=points * cells,
            key_positions=key_points * cells,
            sharpness=has_layout[:, None] * self.log_sharpness.exp(),
            key_bias=self._key_bias(key_grid, condition).flatten(0, 1),
        )
        border = (1 - points.abs().amax(-1)) * cells.min() / EDGE_CELLS + 0.5
        known = has_layout[:, None].float()
        inside = torch.lerp(torch.ones_like(border), border.clamp(0, 1), known)
        gated = merge_heads(attended * self.gate[:, None, None]) * inside.unsqueeze(-1).to(query)
        strength = self._strength(grid, condition, notes)
        return sum_of_subjects(strength * gated.unflatten(0, (-1, subjects)))

    def _joint(
        self, own: OwnAttention, stands_for: float, *, condition: AttentionCondition, notes: Notes
    ) -> Tensor:
        heads = own.query.shape[1]
        strength = self._strength(condition.grid(own.query.shape[2]), condition, notes).squeeze(-1)
        shares = condition.coverage.shape[2] * stands_for  # all references weigh as much as one
        attended = attend_jointly(
            own.query,
            own.key,
            own.value,
            own_bias=own.bias,
            reference_key=condition.keys[self.name].unflatten(-1, (heads, -1)).transpose(2, 3),
            reference_value=condition.values[self.name].unflatten(-1, (heads, -1)).transpose(2, 3),
            offset=torch.where(strength > 0, (strength / shares).clamp_min(1e-6).log(), MASKED),
            key_bias=self._key_bias(condition.reference_grid(self.name), condition),
        )
        return merge_heads(attended)

    def _matched(self, own: OwnAttention, condition: AttentionCondition, notes: Notes) -> Tensor:
        """Return the layer's values (B, heads, N, d), where they match those of references."""
        key, value = merge_heads(own.key), merge_heads(own.value)
        grid, key_grid = condition.grid(own.key.shape[2]), condition.reference_grid(self.name)
        matches = match(key, condition.keys[self.name], grid)
        hidden = self._key_bias(key_grid, condition).gather(2, matches.places)
        is_subject = (hidden == 0).to(value)
        strength = self._strength(grid, condition, notes).squeeze(-1).clamp(max=1)
        weight = strength * is_subject * matches.is_mutual
        mixed = matched_values(value, condition.values[self.name], matches, weight)
        return split_heads(mixed, own.value.shape[1])

    def _strength(self, grid: Size, condition: AttentionCondition, notes: Notes) -> Tensor:
        """Return the factor of each subject on each token, (B, S, N, 1)."""
        masks = detail_masks(condition, grid, notes)
        scale = region_scale(condition.detail_scale, condition.detail_background_scale, masks)
        is_sought = torch.maximum(condition.is_inline, condition.detail_is_inline)
        return unmasked_factor(is_sought, notes)[..., None, None] * scale

    def _key_bias(self, grid: Size, condition: AttentionCondition) -> Tensor:
        """Return what keeps background cells of references from being seen, (B, S, R*M)."""
        coverage = resize_mask(condition.coverage.flatten(0, 1), grid)
        # A thin subject may cover no cell by half; then the fullest ones stand for it.
        needed = coverage.flatten(1).amax(1).clamp_max(MIN_COVERAGE)[:, None, None, None]
        hidden = torch.where(coverage < needed, MASKED, 0.0)
        return hidden.flatten(1).unflatten(0, condition.region.shape[:2])


def _places(
    grid: Size, key_grid: Size, condition: AttentionCondition
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries (B*S, N, 2) and keys (R*M, 2) in the frame, and half its cells."""
    affine = condition.affine.flatten(0, 1).float()
    points = to_reference(affine, cell_positions(*grid, like=affine))
    keys = cell_positions(*key_grid, like=affine).repeat(condition.coverage.shape[2], 1)
    return points, keys, points.new_tensor([key_grid[1] / 2, key_grid[0] / 2])


class SemanticAttention(nn.Module):
    """First half of dual-branch identity injection: the image branch of arXiv:2412.04301.

    `out = text_scale * Attn(q, k_text, v_text) + Σ_s identity_scale_s * Attn(q, k_s, v_s)`, the
    scales by region. Only `to_k_ip` and `to_v_ip` are new weights.
    """

    def __init__(
        self,
        name: str,
        *,
        inner_width: int,
        token_width: int,
        is_active: bool = True,
        is_trained: bool = True,
        mask_role: MaskRole = MaskRole.NONE,
    ) -> None:
        """Build the projections of the layer at module path `name`.

        The identity is injected where `is_active`: adapters carry weights for every layer, but not
        every layer helps at one step. Without weights, not `is_trained`, it finds masks by the
        text alone.
        """
        super().__init__()
        self.name = name
        self.is_active = is_active
        self.is_trained = is_trained
        self.mask_role = mask_role
        self.to_k_ip = nn.Linear(token_width, inner_width, bias=False)
        self.to_v_ip = nn.Linear(token_width, inner_width, bias=False)

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: "Attention",
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (B, N, D) for `hidden_states` (B, N, D)."""
        query, key, text_mask, text = read_text(
            attn, hidden_states, encoder_hidden_states, attention_mask
        )
        grid = condition.grid(query.shape[2])
        masks = layer_masks(condition, grid, notes)
        covered = sum_of_subjects(masks)
        scale = region_scale(condition.text_scale, condition.text_background_scale, covered)
        result = scale * text
        identity_key = None
        if self.is_trained and condition.identity_tokens.shape[2] > 0:
            identity_key = _fold_heads(self.to_k_ip(condition.identity_tokens), attn.heads)
        # Subjects leave this layer to the style, unless the caller says which layers they act in.
        is_left = self.name in condition.style and self.name not in condition.layer_scales
        if self.name in condition.style:
            tokens, strength = condition.style[self.name]
            read = (self.to_k_ip(tokens), self.to_v_ip(tokens))
            result = result + attend_to_style(query, *read, strength)
        if self.is_active and identity_key is not None and not is_left:
            seen = self.identities(query, identity_key, masks, condition, notes)
            result = capped(result + seen, text, condition)
        if self.mask_role is not MaskRole.NONE and condition.shows_subjects:
            mass = mass_on(
                query,
                identity_key,
                key,
                text_mask=text_mask,
                is_ours=condition.class_tokens,
                num_views=condition.coverage.shape[2],
            )
            notes[MAP_PREFIX + self.name] = mass.unflatten(2, grid)
            if self.mask_role is MaskRole.LAST:
                # At the grid of given masks, so that both reach all later layers in the same way.
                size = (condition.region.shape[2], condition.region.shape[3])
                notes[INLINE_MASK] = resize_mask(masks_from_maps(notes), size)
        output: Tensor = attn.to_out[0](result.to(hidden_states.dtype))
        return output

    def identities(
        self,
        query: Tensor,  # (B, heads, N, d)
        key: Tensor,  # (B, S, heads, K, d)
        masks: Tensor,  # share of each subject in each token, (B, S, N)
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return attention to the subjects, rescaled by region and summed, (B, N, D)."""
        heads, subjects = query.shape[1], masks.shape[1]
        value = _fold_heads(self.to_v_ip(condition.identity_tokens), heads)
        reshaping = condition.reshaping.get(self.name.partition(".")[0])
        if reshaping is None:
            queries = query[:, None].expand(-1, subjects, -1, -1, -1).flatten(0, 1)
            attended = attend(queries, key.flatten(0, 1), value.flatten(0, 1))
        else:
            views = condition.coverage.shape[2]
            reshaped = attend_reshaped(query, key, value, reshaping, num_views=views)
            attended = reshaped.flatten(0, 1).to(value.dtype)
        by_subject = merge_heads(attended).unflatten(0, (-1, subjects))
        if condition.sampled.shape[2]:  # as diffusers samples `ip_adapter_masks`, which may overlap
            size = condition.grid(query.shape[2])
            masks = F.interpolate(condition.sampled, size=size, mode="bicubic").flatten(2)
        strength = region_scale(
            condition.identity_scale, condition.identity_background_scale, masks
        )
        if self.name in condition.layer_scales:
            strength = strength * condition.layer_scales[self.name][..., None, None]
        factor = unmasked_factor(condition.is_inline, notes)[..., None, None]
        return sum_of_subjects(factor * strength * by_subject)


def _fold_heads(states: Tensor, heads: int) -> Tensor:
    """Return (B, S, K, D) as (B, S, heads, K, D / heads)."""
    return states.unflatten(-1, (heads, -1)).transpose(2, 3)


class TextAttention(NamedTuple):
    """A layer's own attention to the text."""

    query: Tensor  # (B, heads, N, d)
    key: Tensor  # (B, heads, T, d)
    mask: Tensor | None  # (B, heads, 1, T), added to the logits
    output: Tensor  # (B, N, D)


def read_text(
    attn: "Attention", hidden_states: Tensor, text_states: Tensor, attention_mask: Tensor | None
) -> TextAttention:
    """Return what a layer attends to of text states (B, T, D), without any identity."""
    query = split_heads(attn.to_q(hidden_states), attn.heads)
    key = split_heads(attn.to_k(text_states), attn.heads)
    value = split_heads(attn.to_v(text_states), attn.heads)
    mask = None
    if attention_mask is not None:
        prepared: Tensor = attn.prepare_attention_mask(attention_mask, key.shape[2], len(query))
        mask = torch.unflatten(prepared, 0, (len(query), attn.heads))
    return TextAttention(query, key, mask, merge_heads(attend(query, key, value, mask)))


def capped(output: Tensor, base: Tensor, condition: AttentionCondition) -> Tensor:
    """Return `output` with no token larger than the cap times that of `base`, both (B, N, D).

    It keeps pictures from burning where several scales add up; without a cap nothing changes.
    """
    if ENERGY not in condition.caps:
        return output
    sizes = [
        (states.float().square().mean(-1, keepdim=True) + 1e-12).sqrt() for states in (output, base)
    ]
    growth = sizes[0] / sizes[1] / condition.caps[ENERGY][:, None, None]
    return output / growth.clamp_min(1).to(output.dtype)


def region_scale(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """Return `inside * mask + outside * (1 - mask)` with a last axis of 1.

    Equal scales give exactly that scale. Shapes: scales (...,), mask (..., N) in [0, 1].
    """
    return torch.lerp(outside[..., None], inside[..., None], mask).unsqueeze(-1)


def layer_masks(condition: AttentionCondition, grid: Size, notes: Notes) -> Tensor:
    """Return the share of each subject in each token of a layer, (B, S, N); they sum to <= 1."""
    mask = resize_mask(condition.region, grid)
    if INLINE_MASK in notes:
        inline = resize_mask(notes[INLINE_MASK], grid).to(mask.dtype)
        mask = torch.lerp(mask, inline, condition.is_inline[:, None, None, None])
    mask = mask / sum_of_subjects(mask).unsqueeze(1).clamp_min(1)
    return mask.flatten(2)


def detail_masks(condition: AttentionCondition, grid: Size, notes: Notes) -> Tensor:
    """Return the share of each subject's detail in each token of a layer, (B, S, N)."""
    shares = layer_masks(condition, grid, notes)
    mask = resize_mask(condition.detail_mask, grid)
    if INLINE_MASK in notes:
        inline = resize_mask(notes[INLINE_MASK], grid).to(mask.dtype)
        mask = torch.lerp(mask, inline, condition.detail_is_inline[:, None, None, None])
    return shares * mask.flatten(2)


def masks_from_maps(notes: Notes) -> Tensor:
    """Return the masks (B, S, h', w') that all noted identity maps together show."""
    maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
    rows, columns = zip(*(values.shape[-2:] for values in maps), strict=True)
    finest = (max(rows), max(columns))
    same = [
        F.interpolate(values, size=finest, mode="bilinear", align_corners=False) for values in maps
    ]
    average = torch.stack(same).mean(dim=0)
    masks = attention_to_mask(average.flatten(0, 1).unsqueeze(1)).view_as(average)
    divided = torch.softmax(average / SEPARATION, dim=1)
    # One subject keeps its mask; several share each place by how much it attends to them.
    return masks * (divided / divided.amax(dim=1, keepdim=True))


def unmasked_factor(is_inline: Tensor, notes: Notes) -> Tensor:
    """Return the factor (B, 1) on a branch's scales in a layer.

    It is `UNMASKED_SHARE` in layers that run before an inline mask is known, for rows whose
    `is_inline` (B,) is 1, and 1 elsewhere.
    """
    if INLINE_MASK in notes:
        return torch.ones_like(is_inline)[:, None]
    return (1 - (1 - UNMASKED_SHARE) * is_inline)[:, None]
