"""Batches of sticker scenes with references, captions and everything known of them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.geometry.layout import Layout
from swiftpie.imageio.images import to_pil
from swiftpie_lab.data.subjects import CROWN, TOP_HAT, Split, Subjects
from swiftpie_lab.stickers.captions import (
    Attributes,
    draw_attributes,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
)
from swiftpie_lab.stickers.renderer import Placed, draw_frames, render
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.world.fields import mix, paste
from swiftpie_lab.world.placing import place, pose_subjects

NOISE_SHAPE = (32, 16, 16)  # latents of a 128 px picture
CAPTIONS_A_SUBJECT = 8  # that a tokenizer learns from

_TURN_SHARE, _MAX_TURN = 0.4, 0.2  # of the subjects, by up to so many radians
_HUE_SHARE = 0.3
_JITTER = 0.008  # of the side, one pixel: cut-outs are centred, but no mask is exact
_BRIGHTNESS = 0.10
_WARMTH = 0.04
_BACKGROUNDS = ("white", "colour", "gradient", "scene")
_SHARES = (0.40, 0.25, 0.10, 0.25)
_GAP_PX = 2  # between the rows of a contact sheet


class SceneBatch(Protocol):
    """G subjects in V pictures each; rows i * V to (i + 1) * V of B show subject i."""

    @property
    def noise(self) -> Tensor:
        """What the picture is a function of, (B, C, h, w)."""

    @property
    def pixels(self) -> Tensor:
        """The pictures (B, 3, R, R) in [-1, 1]."""

    @property
    def background(self) -> Tensor:
        """The pictures without their subjects (B, 3, R, R) in [-1, 1]."""

    @property
    def mask(self) -> Tensor:
        """Subject and what it wears, (B, 1, R, R) in [0, 1]."""

    @property
    def worn(self) -> Tensor:
        """What stands out of the subject, (B, 1, R, R) in [0, 1]."""

    @property
    def touched(self) -> Tensor:
        """What has to be drawn anew where a subject comes or goes, (B, 1, R, R) in [0, 1]."""

    @property
    def is_unlike(self) -> bool:
        """Whether the pictures follow from no noise, so that all but the subject must be given."""

    @property
    def layout(self) -> Layout:
        """Where the subjects are."""

    @property
    def captions(self) -> list[str]:
        """What the pictures show."""

    @property
    def reference(self) -> Tensor:
        """A picture of each subject, (G, 3, R, R) in [-1, 1]."""

    @property
    def reference_mask(self) -> Tensor:
        """The subject in it, (G, 1, R, R) in [0, 1]."""

    @property
    def subject(self) -> Tensor:
        """Which subject of the pack each row shows, (B,) long."""

    @property
    def companion_mask(self) -> Tensor:
        """The second subject, (B, 1, R, R) in [0, 1]; 0 without one."""

    @property
    def companion_layout(self) -> Layout | None:
        """Where it is; it is the subject of the V pictures before."""

    def empty_caption(self, random: Random, row: int) -> str:
        """Describe the place of a row with nobody in it."""


@dataclass(frozen=True, eq=False)
class StickerBatch:
    """G subjects in V pictures each; rows i * V to (i + 1) * V of B show subject i."""

    noise: Tensor  # (B, 32, 16, 16)
    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    mask: Tensor  # (B, 1, R, R) in [0, 1], visible subject and accessory
    background: Tensor  # (B, 3, R, R) in [-1, 1], the picture without its subject
    layout: Layout
    captions: list[str]
    reference: Tensor  # (G, 3, R, R) in [-1, 1]
    reference_mask: Tensor  # (G, 1, R, R) in [0, 1]
    frames: Tensor  # (G, 4, 128, 128) posed subjects, to draw them again elsewhere
    subject: Tensor  # (B,) long, row of the subject in `Subjects`
    scene: Tensor  # (B,) long, index into SCENES
    attributes: tuple[Attributes, ...]  # one a row
    companion_mask: Tensor  # (B, 1, R, R) in [0, 1], the second subject, 0 if there is none
    companion_layout: Layout | None  # its place; it is the subject of the V pictures before

    is_unlike = False  # noise decides every sticker scene

    @cached_property
    def worn(self) -> Tensor:
        """Return where hats stand out of the subjects they are on, (B, 1, R, R)."""
        shown = self.frames.repeat_interleave(len(self.noise) // len(self.frames), dim=0)
        bare = draw_frames(shown, self.layout, size_px=self.mask.shape[-1])
        return (self.mask - bare[:, 3:]).clamp(min=0)

    @property
    def touched(self) -> Tensor:
        """Return what has to be drawn anew where a subject comes or goes, (B, 1, R, R)."""
        return self.mask

    def empty_caption(self, random: Random, row: int) -> str:
        """Describe the scene of a row with nobody in it."""
        return draw_empty_caption(random, SCENES[int(self.scene[row])])


class StickerWorld:
    """Draws batches of one half of the subjects on one device."""

    def __init__(
        self,
        subjects: Subjects,
        split: Split = "train",
        *,
        size_px: int = 128,
        device: str | torch.device = "cpu",
    ) -> None:
        self.subjects = subjects
        self.pool = subjects.indices(split)
        self.size_px = size_px
        self.tiles = subjects.tiles.to(device)
        hats = self.tiles[[subjects.index(CROWN), subjects.index(TOP_HAT)]]
        still = torch.zeros(2, device=device)
        self.accessories = pose_subjects(hats, rotation=still, flip=still, hue=still)

    def batch(
        self,
        num_subjects: int,
        views: int,
        *,
        seed: int,
        augment: bool = True,
        free_places: bool = False,
        pairs: bool = False,
    ) -> StickerBatch:
        """Draw `views` pictures of each of `num_subjects`; the seed decides everything.

        Args:
            num_subjects: Distinct ones as long as the split has so many.
            views: Pictures of each subject; they share one pose and one reference.
            seed: The same seed gives the same batch.
            augment: Turn, mirror and recolour subjects now and then.
            free_places: Place subjects by other noise than the picture's own.
            pairs: Put the subject of the pictures before beside each, both placed freely.
        """
        random, generator = Random(seed), torch.Generator().manual_seed(seed)
        draw = random.sample if num_subjects <= len(self.pool) else random.choices
        chosen, count = draw(self.pool, k=num_subjects), num_subjects * views
        scenes = _choose_scenes(random, count)
        attributes = tuple(draw_attributes(random) for _ in range(count))
        frames = self._pose(chosen, generator, augment=augment)
        noise, other, third = torch.randn(3, count, *NOISE_SHAPE, generator=generator).to(frames)
        shown, companion = frames.repeat_interleave(views, dim=0), None
        if pairs:
            attributes = tuple(_beside(one) for one in attributes)
            companion = _companion(third, shown.roll(views, 0), scenes, attributes)
        layout = place(other if free_places or pairs else noise, shown, scenes, attributes)
        rendering = render(
            noise,
            shown,
            scenes,
            attributes,
            accessories=self.accessories,
            size_px=self.size_px,
            layout=layout,
            companion=companion,
        )
        scenery = rendering.background[::views].roll(1, 0)  # never of its own first picture
        reference, reference_mask = draw_references(
            frames, scenery, random=random, generator=generator, size_px=self.size_px
        )
        subject = [index for index in chosen for _ in range(views)]
        others = [*subject[-views:], *subject[:-views]] if pairs else [None] * count
        return StickerBatch(
            noise=noise,
            captions=[*map(self._caption, [random] * count, subject, others, scenes, attributes)],
            reference=reference,
            reference_mask=reference_mask,
            frames=frames,
            subject=torch.tensor(subject, device=noise.device),
            scene=torch.tensor(scenes, device=noise.device),
            attributes=attributes,
            companion_layout=companion and companion.layout,
            **rendering._asdict(),
        )

    def corpus(self) -> Iterator[str]:
        """Yield captions of all subjects, of both halves, for a tokenizer to learn from."""
        random, subjects = Random(0), self.subjects
        for name, synonyms in zip(subjects.names, subjects.synonyms, strict=True):
            for _ in range(CAPTIONS_A_SUBJECT):
                scene, attributes = random.choice(SCENES), draw_attributes(random)
                yield draw_caption(random, scene, attributes, name=name, synonyms=synonyms)

    def _pose(self, chosen: list[int], generator: torch.Generator, *, augment: bool) -> Tensor:
        number = torch.rand(len(chosen), 5, generator=generator).to(self.tiles.device)
        number = number if augment else torch.ones_like(number)
        turn = (2 * number[:, 1] - 1) * _MAX_TURN
        return pose_subjects(
            self.tiles[chosen],
            rotation=torch.where(number[:, 0] < _TURN_SHARE, turn, 0.0),
            flip=(number[:, 2] < 0.5).float(),
            hue=torch.where(number[:, 3] < _HUE_SHARE, 2 * math.pi * number[:, 4], 0.0),
        )

    def _caption(
        self, random: Random, subject: int, other: int | None, scene: int, attributes: Attributes
    ) -> str:
        name, synonyms = self.subjects.names[subject], self.subjects.synonyms[subject]
        if other is not None:
            names = name, self.subjects.names[other]
            return draw_pair_caption(random, SCENES[scene], attributes, names=names)
        return draw_caption(random, SCENES[scene], attributes, name=name, synonyms=synonyms)


def _beside(attributes: Attributes) -> Attributes:
    is_left = attributes.side == "left" or attributes.size == "tiny"
    return Attributes(
        side="left" if is_left else "right", is_black_and_white=attributes.is_black_and_white
    )


def _companion(
    noise: Tensor, frames: Tensor, scenes: list[int], attributes: tuple[Attributes, ...]
) -> Placed:
    across = tuple(
        replace(one, side="right" if one.side == "left" else "left") for one in attributes
    )
    return Placed(frames, place(noise, frames, scenes, across))


def _choose_scenes(random: Random, count: int) -> list[int]:
    """Draw half as many scenes as pictures, so that rows can be drawn together."""
    half = math.ceil(count / 2)
    numbers = range(len(SCENES))
    drawn: list[int] = []
    while len(drawn) < half:
        # All of them shuffled: every scene comes equally often, and views of a subject differ.
        drawn += random.sample(numbers, len(numbers))
    return (drawn[:half] * 2)[:count]


def draw_references(
    frames: Tensor, scenery: Tensor, *, random: Random, generator: torch.Generator, size_px: int
) -> tuple[Tensor, Tensor]:
    """Return references (G, 3, R, R) in [-1, 1] and their exact masks (G, 1, R, R).

    Args:
        frames: Reference frames (G, 4, 128, 128).
        scenery: Pictures (G, 3, R, R) in [-1, 1] to use as background now and then.
        random: Chooses backgrounds.
        generator: On the CPU; draws colours, light and place.
        size_px: Side R of the references.
    """
    number = torch.rand(len(frames), 12, generator=generator).to(frames)
    signed = 2 * number - 1
    still = torch.zeros_like(number[:, 0])
    shifted, scaled = 0.5 + _JITTER * signed[:, :2], 1 + _JITTER * signed[:, 2]
    pose = number.new_zeros(len(number), 4)
    layout = Layout(shifted, scaled, rotation=still, flip=still, pose=pose)
    sprite = draw_frames(frames, layout, size_px=size_px)
    alpha = sprite[:, 3:]
    warm = _WARMTH * signed[:, 4]
    tint = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm], dim=1)
    gain = (tint * (1 + _BRIGHTNESS * signed[:, 3:4]))[:, :, None, None]
    lit = torch.cat([(sprite[:, :3] * gain).minimum(alpha), alpha], dim=1)
    kinds = random.choices(_BACKGROUNDS, _SHARES, k=len(frames))
    first, second = number[:, 6:9, None, None], number[:, 9:12, None, None]
    background = torch.ones_like(lit[:, :3])
    height = torch.linspace(0, 1, size_px, device=frames.device).view(1, 1, -1, 1)
    for row, kind in enumerate(kinds):
        if kind == "colour":
            background[row] = first[row]
        elif kind == "gradient":
            # Half way to white, as studio backdrops are.
            background[row] = (1 + mix(first[row], second[row], height[0])) / 2
        elif kind == "scene":
            background[row] = (scenery[row] + 1) / 2
    return paste(background, lit).clamp(0, 1) * 2 - 1, alpha


def contact_sheet(batch: SceneBatch, columns: int = 4) -> Image.Image:
    """Show every row of `batch` as reference, picture and mask, `columns` of these a line."""
    views = len(batch.pixels) // len(batch.reference)
    reference = batch.reference.repeat_interleave(views, dim=0)
    mask = (batch.mask * 2 - 1).expand_as(batch.pixels)
    triples = torch.cat([reference, batch.pixels, mask], dim=3)
    cells = F.pad(triples, (0, _GAP_PX, 0, _GAP_PX), value=1)  # white
    lines = -(-len(cells) // columns)
    empty = torch.ones_like(cells[:1]).expand(lines * columns - len(cells), -1, -1, -1)
    grid = torch.cat([cells, empty]).unflatten(0, (lines, columns)).permute(2, 0, 3, 1, 4)
    (sheet,) = to_pil(grid.flatten(3, 4).flatten(1, 2)[None])
    return sheet
