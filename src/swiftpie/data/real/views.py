"""Training batches of real photos: each follows from its number alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.data.real.augment import Augmentation, augment
from swiftpie.data.real.entries import caption_of, words_of
from swiftpie.data.real.shots import Photos, Shot, unpack
from swiftpie.errors import InputError

MAX_TRIES = 100  # draws in a row that may hit broken photos before there is nothing to train on
ROW_STRIDE = 1_000_003  # rows of one batch are draws of their own; no batch is that large


class PhotoBatch(NamedTuple):
    """Photos, and references of the subjects they show."""

    pixels: Tensor  # (B, 3, S, S) in [-1, 1]
    mask: Tensor  # (B, 1, S, S) the subject in them
    reference: Tensor  # (B, 3, S, S) reference frames, grey (0) outside of the subject
    reference_mask: Tensor  # (B, 1, S, S)
    captions: list[str]
    names: list[str]  # words for the subject


@dataclass(frozen=True)
class PhotoViews:
    """Draws photos with references; any batch can be had at any time."""

    photos: Photos
    augmentation: Augmentation = field(default_factory=Augmentation)
    cross_view: float = 0.5  # share of references that are another photo, where there is one

    def batch(self, size: int, draw: int) -> PhotoBatch:
        """Return batch number `draw` of `size` rows.

        Raises:
            InputError: No photo can be used.
        """
        rows = [self._row(draw * ROW_STRIDE + row) for row in range(size)]
        tiles = unpack([shot.tile for shot, _, _ in rows])
        references = [reference for _, reference, _ in rows]
        entries = [self.photos.entries[number] for _, _, number in rows]
        return PhotoBatch(
            pixels=tiles[0],
            mask=tiles[1],
            reference=torch.cat([pixels for pixels, _ in references]),
            reference_mask=torch.cat([mask for _, mask in references]),
            captions=[caption_of(entry) for entry in entries],
            names=[words_of(entry.subject) for entry in entries],
        )

    def _row(self, draw: int) -> tuple[Shot, tuple[Tensor, Tensor], int]:
        """Return a photo, a changed reference of its subject and the photo's number."""
        generator = torch.Generator().manual_seed(draw % 2**63)
        subjects = self.photos.subjects
        number, shot = self._pick(subjects, generator)
        subject = self.photos.entries[number].subject
        others = [view for view in subjects[subject] if view != number]
        is_crossing = float(torch.rand((), generator=generator)) < self.cross_view
        source = self._try({subject: others}, generator) if is_crossing and others else None
        background, _ = unpack([self._pick(subjects, generator)[1].tile])
        pixels, mask = unpack([shot.frame if source is None else source[1].frame])
        reference = augment(
            pixels, mask, background, settings=self.augmentation, generator=generator
        )
        return shot, reference, number

    def _pick(
        self, subjects: Mapping[str, list[int]], generator: torch.Generator
    ) -> tuple[int, Shot]:
        """Draw a photo that can be used.

        Raises:
            InputError: Too many draws hit broken photos.
        """
        found = self._try(subjects, generator)
        if found is None:
            raise InputError(
                f"{MAX_TRIES} draws in a row hit photos in '{self.photos.name}' that cannot be "
                f"used ({len(self.photos.skipped)} left out). Most have to be readable. Check them."
            )
        return found

    def _try(
        self, subjects: Mapping[str, list[int]], generator: torch.Generator
    ) -> tuple[int, Shot] | None:
        """Draw a photo, each subject as often as every other, until one can be used."""
        names = list(subjects)
        for _ in range(MAX_TRIES):
            first, second = torch.randint(2**31, (2,), generator=generator).tolist()
            views = subjects[names[first % len(names)]]
            number = views[second % len(views)]
            shot = self.photos.shot(number)
            if shot is not None:
                return number, shot
        return None
