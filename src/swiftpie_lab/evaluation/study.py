"""Ablations: the same cases drawn in many variants, to see what each part is worth."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
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
    PublishedTable,
    Table,
    as_json,
    format_interval,
    interval,
    provenance_of,
    tables_of_published,
)
from swiftpie_lab.evaluation.run import Benchmark, C, CaseDrawer, Results, draw, score

SHOWN_CASES = 6  # the first cases, which the page shows
PICTURE_PX = 96

HELD_OUT = "The model never saw the subjects in training."

Scores = Mapping[str, float]
Means = Mapping[str, Interval]  # by metric


@dataclass(frozen=True, eq=False)
class Variant(Generic[C]):
    """One row: who draws the cases."""

    group: str
    title: str
    drawer: CaseDrawer[C]


@dataclass(frozen=True)
class Line:
    """One row of the table: means over cases with their intervals."""

    group: str
    title: str
    key: str  # of what decides about the pictures; the name of their folder
    weights: str  # sha256
    figures: Means
    change: Means  # case by case, from the first row
    groups: Mapping[str, Means]  # of parts of the cases, by title
    others: Mapping[str, Means]  # of the benchmark's other candidates, by title


@dataclass(frozen=True)
class Sweep:
    """Whether a metric rises with every step of a scale."""

    group: str
    metric: str
    means: tuple[float, ...]
    is_monotone: bool
    largest_fall: float  # between neighbours, 0 or more


@dataclass(frozen=True)
class Ablations:
    """Everything that a study tells."""

    preset: str
    weights: str
    version: str
    data: str  # sha256 of what the cases are made of
    seed: int
    num_cases: int
    columns: tuple[str, ...]  # metrics that tables have room for
    lines: tuple[Line, ...]
    sweeps: tuple[Sweep, ...]
    sentences: tuple[str, ...]
    not_computed: Mapping[str, str]  # rows that lack something, and what would bring them
    published: tuple[PublishedTable, ...]  # by others; not measured here
    provenance: Provenance

    def to_json(self) -> str:
        """Return one JSON object."""
        return as_json(asdict(self))

    def to_markdown(self) -> str:
        """Return the tables as Markdown, a section a group."""
        parts = [*self.sentences, ""]
        for title, (heads, lines) in (self.tables() | tables_of_published(self.published)).items():
            parts += [f"## {title[:1].upper()}{title[1:]}", "", f"| {' | '.join(heads)} |"]
            parts.append("|---|" + "---:|" * (len(heads) - 1))
            parts += [f"| {' | '.join(cells)} |" for cells in lines]
            parts += [f"\n{describe_sweep(sweep)}" for sweep in self.sweeps if sweep.group == title]
            parts.append("")
        return "\n".join(parts)

    def tables(self) -> dict[str, Table]:
        """Return headings and cells by group."""
        tables: dict[str, Table] = {}
        for line in self.lines:
            tables.setdefault(line.group, (self._heads, []))[1].append(
                self._cells(line.title, line.figures)
            )
        return tables

    def tables_of_parts(self) -> dict[str, Table]:
        """Return the same for other candidates, and then for parts of the cases, by their title."""
        tables: dict[str, Table] = {}
        for parts in ("others", "groups"):
            for line in self.lines:
                for title, means in getattr(line, parts).items():
                    cells = self._cells(f"{line.group}: {line.title}", means)
                    tables.setdefault(title, (self._heads, []))[1].append(cells)
        return tables

    @property
    def _heads(self) -> list[str]:
        return ["", *(METRICS.get(name).label for name in self.columns)]

    def _cells(self, title: str, means: Means) -> list[str]:
        units = {name: METRICS.get(name).unit for name in self.columns}
        cells = [format_interval(means.get(name), unit=unit) for name, unit in units.items()]
        return [title, *cells]


@dataclass(frozen=True, eq=False)
class Study(Generic[C]):
    """What is measured: variants times cases."""

    variants: Sequence[Variant[C]]  # with everything as shipped, first
    benchmark: Benchmark[C]
    cases: Sequence[C]
    networks: Networks
    truth: Callable[[C], Image.Image]  # the exact answer, for the page
    columns: tuple[str, ...]
    sweeps: tuple[tuple[str, str], ...] = ()  # group and metric that a scale should raise
    remarks: tuple[str, ...] = ()
    truth_title: str = "truth"
    not_computed: Mapping[str, str] = field(default_factory=dict)  # rows, and what they lack
    published: tuple[PublishedTable, ...] = ()

    @cached_property
    def data(self) -> str:
        """Return sha256 over what the cases are made of."""
        return self.benchmark.fingerprint

    def key(self, variant: Variant[C]) -> str:
        """Return a name of everything that decides about the pictures of a variant."""
        parts = [*variant.drawer.maker, self.data, self.benchmark.seed, __version__]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def results(self, variant: Variant[C], root: Path) -> Results:
        """Return the folder of a variant, below `root`."""
        return Results(root / self.key(variant))


def measure(study: Study[C], root: Path, *, force: bool = False) -> Iterator[Line]:
    """Draw and judge each variant below `root`; pictures are kept unless `force` is set.

    Raises:
        InputError: A folder holds pictures of another run.
    """
    judged, *others = study.benchmark.candidates
    known: dict[str, list[Row[C]]] = {}  # variants that come out the same are drawn once
    whole: list[Scores] = []
    for variant in study.variants:
        key = study.key(variant)
        if key not in known:
            results = study.results(variant, root)
            drawn = draw(study.benchmark, study.cases, variant.drawer, results=results, force=force)
            for _ in drawn:
                pass
            known[key] = list(score(study.benchmark, study.cases, results, study.networks))
        scores = _scores(known[key], judged)
        whole = whole or scores
        change = [
            {name: value - first[name] for name, value in one.items() if name in first}
            for one, first in zip(scores, whole, strict=True)
        ]
        groups = study.benchmark.groups(known[key]).items()
        beside = {kind: _means(_scores(known[key], kind)) for kind in others}
        yield Line(
            variant.group,
            variant.title,
            key,
            variant.drawer.maker.fingerprint,
            figures=_means(scores),
            change=_means(change),
            groups={title: _means(_scores(some, judged)) for title, some in groups},
            others={study.benchmark.candidates[kind]: one for kind, one in beside.items() if one},
        )


def tabulate(study: Study[C], lines: Sequence[Line], *, command: str = "") -> Ablations:
    """Return the tables of a study from all its `lines`, and name the `command` behind it."""
    first = study.variants[0].drawer.maker
    metrics = {name for line in lines for name in line.figures}
    return Ablations(
        preset=first.name,
        weights=first.fingerprint,
        version=__version__,
        data=study.data,
        seed=study.benchmark.seed,
        num_cases=len(study.cases),
        columns=tuple(name for name in study.columns if name in metrics),
        lines=tuple(lines),
        sweeps=tuple(_sweep(lines, group, metric) for group, metric in study.sweeps),
        sentences=(
            f"{len(study.cases)} cases. All rows draw the same cases. Brackets hold 95 % bootstrap "
            "intervals over cases.",
            *study.remarks,
            *(f"Not computed: {title}; {lacks}." for title, lacks in study.not_computed.items()),
        ),
        not_computed=study.not_computed,
        published=study.published,
        provenance=provenance_of(command, study.networks.digests),
    )


def describe_sweep(sweep: Sweep) -> str:
    """Return what one scale does to one metric, in one sentence."""
    metric = METRICS.get(sweep.metric)
    factor = 100 if metric.unit == "%" else 1
    means = ", ".join(f"{factor * mean:.1f}" for mean in sweep.means)
    verdict = (
        "rises or stays at every step"
        if sweep.is_monotone
        else f"falls by up to {factor * sweep.largest_fall:.2f} between neighbours"
    )
    return f"{sweep.group}: {metric.title} ({metric.unit}) is {means}; it {verdict}."


def page_of(study: Study[C], ablations: Ablations, root: Path) -> Page:
    """Return the page: a table a group, then the first cases as every variant draws them."""
    sections = [Section(sentences=ablations.sentences)]
    for group, table in ablations.tables().items():
        words = [describe_sweep(sweep) for sweep in ablations.sweeps if sweep.group == group]
        sections.append(Section(group, sentences=words, table=table))
    published = tables_of_published(ablations.published)
    sections += [Section(title, table=table) for title, table in published.items()]
    for title, table in ablations.tables_of_parts().items():
        sections.append(Section(title, table=table, is_folded=True))
    cases = study.cases[:SHOWN_CASES]
    judged = next(iter(study.benchmark.candidates))
    strips = [_strip([study.truth(case) for case in cases], study.truth_title)]
    for variant in {study.key(one): one for one in reversed(study.variants)}.values():
        results = study.results(variant, root)
        images = [results.read(case, judged) for case in cases]
        strips.insert(1, _strip(images, variant.title, variant.group))
    sections.append(Section("The first cases", strips=strips))
    footer = [f"weights {ablations.weights}", f"data {ablations.data}", f"seed {ablations.seed}"]
    footer += ablations.provenance.lines
    return Page(f"Ablations: {ablations.preset}", sections, footer)


def _strip(images: Sequence[Image.Image], title: str, group: str = "") -> Strip:
    pictures = [picture_of(image, side_px=PICTURE_PX) for image in images]
    return Strip(pictures, words=[title], note=group)


def _scores(rows: Sequence[Row[C]], candidate: str) -> list[Scores]:
    return [
        {name: some[candidate] for name, some in row.scores.items() if candidate in some}
        for row in rows
    ]


def _means(rows: Sequence[Scores]) -> dict[str, Interval]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: interval([row[name] for row in rows if name in row]) for name in names}


def _sweep(lines: Sequence[Line], group: str, metric: str) -> Sweep:
    steps = [line.figures for line in lines if line.group == group]
    means = tuple(figures[metric].mean for figures in steps if metric in figures)
    fall = max((max(0.0, before - after) for before, after in pairwise(means)), default=0.0)
    return Sweep(group, metric, means, is_monotone=fall == 0, largest_fall=fall)
