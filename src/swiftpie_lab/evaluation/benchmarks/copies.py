"""Pastes and exact renderings of held-out sprites: how far copies are told from new poses."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import cached_property
from random import Random
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from PIL import Image

from swiftpie.imageio.images import mask_to_pil, to_pil, to_tensor
from swiftpie_lab.data.subjects import Subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results
from swiftpie_lab.world.captions import VIEWS

NUM_SUBJECTS = 70
# What a paste does to the reference: its side in sides of the picture, the turn in degrees, the
# gain of each colour, how much lighter one side is than the middle, and the exponent of contrast.
PASTED_SIDE, PASTED_TURN = (0.3, 0.6), 20.0
GAIN, SLOPE, CONTRAST = (0.55, 1.15), 0.25, (0.8, 1.3)


class CopyKind(StrEnum):
    """How a picture came about."""

    PASTED = "pasted"
    SIDE = "from a side"
    UPRIGHT = "from above or below"
    SAME = "the same view in other light"


KIND_OF: Mapping[str, CopyKind] = MappingProxyType(
    {
        **dict.fromkeys(("left", "right"), CopyKind.SIDE),
        **dict.fromkeys(("above", "below"), CopyKind.UPRIGHT),
        "front": CopyKind.SAME,
    }
)


@dataclass(frozen=True)
class CopyCase:
    """A picture of which is known whether it was copied."""

    name: str
    kind: CopyKind
    rendering: WorldCase  # the scene, and the view unless it is pasted


class Shown(NamedTuple):
    """A picture and where its subject is, mode L."""

    image: Image.Image
    mask: Image.Image


@dataclass(frozen=True, eq=False)
class CopyBenchmark(Benchmark[CopyCase]):
    """Every subject once pasted, and rendered exactly in each view that words can request."""

    subjects: Subjects
    seed: int = 0

    name: ClassVar = "copies"
    title: ClassVar = "Copies and new poses"
    metrics: ClassVar = ("copied", "copy-unclear")
    candidates: ClassVar = MappingProxyType({"drawn": "picture"})
    strip: ClassVar = MappingProxyType({"reference": "reference", "drawn": "picture"})
    ranked_by: ClassVar = ("copied",)
    headline: ClassVar = ("copied", "copy-unclear")

    @cached_property
    def world(self) -> WorldBenchmark:
        """Draws all but the pastes."""
        return WorldBenchmark(self.subjects, seed=self.seed)

    @property
    def fingerprint(self) -> str:
        """Return sha256 over names, sprites and the size of pictures."""
        return self.world.fingerprint

    def cases(self, count: int = NUM_SUBJECTS) -> list[CopyCase]:
        """Return the cases of `count` subjects, or of all held-out ones if there are fewer."""
        # Every subject meets every view once, as their numbers have no common divisor.
        pool = len(self.world.world.pool)
        dealt = list(self.world.deal(WorldKind.VIEW, len(VIEWS) * pool))
        chosen = {*list(dict.fromkeys(case.code for case in dealt))[:count]}
        return [case for one in dealt if one.code in chosen for case in _cases_of(one)]

    def evidence(
        self, case: CopyCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the picture with its true mask."""
        yield "drawn", results.beside_reference(case, networks)

    def words(self, case: CopyCase) -> list[str]:
        """Return how the picture came about."""
        return [case.kind.value, case.rendering.subject]

    def groups(self, rows: Sequence[Row[CopyCase]]) -> dict[str, list[Row[CopyCase]]]:
        """Return the cases by kind."""
        kinds = {kind: [row for row in rows if row.case.kind is kind] for kind in CopyKind}
        return {kind.value: some for kind, some in kinds.items() if some}

    def sentences(self, rows: Sequence[Row[CopyCase]]) -> list[str]:
        """Return how many copies are found, and how many new poses are taken for one."""

        def share(metric: str, *kinds: CopyKind) -> str:
            some = [row.scores[metric]["drawn"] for row in rows if row.case.kind in kinds]
            return f"{format_interval(interval(some), unit='%')} %"

        new = (CopyKind.SIDE, CopyKind.UPRIGHT)
        return [
            *super().sentences(rows),
            f"Of pastes {share('copied', CopyKind.PASTED)} are found, and "
            f"{share('copy-unclear', CopyKind.PASTED)} cannot be told. Of exact renderings in new "
            f"poses {share('copied', *new)} are taken for copies, and "
            f"{share('copy-unclear', *new)} cannot be told.",
        ]

    def as_json(self, case: CopyCase) -> dict[str, object]:
        """Return a case with its prompt beside its name."""
        return {**asdict(case), "prompt": case.rendering.prompt}


@dataclass(frozen=True, eq=False)
class CopyDrawer:
    """Renders scenes exactly, and pastes references into them."""

    benchmark: CopyBenchmark

    @property
    def maker(self) -> Maker:
        """The renderer, which has no weights."""
        return Maker("renderer")

    def kinds(self, case: CopyCase) -> tuple[str, ...]:
        """Return the reference, the picture and where the subject is in both."""
        del case
        return ("reference", "reference-mask", "drawn", "model-mask")

    def draw(self, case: CopyCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all four."""
        del missing
        answer = self.benchmark.world.answer(case.rendering)
        rendering = answer.rendering
        reference = Shown(to_pil(answer.reference)[0], mask_to_pil(answer.reference_mask)[0])
        shown = Shown(to_pil(rendering.pixels)[0], mask_to_pil(rendering.mask)[0])
        if case.kind is CopyKind.PASTED:
            scenery = to_pil(rendering.background)[0]
            shown = pasted(reference, scenery, Random(case.rendering.seed))
        yield "reference", reference.image
        yield "reference-mask", reference.mask
        yield "drawn", shown.image
        yield "model-mask", shown.mask


def pasted(reference: Shown, scenery: Image.Image, random: Random) -> Shown:
    """Return the subject of `reference` in `scenery`, moved, turned, resized and in other light."""
    side = round(scenery.width * random.uniform(*PASTED_SIDE))
    cutout = reference.image.convert("RGB")
    cutout.putalpha(reference.mask)
    turned = cutout.rotate(random.uniform(-PASTED_TURN, PASTED_TURN), Image.Resampling.BICUBIC)
    if random.random() < 0.5:
        turned = turned.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = turned.resize((side, side), Image.Resampling.LANCZOS)
    gains = torch.tensor([random.uniform(*GAIN) for _ in range(3)]).view(1, 3, 1, 1)
    slope = 1 + random.uniform(-1, 1) * torch.linspace(-SLOPE, SLOPE, side)
    colours = (to_tensor(small.convert("RGB")) / 2 + 0.5) * gains * slope
    lit = colours.clamp(0, 1).pow(random.uniform(*CONTRAST))
    corner = [random.randrange(scenery.width - side), random.randrange(scenery.height - side)]
    image, mask = scenery.copy(), Image.new("L", scenery.size)
    cover = small.getchannel(3)
    image.paste(to_pil(2 * lit - 1)[0], (corner[0], corner[1]), cover)
    mask.paste(cover, (corner[0], corner[1]))
    return Shown(image, mask)


def _cases_of(rendering: WorldCase) -> Iterator[CopyCase]:
    kind = KIND_OF[rendering.answer]
    yield CopyCase(rendering.name, kind, rendering)
    if kind is CopyKind.SAME:
        yield CopyCase(f"pasted-{rendering.name}", CopyKind.PASTED, rendering)
