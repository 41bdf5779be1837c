"""What people look at: a report as one web page, and pictures as one sheet with labels."""

import base64
import importlib.resources
import io
import math
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import jinja2
from PIL import Image, ImageDraw, ImageFont, ImageOps

from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import BenchmarkReport, summarise, table
from swiftpie_lab.evaluation.run import Benchmark, C, Results

PICTURE_PX = 128  # the longer side
WORST, SAMPLE = 48, 48  # cases that a page shows; one with all of thousands would not open
WEBP_QUALITY = 85

LABEL_PX = 14  # size of the letters
MARGIN_PX = 4
MAX_LABEL_LINES = 4
BLANK, INK = "white", "black"


class PagePicture(NamedTuple):
    """A picture inside of the page."""

    data: str  # WebP in base64
    width: int
    height: int
    title: str  # shows under the pointer


class Strip(NamedTuple):
    """A case: its pictures side by side, with words after them."""

    pictures: Sequence[PagePicture | None]
    words: Sequence[str]
    note: str


def write_report(
    benchmark: Benchmark[C],
    rows: Sequence[Row[C]],
    results: Results,
    networks: Networks,
    *,
    command: str = "",
) -> BenchmarkReport:
    """Write scores, report and page of at least one row into the folder, and return the report."""
    run = results.read_run()
    report = summarise(benchmark, rows, run=run, networks=networks, command=command)
    lines = ({"name": row.case.name, "scores": row.scores} for row in rows)
    results.write_lines("rows.jsonl", lines)
    results.write_text("report.json", report.to_json())
    results.write_text("index.html", page_of(benchmark, report, rows, results))
    return report


def page_of(
    benchmark: Benchmark[C], report: BenchmarkReport, rows: Sequence[Row[C]], results: Results
) -> str:
    """Return figures, the worst cases, and an even sample of all, as HTML with words escaped."""
    judged = next(iter(benchmark.candidates))

    def rank(row: Row[C]) -> tuple[float, ...]:
        """Return what the worst have least of; a missing score counts as the best."""
        return tuple(row.scores.get(name, {}).get(judged, math.inf) for name in benchmark.ranked_by)

    ranked = sorted((row for row in rows if min(rank(row)) < math.inf), key=rank)
    chosen = {
        "Worst cases first": ranked[:WORST],
        "An even sample": rows[:: -(-len(rows) // SAMPLE)],
    }
    run, groups = report.run, report.groups
    kinds = [kind for kind in benchmark.strip if any(results.has(row.case, kind) for row in rows)]
    source = importlib.resources.files("swiftpie_lab.evaluation").joinpath("page.html.j2")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source.read_text(encoding="utf-8")).render(
        title=f"{benchmark.title}: {run.preset}",
        sentences=report.sentences,
        table=table(benchmark, report.metrics),
        groups={
            f"{group.title}, {group.num_cases} cases": table(benchmark, group.metrics)
            for group in groups
        },
        heads=[*(benchmark.strip[kind] for kind in kinds), ""],
        strips={
            title: [_strip(benchmark, row, results, kinds) for row in some]
            for title, some in chosen.items()
            if some
        },
        footer=[
            *(f"weights {run.weights}", f"data {run.data}", f"seed {run.seed}"),
            *report.provenance.lines,
        ],
    )


def labelled_sheet(
    rows: Sequence[Sequence[Image.Image]],
    *,
    columns: Sequence[str],
    captions: Sequence[Sequence[str]],
    cell_px: int,
) -> Image.Image:
    """Return one white picture of square cells, transparency in `rows` shown as white.

    Words of `columns` stand above, and those of `captions` under the pictures of each row, of
    which the last ones may have none.
    """
    font = ImageFont.load_default(LABEL_PX)
    line_px = LABEL_PX + MARGIN_PX
    letters = int(cell_px / font.getlength("abcdefghij") * 10)
    labels, *under = (
        [textwrap.wrap(label, letters)[:MAX_LABEL_LINES] for label in row]
        for row in (columns, *captions)
    )
    head_px = max(map(len, labels)) * line_px + MARGIN_PX
    most_lines = max((len(lines) for row in under for lines in row), default=0)
    pitch = cell_px + most_lines * line_px + 2 * MARGIN_PX
    sheet = Image.new("RGB", (len(columns) * cell_px, head_px + len(rows) * pitch), BLANK)
    draw = ImageDraw.Draw(sheet)

    def write(words: Sequence[Sequence[str]], top: int) -> None:
        for column, lines in enumerate(words):
            place = (column * cell_px + MARGIN_PX, top)
            draw.multiline_text(place, "\n".join(lines), fill=INK, font=font, spacing=MARGIN_PX)

    write(labels, 0)
    for number, (images, words) in enumerate(zip(rows, under, strict=True)):
        top = head_px + number * pitch
        for column, image in enumerate(images):
            square = (cell_px, cell_px)
            cell = ImageOps.contain(image.convert("RGBA"), square, Image.Resampling.LANCZOS)
            left = column * cell_px + (cell_px - cell.width) // 2
            sheet.paste(cell, (left, top + (cell_px - cell.height) // 2), cell)
        write(words, top + cell_px)
    return sheet


def _strip(benchmark: Benchmark[C], row: Row[C], results: Results, kinds: Sequence[str]) -> Strip:
    judged = next(iter(benchmark.candidates))
    pictures = [
        _picture(results.read(row.case, kind), title=benchmark.strip[kind])
        if results.has(row.case, kind)
        else None
        for kind in kinds
    ]
    said = [f"{name} {some[judged]:.4g}" for name, some in row.scores.items() if judged in some]
    return Strip(pictures, benchmark.words(row.case), "; ".join([row.case.name, *said]))


def _picture(image: Image.Image, *, title: str) -> PagePicture:
    small = image.convert("RGB")
    small.thumbnail((PICTURE_PX, PICTURE_PX))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return PagePicture(base64.b64encode(buffer.getvalue()).decode(), *small.size, title)
