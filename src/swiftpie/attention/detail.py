"""Self-attention, alone or with the detail branch, which attends to features of references."""

from enum import StrEnum

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.kernels import (
    MASKED,
    attend,
    attend_jointly,
    attend_near,
    cell_positions,
    merge_heads,
    split_heads,
    sum_of_subjects,
    thin,
    token_grid,
)
from swiftpie.attention.rescale import cap_energy, caution, detail_masks, region_scale
from swiftpie.geometry.layout import to_reference
from swiftpie.masks import resize_mask

MIN_COVERAGE = 0.5  # a reference cell with less subject than this is background: never attended
EDGE_CELLS = 1.0  # width of the soft border of the reference frame, in cells of the layer
WIDEST, NARROWEST = -1.5, 0.7  # log sharpness of the first and last head, from wide to narrow


class Merge(StrEnum):
    """How reference keys meet a layer's own."""

    DECOUPLED = "decoupled"  # a second softmax, added through a gate; exact and trainable
    JOINT = "joint"  # one softmax over both; needs no training


class SelfAttention(nn.Module):
    """Self-attention as the network has it, for layers that the plan gives no detail branch."""

    def __init__(self) -> None:
        """Attend to every token."""
        super().__init__()
        self.stride = 1  # of the layer's own keys on the finest grid, along rows and columns

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
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
        del encoder_hidden_states, attention_mask, notes  # every processor gets them
        result = merge_heads(attend(*self.project_own(attn, hidden_states, condition)))
        output: Tensor = attn.to_out[0](result.to(hidden_states.dtype))
        return output

    def project_own(
        self, attn: Attention, hidden_states: Tensor, condition: AttentionCondition
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the layer's own queries (B, heads, N, d), keys and values (B, heads, n, d)."""
        query = split_heads(attn.to_q(hidden_states), attn.heads)
        rows, columns = condition.region.shape[-2:]
        seen = thin(hidden_states, (rows, columns), self.stride)
        return (
            query,
            split_heads(attn.to_k(seen), attn.heads),
            split_heads(attn.to_v(seen), attn.heads),
        )


class DetailAttention(SelfAttention):
    """Second half of dual-branch identity injection (arXiv:2605.01510).

    Decoupled: `out = Attn(q, k, v) + Σ_s gate * detail_scale_s * Attn(q, k_s, v_s)`. Where the
    place of the subject is known, the logits of reference keys fall with the squared distance
    between the query, mapped into the reference frame, and the key; one sharpness a head.

    Joint: `out = Attn(q, [k, k_s…], [v, v_s…])` with `log(detail_scale_s / R)` added to the logits
    of subject s; one reference at scale 1 is plain reference attention. It needs no training, and
    then no projections of its own either: the layer reads references as it reads itself.
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
        super().__init__()
        self.name = name
        self.width = width
        self.merge = merge
        self.to_k_ref = nn.Linear(width, width, bias=False) if own_projections else None
        self.to_v_ref = nn.Linear(width, width, bias=False) if own_projections else None
        self.gate = nn.Parameter(torch.full((heads,), gate))
        self.log_sharpness = nn.Parameter(torch.linspace(WIDEST, NARROWEST, heads))

    def projections(self, attn: Attention) -> tuple[nn.Linear, nn.Linear]:
        """Return what makes reference keys and values: the branch's own, or those of its layer."""
        if self.to_k_ref is None or self.to_v_ref is None:
            return attn.to_k, attn.to_v
        return self.to_k_ref, self.to_v_ref

    def project(self, attn: Attention, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return reference keys and values (R, N, D) of inputs (R, N, D) of its layer `attn`."""
        to_key, to_value = self.projections(attn)
        noted = hidden_states.to(to_key.weight.dtype)
        return to_key(noted), to_value(noted)

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
        query, key, value = self.project_own(attn, hidden_states, condition)
        if self.name not in condition.keys:
            result = merge_heads(attend(query, key, value))
        elif self.merge is Merge.JOINT:
            result = self._joint(query, key, value, condition=condition, notes=notes)
        else:
            own = merge_heads(attend(query, key, value))
            result = own + self._decoupled(query, condition, notes)
            result = cap_energy(result, own, condition.energy_cap)
        output: Tensor = attn.to_out[0](result.to(hidden_states.dtype))
        return output

    def _decoupled(self, query: Tensor, condition: AttentionCondition, notes: Notes) -> Tensor:
        """Return the rescaled sum over subjects, (B, N, D)."""
        heads, subjects = query.shape[1], condition.region.shape[1]
        points, key_points, cells = self._places(query, condition)
        has_layout = condition.has_layout.flatten()
        attended = attend_near(
            query[:, None].expand(-1, subjects, -1, -1, -1).flatten(0, 1),
            split_heads(condition.keys[self.name].flatten(0, 1), heads),
            split_heads(condition.values[self.name].flatten(0, 1), heads),
            positions=points * cells,
            key_positions=key_points * cells,
            sharpness=has_layout[:, None] * self.log_sharpness.exp(),
            key_bias=self._key_bias(condition).flatten(0, 1),
        )
        border = (1 - points.abs().amax(-1)) * cells.min() / EDGE_CELLS + 0.5
        known = has_layout[:, None].float()
        inside = torch.lerp(torch.ones_like(border), border.clamp(0, 1), known)
        gated = merge_heads(attended * self.gate[:, None, None]) * inside.unsqueeze(-1).to(query)
        strength = self._strength(query.shape[2], condition, notes)
        return sum_of_subjects(strength * gated.unflatten(0, (-1, subjects)))

    def _joint(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        condition: AttentionCondition,
        notes: Notes,
    ) -> Tensor:
        heads = query.shape[1]
        strength = self._strength(query.shape[2], condition, notes).squeeze(-1)
        # All references together weigh as much as one, and an own key as much as it stands for.
        shares = condition.coverage.shape[2] * query.shape[2] / key.shape[2]
        attended = attend_jointly(
            query,
            key,
            value,
            reference_key=condition.keys[self.name].unflatten(-1, (heads, -1)).transpose(2, 3),
            reference_value=condition.values[self.name].unflatten(-1, (heads, -1)).transpose(2, 3),
            offset=torch.where(strength > 0, (strength / shares).clamp_min(1e-6).log(), MASKED),
            key_bias=self._key_bias(condition),
        )
        return merge_heads(attended)

    def _strength(self, num_tokens: int, condition: AttentionCondition, notes: Notes) -> Tensor:
        """Return the factor of each subject on each token, (B, S, N, 1)."""
        masks = detail_masks(condition, num_tokens, notes)
        scale = region_scale(condition.detail_scale, condition.detail_background_scale, masks)
        is_sought = torch.maximum(condition.is_inline, condition.detail_is_inline)
        return caution(is_sought, notes)[..., None, None] * scale

    def _places(
        self, query: Tensor, condition: AttentionCondition
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B*S, N, 2) and keys (R*M, 2) in the frame, and half its cells."""
        grid = token_grid(query.shape[2], *condition.region.shape[-2:])
        rows, columns = self._key_grid(condition)
        affine = condition.affine.flatten(0, 1).float()
        points = to_reference(affine, cell_positions(*grid, like=affine))
        keys = cell_positions(rows, columns, like=affine).repeat(condition.coverage.shape[2], 1)
        return points, keys, points.new_tensor([columns / 2, rows / 2])

    def _key_grid(self, condition: AttentionCondition) -> tuple[int, int]:
        num_keys = condition.keys[self.name].shape[2] // condition.coverage.shape[2]
        return token_grid(num_keys, *condition.coverage.shape[-2:])

    def _key_bias(self, condition: AttentionCondition) -> Tensor:
        """Return what keeps background cells of references from being seen, (B, S, R*M)."""
        coverage = resize_mask(condition.coverage.flatten(0, 1), self._key_grid(condition))
        # A thin subject may cover no cell by half; then the fullest ones stand for it.
        needed = coverage.flatten(1).amax(1).clamp_max(MIN_COVERAGE)[:, None, None, None]
        hidden = torch.where(coverage < needed, MASKED, 0.0)
        return hidden.flatten(1).unflatten(0, condition.region.shape[:2])
