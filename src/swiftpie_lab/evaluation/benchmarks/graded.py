"""Renderings of graded likeness: which score puts them into their true order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from itertools import combinations
from random import Random
from statistics import fmean
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor

from swiftpie.geometry.frames import pose_subjects
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie_lab.data.subjects import Subjects
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldCase, WorldKind
from swiftpie_lab.evaluation.case import Evidence, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import format_interval, interval, paired_difference
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results
from swiftpie_lab.world.compositor import PlacedSprite, Rendering
from swiftpie_lab.world.placement import place
from swiftpie_lab.world.references import SUBJECT_NUMBERS, subject_relief

NUM_SUBJECTS = 25  # of eight grades each: 200 renderings
SLIGHT_HUE = 0.35  # radians; a colour remains what people call it
WHOLE, MASKED = "likeness", "likeness-masked"


class Grade(StrEnum):
    """What a rendering shows, from the most to the least like the reference."""

    EXACT = "the subject"
    RECOLOURED = "slightly recoloured"
    MIXED_20 = "a fifth of its sibling"
    MIXED_40 = "two fifths of its sibling"
    MIXED_60 = "three fifths of its sibling"
    MIXED_80 = "four fifths of its sibling"
    SIBLING = "its sibling"  # of the same category
    OTHER = "another subject"


SHARES: Mapping[Grade, float] = MappingProxyType(
    {Grade.MIXED_20: 0.2, Grade.MIXED_40: 0.4, Grade.MIXED_60: 0.6, Grade.MIXED_80: 0.8}
)


@dataclass(frozen=True)
class GradedCase:
    """A rendering of known grade, in a scene of its own."""

    name: str
    grade: Grade
    scene: WorldCase
    sibling: str  # code of the one of the same category
    other: str  # code of one that has nothing in common


@dataclass(frozen=True, eq=False)
class GradedBenchmark(Benchmark[GradedCase]):
    """Every subject in all grades, each in another place, light and pose."""

    subjects: Subjects
    seed: int = 0

    name: ClassVar = "graded"
    title: ClassVar = "Graded likeness"
    metrics: ClassVar = (MASKED, WHOLE)
    candidates: ClassVar = MappingProxyType({"drawn": "rendering"})
    strip: ClassVar = MappingProxyType({"reference": "reference", "drawn": "rendering"})
    ranked_by: ClassVar = (MASKED,)
    headline: ClassVar = (MASKED, WHOLE)

    @cached_property
    def world(self) -> WorldBenchmark:
        """Deals subjects and scenes."""
        return WorldBenchmark(self.subjects, seed=self.seed)

    @property
    def fingerprint(self) -> str:
        """Return sha256 over sprites, their words, and the size of pictures."""
        words = repr(self.subjects.synonyms)  # decide which subjects are siblings
        return sha256(f"{self.world.fingerprint} {words}".encode()).hexdigest()

    def cases(self, count: int = NUM_SUBJECTS) -> list[GradedCase]:
        """Return all grades of `count` held-out subjects that have a sibling."""
        dealt = self.world.deal(WorldKind.PLAIN, len(Grade) * len(self.world.world.pool))
        scenes = list(dealt)
        cases: list[GradedCase] = []
        for first in scenes[: len(self.world.world.pool)]:
            row = self.subjects.index(first.code)
            sibling = _sibling(self.subjects, row)
            if sibling is None or len(cases) == count * len(Grade):
                continue
            other = _stranger(self.subjects, row, Random(f"{self.seed}:{first.code}"))
            codes = (self.subjects.codes[sibling], self.subjects.codes[other])
            for grade in Grade:
                scene = scenes[len(cases)]  # of any subject: only the setting counts
                scene = replace(scene, code=first.code, subject=first.subject)
                name = f"{first.code}-{grade.name.lower().replace('_', '-')}"
                cases.append(GradedCase(name, grade, scene, *codes))
        return cases

    def frame(self, case: GradedCase) -> Tensor:
        """Return the subject that the rendering shows, (1, 4, 128, 128) premultiplied."""
        codes = {Grade.OTHER: case.other, Grade.SIBLING: case.sibling}
        own = _frame(self.subjects.sprite(codes.get(case.grade, case.scene.code)))
        if case.grade is Grade.RECOLOURED:
            return _frame(self.subjects.sprite(case.scene.code), hue=SLIGHT_HUE)
        if case.grade in SHARES:
            return own.lerp(_frame(self.subjects.sprite(case.sibling)), SHARES[case.grade])
        return own

    def rendering(self, case: GradedCase) -> Rendering:
        """Draw the case; its seed decides light, pose and place."""
        generator = torch.Generator().manual_seed(case.scene.seed)
        numbers, frame = torch.rand(1, SUBJECT_NUMBERS, generator=generator), self.frame(case)
        noise, spec = self.world.noise(case.scene.seed), case.scene.requested
        layout = place(noise, frame, [spec])
        subject = PlacedSprite(frame, subject_relief(frame, numbers), layout)
        return self.world.world.draw(noise, subject, [spec])

    def evidence(
        self, case: GradedCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        """Yield the rendering with its true mask, beside the reference of the true subject."""
        yield "drawn", results.beside_reference(case, networks)

    def words(self, case: GradedCase) -> list[str]:
        """Return what the rendering shows."""
        return [case.grade.value, case.scene.subject]

    def groups(self, rows: Sequence[Row[GradedCase]]) -> dict[str, list[Row[GradedCase]]]:
        """Return the renderings by grade, in their true order."""
        grades = {grade: [row for row in rows if row.case.grade is grade] for grade in Grade}
        return {grade.value: some for grade, some in grades.items() if some}

    def facts(self, rows: Sequence[Row[GradedCase]]) -> dict[str, object]:
        """Return how well each score agrees with the true order, a mean over subjects."""
        masked, whole = agreement(rows, MASKED), agreement(rows, WHOLE)
        found = {"masked": interval(masked), "whole": interval(whole)}
        found["masked_less_whole"] = paired_difference(masked, whole)
        return {f"kendall_tau_{name}": vars(one) for name, one in found.items()}

    def sentences(self, rows: Sequence[Row[GradedCase]]) -> list[str]:
        """Return the same in words."""
        masked, whole = agreement(rows, MASKED), agreement(rows, WHOLE)
        return [
            *super().sentences(rows),
            f"Kendall's tau of the true order and the masked score is "
            f"{format_interval(interval(masked))}, of the score of whole pictures "
            f"{format_interval(interval(whole))}; the difference is "
            f"{format_interval(paired_difference(masked, whole))}. Means over {len(masked)} "
            "subjects, resampled by subject.",
        ]


@dataclass(frozen=True, eq=False)
class GradedDrawer:
    """Renders the sprites of all grades, and the reference of the true subject."""

    benchmark: GradedBenchmark

    @property
    def maker(self) -> Maker:
        """The renderer, which has no weights."""
        return Maker("renderer")

    def kinds(self, case: GradedCase) -> tuple[str, ...]:
        """Return the reference, the rendering and where the subject is in both."""
        del case
        return ("reference", "reference-mask", "drawn", "model-mask")

    def draw(self, case: GradedCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        """Yield all four."""
        del missing
        answer = self.benchmark.world.answer(case.scene)
        yield "reference", to_pil(answer.reference)[0]
        yield "reference-mask", mask_to_pil(answer.reference_mask)[0]
        shown = self.benchmark.rendering(case)
        yield "drawn", to_pil(shown.pixels)[0]
        yield "model-mask", mask_to_pil(shown.mask)[0]


def agreement(rows: Sequence[Row[GradedCase]], metric: str) -> list[float]:
    """Return for each subject Kendall's tau of true order and score, -1 to 1."""
    by_subject: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        place = list(Grade).index(row.case.grade)
        score = row.scores[metric]["drawn"]
        by_subject.setdefault(row.case.scene.code, []).append((-place, score))
    return [kendall_tau(pairs) for pairs in by_subject.values()]


