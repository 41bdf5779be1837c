"""Two to four subjects in one scene: how much of each is found in the place of another."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from random import Random
from statistics import fmean
from types import MappingProxyType
from typing import Annotated, ClassVar, NamedTuple

import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.errors import ImageError, InputError
from swiftpie.geometry.layout import SUBJECT_FILL, from_box, to_affine, warp
from swiftpie.imageio.images import fit_square, mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import Box
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import MaskSource
from swiftpie_lab.data.photographs import photos_in, words_of
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.benchmarks.dreambench import look_at
from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, draw_own
from swiftpie_lab.evaluation.case import Evidence, Expected, Row, on_white
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_model, open_pack
from swiftpie_lab.evaluation.judges import Networks, Panel, SubjectJudge
from swiftpie_lab.evaluation.report import format_interval, interval
from swiftpie_lab.evaluation.run import Benchmark, File, Maker, Results, maker_of
from swiftpie_world.nouns import article_of
from swiftpie_world.places import PLACES
from swiftpie_world.subjects import Subjects

SubjectPhotos = Annotated[
    Path | None,
    typer.Option(
        "--photos",
        metavar="DIR",
        help="A folder for each photographed subject, as a slice of its own; by default none.",
    ),
]
CasesASlice = Annotated[
    int,
    typer.Option(
        "--cases", min=1, metavar="N", help="How many of each slice and number of subjects."
    ),
]

COUNTS = (2, 3, 4)  # subjects in a picture
CASES = 8  # cases of each slice and number of subjects, by default
FILLED = 0.88  # share of its column that a box fills
FLOOR = 0.84  # where boxes end, as a share of the picture's height
MAX_PHOTOS = 64
CHOSEN_PLACES = (
    "meadow",
    "beach",
    "kitchen",
    "city street",
    "brick wall",
    "snowy slope",
    "park",
    "desert",
)
SOLID = 0.5
THIN_PX = 4  # what goes when a sprite of 96 px loses so much at its outline is thin


class Slice(StrEnum):
    """What the subjects of a case have in common."""

    ANY = "any subjects"
    LIGHT = "light subjects"
    DARK = "dark subjects"
    THIN = "thin subjects"
    TEXTURED = "textured subjects"
    PHOTOS = "photographs"


@dataclass(frozen=True)
class LeakageCase:
    """Subjects side by side, from left to right."""

    name: str
    slice: Slice
    codes: tuple[str, ...]
    names: tuple[str, ...]
    place: str
    prompt: str
    seed: int


class Given(NamedTuple):
    """A subject as users give it."""

    name: str
    image: Image.Image
    mask: Image.Image  # mode L


@dataclass(frozen=True, eq=False)
class LeakageBenchmark(Benchmark[LeakageCase]):
    """Deals subjects that have something in common, so that what is unrelated has it, too."""

    subjects: Subjects
    photos: Mapping[str, Given] = field(default_factory=dict)  # by code
    seed: int = 0

    name: ClassVar = "leakage"
    title: ClassVar = "Leakage between subjects"
    metrics: ClassVar = ("leakage", "subject-nearest")
    candidates: ClassVar = MappingProxyType({"model": "together", "alone": "each alone"})
    strip: ClassVar = MappingProxyType({**candidates})
    ranked_by: ClassVar = ("subject-nearest",)

    @cached_property
    def world(self) -> WorldBenchmark:
        """Shows the sprites."""
        return WorldBenchmark(self.subjects, seed=self.seed)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.world.fingerprint.encode())
        for code, photo in self.photos.items():
            digest.update(code.encode() + photo.image.tobytes() + photo.mask.tobytes())
        return digest.hexdigest()

    @cached_property
    def slices(self) -> dict[Slice, list[str]]:
        """The codes of the subjects of each slice; of measured ones the outermost quarter."""
        pool = self.world.world.pool
        quarter, by = max(max(COUNTS) + 1, len(pool) // 4), self._outermost
        found = {
            Slice.ANY: [self.subjects.codes[row] for row in pool],
            Slice.LIGHT: by(quarter, lambda tile: -_brightness(tile)),
            Slice.DARK: by(quarter, _brightness),
            Slice.THIN: by(quarter, _bulk),
            Slice.TEXTURED: by(quarter, lambda tile: -_texture(tile)),
        }
        return found | ({Slice.PHOTOS: [*self.photos]} if self.photos else {})

    def _outermost(self, count: int, rank: Callable[[Tensor], float]) -> list[str]:
        pool = self.world.world.pool
        ranked = sorted(pool, key=lambda row: rank(self.subjects.tiles[row].float() / 255))
        return [self.subjects.codes[row] for row in ranked[:count]]

    def cases(self, count: int = CASES) -> list[LeakageCase]:
        """Deal `count` cases of each slice and number of subjects."""
        return [
            self._case(part, num_subjects, number)
            for part in self.slices
            for num_subjects in COUNTS
            for number in range(count)
        ]

    def _case(self, part: Slice, num_subjects: int, number: int) -> LeakageCase:
        random = Random(f"{self.seed}:{part.name}:{num_subjects}:{number}")
        codes = tuple(random.sample(self.slices[part], num_subjects))
        names = tuple(self.name_of(code) for code in codes)
        place = random.choice(CHOSEN_PLACES)
        return LeakageCase(
            name=f"{part.name.lower()}-{num_subjects}-{number:03d}",
            slice=part,
            codes=codes,
            names=names,
            place=place,
            prompt=prompt_of(names, place),
            seed=self.seed + random.randrange(2**24),
        )

    def name_of(self, code: str) -> str:
        """Return what prompts call a subject."""
        if code in self.photos:
            return self.photos[code].name
        return self.subjects.names[self.subjects.index(code)]

    def given(self, code: str) -> Given:
        """Return a subject as users give it: a photograph, or a sprite before a wall."""
        if code in self.photos:
            return self.photos[code]
        row = self.subjects.index(code)
        numbers = torch.rand(1, 16, generator=torch.Generator().manual_seed(self.seed + row))
        pixels, mask = self.world.world.references([row], numbers)
        return Given(self.subjects.names[row], to_pil(pixels)[0], mask_to_pil(mask)[0])

    def places(self, case: LeakageCase) -> list[Tensor]:
        """Return where each subject is if it fills its box, (1, 1, H, W) in [0, 1]."""
        size_px = self.world.size_px
        masks = []
        for code, box in zip(case.codes, boxes(len(case.codes)), strict=True):
            given = self.given(code)
            pixels, mask = to_tensor(given.image), plane(given.mask)
            _, cover = fit_square(pixels, mask, size_px=size_px, fill=SUBJECT_FILL)
            masks.append(warp(cover, to_affine(from_box(box)), (size_px, size_px)))
        return masks

    def panel(self) -> Panel:
        """Read the judges and show them all sprites and photographs."""
        panel = self.world.panel()
        seen = [
            SubjectJudge(panel.embedder).picture(cutout)
            for given in self.photos.values()
            if (cutout := on_white(given.image, given.mask)) is not None
        ]
        gallery = torch.cat([panel.gallery, *seen])
        return Panel(panel.embedder, panel.reader, (*panel.codes, *self.photos), gallery)

    def evidence(
        self, case: LeakageCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        pictures = {kind: to_tensor(results.read(case, kind)) for kind in self.candidates}
        for code, mask in zip(case.codes, self.places(case), strict=True):
            others = frozenset(case.codes) - {code}
            unrelated = frozenset(self.slices[case.slice]) - {*case.codes}
            expected = Expected(where=mask, subject=code, others=others, unrelated=unrelated)
            for kind, picture in pictures.items():
                yield (
                    kind,
                    Evidence(
                        picture=picture,
                        alone=pictures["alone"] if kind == "model" else None,
                        prompt=case.prompt,
                        expected=expected,
                        networks=networks,
                    ),
                )

    def words(self, case: LeakageCase) -> list[str]:
        return [case.prompt, case.slice.value]

    def groups(self, rows: Sequence[Row[LeakageCase]]) -> dict[str, list[Row[LeakageCase]]]:
        """Return slices from the one that leaks most, then numbers of subjects."""
        slices = {part: [row for row in rows if row.case.slice is part] for part in Slice}
        there = {part: some for part, some in slices.items() if some}
        worst = sorted(there, key=lambda part: -fmean(map(_leak, there[part])))
        counts = {
            f"{count} subjects": [row for row in rows if len(row.case.codes) == count]
            for count in COUNTS
        }
        return {part.value: there[part] for part in worst} | counts

    def sentences(self, rows: Sequence[Row[LeakageCase]]) -> list[str]:
        (worst, some), *_ = self.groups(rows).items()
        leaks = [
            format_interval(interval([*map(_leak, each)]), unit="cosine") for each in (rows, some)
        ]
        return [
            *super().sentences(rows),
            f"In the place of one subject, another of the same picture is nearer by {leaks[0]} "
            "(cosine) than where each is drawn alone, both compared with unrelated subjects. Worst "
            f"are {worst}: {leaks[1]}.",
        ]


@dataclass(frozen=True, eq=False)
class LeakageDrawer:
    """Draws the subjects together, and each of them alone in the same place with the same seed."""

    session: Session
    benchmark: LeakageBenchmark

    @property
    def maker(self) -> Maker:
        return maker_of(self.session)

    def kinds(self, case: LeakageCase) -> tuple[str, ...]:
        """Return both pictures; that of each alone is joined from columns."""
        del case
        return ("model", "alone")

    def draw(self, case: LeakageCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        subjects = [
            Subject(self.session.encode_identity(given.image, masks=given.mask), box=box)
            for given, box in (
                (self.benchmark.given(code), box)
                for code, box in zip(case.codes, boxes(len(case.codes)), strict=True)
            )
        ]
        if "model" in missing:
            yield "model", self._draw(subjects, case.prompt, case.seed)
        if "alone" in missing:
            columns = [
                self._draw([subject], prompt_of((name,), case.place), case.seed)
                for subject, name in zip(subjects, case.names, strict=True)
            ]
            yield "alone", joined(columns)

    def _draw(self, subjects: Sequence[Subject], prompt: str, seed: int) -> Image.Image:
        return draw_own(self.session, subjects, prompt, seed=seed, mask=MaskSource.BOX).images[0]


def read_photos(folder: Path) -> dict[str, Given]:
    """Return the first photograph of each folder in `folder`, by code of its subject.

    Subjects that cannot be cut out are left out.

    Raises:
        InputError: Fewer are left than a case needs.
    """
    if not folder.is_dir():
        raise InputError(
            f"'{folder}' is no folder. One with a folder of photographs for each subject is "
            "needed. Check the path."
        )
    photos = [photos_in(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    found = {}
    for photo in [some[0] for some in photos if some][:MAX_PHOTOS]:
        with suppress(ImageError):
            shown = look_at(photo)
            assert shown.mask is not None, "others raise"
            subject = photo.parent.name
            found[f"photo-{subject}"] = Given(words_of(subject), shown.image, shown.mask)
    if len(found) <= max(COUNTS):
        raise InputError(
            f"'{folder}' holds photographs of {len(found)} subjects that can be cut out. At least "
            f"{max(COUNTS) + 1} are needed, so that one is unrelated. Pass more."
        )
    return found


def prompt_of(names: Sequence[str], place: str) -> str:
    """Return a prompt that names all subjects and the place."""
    nouns = [f"{article_of(name)} {name}" for name in names]
    joined_nouns = " and ".join([*([", ".join(nouns[:-1])] if nouns[1:] else []), nouns[-1]])
    phrase = {known.name: known.phrases[0] for known in PLACES}[place]
    return f"a photo of {joined_nouns} {phrase}"


def boxes(count: int) -> list[Box]:
    """Return boxes side by side that end at the same height and do not touch."""
    side = FILLED / count
    centres = [(number + 0.5) / count for number in range(count)]
    return [(x - side / 2, FLOOR - side, x + side / 2, FLOOR) for x in centres]


def joined(columns: Sequence[Image.Image]) -> Image.Image:
    """Return a picture that has of each of `columns` its own part of the width."""
    width, height = columns[0].size
    edges = [round(width * number / len(columns)) for number in range(len(columns) + 1)]
    result = columns[0].copy()
    for left, right, column in zip(edges[:-1], edges[1:], columns, strict=True):
        result.paste(column.crop((left, 0, right, height)), (left, 0))
    return result


def _leak(row: Row[LeakageCase]) -> float:
    return row.scores["leakage"]["model"]


def _brightness(tile: Tensor) -> float:
    return float(tile[:3].mean(0).sum() / tile[3].sum())


def _bulk(tile: Tensor) -> float:
    """Return the share of a sprite that lies far from its outline."""
    solid = (tile[3:] > SOLID).float()
    inner = -F.max_pool2d(-solid, 2 * THIN_PX + 1, 1, THIN_PX)
    return float(inner.sum() / solid.sum())


def _texture(tile: Tensor) -> float:
    """Return the mean step between neighbouring pixels inside of the outline."""
    inside = -F.max_pool2d(-(tile[3:] > SOLID).float(), 3, 1, 1)
    grey = tile[:3].mean(0, keepdim=True)
    steps = (grey.diff(dim=-1).abs() * inside[..., 1:]).sum()
    steps = steps + (grey.diff(dim=-2).abs() * inside[..., 1:, :]).sum()
    return float(steps / inside.sum().clamp_min(1))


def open_leakage(
    *,
    photos: SubjectPhotos = None,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    cases: CasesASlice = CASES,
    seed: given.Seed = 0,
) -> Trial[LeakageCase]:
    """Measure how much of each of two to four subjects is found in the place of another.

    Held-out subjects that are light, dark, thin or textured stand side by side, and photographs
    with --photos. The same subjects are drawn alone, too: only what drawing them together adds is
    leakage. The report has the worst slice first.
    """
    shown = {} if photos is None else read_photos(photos)
    benchmark = LeakageBenchmark(open_pack(data), shown, seed=seed)
    networks, dealt = Networks(panel=benchmark.panel()), benchmark.cases(cases)
    return Trial(benchmark, dealt, LeakageDrawer(open_model(loading), benchmark), networks)


BENCHMARK = BenchmarkCommand(
    open_leakage,
    (
        "swiftpie evaluate leakage",
        "swiftpie evaluate leakage --photos dreambooth/dataset --cases 20 --out out/leaks --json",
    ),
)
