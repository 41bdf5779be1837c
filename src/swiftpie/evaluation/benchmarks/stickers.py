"""Sticker scenes: held-out subjects in every scene, each case with its exact answer."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random

import torch
from torch import Tensor

from swiftpie.data.captions import Attributes
from swiftpie.data.posing import pose_subjects
from swiftpie.data.references import draw_references
from swiftpie.data.renderer import Rendering, render
from swiftpie.data.scenes import SCENES
from swiftpie.data.stickers import NOISE_SHAPE, StickerWorld
from swiftpie.data.subjects import Subjects
from swiftpie.evaluation.case import Case
from swiftpie.images import fit_square
from swiftpie.layout import SUBJECT_FILL, Layout, to_affine, warp
from swiftpie.noise import draw_noise

SIZE_PX = 128
SCENES_A_SUBJECT = 2  # by default
SCENE_STEP = 11  # shares no factor with the number of scenes, so every pair comes up once

GALLERY_SCENES = ("white", "blue", "green", "pink")  # lit neutrally, unlike most cases
GALLERY_SEED = 2**40  # far from the seeds of all cases

_BY_NAME = {scene.name: index for index, scene in enumerate(SCENES)}
_PLAIN = Attributes()


@dataclass(frozen=True, eq=False)
class StickerBenchmark:
    """Draws references and right answers of held-out subjects."""

    subjects: Subjects
    seed: int = 0

    @cached_property
    def world(self) -> StickerWorld:
        """The held-out half of the subjects."""
        return StickerWorld(self.subjects, "held_out", size_px=SIZE_PX)

    @property
    def codes(self) -> tuple[str, ...]:
        """Every held-out subject."""
        return tuple(self.subjects.codes[index] for index in self.world.pool)

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names and sprites."""
        digest = hashlib.sha256(self.subjects.tiles.numpy().tobytes())
        digest.update("\n".join((*self.subjects.codes, *self.subjects.names)).encode())
        return digest.hexdigest()

    def num_pairs(self) -> int:
        """Return how many pairs of a held-out subject and a scene there are."""
        return len(self.world.pool) * len(SCENES)

    def cases(self, count: int | None = None) -> list[Case]:
        """Deal subjects and scenes evenly; a longer list starts with the shorter one.

        Args:
            count: At most `num_pairs()`; by default each subject comes in two scenes.
        """
        random = Random(self.seed)
        pool = random.sample(self.world.pool, len(self.world.pool))
        scenes = random.sample(range(len(SCENES)), len(SCENES))
        wanted = SCENES_A_SUBJECT * len(pool) if count is None else count
        cases = []
        for number in range(min(wanted, self.num_pairs())):
            lap, place = divmod(number, len(pool))
            scene = scenes[(place + SCENE_STEP * lap) % len(scenes)]
            cases.append(self._case(number, pool[place], scene))
        return cases

    def _case(self, number: int, subject: int, scene: int) -> Case:
        code, name = self.subjects.codes[subject], self.subjects.names[subject]
        place, article = SCENES[scene].name, "an" if name[0] in "aeiou" else "a"
        return Case(
            name=f"{number:04d}-{code}-{place.replace(' ', '-')}",
            code=code,
            subject=name,
            scene=place,
            prompt=f"a photo of {article} {name} {SCENES[scene].phrases[0]}",
            seed=self.seed + number,
        )

    def reference(self, case: Case) -> tuple[Tensor, Tensor]:
        """Return what a user would give: a picture (1, 3, H, W) and its mask (1, 1, H, W)."""
        elsewhere = (_BY_NAME[case.scene] + 1) % len(SCENES)
        noise = draw_noise([case.seed + GALLERY_SEED], NOISE_SHAPE)
        frames = self._frames([case.code])
        return draw_references(
            frames,
            self._render(noise, frames, [elsewhere]).background,
            random=Random(case.seed),
            generator=torch.Generator().manual_seed(case.seed),
            size_px=SIZE_PX,
        )

    def truth(self, case: Case) -> Rendering:
        """Return the picture that belongs to the seed of the case, with its mask."""
        noise = draw_noise([case.seed], NOISE_SHAPE)
        return self._render(noise, self._frames([case.code]), [_BY_NAME[case.scene]])

    def gallery(self) -> tuple[Tensor, Tensor]:
        """Return pictures (S, 4, 3, H, W) and masks (S, 4, 1, H, W) of every held-out subject."""
        views = len(GALLERY_SCENES)
        seeds = [GALLERY_SEED - 1 - row for row in range(len(self.codes) * views)]
        rendering = self._render(
            draw_noise(seeds, NOISE_SHAPE),
            self._frames(self.codes).repeat_interleave(views, dim=0),
            [_BY_NAME[name] for name in GALLERY_SCENES] * len(self.codes),
        )
        size = (len(self.codes), views)
        return rendering.pixels.unflatten(0, size), rendering.mask.unflatten(0, size)

    def _frames(self, codes: Sequence[str]) -> Tensor:
        still = torch.zeros(len(codes))
        tiles = self.subjects.tiles[[self.subjects.index(code) for code in codes]]
        return pose_subjects(tiles, rotation=still, flip=still, hue=still)

    def _render(self, noise: Tensor, frames: Tensor, scenes: Sequence[int]) -> Rendering:
        return render(
            noise,
            frames,
            scenes,
            [_PLAIN] * len(scenes),
            accessories=self.world.accessories,
            size_px=SIZE_PX,
        )


def paste(reference: Tensor, mask: Tensor, *, scenery: Tensor, layout: Layout) -> Tensor:
    """Lay the subject of `reference` on `scenery` as it is: right place, wrong light.

    Args:
        reference: Pixels (1, 3, H, W) in [-1, 1].
        mask: Its subject, (1, 1, H, W) in [0, 1].
        scenery: Pixels (1, 3, H, W) in [-1, 1].
        layout: Where the subject goes.
    """
    size = (scenery.shape[-2], scenery.shape[-1])
    frame, cover = fit_square(reference, mask, size_px=size[0], fill=SUBJECT_FILL)
    drawn = warp(torch.cat([frame * cover, cover], dim=1), to_affine(layout), size)
    return scenery * (1 - drawn[:, 3:]) + drawn[:, :3]
