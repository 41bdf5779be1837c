"""Ablations: the same cases drawn in many variants, to see what each part is worth."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic

from PIL import Image

from swiftpie import __version__
from swiftpie_lab.evaluation.case import METRICS, Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.page import Page, Section, Strip, picture_of
from swiftpie_lab.evaluation.report import (
    Interval,
    Provenance,
    Table,
    as_json,
    format_interval,
    interval,
    provenance_of,
)
from swiftpie_lab.evaluation.run import Benchmark, C, CaseDrawer, Results, draw, score

SHOWN_CASES = 6  # the first cases, which the page shows
PICTURE_PX = 96

Scores = Mapping[str, float]
Means = Mapping[str, Interval]  # by metric


@dataclass(frozen=True, eq=False)
class Variant(Generic[C]):
    """One row: what draws the cases."""

    group: str
    title: str
    drawer: CaseDrawer[C]


@dataclass(frozen=True)
class Line:
    """One row of the table: means over cases with their intervals."""

    group: str
    title: str
    key: str  # of what decides about the pictures; the name of their folder
    figures: Means
    change: Means  # case by case, from the first row


@dataclass(frozen=True)
class Ablations:
    """What a study found."""

    preset: str
    weights: str
    version: str
    data: str  # sha256 of what the cases are made of
    seed: int
    num_cases: int
    columns: tuple[str, ...]  # metrics that tables have room for
    lines: tuple[Line, ...]
    sentences: tuple[str, ...]
    provenance: Provenance

    def to_json(self) -> str:
        """Return one JSON object."""
        return as_json(asdict(self))

    def tables(self) -> dict[str, Table]:
        """Return headings and cells by group."""
        metrics = {name: METRICS.get(name) for name in self.columns}
        heads = ["", *(metric.label for metric in metrics.values())]
        tables: dict[str, Table] = {}
        for line in self.lines:
            cells = [
                format_interval(line.figures.get(name), unit=metric.unit)
                for name, metric in metrics.items()
            ]
            tables.setdefault(line.group, (heads, []))[1].append([line.title, *cells])
        return tables


@dataclass(frozen=True, eq=False)
class Study(Generic[C]):
    """What is measured: variants times cases."""

    variants: Sequence[Variant[C]]  # with everything as shipped, first
    benchmark: Benchmark[C]
    cases: Sequence[C]
    networks: Networks
    truth: Callable[[C], Image.Image]  # the exact answer, for the page
    columns: tuple[str, ...]

    def key(self, variant: Variant[C]) -> str:
        """Return a name of everything that decides about the pictures of a variant."""
        own = self.benchmark
        parts = [*variant.drawer.maker, own.fingerprint, own.seed, __version__]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def results(self, variant: Variant[C], root: Path) -> Results:
        """Return the folder of a variant, below `root`."""
        return Results(root / self.key(variant))


def measure(study: Study[C], root: Path, *, force: bool = False) -> Iterator[Line]:
    """Draw and judge each variant below `root`; pictures are kept unless `force` is set.

    Raises:
        InputError: A folder holds pictures of another run.
    """
    judged = next(iter(study.benchmark.candidates))
    known: dict[str, list[Scores]] = {}  # variants that come out the same are drawn once
    for variant in study.variants:
        key = study.key(variant)
        if key not in known:
            results = study.results(variant, root)
            drawn = draw(study.benchmark, study.cases, variant.drawer, results=results, force=force)
            for _ in drawn:
                pass
            rows = score(study.benchmark, study.cases, results, study.networks)
            known[key] = [_scores(row, judged) for row in rows]
        everything = next(iter(known.values()))
        change = [
            {name: value - first[name] for name, value in mine.items() if name in first}
            for mine, first in zip(known[key], everything, strict=True)
        ]
        yield Line(variant.group, variant.title, key, _means(known[key]), _means(change))


def tabulate(study: Study[C], lines: Sequence[Line], *, command: str = "") -> Ablations:
    """Return the tables of a study from all its `lines`, and name the `command` behind it."""
    first = study.variants[0].drawer.maker
    metrics = {name for line in lines for name in line.figures}
    return Ablations(
        preset=first.name,
        weights=first.fingerprint,
        version=__version__,
        data=study.benchmark.fingerprint,
        seed=study.benchmark.seed,
        num_cases=len(study.cases),
        columns=tuple(name for name in study.columns if name in metrics),
        lines=tuple(lines),
        sentences=(
            f"{len(study.cases)} cases. All rows draw the same cases. Brackets hold 95 % bootstrap "
            "intervals over cases. The model never saw the subjects in training.",
        ),
        provenance=provenance_of(command, study.networks.digests),
    )


def page_of(study: Study[C], ablations: Ablations, root: Path) -> Page:
    """Return the page: a table a group, then the first cases as every variant draws them."""
    sections = [Section(sentences=ablations.sentences)]
    sections += [Section(group, table=table) for group, table in ablations.tables().items()]
    cases = study.cases[:SHOWN_CASES]
    judged = next(iter(study.benchmark.candidates))
    strips = [_strip([study.truth(case) for case in cases], "truth")]
    for variant in {study.key(variant): variant for variant in reversed(study.variants)}.values():
        results = study.results(variant, root)
        images = [results.read(case, judged) for case in cases]
        strips.insert(1, _strip(images, variant.title, variant.group))
    sections.append(Section("The first cases", strips=strips))
    footer = [f"weights {ablations.weights}", f"data {ablations.data}", f"seed {ablations.seed}"]
    return Page(f"Ablations: {ablations.preset}", sections, [*footer, *ablations.provenance.lines])


def _strip(images: Sequence[Image.Image], title: str, group: str = "") -> Strip:
    pictures = [picture_of(image, side_px=PICTURE_PX) for image in images]
    return Strip(pictures, words=[title], note=group)


def _scores(row: Row[C], candidate: str) -> Scores:
    return {name: some[candidate] for name, some in row.scores.items() if candidate in some}


def _means(rows: Sequence[Scores]) -> dict[str, Interval]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: interval([row[name] for row in rows if name in row]) for name in names}
