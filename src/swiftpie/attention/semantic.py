"""Semantic branch: cross-attention to the text plus decoupled attention to identity tokens."""

from enum import StrEnum

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import (
    attend,
    mass_on,
    merge_heads,
    split_heads,
    sum_of_subjects,
    token_grid,
)
from swiftpie.attention.manipulate import attend_reshaped
from swiftpie.attention.rescale import (
    INLINE_MASK,
    MAP_PREFIX,
    cap_energy,
    caution,
    layer_masks,
    masks_from_maps,
    region_scale,
)
from swiftpie.masks import resize_mask


class MaskRole(StrEnum):
    """A layer's part in finding the inline mask."""

    NONE = "none"
    NOTES = "notes"
    LAST = "last"  # notes, and then makes the mask of all notes


class SemanticAttention(nn.Module):
    """First half of dual-branch identity injection (arXiv:2605.01510; arXiv:2412.04301, Eq. 4).

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
        mask_role: MaskRole = MaskRole.NONE,
    ) -> None:
        """Build the projections of the layer at module path `name`.

        The identity is injected where `is_active`: adapters carry weights for every layer, but not
        every layer helps at one step.
        """
        super().__init__()
        self.name = name
        self.is_active = is_active
        self.mask_role = mask_role
        self.to_k_ip = nn.Linear(token_width, inner_width, bias=False)
        self.to_v_ip = nn.Linear(token_width, inner_width, bias=False)

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (B, N, D) for `hidden_states` (B, N, D)."""
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key = split_heads(attn.to_k(encoder_hidden_states), attn.heads)
        value = split_heads(attn.to_v(encoder_hidden_states), attn.heads)
        text_mask = per_head_mask(attn, attention_mask, key.shape[2], len(query))
        text = merge_heads(attend(query, key, value, text_mask))
        masks = layer_masks(condition, query.shape[2], notes)
        everyone = sum_of_subjects(masks)
        scale = region_scale(condition.text_scale, condition.text_background_scale, everyone)
        result = scale * text
        identity_key = self.identity_keys(condition, attn.heads)
        if self.is_active:
            result = result + self.identities(query, identity_key, masks, condition, notes)
            result = cap_energy(result, text, condition.energy_cap)
        if self.mask_role is not MaskRole.NONE:
            mass = mass_on(
                query,
                identity_key,
                key,
                text_mask=text_mask,
                is_ours=condition.class_tokens,
                num_views=condition.coverage.shape[2],
            )
            grid = token_grid(query.shape[2], *condition.region.shape[-2:])
            notes[MAP_PREFIX + self.name] = mass.unflatten(2, grid)
        if self.mask_role is MaskRole.LAST:
            # At the grid of given masks, so that both reach all later layers in the same way.
            size = (condition.region.shape[2], condition.region.shape[3])
            notes[INLINE_MASK] = resize_mask(masks_from_maps(notes), size)
        output: Tensor = attn.to_out[0](result.to(hidden_states.dtype))
        return output

    def identity_keys(self, condition: AttentionCondition, heads: int) -> Tensor:
        """Return the keys of all identity tokens, (B, S, heads, K, d)."""
        return _fold_heads(self.to_k_ip(condition.identity_tokens), heads)

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
            asked = query[:, None].expand(-1, subjects, -1, -1, -1).flatten(0, 1)
            answer = attend(asked, key.flatten(0, 1), value.flatten(0, 1))
        else:
            views = condition.coverage.shape[2]
            shaped = attend_reshaped(query, key, value, reshaping, num_views=views)
            answer = shaped.flatten(0, 1).to(value.dtype)
        answers = merge_heads(answer).unflatten(0, (-1, subjects))
        strength = region_scale(
            condition.identity_scale, condition.identity_background_scale, masks
        )
        careful = caution(condition.is_inline, notes)[..., None, None]
        return sum_of_subjects(careful * strength * answers)


def _fold_heads(states: Tensor, heads: int) -> Tensor:
    """Return (B, S, K, D) as (B, S, heads, K, D / heads)."""
    return states.unflatten(-1, (heads, -1)).transpose(2, 3)


def per_head_mask(
    attn: Attention, attention_mask: Tensor | None, num_keys: int, batch: int
) -> Tensor | None:
    """Return what diffusers gives a processor as mask of the text, as (B, heads, 1, T)."""
    if attention_mask is None:
        return None
    prepared: Tensor = attn.prepare_attention_mask(attention_mask, num_keys, batch)
    return torch.unflatten(prepared, 0, (batch, attn.heads))
