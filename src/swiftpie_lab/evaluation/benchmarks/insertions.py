"""Subjects put into photographs, with exact answers."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import ClassVar

import torch
from PIL import Image
from torch.nn import functional as F

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli.options import DataPath
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import from_box
from swiftpie.imageio.images import bounding_box, mask_to_pil, to_pil, to_tensor
from swiftpie.mini.insert import prepare_insert
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.insertion import insertion_of
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.scenes import scene_library
from swiftpie.types import DecodedImages, EditedImage
from swiftpie_lab.data.photographs import load_photos
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.bounds import opencv, paste, poisson_blended
from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected, Row
from swiftpie_lab.evaluation.command import (
    BenchmarkCommand,
    Trial,
    drawer_of,
    open_model,
    open_pack,
)
from swiftpie_lab.evaluation.judges import Networks, Panel, load_panel
from swiftpie_lab.evaluation.report import Interval, format_interval, interval
from swiftpie_lab.evaluation.run import File, Maker, OpenBenchmark, Results, maker_of
from swiftpie_world.compositor import Rendering
from swiftpie_world.photographs import Insertion, Photograph
from swiftpie_world.sampler import World
from swiftpie_world.subjects import Subjects

NUM_CASES = 48  # by default; some minutes on a laptop
PHOTO_PX = 256  # twice what `mini` draws: what comes back has to be as sharp as what was there
SMALLEST_CUT = 0.6  # share of a photo's shorter side
GALLERY_SEED, NUM_LIGHTS = 2**31, 6  # judges know each subject in these lights
NUM_NEIGHBOURS = 2  # subjects that stand in the photograph already


@dataclass(frozen=True)
class InsertionCase:
    """Subject, photograph and the seed that decides place and light."""

    name: str
    code: str  # the subject in its pack
    subject: str  # its name in words
    neighbours: tuple[str, ...]  # codes of those that stand there already
    photo: int  # its index in the order of names
    cut: tuple[float, float, float]  # left and top as shares of what is free, side of the shorter
    seed: int


@dataclass(frozen=True, eq=False)
class InsertionBenchmark(OpenBenchmark[InsertionCase]):
    """Held-out subjects to put into photographs that training does not use."""

    subjects: Subjects
    photos: tuple[Photograph, ...]
    seed: int = 0  # decides all cases

    name = "insertions"
    title = "Insertions into photographs"
    metrics: ClassVar[tuple[str, ...]] = (
        "subject-psnr",
        "ring-psnr",
        "light-error",
        "shadow-error",
        "seam",
        "sharpness-subject",
        "subject-retrieval",
    )
    candidates = MappingProxyType(
        {
            "model": "model",
            "exact": "exact drawing",
            "truth": "truth",
            "paste": "naive paste",
            "poisson": "Poisson blending",
        }
    )
    bound = "truth"
    strip = MappingProxyType({"reference": "reference", "source": "before", **candidates})
    ranked_by = ("subject-psnr",)
    baselines: ClassVar[tuple[tuple[str, str], ...]] = (("subject-psnr", "paste"),)
    """Metric and what is to be beaten in it."""

    @cached_property
    def world(self) -> World:
        """The held-out half of the subjects."""
        return World(self.subjects, "held_out", size_px=PHOTO_PX)

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.subjects.fingerprint.encode())
        for photo in self.photos:
            digest.update(photo.pixels.numpy().tobytes())
        return digest.hexdigest()

    def cases(self, count: int = NUM_CASES) -> list[InsertionCase]:
        """Deal subjects and photographs evenly; a longer list starts with the shorter one."""
        pool = self.world.pool
        if len(pool) <= NUM_NEIGHBOURS:
            raise ConfigError(
                f"The pack has {len(pool)} held-out subjects; a case takes {NUM_NEIGHBOURS + 1}. "
                "Use the full pack of `swiftpie data prepare`."
            )
        random = Random(f"{self.seed}:order")
        subjects = random.sample(pool, len(pool))
        photos = random.sample(range(len(self.photos)), len(self.photos))
        return [
            self._case(number, subjects[number % len(subjects)], photos[number % len(photos)])
            for number in range(count)
        ]

    def answer(self, case: InsertionCase) -> Insertion:
        chosen = [self.subjects.index(code) for code in (case.code, *case.neighbours)]
        with torch.no_grad():
            photo, sight = self.photos[case.photo].cut(case.cut, size_px=PHOTO_PX)
            return self.world.insert(photo, chosen, seed=case.seed, sight=sight)

    def known(self, case: InsertionCase) -> dict[str, File]:
        inserted = self.answer(case)
        return self.seen(inserted) | self.by_opencv(inserted)

    def seen(self, inserted: Insertion) -> dict[str, File]:
        """Return reference, photograph before and after, and the subject without light."""
        answer, unlit = inserted
        return {
            "reference": to_pil(answer.reference)[0],
            "reference-mask": answer.reference_mask,
            "source": to_pil(answer.rendering.background)[0],
            "truth": to_pil(answer.rendering.pixels)[0],
            "truth-mask": answer.rendering.mask,
            "unlit": to_pil(2 * unlit - 1)[0],
        }

    def by_opencv(self, inserted: Insertion) -> dict[str, File]:
        """Return the reference pasted where the truth has the subject, and blended there."""
        answer = inserted.answer
        photo = to_pil(answer.rendering.background)[0]
        layout = from_box(bounding_box(answer.rendering.mask))
        reference, cover = answer.reference, answer.reference_mask
        pasted = paste(reference, cover, scenery=to_tensor(photo), layout=layout)
        blended = poisson_blended(photo, reference, cover, layout=layout)
        return {"paste": to_pil(pasted)[0], "poisson": blended}

    def panel(self) -> Panel:
        """Return the judges, who have seen every held-out subject in several lights."""
        pool, shown = self.world.pool, []
        for number, row in enumerate(pool):
            generator = torch.Generator().manual_seed(GALLERY_SEED + number)
            numbers = torch.rand(NUM_LIGHTS, 16, generator=generator)
            seen = torch.cat(self.world.references([row] * NUM_LIGHTS, numbers), dim=1)
            shown.append(F.avg_pool2d(seen, 2))  # judges see less; all of it is in memory at once
        codes = [self.subjects.codes[row] for row in pool]
        return load_panel(codes, [(seen[:, :3], seen[:, 3:]) for seen in shown])

    def evidence(
        self, case: InsertionCase, results: Results, networks: Networks
    ) -> Iterator[tuple[str, Evidence]]:
        truth, source, unlit = (
            to_tensor(results.read(case, kind)) for kind in ("truth", "source", "unlit")
        )
        mask = results.read_mask(case, "truth-mask")
        known = Evidence(
            picture=truth,
            truth=truth,
            source=source,
            unlit=unlit,
            mask=mask,
            claimed=mask,
            expected=Expected(where=mask, subject=case.code),
            networks=networks,
        )
        yield from self._each(case, known, results)

    def words(self, case: InsertionCase) -> list[str]:
        return [f"{case.subject} into photograph {case.photo}"]

    def facts(self, rows: Sequence[Row[InsertionCase]]) -> dict[str, object]:
        return {
            "num_subjects": len({row.case.code for row in rows}),
            "num_photos": len({row.case.photo for row in rows}),
            "gallery_size": len(self.world.pool),
            "better": {
                f"{metric} of {baseline}": found
                for metric, baseline in self.baselines
                if (found := won(rows, metric, baseline)) is not None
            },
        }

    def sentences(self, rows: Sequence[Row[InsertionCase]]) -> list[str]:
        facts = self.facts(rows)
        return [
            f"{len(rows)} cases with {facts['num_subjects']} subjects never seen in training, in "
            f"{facts['num_photos']} photographs. Brackets hold 95 % bootstrap intervals over "
            "cases; arrows point to the better side.",
            *(
                f"In {format_interval(found, unit='%')} % of {found.num_cases} cases the model's "
                f"{METRICS.get(metric).title} is better than that of the "
                f"{self.candidates[baseline]}."
                for metric, baseline in self.baselines
                if (found := won(rows, metric, baseline)) is not None
            ),
        ]

    def _case(self, number: int, row: int, photo: int) -> InsertionCase:
        random = Random(f"{self.seed}:{number}")
        others = random.sample([other for other in self.world.pool if other != row], NUM_NEIGHBOURS)
        code = self.subjects.codes[row]
        left, top, side = random.random(), random.random(), random.uniform(SMALLEST_CUT, 1)
        return InsertionCase(
            name=f"{number:04d}-{code}",
            code=code,
            subject=self.subjects.names[row],
            neighbours=tuple(self.subjects.codes[other] for other in others),
            photo=photo,
            cut=(left, top, side),
            seed=self.seed + number,
        )

    def _each(
        self, case: InsertionCase, known: Evidence, results: Results
    ) -> Iterator[tuple[str, Evidence]]:
        for candidate in self.candidates:
            if not results.has(case, candidate):  # programs of others draw no exact one
                continue
            one = replace(known, picture=to_tensor(results.read(case, candidate)))
            if candidate in {"model", "exact"} and results.has(case, "model-mask"):
                one = replace(one, claimed=results.read_mask(case, "model-mask"))
            yield candidate, one


@dataclass(frozen=True, eq=False)
class InsertionDrawer:
    """Draws cases with a session, and what other methods make of them."""

    session: Session
    benchmark: InsertionBenchmark

    def __post_init__(self) -> None:
        opencv()

    @property
    def maker(self) -> Maker:
        return maker_of(self.session)

    def kinds(self, case: InsertionCase) -> tuple[str, ...]:
        del case
        known = ("reference", "reference-mask", "source", "truth", "truth-mask", "unlit")
        return (*known, "model", "model-mask", "exact", "paste", "poisson")

    def draw(self, case: InsertionCase, missing: set[str]) -> Iterator[tuple[str, File]]:
        inserted = self.benchmark.answer(case)
        yield from self.benchmark.seen(inserted).items()
        yield from self.benchmark.by_opencv(inserted).items()
        if missing & {"model", "model-mask", "exact"}:
            yield from self.drawn(inserted, seed=case.seed)

    def drawn(self, inserted: Insertion, *, seed: int) -> Iterator[tuple[str, File]]:
        """Yield the model's picture; it knows the box that the subject fills in the truth."""
        answer = inserted.answer
        identity = self.session.encode_identity(
            to_pil(answer.reference)[0], masks=mask_to_pil(answer.reference_mask)[0]
        )
        request = RetouchRequest(
            image=to_pil(answer.rendering.background)[0],
            source=identity,
            box=bounding_box(answer.rendering.mask),
            seed=seed,
        )
        result = self.session.draw(request)
        yield "model", result.image
        yield "model-mask", result.region
        yield "exact", exactly_drawn(self.session, request, answer.rendering)


