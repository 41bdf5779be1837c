"""The rows of several branches side by side, for one call of the denoiser, and what each reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition, Notes
from swiftpie.attention.manipulate import Shaping
from swiftpie.attention.rescale import INLINE_MASK
from swiftpie.guidance.base import Branch, Guidance
from swiftpie.models.denoiser import Denoiser, Prediction, SubjectCondition
from swiftpie.models.vision import HasNullTokens
from swiftpie.types import TextCondition


@dataclass(frozen=True, eq=False)
class Reader:
    """What the rows of every branch read, and how their predictions are merged."""

    guidance: Guidance
    shaping: Shaping | None
    text: TextCondition  # B rows
    condition: SubjectCondition  # B rows
    null_text: TextCondition | None  # B rows; None if no branch does without text
    null_tokens: Tensor | None  # (1, K, D), or None to silence the semantic branch

    def predict(
        self, denoiser: Denoiser, latents: Tensor, timestep: float, *, step: int, notes: Notes
    ) -> Prediction:
        """Return the guided prediction for latents (B, C, h, w), in one call of `denoiser`.

        Mask and inline mask are those of the row with text and identity, if it is there. Layers
        write into `notes`, which come empty; steps count from 0.
        """
        branches = self.guidance.branches(step)
        text = join_text([self._text_of(branch) for branch in branches])
        condition = join_conditions([self._condition_of(branch) for branch in branches])
        if self.shaping is not None:
            attention = condition.attention
            reshaping = self.shaping.at(step, like=attention.text_scale)
            condition = condition._replace(attention=attention._replace(reshaping=reshaping))
        rows = latents if len(branches) == 1 else torch.cat([latents] * len(branches))
        found = denoiser(rows, timestep, text, condition, notes)
        shown = branches.index(Branch.BOTH) if Branch.BOTH in branches else 0
        if INLINE_MASK in notes:
            notes[INLINE_MASK] = notes[INLINE_MASK].chunk(len(branches))[shown]
        samples = dict(zip(branches, found.sample.chunk(len(branches)), strict=True))
        return Prediction(
            sample=self.guidance.combine(samples, step),
            subject_mask=found.subject_mask.chunk(len(branches))[shown],
        )

    def _text_of(self, branch: Branch) -> TextCondition:
        if branch.has_text:
            return self.text
        assert self.null_text is not None
        return self.null_text

    def _condition_of(self, branch: Branch) -> SubjectCondition:
        if branch.has_identity:
            return self.condition
        return without_identity(self.condition, self.null_tokens)


def join_text(parts: Sequence[TextCondition]) -> TextCondition:
    """Return all rows of `parts`, those of the first first; a single part as it is."""
    if len(parts) == 1:
        return parts[0]
    return TextCondition(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def join_conditions(parts: Sequence[SubjectCondition]) -> SubjectCondition:
    """Return all rows of `parts`, which are not reshaped; a single part as it is."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0].attention
    by_layer = {"keys", "values", "reshaping"}
    joined: dict[str, Any] = {
        name: torch.cat([getattr(part.attention, name) for part in parts])
        for name in AttentionCondition._fields
        if name not in by_layer
    }
    return SubjectCondition(
        attention=first._replace(
            **joined,
            keys={n: torch.cat([part.attention.keys[n] for part in parts]) for n in first.keys},
            values={n: torch.cat([part.attention.values[n] for part in parts]) for n in first.keys},
        ),
        pooled=torch.cat([part.pooled for part in parts]),
        aligned=torch.cat([part.aligned for part in parts]),
    )


def null_tokens(encoder: nn.Module | None) -> Tensor | None:
    """Return the tokens (1, K, D) of nobody, None where zero image features mean nothing."""
    return encoder.null_tokens() if isinstance(encoder, HasNullTokens) else None


def without_identity(condition: SubjectCondition, tokens: Tensor | None) -> SubjectCondition:
    """Return `condition` in which no subject is shown; their places stay known.

    The semantic branch reads `tokens` (1, K, D) of each reference instead; None silences it.
    """
    attention = condition.attention
    off = torch.zeros_like(attention.detail_scale)
    silent = attention._replace(detail_scale=off, detail_background_scale=off)
    if tokens is None:
        silent = silent._replace(identity_scale=off, identity_background_scale=off)
    else:
        times = attention.identity_tokens.shape[2] // tokens.shape[1]
        repeated = tokens.to(attention.identity_tokens).repeat(1, times, 1)[:, None]
        silent = silent._replace(identity_tokens=repeated.expand_as(attention.identity_tokens))
    return condition._replace(attention=silent, pooled=torch.zeros_like(condition.pooled))