def kendall_tau(pairs: Sequence[tuple[float, float]]) -> float:
    """Return the share of concordant pairs less that of discordant ones; ties are neither."""
    signs = [
        float((one[0] - other[0]) * (one[1] - other[1])) for one, other in combinations(pairs, 2)
    ]
    return fmean((sign > 0) - (sign < 0) for sign in signs)


def _frame(sprite: Tensor, *, hue: float = 0.0) -> Tensor:
    still = torch.zeros(1)
    return pose_subjects(sprite[None], rotation=still, flip=still, hue=still + hue)


def _words(subjects: Subjects, row: int) -> set[str]:
    return {*subjects.synonyms[row]}


def _sibling(subjects: Subjects, row: int) -> int | None:
    """Return the subject with the largest share of common words; None if none has two."""
    own = _words(subjects, row)

    def common(other: int) -> tuple[float, int]:
        theirs = _words(subjects, other)
        shared = len(own & theirs)
        return (shared / len(own | theirs) if shared > 1 else 0.0, -other)

    best = max((other for other in range(len(subjects)) if other != row), key=common)
    return best if common(best)[0] > 0 else None


def _stranger(subjects: Subjects, row: int, random: Random) -> int:
    own = _words(subjects, row)
    return random.choice([i for i in range(len(subjects)) if not own & _words(subjects, i)])