def open_backgrounds(folder: Path | None) -> tuple[Photograph, ...]:
    """Return the photographs of `folder` that training never uses, or the library's places."""
    if folder is None:
        return library_photographs()
    photos = load_photos(folder, "held_out") if folder.is_dir() else []
    if not photos:
        raise ConfigError(
            f"'{folder}' holds no photograph for judging. A folder with JPEG, PNG or WebP files is "
            "needed, of which one in five, by its content, is never used in training. Pass more."
        )
    return tuple(map(Photograph, photos))


def library_photographs() -> tuple[Photograph, ...]:
    """Return the library's photographs of places whose light was measured."""
    scenes, found = scene_library(), []
    for name in filter(scenes.is_photographed, scenes.names()):
        for number in range(scenes.count(name)):
            ground = scenes.ground(name, (number + 0.5) / scenes.count(name))
            if ground is not None and ground.sun is not None:
                pixels = (to_tensor(scenes.image(name, number))[0] + 1) * 127.5
                found.append(Photograph(pixels.round(), ground))
    return tuple(found)


def won(rows: Sequence[Row[InsertionCase]], metric: str, baseline: str) -> Interval | None:
    """Return the share of cases in which the model is better than `baseline` by `metric`."""
    sign = 1 if METRICS.get(metric).higher_is_better else -1
    pairs = [row.scores[metric] for row in rows if metric in row.scores]
    better = [float(sign * (pair["model"] - pair[baseline]) > 0) for pair in pairs]
    return interval(better) if better else None


