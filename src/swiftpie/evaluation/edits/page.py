"""A report on edits as one web page that needs no other file, the worst cases first."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.report import JUDGED, EditReport, EditRow
from swiftpie.evaluation.page import embed, format_interval, heads, table_of
from swiftpie.evaluation.report import MetricSummary, label

STRIP: Mapping[str, str] = {
    "source": "before",
    JUDGED: "after",
    "target": "target",
    "mask": "true mask",
    "edit-mask": "used mask",
    "naive": "naive paste",
    "reference": "reference",
}
HEADS: Mapping[str, str] = {
    JUDGED: "edit",
    "naive": "naive paste",
    "target": "exact target",
    "source": "untouched source",
}
SUCCESS = "edit-success"
BY_TYPE = (  # what a table with a line a type has room for
    SUCCESS,
    "identity-kept",
    "inside-psnr",
    "outside-psnr",
    "structure-distance",
    "psnr",
    "clip-whole",
    "clip-edited",
)
NUM_WORST, MAX_SAMPLE = 48, 48  # a page with all of hundreds would not open
PICTURE_PX = 128

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .75rem; }
th { text-align: left } td { text-align: right; font-variant-numeric: tabular-nums }
tbody tr { border-top: 1px solid #ddd } small { color: #666 } td.words { text-align: left }
svg { display: block; width: 128px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }
"""


def render_page(
    report: EditReport,
    rows: Sequence[EditRow],
    *,
    folder: EditFolder,
    ranked_by: str,
) -> str:
    """Return the page.

    Args:
        report: The figures.
        rows: The cases.
        folder: Their pictures.
        ranked_by: The metric, higher is better, by which the worst cases are the worst. Those
            that did not succeed come first, where there is a judge of that.
    """
    ranked = sorted(rows, key=lambda row: tuple(_of(row, one) for one in (SUCCESS, ranked_by)))
    step = -(-len(rows) // MAX_SAMPLE)
    title = f"Edits: {report.run.preset}"
    types = "".join(
        f"<h3>{escape(one.title)}, {one.num_cases} cases</h3>{_numbers(one.metrics)}"
        for one in report.types
    )
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
            *(f"<p>{escape(line)}</p>" for line in describe(report)),
            _numbers(report.metrics),
            f"<details><summary>By type</summary>{types}</details>",
            f"<h2>Worst cases first</h2>{_grid(ranked[:NUM_WORST], folder)}",
            f"<h2>An even sample</h2>{_grid(rows[::step], folder)}",
            f"<p><small>weights {escape(report.run.weights)}<br>data "
            f"{escape(report.run.data)}<br>seed {report.run.seed}</small></p></html>\n",
        ]
    )


def describe(report: EditReport) -> list[str]:
    """Return what was judged and what was not, in sentences."""
    return [
        f"{report.num_cases} edits. Brackets hold 95 % bootstrap intervals over cases; arrows "
        "point to the better side.",
        *(f"Not computed: {name}; it {why}." for name, why in report.not_computed.items()),
    ]


def table(metrics: Mapping[str, MetricSummary]) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: a line a metric, a column a candidate that any metric has."""
    present = [kind for kind in HEADS if any(kind in one.candidates for one in metrics.values())]
    lines = [
        [
            label(one),
            *(
                format_interval(one.candidates[kind], unit=one.unit)
                if kind in one.candidates
                else ""
                for kind in present
            ),
        ]
        for one in metrics.values()
    ]
    return ["", *(HEADS[kind] for kind in present)], lines


def table_by_type(report: EditReport) -> tuple[list[str], list[list[str]]]:
    """Return headings and cells: a line a type, with the editor's means of a few metrics."""
    found = report.metrics
    names = [name for name in BY_TYPE if name in found and JUDGED in found[name].candidates]
    lines = [
        [
            f"{one.title} ({one.num_cases})",
            *(_mean(one.metrics[name]) if name in one.metrics else "" for name in names),
        ]
        for one in report.types
    ]
    return ["", *(label(found[name]) for name in names)], lines


def _mean(summary: MetricSummary) -> str:
    if JUDGED not in summary.candidates:
        return ""
    factor, digits = (100, 0) if summary.unit == "%" else (1, 2)
    return f"{factor * summary.candidates[JUDGED].mean:.{digits}f}"


def _of(row: EditRow, name: str) -> float:
    """Return a score of the edit; a missing one is no reason to be among the worst."""
    return row.scores.get(name, {}).get(JUDGED, math.inf)


def _numbers(metrics: Mapping[str, MetricSummary]) -> str:
    return table_of(*table(metrics))


def _grid(rows: Sequence[EditRow], folder: EditFolder) -> str:
    kinds = [kind for kind in STRIP if any(folder.has(row, kind) for row in rows)]
    lines = []
    for row in rows:
        pictures = "".join(f"<td>{_picture(folder, row, kind)}</td>" for kind in kinds)
        words = f"{escape(row.source_prompt)}<br>→ {escape(row.target_prompt)}"
        note = f"<br><small>{escape(row.name)}{escape(_scores(row))}</small>"
        lines.append(f'<tr>{pictures}<td class="words">{words}{note}</td></tr>')
    titles = heads([*(STRIP[kind] for kind in kinds), "prompts"])
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _scores(row: EditRow) -> str:
    found = [f"{name} {some[JUDGED]:.4g}" for name, some in row.scores.items() if JUDGED in some]
    return "; " + "; ".join(found) if found else ""


def _picture(folder: EditFolder, row: EditRow, kind: str) -> str:
    if not folder.has(row, kind):
        return ""
    image = folder.read(row, kind)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    return embed(image, title=STRIP[kind])
