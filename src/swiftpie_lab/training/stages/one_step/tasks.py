"""What batches of the one-step model practise, what they are shown, and what is withheld."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import silent_condition
from swiftpie.geometry.layout import Layout, to_affine
from swiftpie.geometry.shading import Lighting, relit
from swiftpie.imageio.images import bounding_box
from swiftpie.masks import grow, resize_mask
from swiftpie.mini.denoiser import CELL_PX, align
from swiftpie.mini.layout_predictor import LayoutScores
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.denoiser import Prediction, ReferenceFeatures, SubjectCondition
from swiftpie.noise import COUPLED_CHANNELS, add_noise, scaled_linear_step
from swiftpie_world.sampler import WorldBatch

REFINING_TIMESTEPS = (749, 499, 249)  # the later steps of two and of four
EMPTIED_SHARE = 0.3  # share of pictures without a reference whose subject goes
NOISY_SHARE = 0.5  # share of pictures whose noise is a little wrong, as after inversion
MOST_NOISY = 0.5  # largest share of foreign noise in deviation
SILENT_SHARE = 0.3  # share of pictures with zeros in the noise channels that decide nothing
FOREIGN = 2**30  # between the seeds of a batch and of its faults
GROW_PX = 9  # the room that a replaced subject may need around the old one
HAT_SHARE = 0.5  # share of pictures with a hat in which only the hat is drawn
BARE_SHARE = 0.12  # share of the others in which only the place of a hat is drawn
LEAST_HAT_PX = 20  # pixels that stand out of the subject; fewer are an edge
HAT_SIDE = 0.45  # share of the subject's longer side, about the side of a hat
_KINDS = {"subject": 0.35, "surroundings": 0.25, "box": 0.15, "everything": 0.10, "nothing": 0.15}
# Of pictures that follow from no noise, what is not given must be the subject or its ground.
_OFF_DISTRIBUTION_KINDS = {"subject": 0.55, "around": 0.35, "nothing": 0.10}
_EMPTIED_KINDS = {"subject": 0.6, "around": 0.4}
OFF_DISTRIBUTION_EMPTIED_SHARE = 0.5
AROUND_PX = 14  # a user's box may be this much larger than what changes, on each side


class TrainingTask(StrEnum):
    """What the pictures of one batch practise."""

    PLACED_BY_NOISE = "placed_by_noise"
    PLACED_FREELY = "placed_freely"  # placed as by a user's box
    PAIR = "pair"  # two subjects
    REPAINT = "repaint"  # a part of the picture is given, as in editing
    REFINE = "refine"  # a later step of several, on the model's own draft
    INSERT = "insert"  # into an off-distribution picture, or out of it, as with photographs
    SEMANTIC = "semantic"  # the semantic branch alone shows the subject


@dataclass(frozen=True)
class Tasks:
    """Shares of the batches; what is left is placed by the noise."""

    placed_freely: float = 0.16
    pair: float = 0.13
    repaint: float = 0.15
    refine: float = 0.10
    insert: float = 0.0
    semantic: float = 0.0

    def choose(self, chance: float) -> TrainingTask:
        for name, share in asdict(self).items():
            if chance < share:
                return TrainingTask(name)
            chance -= share
        return TrainingTask.PLACED_BY_NOISE


class DenoiserInput(NamedTuple):
    """What enters the denoiser."""

    latents: Tensor  # (B, C, h, w)
    timestep: float


class TrainingTarget(NamedTuple):
    """The right result for a batch, and the noise to draw it from."""

    noise: Tensor  # (B, C, h, w)
    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    masks: Tensor  # (B, S, R, R) in [0, 1], a subject each
    hats: Tensor  # (B, 1, R, R) in [0, 1], what stands out of the subjects
    layout: Layout | None  # None where the noise does not determine it
    lighting: Lighting | None  # None where it is unknown


class Outcome(NamedTuple):
    """The result of one forward pass."""

    prediction: Prediction
    scores: LayoutScores | None
    maps: list[Tensor]  # identity attention maps (B, S, h, w); none without a reference
    lighting: Lighting | None  # light of the first subject; None without a reference
    lookup: Tensor | None = None  # how little the semantic branch looks where it should; or unknown


class Attempt(NamedTuple):
    """The right result for a batch, and the actual one."""

    answer: TrainingTarget
    latents: Tensor  # (B, C, h, w) of the answer
    outcome: Outcome


def refined_input(noise: Tensor, draft: Tensor, *, chance: int) -> DenoiserInput:
    """Return what enters a later step: the draft (B, C, h, w) and the same noise, mixed."""
    step = scaled_linear_step(REFINING_TIMESTEPS[chance])
    return DenoiserInput(add_noise(draft.float(), noise, step), step.timestep)


@dataclass(frozen=True)
class Drops:
    """How often each condition is withheld, so that none carries identity alone."""

    everything: float = 0.08  # a whole batch without a reference
    semantic: float = 0.10
    detail: float = 0.25
    aligned: float = 0.40


SEMANTIC_ALONE = Drops(everything=0.0, semantic=0.0, detail=1.0, aligned=1.0)


class References(NamedTuple):
    """The reference side of one subject in each picture, a row a picture."""

    pixels: Tensor  # (B, 3, H, W) grey outside the subject
    mask: Tensor  # (B, V, H, W), of the pixels and of further references behind them
    features: ReferenceFeatures

    def select(self, rows: Tensor) -> "References":
        """Return the given rows (B',), which may repeat."""
        tokens, pooled, keys, values = self.features
        features = ReferenceFeatures(
            tokens=tokens[rows],
            pooled=pooled[rows],
            keys={name: key[rows] for name, key in keys.items()},
            values={name: value[rows] for name, value in values.items()},
        )
        return References(self.pixels[rows], self.mask[rows], features)

    def with_another(self, other: "References") -> "References":
        """Return the subject with `other` as a further reference; the layout is of the first."""
        tokens, pooled, keys, values = self.features
        features = ReferenceFeatures(
            tokens=torch.cat([tokens, other.features.tokens], dim=1),
            pooled=(pooled + other.features.pooled) / 2,
            keys={n: torch.cat([key, other.features.keys[n]], dim=1) for n, key in keys.items()},
            values={
                n: torch.cat([value, other.features.values[n]], dim=1)
                for n, value in values.items()
            },
        )
        return References(self.pixels, torch.cat([self.mask, other.mask], dim=1), features)


class SubjectInput(NamedTuple):
    """One subject of every picture: what is known of it, where it goes, and what is kept."""

    references: References
    layout: Layout
    region: Tensor  # (B, 1, h, w) in [0, 1], where its branches may act
    keep_semantic: Tensor  # (B, 1), 0 withholds the branch
    keep_detail: Tensor  # (B, 1)
    keep_aligned: Tensor  # (B, 1)
    lighting: Lighting | None  # the light that it is placed in; None: as in the reference


def drop_conditions(
    references: References,
    layout: Layout,
    region: Tensor,
    *,
    drops: Drops,
    views: int,
    generator: torch.Generator,
    lighting: Lighting | None = None,
) -> SubjectInput:
    """Return a subject with conditions dropped by chance, alike for the views of a subject."""

    def keep(share: float) -> Tensor:
        kept = torch.rand(len(region) // views, generator=generator) >= share
        return kept.to(region).repeat_interleave(views)[:, None]

    return SubjectInput(
        references,
        layout,
        region,
        keep_semantic=keep(drops.semantic),
        keep_detail=keep(drops.detail),
        keep_aligned=keep(drops.aligned),
        lighting=lighting,
    )


def cells_of(latents: Tensor) -> tuple[int, int]:
    """Return the height and the width of `latents` (B, C, h, w)."""
    return latents.shape[2], latents.shape[3]


def rows_where(
    chosen: Tensor, first: Iterable[Tensor], second: Iterable[Tensor]
) -> Iterator[Tensor]:
    """Yield rows of each tensor of `first` where `chosen` (B,), else of its pair in `second`."""
    for tensor, other in zip(first, second, strict=True):
        yield torch.where(chosen.view(-1, *[1] * (tensor.ndim - 1)), tensor, other)


def condition_of(
    shown: Sequence[SubjectInput], noise: Tensor, *, autoencoder: PatchAutoencoder
) -> SubjectCondition:
    """Return what the denoiser reads of the subjects of `noise` (B, C, h, w), front to back."""
    cells = cells_of(noise)
    features = [subject.references.features for subject in shown]
    kept = torch.cat([subject.keep_detail for subject in shown], dim=1)
    attention = silent_condition(
        noise, width=features[0].pooled.shape[1], num_subjects=len(shown)
    )._replace(
        identity_tokens=torch.stack([feature.tokens for feature in features], dim=1),
        keys={
            n: torch.stack([feature.keys[n] for feature in features], dim=1)
            for n in features[0].keys
        },
        values={
            # The detail branch is off where it is not kept, but not the aligned input.
            name: torch.stack([feature.values[name] for feature in features], dim=1)
            * kept[:, :, None, None]
            for name in features[0].values
        },
        coverage=torch.stack(
            [resize_mask(subject.references.mask, cells) for subject in shown], dim=1
        ),
        affine=torch.stack([to_affine(subject.layout).detach() for subject in shown], dim=1),
        has_layout=noise.new_ones(len(noise), len(shown)),
        identity_scale=torch.cat([subject.keep_semantic for subject in shown], dim=1),
        detail_scale=noise.new_ones(len(noise), len(shown)),
        region=torch.cat([subject.region for subject in shown], dim=1),
    )
    aligned = align(
        autoencoder,
        [torch.cat([_as_lit(subject), subject.references.mask[:, :1]], dim=1) for subject in shown],
        layouts=[subject.layout for subject in shown],
        present=torch.cat([subject.keep_aligned for subject in shown], dim=1),
        cells=cells,
    )
    return SubjectCondition(
        attention=attention,
        pooled=torch.stack([feature.pooled for feature in features], dim=1),
        aligned=aligned,
        pose=torch.stack([subject.layout.pose.detach() for subject in shown], dim=1),
    )


@torch.no_grad()
def _as_lit(subject: SubjectInput) -> Tensor:
    pixels, mask = subject.references.pixels, subject.references.mask[:, :1]
    if subject.lighting is None:
        return pixels
    with torch.autocast(pixels.device.type, enabled=False):
        return relit(pixels.float(), mask.float(), subject.lighting, subject.layout)


def absent_subject(noise: Tensor, *, width: int) -> SubjectCondition:
    """Return the condition of a picture from text alone, for noise (B, C, 16, 16)."""
    batch, channels, rows, columns = noise.shape
    return SubjectCondition(
        attention=silent_condition(noise, width=width),
        pooled=noise.new_zeros(batch, 1, width),
        aligned=noise.new_zeros(batch, 1, channels + CELL_PX**2, rows, columns),
        pose=noise.new_zeros(batch, 1, 4),
    )


def perturbed_mask(mask: Tensor, chance: float) -> Tensor:
    """Grow, shrink or keep a reference mask (R, 1, H, W), as masks of real photographs are off."""
    if chance < 0.15:
        return grow(mask, 1)
    return 1 - grow(1 - mask, 1) if chance < 0.3 else mask


def random_region(mask: Tensor, cells: tuple[int, int], *, generator: torch.Generator) -> Tensor:
    """Return the region for rescaling: everything, the true mask or a grown one, by sample."""
    exact = F.adaptive_avg_pool2d(mask, cells)
    grown = grow(exact, 1)
    draw = torch.rand(len(mask), 1, 1, 1, generator=generator).to(mask.device)
    return torch.where(draw < 0.6, torch.ones_like(exact), torch.where(draw < 0.8, exact, grown))


class Repainting(NamedTuple):
    """Pictures to complete, a row each."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1], the right answer
    mask: Tensor  # (B, 1, R, R) in [0, 1], the subject in it
    captions: list[str]
    noise: Tensor  # (B, C, h, w) about the noise of the picture
    allowed: Tensor  # (B, 1, R, R) 1 = to be drawn, 0 = given
    hats: Tensor  # (B, 1, R, R) in [0, 1], what stands out of the subjects


def repainting(batch: WorldBatch, *, seed: int, may_empty: bool) -> Repainting:
    """Choose for each picture of `batch` what is given; `may_empty` lets subjects vanish.

    In off-distribution pictures subjects come and go, and all else is given.
    """
    random = Random(seed)
    kinds = _OFF_DISTRIBUTION_KINDS if batch.is_off_distribution else _KINDS
    emptied_kinds = _EMPTIED_KINDS if batch.is_off_distribution else {"subject": 1.0}
    share = OFF_DISTRIBUTION_EMPTIED_SHARE if batch.is_off_distribution else EMPTIED_SHARE
    generator = torch.Generator().manual_seed(seed + FOREIGN)  # not the numbers of the batch itself
    rows = len(batch.noise)
    emptied = [may_empty and random.random() < share for _ in range(rows)]
    captions = [
        batch.empty_caption(random, row) if gone else caption
        for row, (gone, caption) in enumerate(zip(emptied, batch.captions, strict=True))
    ]
    gone = batch.mask.new_tensor(emptied).view(-1, 1, 1, 1)
    hats = batch.worn * (1 - gone)
    noise, allowed = _about(batch.noise, random, generator), []
    rows_of = zip(batch.mask, batch.touched, hats, emptied, strict=True)
    for mask, touched, hat, is_empty in rows_of:
        has_hat = bool((hat > 0.5).sum() > LEAST_HAT_PX)
        if not is_empty and random.random() < (HAT_SHARE if has_hat else BARE_SHARE):
            allowed.append(_at_hat(hat if has_hat else _above(mask), random))
        else:
            chances = emptied_kinds if is_empty else kinds
            kind = random.choices(list(chances), list(chances.values()))[0]
            changing = touched if kind in {"subject", "around"} else mask
            allowed.append(_one(kind, changing, random))
    return Repainting(
        pixels=torch.lerp(batch.pixels, batch.background, gone),
        mask=batch.mask * (1 - gone),
        captions=captions,
        noise=noise,
        allowed=torch.stack(allowed),
        hats=hats,
    )


def _at_hat(hat: Tensor, random: Random) -> Tensor:
    reach = random.randrange(2, GROW_PX + 1)
    around = grow(hat[None], reach)[0]
    chosen = (around > 0.1).to(hat)
    return _coarse(chosen) if random.random() < 0.5 else chosen


def _above(mask: Tensor) -> Tensor:
    left, top, right, bottom = bounding_box(mask[None])
    side = mask.shape[-1]
    reach, middle = HAT_SIDE * max(right - left, bottom - top), (left + right) / 2
    columns = slice(max(0, int((middle - reach / 2) * side)), int((middle + reach / 2) * side) + 1)
    rows = slice(max(0, int((top - 0.7 * reach) * side)), int((top + 0.3 * reach) * side) + 1)
    place = torch.zeros_like(mask)
    place[:, rows, columns] = 1
    return place


def _one(kind: str, mask: Tensor, random: Random) -> Tensor:
    side = mask.shape[-1]
    if kind == "subject":
        around = grow(mask[None], GROW_PX)[0]
        chosen = (around > 0.1).to(mask)
    elif kind == "surroundings":
        chosen = (mask < 0.5).to(mask)
    elif kind == "around":
        chosen = _box_around(mask, random)
    elif kind == "box":
        top, left = random.randrange(side * 3 // 4), random.randrange(side * 3 // 4)
        height, width = (random.randrange(side // 8, side * 3 // 4) for _ in range(2))
        chosen = torch.zeros_like(mask)
        chosen[:, top : top + height, left : left + width] = 1
    else:
        return torch.full_like(mask, float(kind == "everything"))
    return _coarse(chosen) if random.random() < 0.5 else chosen


def _box_around(mask: Tensor, random: Random) -> Tensor:
    """Return a box (1, R, R) as a user would draw it around `mask`, now and then a tight one."""
    side, chosen = mask.shape[-1], torch.zeros_like(mask)
    left, top, right, bottom = (round(edge * side) for edge in bounding_box(mask[None]))
    before = [random.randrange(1, AROUND_PX + 1) for _ in range(4)]
    rows = slice(max(0, top - before[0]), bottom + before[1])
    chosen[:, rows, max(0, left - before[2]) : right + before[3]] = 1
    return chosen


def _coarse(mask: Tensor) -> Tensor:
    """Return `mask` (1, R, R) as one found on the grid of latents looks, grown to whole cells."""
    cells = F.max_pool2d(mask[None], 8)
    return F.interpolate(cells, size=mask.shape[-2:], mode="nearest")[0]


def _about(noise: Tensor, random: Random, generator: torch.Generator) -> Tensor:
    rows = range(len(noise))
    share = [MOST_NOISY * random.random() * (random.random() < NOISY_SHARE) for _ in rows]
    foreign = noise.new_tensor(share).view(-1, 1, 1, 1)
    other = torch.randn(noise.shape, generator=generator).to(noise)
    mixed = (1 - foreign.square()).sqrt() * noise + foreign * other
    silent = noise.new_tensor([random.random() < SILENT_SHARE for _ in rows]).view(-1, 1, 1, 1)
    unread = torch.arange(noise.shape[1], device=noise.device).view(1, -1, 1, 1)
    return mixed * (1 - silent * (unread >= COUPLED_CHANNELS))