@torch.no_grad()
def exactly_drawn(session: Session, request: RetouchRequest, truth: Rendering) -> Image.Image:
    """Return what `request` would become, did the model draw the truth: what joining makes of it.

    `truth` (1, 3, H, W) is as large as the photograph.
    """
    choice = choose(session.components, request)
    plan = prepare_insert(choice, side_px=session.components.preset.image_size_px)
    insertion = insertion_of(choice)
    canvas = insertion.canvas
    after, before = canvas.enter(to_pil(truth.pixels)[0]), canvas.enter(request.picture)
    mask = canvas.enter_mask((255 * truth.mask).to(torch.uint8))
    change = plan.finish(DecodedImages(torch.cat([after, before]), mask, regions=insertion.changes))
    assert isinstance(change, EditedImage), "an insertion has one part"
    return change.image


def open_insertions(
    *,
    photos: given.Backgrounds = None,
    results: given.Finished = None,
    loading: given.LoadedInSteps,
    data: DataPath = None,
    cases: given.NumCases = NUM_CASES,
    seed: given.Seed = 0,
) -> Trial[InsertionCase]:
    """Judge how a preset puts subjects into photographs, with exact answers.

    Subjects that no model was trained on are rendered into photographs that training does not
    use, in a known light. The truth, a naive paste and OpenCV's Poisson blending are judged as
    well. An interrupted run goes on where it stopped.
    """
    benchmark = InsertionBenchmark(open_pack(data), open_backgrounds(photos), seed=seed)
    return trial_of(benchmark, InsertionDrawer, cases, results, loading)


def trial_of(
    benchmark: InsertionBenchmark,
    drawer: type[InsertionDrawer],
    count: int,
    results: Path | None,
    loading: LoadOptions,
) -> Trial[InsertionCase]:
    """Return `count` cases with what draws them: a session, unless `results` holds pictures."""
    cases = benchmark.cases(count)
    drawn = drawer_of(
        benchmark, cases, results, loading, lambda: drawer(open_model(loading), benchmark)
    )
    return Trial(benchmark, cases, drawn, Networks(panel=benchmark.panel()))


BENCHMARK = BenchmarkCommand(
    open_insertions,
    (
        "swiftpie evaluate insertions --photos my-photos",
        "swiftpie evaluate insertions --photos my-photos "
        "--cases 24 --weights runs/mini_world/export --out out/mine --json",
    ),
)
