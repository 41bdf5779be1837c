"""The detail branch of transformers that read pictures as further tokens."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swiftpie.attention.condition import AttentionCondition
from swiftpie.attention.kernels import MASKED
from swiftpie.attention.processors import DetailAttention, Merge, region_scale

if TYPE_CHECKING:
    from diffusers.models.attention_processor import Attention

LEAST = 1e-6  # a strength below this is none


class ReferenceTokens(DetailAttention):
    """The detail branch of a transformer that reads pictures as further tokens.

    The tokens enter through the network's first layer, so there is one such branch, and nothing is
    projected. They attend and are attended to in every layer. On the logit of a target cell on a
    reference's token comes `log(detail_scale_s)`, E3 of docs/concepts.md: a token of a strength of
    0 is not seen there.
    """

    def __init__(self, name: str, *, width: int) -> None:
        """Take tokens of `width` numbers in front of the layer at module path `name`."""
        super().__init__(
            name, width=width, heads=1, gate=1.0, merge=Merge.JOINT, own_projections=False
        )

    def projections(self, attn: "Attention") -> tuple[()]:  # type: ignore[override]  # none at all
        """Return nothing: tokens are what the layer reads."""
        del attn
        return ()

    def project(self, attn: "Attention", hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (R, N, D) for keys and values."""
        del attn
        return hidden_states, hidden_states

    def bias(self, condition: AttentionCondition, text_length: int) -> Tensor | None:
        """Return what is added to all logits, (B, 1, L, L); None if that is nothing.

        Rows and columns are text, target cells and references. The text sees a subject as its
        least strength on any cell, or it would carry the subject into every place. Where regions
        overlap, both subjects are seen: they compete in one softmax.
        """
        masks = (condition.region * condition.detail_mask).flatten(2)
        scales = condition.detail_scale, condition.detail_background_scale
        strength = region_scale(*scales, masks).squeeze(-1)  # (B, S, N)
        seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)
        hidden = self._key_bias(condition) + _repeated(condition.keys[self.name], condition)
        # A graph serves all values, so it adds a bias even where this one is 0.
        if not torch.compiler.is_compiling() and not seen.any() and not hidden.any():
            return None
        batch, subjects, keys = hidden.shape
        by_row = torch.cat([seen.amin(-1, keepdim=True).expand(-1, -1, text_length), seen], dim=-1)
        rows, count = by_row.transpose(1, 2), subjects * keys  # (B, T + N, S)
        rows = torch.cat([rows, rows.new_zeros(batch, count, subjects)], dim=1)
        steered = (rows[..., None] + hidden[:, None]).clamp_min(MASKED).flatten(2)
        others = steered.new_zeros(batch, steered.shape[1], by_row.shape[-1])
        return torch.cat([others, steered], dim=2)[:, None]


def _repeated(tokens: Tensor, condition: AttentionCondition) -> Tensor:
    """Return what hides references that equal an earlier one of their subject, (B, S, keys).

    Subjects with fewer references than others are filled up with such.
    """
    views = condition.coverage.shape[2]
    each = tokens.unflatten(2, (views, -1))  # (B, S, R, n, D)
    same = torch.stack(
        [
            (each[:, :, :view] == each[:, :, view : view + 1]).flatten(3).all(-1).any(-1)
            for view in range(views)
        ],
        dim=2,
    )  # (B, S, R)
    return torch.where(same, MASKED, 0.0).repeat_interleave(each.shape[3], dim=2).to(tokens.dtype)
