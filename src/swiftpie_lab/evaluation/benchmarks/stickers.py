"""Sticker scenes: one held-out subject a picture, in every scene."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from types import MappingProxyType
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.masks import Box
from swiftpie.noise import draw_noise
from swiftpie_lab.evaluation.benchmarks.scenes import INDEX_OF, SIZE_PX, SceneBenchmark, StickerCase
from swiftpie_lab.stickers.captions import Attributes, article_of
from swiftpie_lab.stickers.renderer import Rendering, render
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import NOISE_SHAPE, StickerWorld, draw_references
from swiftpie_lab.world.fields import Scene

SCENES_A_SUBJECT = 2  # by default
SCENE_STEP = 11  # shares no factor with the number of scenes, so every pair comes up once

GALLERY_SCENES = ("white", "blue", "green", "pink")  # lit neutrally, unlike most cases
GALLERY_SEED = 2**40  # far from the seeds of all cases

NUM_ATTRIBUTED = 120  # by default; a share of 90 % then has an interval of about 5 to either side
ATTRIBUTED_SEED = 2**36  # their noise is that of no plain case

ASKED: Mapping[str, Attributes] = MappingProxyType(
    {
        "": Attributes(),
        "tiny": Attributes(size="tiny"),
        "huge": Attributes(size="huge"),
        "left": Attributes(side="left"),
        "right": Attributes(side="right"),
        "crown": Attributes(accessory="crown"),
        "top hat": Attributes(accessory="top hat"),
        "black and white": Attributes(is_black_and_white=True),
    }
)
"""What a case may ask for, by the word that judges answer with; "" is nothing."""


@dataclass(frozen=True, eq=False)
class StickerBenchmark(SceneBenchmark):
    """Draws references and right answers of held-out subjects."""

    name = "stickers"
    title = "Sticker scenes"
    metrics: ClassVar[tuple[str, ...]] = (
        "attribute-accuracy",
        "lighting-error",
        "mask-iou",
        "psnr",
        "scene-accuracy",
        "sharpness",
        "sharpness-background",
        "sharpness-subject",
        "subject-psnr",
        "subject-retrieval",
    )
    strip = MappingProxyType({"reference": "reference", **SceneBenchmark.candidates})

    @cached_property
    def world(self) -> StickerWorld:
        """The held-out half of the subjects."""
        return StickerWorld(self.subjects, "held_out", size_px=SIZE_PX)

    def num_pairs(self) -> int:
        """Return how many pairs of a held-out subject and a scene there are."""
        return len(self.world.pool) * len(SCENES)

    def cases(self, count: int | None = None) -> list[StickerCase]:
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

    def attributed_cases(self, count: int | None = None) -> list[StickerCase]:
        """Deal cases that ask for one attribute each, all of them evenly.

        Args:
            count: 120 by default, and at most.
        """
        wanted = NUM_ATTRIBUTED if count is None else min(count, NUM_ATTRIBUTED)
        words = [word for word in ASKED if word]
        return [
            attributed(case, words[number % len(words)])
            for number, case in enumerate(self.cases(wanted))
        ]

    def _case(self, number: int, subject: int, scene: int) -> StickerCase:
        code, name = self.subjects.codes[subject], self.subjects.names[subject]
        place = SCENES[scene]
        return StickerCase(
            name=f"{number:04d}-{code}-{place.name.replace(' ', '-')}",
            code=code,
            subject=name,
            scene=place.name,
            prompt=describe(name, place),
            seed=self.seed + number,
        )

    def known(self, case: StickerCase) -> dict[str, Image.Image]:
        """Return reference, truth and their masks by kind of picture."""
        reference, truth = self.reference(case), self.truth(case)
        return {
            "reference": to_pil(reference[0])[0],
            "reference-mask": mask_to_pil(reference[1])[0],
            "truth": to_pil(truth.pixels)[0],
            "truth-mask": mask_to_pil(truth.mask)[0],
        }

    def layouts(self, case: StickerCase) -> tuple[Layout, ...]:
        """Return where the subject is in the truth."""
        return (self.truth(case).layout,)

    def boxes(self, case: StickerCase) -> tuple[Box | None, ...]:
        """Return no box for any subject: the model decides."""
        return (None,) * len(case.codes)

    def reference(self, case: StickerCase) -> tuple[Tensor, Tensor]:
        """Return what a user would give: a picture (1, 3, H, W) and its mask (1, 1, H, W)."""
        elsewhere = (INDEX_OF[case.scene] + 1) % len(SCENES)
        noise = draw_noise([case.seed + GALLERY_SEED], NOISE_SHAPE)
        frames = self.frames([case.code])
        return draw_references(
            frames,
            self._render(noise, frames, [elsewhere], asked="").background,
            random=Random(case.seed),
            generator=torch.Generator().manual_seed(case.seed),
            size_px=SIZE_PX,
        )

    def truth(self, case: StickerCase) -> Rendering:
        """Return the picture that belongs to the seed of the case, with its mask."""
        noise = draw_noise([case.seed], NOISE_SHAPE)
        frames = self.frames([case.code])
        return self._render(noise, frames, [INDEX_OF[case.scene]], asked=case.attribute)

    def gallery(self) -> tuple[Tensor, Tensor]:
        """Return pictures (S, 4, 3, H, W) and masks (S, 4, 1, H, W) of every held-out subject."""
        views = len(GALLERY_SCENES)
        seeds = [GALLERY_SEED - 1 - row for row in range(len(self.codes) * views)]
        rendering = self._render(
            draw_noise(seeds, NOISE_SHAPE),
            self.frames(self.codes).repeat_interleave(views, dim=0),
            [INDEX_OF[name] for name in GALLERY_SCENES] * len(self.codes),
            asked="",
        )
        size = (len(self.codes), views)
        return rendering.pixels.unflatten(0, size), rendering.mask.unflatten(0, size)

    def _render(
        self, noise: Tensor, frames: Tensor, scenes: Sequence[int], *, asked: str
    ) -> Rendering:
        return render(
            noise,
            frames,
            scenes,
            [ASKED[asked]] * len(scenes),
            accessories=self.world.accessories,
            size_px=SIZE_PX,
        )


def with_article(noun: str) -> str:
    """Return `noun` after "a" or "an"."""
    return f"{article_of(noun)} {noun}"


def describe(name: str, scene: Scene, attribute: str = "") -> str:
    """Return a prompt for one subject with at most one attribute, a key of `ASKED`."""
    asked, phrase = ASKED[attribute], scene.phrases[0]
    parts = [
        "a black and white photo of" if asked.is_black_and_white else "a photo of",
        with_article(name if asked.size == "normal" else f"{asked.size} {name}"),
        phrase if asked.accessory == "none" else f"wearing a {asked.accessory} {phrase}",
        *([] if asked.side == "none" else [f"on the {asked.side}"]),
    ]
    return " ".join(parts)


def describe_both(name: str, other: str, scene: Scene) -> str:
    """Return a prompt for two subjects."""
    return f"a photo of {with_article(name)} and {with_article(other)} {scene.phrases[0]}"


def attributed(case: StickerCase, attribute: str) -> StickerCase:
    """Return a plain case with other noise, and a prompt that also asks for `attribute`."""
    return replace(
        case,
        name=f"{attribute.replace(' ', '-')}-{case.name}",
        prompt=describe(case.subject, SCENES[INDEX_OF[case.scene]], attribute),
        seed=case.seed + ATTRIBUTED_SEED,
        attribute=attribute,
    )
