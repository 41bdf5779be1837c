"""Detail branch: self-attention plus attention to the features of reference pictures."""

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import (
    MASKED,
    attend,
    attend_near,
    cell_positions,
    merge_heads,
    split_heads,
    token_grid,
)
from swiftpie.attention.rescale import layer_mask, region_scale
from swiftpie.layout import to_reference
from swiftpie.masks import resize_mask

MIN_COVERAGE = 0.5  # a reference cell with less subject than this is background: never attended
EDGE_CELLS = 1.0  # width of the soft border of the reference frame, in cells of the layer
WIDEST, NARROWEST = -1.5, 0.7  # log sharpness of the first and last head, from wide to narrow


class DetailAttention(nn.Module):
    """Second half of dual-branch identity injection (arXiv:2605.01510), decoupled form.

    `out = Attn(q, k, v) + gate * detail_scale * Attn(q, k_ref, v_ref)`. Where the place of the
    subject is known, the logits of reference keys fall with the squared distance between the
    query, mapped into the reference frame, and the key; one learned sharpness a head.
    """

    def __init__(self, name: str, *, width: int, heads: int, gate: float) -> None:
        """Build the projections; `gate` is the initial weight of the branch."""
        super().__init__()
        self.name = name
        self.to_k_ref = nn.Linear(width, width, bias=False)
        self.to_v_ref = nn.Linear(width, width, bias=False)
        self.gate = nn.Parameter(torch.full((heads,), gate))
        self.log_sharpness = nn.Parameter(torch.linspace(WIDEST, NARROWEST, heads))

    def project(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return reference keys and values (B, N, D) of noted `hidden_states` (B, N, D)."""
        return self.to_k_ref(hidden_states), self.to_v_ref(hidden_states)

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        """Return the layer's output (B, N, D) for `hidden_states` (B, N, D)."""
        del encoder_hidden_states, attention_mask  # diffusers passes them to every processor
        notes[self.name] = hidden_states
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        key = split_heads(attn.to_k(hidden_states), attn.heads)
        value = split_heads(attn.to_v(hidden_states), attn.heads)
        result = merge_heads(attend(query, key, value))
        if self.name in condition.keys:
            result = result + self._from_reference(query, attn.heads, condition, notes)
        output: Tensor = attn.to_out[0](result)
        return output

    def _from_reference(
        self, query: Tensor, heads: int, condition: AttentionCondition, notes: Notes
    ) -> Tensor:
        num_tokens = query.shape[2]
        num_references = condition.coverage.shape[1]
        rows, columns = token_grid(num_tokens, *condition.mask.shape[-2:])
        key_rows, key_columns = token_grid(
            condition.keys[self.name].shape[1] // num_references, *condition.coverage.shape[-2:]
        )
        points = to_reference(condition.affine.float(), cell_positions(rows, columns, like=query))
        half = points.new_tensor([key_columns / 2, key_rows / 2])
        coverage = resize_mask(condition.coverage, (key_rows, key_columns)).flatten(1)
        attended = attend_near(
            query,
            split_heads(condition.keys[self.name], heads),
            split_heads(condition.values[self.name], heads),
            positions=points * half,
            key_positions=(cell_positions(key_rows, key_columns, like=query) * half).repeat(
                num_references, 1
            ),
            sharpness=condition.has_layout[:, None] * self.log_sharpness.exp(),
            key_bias=torch.where(coverage < MIN_COVERAGE, MASKED, 0.0),
        )
        inside = ((1 - points.abs().amax(-1)) * half.min() / EDGE_CELLS + 0.5).clamp(0, 1)
        inside = torch.lerp(torch.ones_like(inside), inside, condition.has_layout[:, None].float())
        mask = layer_mask(condition, num_tokens, notes)
        strength = region_scale(condition.detail_scale, condition.detail_leak, mask)
        gated = merge_heads(attended * self.gate[:, None, None])
        return strength * inside.unsqueeze(-1).to(strength.dtype) * gated
