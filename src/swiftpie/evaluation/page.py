"""The report as one web page that needs no other file."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape

from PIL import Image

from swiftpie.evaluation.case import CaseKind
from swiftpie.evaluation.folder import Folder
from swiftpie.evaluation.report import Interval, MetricSummary, Report, format_value, label
from swiftpie.evaluation.score import Row

COLUMNS = {
    "reference": "reference",
    "model": "model",
    "truth": "truth",
    "text": "text only",
    "paste": "naive paste",
}
PAIR_COLUMNS = {"reference": "left", "other-reference": "right"} | {
    kind: title for kind, title in COLUMNS.items() if kind != "reference"
}
TITLES = {"stickers": "Sticker scenes", "pairs": "Pairs in sticker scenes"}
MAX_GRID = 48  # cases; a page with all of thousands would not open
NUM_EXTREMES = 6
RANKED_BY = "subject-psnr"
PICTURE_PX = (128, 128)
WEBP_QUALITY = 85

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .75rem; }
th { text-align: left } td { text-align: right; font-variant-numeric: tabular-nums }
tbody tr { border-top: 1px solid #ddd } small { color: #666 } td.words { text-align: left }
svg { display: block; width: 128px; height: 128px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }
"""


def render_page(report: Report, rows: Sequence[Row], *, folder: Folder) -> str:
    """Return the page: headline numbers, best and worst cases, and a sample of all."""
    judged = [row for row in rows if "model" in row.scores.get(RANKED_BY, {})]
    ranked = sorted(judged, key=lambda row: row.scores[RANKED_BY]["model"])
    step = -(-len(rows) // MAX_GRID)
    title = f"{TITLES[report.run.benchmark]}: {report.run.preset}"
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(describe(report))}</p>",
            _numbers(report),
            f"<p>{escape(describe_lighting(report))}</p>",
            f"<h2>Worst cases</h2>{_grid(ranked[:NUM_EXTREMES], folder)}",
            f"<h2>Best cases</h2>{_grid(ranked[::-1][:NUM_EXTREMES], folder)}",
            f"<h2>Cases</h2>{_grid(rows[::step], folder)}",
            f"<p><small>weights {escape(report.run.weights)}<br>subjects "
            f"{escape(report.run.data)}<br>seed {report.run.seed}</small></p></html>\n",
        ]
    )


def describe(report: Report) -> str:
    """Return what was judged, in a few sentences."""
    more = f" {report.num_attributed} more ask for one attribute each." * bool(
        report.num_attributed
    )
    return (
        f"{report.num_cases} cases with {report.num_subjects} subjects held out from training and "
        f"{report.num_scenes} scenes; the right subject is one of {report.gallery_size}.{more} "
        "Brackets hold 95 % bootstrap intervals over cases; arrows point to the better side."
    )


def describe_lighting(report: Report) -> str:
    """Return whether the model beats pasting, in one sentence."""
    advantage = report.lighting.advantage
    if advantage is None:
        return "No case was judged by its lighting."
    verdict = "beats" if report.lighting.beats_paste else "does not reliably beat"
    return (
        f"In {advantage.num_cases} cases with coloured light the model {verdict} the naive paste; "
        "the paste's error minus the model's, in the mean colour of the subject, is "
        f"{format_interval(advantage)} levels of 255."
    )


def format_interval(found: Interval, *, unit: str = "") -> str:
    """Return a mean and its interval as people read them."""
    mean, low, high = (format_value(x, unit) for x in (found.mean, found.low, found.high))
    return f"{mean} [{low}, {high}]"


def cells(summary: MetricSummary) -> list[str]:
    """Return a metric's name and its value for each candidate, as far as it has one."""
    found = summary.candidates
    kinds = [kind for kind in COLUMNS if kind != "reference"]
    values = [
        format_interval(found[kind], unit=summary.unit) if kind in found else "" for kind in kinds
    ]
    return [label(summary), *values]


def table_of(titles: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    """Return words as a table; the first of each line heads it."""
    body = "".join(f"<tr><th>{escape(name)}</th>{_cells(values)}</tr>" for name, *values in lines)
    return f"<table><thead><tr>{heads(titles)}</tr></thead><tbody>{body}</tbody></table>"


def heads(titles: Iterable[str]) -> str:
    """Return the cells of a table's head."""
    return "".join(f"<th>{escape(title)}</th>" for title in titles)


def embed(image: Image.Image, *, title: str = "", size: tuple[int, int] | None = None) -> str:
    """Return a picture as a part of the page.

    Args:
        image: The picture.
        title: Shows under the pointer.
        size: Width and height of the frame; by default the picture's own.
    """
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=WEBP_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    width, height = size or image.size
    source = f'<image href="data:image/webp;base64,{data}" width="{width}" height="{height}"/>'
    words = f"<title>{escape(title)}</title>" if title else ""
    return f'<svg viewBox="0 0 {width} {height}">{words}{source}</svg>'


def _numbers(report: Report) -> str:
    titles = ["", *(title for kind, title in COLUMNS.items() if kind != "reference")]
    return table_of(titles, (cells(summary) for summary in report.metrics.values()))


def _grid(rows: Sequence[Row], folder: Folder) -> str:
    """Return a table with a line a row; its columns suit all cases of one benchmark."""
    lines = []
    is_pair = any(row.case.kind is CaseKind.PAIR for row in rows)
    columns = PAIR_COLUMNS if is_pair else COLUMNS
    for row in rows:
        pictures = "".join(
            f"<td>{embed(folder.read(row.case, kind), title=title, size=PICTURE_PX)}</td>"
            for kind, title in columns.items()
        )
        value = row.scores.get(RANKED_BY, {}).get("model")
        note = "" if value is None else f"<br><small>subject {value:.1f} dB</small>"
        words = f"{escape(row.case.prompt)}{note}"
        lines.append(f'<tr>{pictures}<td class="words">{words}</td></tr>')
    titles = heads([*columns.values(), "prompt"])
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{escape(value)}</td>" for value in values)
