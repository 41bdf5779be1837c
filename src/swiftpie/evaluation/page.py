"""A report as one web page that needs no other file."""

import base64
import importlib.resources
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
from PIL import Image

from swiftpie.evaluation.case import Row
from swiftpie.evaluation.judges import Networks
from swiftpie.evaluation.report import Report, Table, summarise, table
from swiftpie.evaluation.run import Benchmark, C, Results

PICTURE_PX = 128  # of the longer side
WEBP_QUALITY = 85


@dataclass(frozen=True)
class Picture:
    """A picture inside of the page."""

    data: str  # WebP in base64
    width: int
    height: int
    title: str = ""  # shows under the pointer


@dataclass(frozen=True)
class Strip:
    """Pictures side by side with words after them."""

    pictures: Sequence[Picture | None]
    words: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page; what is empty is left out."""

    title: str = ""
    sentences: Sequence[str] = ()
    table: Table | None = None  # headings and lines
    heads: Sequence[str] = ()  # above the strips
    strips: Sequence[Strip] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Page:
    """What the template shows."""

    title: str
    sections: Sequence[Section]
    footer: Sequence[str]


def render(page: Page) -> str:
    """Return the page as HTML; all words are escaped."""
    folder = importlib.resources.files("swiftpie.evaluation")
    source = (folder / "page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source).render(page=page) + "\n"


def picture_of(image: Image.Image, *, title: str = "", side_px: int = PICTURE_PX) -> Picture:
    """Return a picture no larger than `side_px` as a part of a page."""
    small = image.convert("RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return Picture(base64.b64encode(buffer.getvalue()).decode(), *small.size, title)


def write_report(
    benchmark: Benchmark[C], rows: Sequence[Row[C]], results: Results, networks: Networks
) -> Report:
    """Write scores, report and page of at least one row into the folder, and return the report."""
    report = summarise(benchmark, rows, run=results.read_run(), networks=networks)
    lines = ({"name": row.case.name, "scores": row.scores} for row in rows)
    results.write_lines("rows.jsonl", lines)
    results.write_text("report.json", report.to_json())
    results.write_text("index.html", render(page_of(benchmark, report, rows, results)))
    return report


def page_of(
    benchmark: Benchmark[C], report: Report, rows: Sequence[Row[C]], results: Results
) -> Page:
    """Return the page of a benchmark: figures, the worst and best cases, and a sample of all."""
    ranked = [row for row in rows if min(_rank(benchmark, row)) < math.inf]
    ranked.sort(key=lambda row: _rank(benchmark, row))
    shown = benchmark.shown
    chosen = {
        "Worst cases first": ranked[: shown.worst],
        "Best cases": ranked[::-1][: shown.best],
        "An even sample": rows[:: -(-len(rows) // shown.sample)] if shown.sample else [],
    }
    sections = [
        Section(sentences=report.sentences, table=table(benchmark, report.metrics)),
        *(
            Section(
                f"{group.title}, {group.num_cases} cases",
                table=table(benchmark, group.metrics),
                is_folded=True,
            )
            for group in report.groups
        ),
        *(_strips(title, benchmark, some, results) for title, some in chosen.items() if some),
    ]
    run = report.run
    return Page(
        f"{benchmark.title}: {run.preset}",
        sections,
        footer=[f"weights {run.weights}", f"data {run.data}", f"seed {run.seed}"],
    )


def _rank(benchmark: Benchmark[C], row: Row[C]) -> tuple[float, ...]:
    """Return what the worst cases have least of; a missing score is no reason to be among them."""
    judged = next(iter(benchmark.candidates))
    return tuple(row.scores.get(name, {}).get(judged, math.inf) for name in benchmark.ranked_by)


def _strips(
    title: str, benchmark: Benchmark[C], rows: Sequence[Row[C]], results: Results
) -> Section:
    kinds = [kind for kind in benchmark.strip if any(results.has(row.case, kind) for row in rows)]
    strips = [
        Strip(
            [
                picture_of(results.read(row.case, kind), title=benchmark.strip[kind])
                if results.has(row.case, kind)
                else None
                for kind in kinds
            ],
            words=benchmark.words(row.case),
            note=_note(benchmark, row),
        )
        for row in rows
    ]
    return Section(title, heads=[*(benchmark.strip[kind] for kind in kinds), ""], strips=strips)


def _note(benchmark: Benchmark[C], row: Row[C]) -> str:
    judged = next(iter(benchmark.candidates))
    scores = [f"{name} {some[judged]:.4g}" for name, some in row.scores.items() if judged in some]
    return "; ".join([row.case.name, *scores])
