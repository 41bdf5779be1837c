"""An endless supply of sticker scenes with references, captions and everything known of them."""

import math
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from swiftpie.data.captions import Attributes, draw_attributes, draw_caption
from swiftpie.data.placing import place
from swiftpie.data.posing import pose_subjects
from swiftpie.data.references import draw_references
from swiftpie.data.renderer import Rendering, render
from swiftpie.data.scenes import SCENES
from swiftpie.data.subjects import CROWN, TOP_HAT, Split, Subjects
from swiftpie.layout import Layout

NOISE_SHAPE = (32, 16, 16)  # latents of a 128 px picture

_TURN_SHARE, _MAX_TURN = 0.4, 0.2  # of the subjects, by up to so many radians
_HUE_SHARE = 0.3


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
    ) -> StickerBatch:
        """Draw `views` pictures of each of `num_subjects`; the same seed gives the same batch.

        Args:
            num_subjects: Distinct ones as long as the split has so many.
            views: Pictures of each subject; they share one pose and one reference.
            seed: Decides everything.
            augment: Turn, mirror and recolour subjects now and then.
            free_places: Place subjects by other noise than the picture's own.
        """
        random, generator = Random(seed), torch.Generator().manual_seed(seed)
        count = num_subjects * views
        chosen = self._choose(random, num_subjects)
        scenes = _choose_scenes(random, count)
        attributes = tuple(draw_attributes(random) for _ in range(count))
        frames = self._pose(chosen, generator, augment=augment)
        noise, other = torch.randn(2, count, *NOISE_SHAPE, generator=generator).to(frames)
        shown = frames.repeat_interleave(views, dim=0)
        layout = place(other if free_places else noise, shown, scenes, attributes)
        rendering = self._render(noise, shown, scenes, attributes, layout)
        reference, reference_mask = draw_references(
            frames,
            rendering.background[::views].roll(1, 0),  # never the scene of its own first picture
            random=random,
            generator=generator,
            size_px=self.size_px,
        )
        subject = [index for index in chosen for _ in range(views)]
        rows = zip(subject, scenes, attributes, strict=True)
        return StickerBatch(
            noise=noise,
            captions=[self._caption(random, *row) for row in rows],
            reference=reference,
            reference_mask=reference_mask,
            frames=frames,
            subject=torch.tensor(subject, device=noise.device),
            scene=torch.tensor(scenes, device=noise.device),
            attributes=attributes,
            **rendering._asdict(),
        )

    def _render(
        self,
        noise: Tensor,
        frames: Tensor,
        scenes: list[int],
        attributes: tuple[Attributes, ...],
        layout: Layout,
    ) -> Rendering:
        hats, side = self.accessories, self.size_px
        return render(
            noise, frames, scenes, attributes, accessories=hats, size_px=side, layout=layout
        )

    def _choose(self, random: Random, count: int) -> list[int]:
        if count <= len(self.pool):
            return random.sample(self.pool, count)
        return random.choices(self.pool, k=count)

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

    def _caption(self, random: Random, subject: int, scene: int, attributes: Attributes) -> str:
        return draw_caption(
            random,
            SCENES[scene],
            attributes,
            name=self.subjects.names[subject],
            synonyms=self.subjects.synonyms[subject],
        )


def _choose_scenes(random: Random, count: int) -> list[int]:
    """Deal half as many scenes as pictures, so that rows can be drawn together."""
    half = math.ceil(count / 2)
    decks = math.ceil(half / len(SCENES))
    # Whole shuffled decks: every scene comes equally often, and views of a subject differ.
    dealt = [
        scene for _ in range(decks) for scene in random.sample(range(len(SCENES)), len(SCENES))
    ]
    return (dealt[:half] * 2)[:count]
