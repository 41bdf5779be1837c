"""Semantic branch: cross-attention to the text plus decoupled attention to identity tokens."""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import attend, mass_on, merge_heads, split_heads, token_grid
from swiftpie.attention.rescale import INLINE_PREFIX, layer_mask, region_scale


class SemanticAttention(nn.Module):
    """First half of dual-branch identity injection (arXiv:2605.01510; arXiv:2412.04301, Eq. 4).

    `out = text_scale * Attn(q, k_text, v_text) + identity_scale * Attn(q, k_id, v_id)`, the scales
    by region. Only `to_k_ip` and `to_v_ip` are new weights.
    """

    def __init__(self, name: str, *, inner_width: int, token_width: int, is_mapper: bool) -> None:
        """Build the projections.

        Args:
            name: Module path of the attention layer.
            inner_width: Width of the layer's keys and values.
            token_width: Width of an identity token.
            is_mapper: Whether this layer notes where identity attracts attention, from which
                later layers make the inline mask.
        """
        super().__init__()
        self.name = name
        self.is_mapper = is_mapper
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
        batch, num_tokens, _ = hidden_states.shape
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key = split_heads(attn.to_k(encoder_hidden_states), attn.heads)
        value = split_heads(attn.to_v(encoder_hidden_states), attn.heads)
        text_mask = _per_head(attn, attention_mask, key.shape[2], batch)
        text = merge_heads(attend(query, key, value, text_mask))
        tokens = condition.identity_tokens
        identity_key = split_heads(self.to_k_ip(tokens), attn.heads)
        identity_value = split_heads(self.to_v_ip(tokens), attn.heads)
        identity = merge_heads(attend(query, identity_key, identity_value))
        if self.is_mapper:
            mass = mass_on(query, identity_key, key, text_mask)
            rows, columns = token_grid(num_tokens, *condition.mask.shape[-2:])
            notes[INLINE_PREFIX + self.name] = mass.unflatten(1, (1, rows, columns))
        mask = layer_mask(condition, num_tokens, {} if self.is_mapper else notes)
        rescaled = region_scale(condition.text_scale, condition.context_scale, mask) * text
        strength = region_scale(condition.identity_scale, condition.identity_leak, mask)
        output: Tensor = attn.to_out[0](rescaled + strength * identity)
        return output


def _per_head(
    attn: Attention, attention_mask: Tensor | None, num_keys: int, batch: int
) -> Tensor | None:
    if attention_mask is None:
        return None
    prepared: Tensor = attn.prepare_attention_mask(attention_mask, num_keys, batch)
    return torch.unflatten(prepared, 0, (batch, attn.heads))
