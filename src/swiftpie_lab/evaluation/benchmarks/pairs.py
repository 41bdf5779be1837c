"""Pairs of held-out subjects side by side in one scene, each case with its exact answer."""

from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from types import MappingProxyType

from PIL import Image
from torch import Tensor

from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout, from_box
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.masks import Box
from swiftpie.noise import draw_noise
from swiftpie_lab.evaluation.benchmarks.scenes import INDEX_OF, SIZE_PX, SceneBenchmark, StickerCase
from swiftpie_lab.evaluation.benchmarks.stickers import StickerBenchmark, describe_both
from swiftpie_lab.stickers.captions import Attributes
from swiftpie_lab.stickers.renderer import Placed, Rendering, render
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import NOISE_SHAPE
from swiftpie_lab.world.placing import lowest_point

PAIR_SEED = 2**37  # their noise is that of no case with a single subject
OTHER_SEED = 2**38  # the second reference has another background and light

CENTRES = (0.26, 0.74)  # of the two subjects across the picture
SIDE = 0.43  # of each box: the two do not touch
SHIFT = 0.03  # boxes move by up to so much across
FLOOR, FLOOR_RANGE = 0.82, 0.08  # where grounded subjects stand
HEIGHT, HEIGHT_RANGE = 0.35, 0.3  # of the centres of those that float


@dataclass(frozen=True, eq=False)
class PairBenchmark(SceneBenchmark):
    """Draws references and right answers of two held-out subjects."""

    name = "pairs"
    title = "Pairs in sticker scenes"
    metrics = (
        "leakage",
        "psnr",
        "scene-accuracy",
        "sharpness",
        "subject-psnr",
        "subject-retrieval",
    )
    strip = MappingProxyType(
        {"reference": "left", "other-reference": "right", **SceneBenchmark.candidates}
    )

    @cached_property
    def singles(self) -> StickerBenchmark:
        """The same subjects one by one."""
        return StickerBenchmark(self.subjects, seed=self.seed)

    def gallery(self) -> tuple[Tensor, Tensor]:
        """Return pictures (S, 4, 3, H, W) and masks (S, 4, 1, H, W) of every held-out subject."""
        return self.singles.gallery()

    def cases(self, count: int | None = None) -> list[StickerCase]:
        """Deal pairs and scenes evenly; a longer list starts with the shorter one.

        Args:
            count: By default each subject comes once on the left and once on the right.

        Raises:
            ConfigError: The pack holds out fewer than two subjects.
        """
        if len(self.codes) < 2:
            raise ConfigError(
                f"The pack has {len(self.codes)} held-out subjects; a pair takes two. Use the full "
                "pack of `swiftpie data prepare`."
            )
        firsts = self.singles.cases(count if count is not None else len(self.codes))
        return [self._case(number, first) for number, first in enumerate(firsts)]

    def _case(self, number: int, first: StickerCase) -> StickerCase:
        code = self._partner(number, first)
        name = self.subjects.names[self.subjects.index(code)]
        scene = SCENES[INDEX_OF[first.scene]]
        return replace(
            first,
            name=f"{number:04d}-{first.code}-{code}-{scene.name.replace(' ', '-')}",
            prompt=describe_both(first.subject, name, scene),
            seed=first.seed + PAIR_SEED,
            other_code=code,
            other_subject=name,
        )

    def _partner(self, number: int, first: StickerCase) -> str:
        lap, count = number // len(self.codes), len(self.codes)
        order = Random(self.seed).sample(range(count), count)
        place = order.index(self.codes.index(first.code))
        return self.codes[order[(place + 1 + lap % (count - 1)) % count]]

    def known(self, case: StickerCase) -> dict[str, Image.Image]:
        """Return references, truth and their masks by kind of picture."""
        truth = self.truth(case)
        pictures = {
            "truth": to_pil(truth.pixels)[0],
            "truth-mask": mask_to_pil(truth.mask)[0],
            "other-truth-mask": mask_to_pil(truth.companion_mask)[0],
        }
        other = replace(case, code=case.other_code, seed=case.seed + OTHER_SEED)
        for kind, one in {"reference": case, "other-reference": other}.items():
            pixels, mask = self.singles.reference(one)
            pictures[kind] = to_pil(pixels)[0]
            pictures[f"{kind}-mask"] = mask_to_pil(mask)[0]
        return pictures

    def truth(self, case: StickerCase) -> Rendering:
        """Return the picture that belongs to the seed of the case, with both masks."""
        left, right = self.layouts(case)
        frames = self.frames(case.codes)
        return render(
            draw_noise([case.seed], NOISE_SHAPE),
            frames[:1],
            [INDEX_OF[case.scene]],
            [Attributes()],
            accessories=self.singles.world.accessories,
            size_px=SIZE_PX,
            layout=left,
            companion=Placed(frames[1:], right),
        )

    def layouts(self, case: StickerCase) -> tuple[Layout, ...]:
        """Return where both subjects are in the truth: they fill their boxes."""
        return tuple(from_box(box) for box in self.boxes(case))

    def boxes(self, case: StickerCase) -> tuple[Box, ...]:
        """Return one box on the left and one on the right; grounded subjects stand."""
        is_grounded = SCENES[INDEX_OF[case.scene]].grounded
        floor = (FLOOR, FLOOR + FLOOR_RANGE) if is_grounded else None
        return boxes_beside(self.frames(case.codes), Random(case.seed), floor=floor)


def boxes_beside(
    frames: Tensor, random: Random, *, floor: tuple[float, float] | None
) -> tuple[Box, ...]:
    """Return boxes beside each other, for as many subjects `frames` (2, 4, H, W).

    Subjects stand between the ends of the `floor`; without one they float.
    """
    half, boxes = SIDE / 2, []
    for row, centre in enumerate(CENTRES):
        x = centre + SHIFT * random.uniform(-1, 1)
        height = random.random()
        y = HEIGHT + HEIGHT_RANGE * height
        if floor is not None:
            upright = from_box((x - half, 0.0, x + half, SIDE))
            reach = float(lowest_point(frames[row : row + 1], upright))
            y = min(floor[0] + (floor[1] - floor[0]) * height - reach, 1 - half)
        boxes.append((x - half, y - half, x + half, y + half))
    return tuple(boxes)
