"""What people look at: a report as one web page, and pictures as one sheet with labels."""

import base64
import importlib.resources
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
from PIL import Image, ImageDraw, ImageFont, ImageOps

from swiftpie_lab.evaluation.case import Row
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.report import BenchmarkReport, Table, summarise, table
from swiftpie_lab.evaluation.run import Benchmark, C, Results

PICTURE_PX = 128  # of the longer side
WORST, SAMPLE = 48, 48  # cases that a page shows; one with all of thousands would not open
WEBP_QUALITY = 85

LABEL_PX = 14  # size of the letters
MARGIN_PX = 4
MAX_LABEL_LINES = 4
BLANK, INK = "white", "black"


@dataclass(frozen=True)
class PagePicture:
    """A picture inside of the page."""

    data: str  # WebP in base64
    width: int
    height: int
    title: str = ""  # shows under the pointer


@dataclass(frozen=True)
class Strip:
    """Pictures side by side with words after them."""

    pictures: Sequence[PagePicture | None]
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
    folder = importlib.resources.files("swiftpie_lab.evaluation")
    source = (folder / "page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(source).render(page=page) + "\n"


def picture_of(image: Image.Image, *, title: str = "", side_px: int = PICTURE_PX) -> PagePicture:
    """Return a picture no larger than `side_px` as a part of a page."""
    small = image.convert("RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=WEBP_QUALITY)
    return PagePicture(base64.b64encode(buffer.getvalue()).decode(), *small.size, title)


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
    results.write_text("index.html", render(page_of(benchmark, report, rows, results)))
    return report


def page_of(
    benchmark: Benchmark[C], report: BenchmarkReport, rows: Sequence[Row[C]], results: Results
) -> Page:
    """Return the page of a benchmark: figures, the worst cases, and an even sample of all."""
    judged = next(iter(benchmark.candidates))

    def rank(row: Row[C]) -> tuple[float, ...]:
        """Return what the worst have least of; a missing score counts as the best."""
        return tuple(row.scores.get(name, {}).get(judged, math.inf) for name in benchmark.ranked_by)

    ranked = sorted((row for row in rows if min(rank(row)) < math.inf), key=rank)
    chosen = {
        "Worst cases first": ranked[:WORST],
        "An even sample": rows[:: -(-len(rows) // SAMPLE)],
    }
    sections = [Section(sentences=report.sentences, table=table(benchmark, report.metrics))]
    for group in report.groups:
        heading = f"{group.title}, {group.num_cases} cases"
        sections.append(Section(heading, table=table(benchmark, group.metrics), is_folded=True))
    sections += [_strips(title, benchmark, some, results) for title, some in chosen.items() if some]
    run = report.run
    footer = [f"weights {run.weights}", f"data {run.data}", f"seed {run.seed}"]
    footer += report.provenance.lines
    return Page(f"{benchmark.title}: {run.preset}", sections, footer)


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
    labels, *under = (
        [_wrapped(label, font, cell_px) for label in row] for row in (columns, *captions)
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


def _wrapped(
    text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * MARGIN_PX:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines[:MAX_LABEL_LINES]


def _strips(
    title: str, benchmark: Benchmark[C], rows: Sequence[Row[C]], results: Results
) -> Section:
    judged = next(iter(benchmark.candidates))
    kinds = [kind for kind in benchmark.strip if any(results.has(row.case, kind) for row in rows)]
    strips = []
    for row in rows:
        pictures = [
            picture_of(results.read(row.case, kind), title=benchmark.strip[kind])
            if results.has(row.case, kind)
            else None
            for kind in kinds
        ]
        said = [f"{name} {some[judged]:.4g}" for name, some in row.scores.items() if judged in some]
        note = "; ".join([row.case.name, *said])
        strips.append(Strip(pictures, benchmark.words(row.case), note))
    return Section(title, heads=[*(benchmark.strip[kind] for kind in kinds), ""], strips=strips)
