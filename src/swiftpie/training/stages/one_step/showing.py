"""What the pictures of a training batch are shown of their subjects, and what is withheld."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import AttentionCondition, silent_condition
from swiftpie.layout import Layout, to_affine
from swiftpie.masks import grow, resize_mask
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.reference import ReferenceFeatures
from swiftpie.models.tiny import CELL_PX, align


@dataclass(frozen=True)
class Drops:
    """How often each condition is withheld, so that none carries identity alone."""

    everything: float = 0.08  # a whole batch without a reference
    semantic: float = 0.10
    detail: float = 0.25
    aligned: float = 0.40


class References(NamedTuple):
    """The reference side of one subject in each picture, a row a picture."""

    pixels: Tensor  # (B, 3, H, W) grey outside the subject
    mask: Tensor  # (B, 1, H, W)
    features: ReferenceFeatures

    def select(self, rows: Tensor) -> "References":
        """Return the given rows (B',), which may repeat."""
        tokens, pooled, keys, values = self.features
        features = ReferenceFeatures(
            tokens=tokens[rows],
            pooled=pooled[rows],
            keys={name: one[rows] for name, one in keys.items()},
            values={name: one[rows] for name, one in values.items()},
        )
        return References(self.pixels[rows], self.mask[rows], features)


class Shown(NamedTuple):
    """One subject of every picture: what is known of it, where it goes, and what is kept."""

    references: References
    layout: Layout
    region: Tensor  # (B, 1, h, w) in [0, 1], where its branches may act
    keep_semantic: Tensor  # (B, 1), 0 withholds the branch
    keep_detail: Tensor  # (B, 1)
    keep_aligned: Tensor  # (B, 1)


def show(
    references: References,
    layout: Layout,
    region: Tensor,
    *,
    drops: Drops,
    views: int,
    generator: torch.Generator,
) -> Shown:
    """Return a subject with conditions dropped by chance, alike for the views of a subject."""

    def keep(share: float) -> Tensor:
        kept = torch.rand(len(region) // views, generator=generator) >= share
        return kept.to(region).repeat_interleave(views)[:, None]

    return Shown(
        references,
        layout,
        region,
        keep_semantic=keep(drops.semantic),
        keep_detail=keep(drops.detail),
        keep_aligned=keep(drops.aligned),
    )


def condition_of(
    shown: Sequence[Shown], noise: Tensor, *, autoencoder: PatchAutoencoder
) -> SubjectCondition:
    """Return what the denoiser reads of the subjects of `noise` (B, C, h, w), front to back."""
    cells = (noise.shape[2], noise.shape[3])
    features = [one.references.features for one in shown]
    attention = silent_condition(
        noise, width=features[0].pooled.shape[1], num_subjects=len(shown)
    )._replace(
        identity_tokens=torch.stack([one.tokens for one in features], dim=1),
        keys=_stack_layers([one.keys for one in features]),
        values=_stack_layers([one.values for one in features]),
        coverage=torch.stack([resize_mask(one.references.mask, cells) for one in shown], dim=1),
        affine=torch.stack([to_affine(one.layout).detach() for one in shown], dim=1),
        has_layout=noise.new_ones(len(noise), len(shown)),
        identity_scale=torch.cat([one.keep_semantic for one in shown], dim=1),
        detail_scale=noise.new_ones(len(noise), len(shown)),
        mask=torch.cat([one.region for one in shown], dim=1),
    )
    aligned = [
        align(
            autoencoder,
            one.references.pixels,
            one.references.mask,
            layout=one.layout,
            cells=cells,
        )
        * one.keep_aligned[:, :, None, None]
        for one in shown
    ]
    return SubjectCondition(
        attention=_silence(attention, torch.cat([one.keep_detail for one in shown], dim=1)),
        pooled=torch.stack([one.pooled for one in features], dim=1),
        aligned=torch.stack(aligned, dim=1),
    )


def absent_subject(noise: Tensor, *, width: int) -> SubjectCondition:
    """Return the condition of a picture from text alone, for noise (B, C, 16, 16)."""
    batch, channels, rows, columns = noise.shape
    return SubjectCondition(
        attention=silent_condition(noise, width=width),
        pooled=noise.new_zeros(batch, 1, width),
        aligned=noise.new_zeros(batch, 1, channels + CELL_PX**2, rows, columns),
    )


def imperfect(mask: Tensor, chance: float) -> Tensor:
    """Grow, shrink or keep a reference mask (R, 1, H, W), as masks of real photographs are off."""
    if chance < 0.15:
        return grow(mask, 1)
    if chance < 0.3:
        return 1 - grow(1 - mask, 1)
    return mask


def random_region(mask: Tensor, cells: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """Return the region for rescaling: everything, the true mask or a grown one, by sample."""
    exact = F.adaptive_avg_pool2d(mask, cells)
    grown = grow(exact, 1)
    draw = torch.rand(len(mask), 1, 1, 1, generator=generator).to(mask.device)
    return torch.where(draw < 0.6, torch.ones_like(exact), torch.where(draw < 0.8, exact, grown))


def _stack_layers(layers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([one[name] for one in layers], dim=1) for name in layers[0]}


def _silence(attention: AttentionCondition, kept: Tensor) -> AttentionCondition:
    """Turn the detail branch off where `kept` (B, S) is 0, but not the aligned input."""
    values = {name: rows * kept[:, :, None, None] for name, rows in attention.values.items()}
    return attention._replace(values=values)
