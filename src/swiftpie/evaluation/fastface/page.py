"""A report on faces as one web page that needs no other file, and as lines of a table."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from swiftpie.evaluation.fastface.case import FaceCase
from swiftpie.evaluation.fastface.folder import FaceFolder
from swiftpie.evaluation.fastface.report import FaceReport, Group
from swiftpie.evaluation.fastface.score import FaceRow
from swiftpie.evaluation.page import embed, heads
from swiftpie.faces.face import CONSENT

MAX_PICTURES = 96  # a page with all of thousands would not open
PICTURE_PX = 160
HEADS = ("figure", "about", "mean [95 % interval]", "cases")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .75rem; }
th { text-align: left } td { font-variant-numeric: tabular-nums } small { color: #666 }
tbody tr { border-top: 1px solid #ddd } svg { display: block; width: 160px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }
"""


def render_page(
    report: FaceReport,
    rows: Sequence[FaceRow],
    cases: Mapping[str, FaceCase],
    *,
    folder: FaceFolder,
) -> str:
    """Return the page; pictures without a face come first, then the least alike.

    Args:
        report: The figures.
        rows: One a case.
        cases: By name.
        folder: Their pictures.
    """
    ranked = sorted(rows, key=lambda row: (row.has_face, row.scores.get("identity", 0.0)))
    title = f"Faces: {report.run.preset}"
    tables = "".join(
        f"<h2>{escape(one.title)}, {one.num_cases} cases</h2>{_table(one)}" for one in report.groups
    )
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style><h1>{escape(title)}</h1>",
            *(f"<p>{escape(line)}</p>" for line in describe(report)),
            tables,
            f"<h2>Failures and least alike first</h2>{_grid(ranked[:MAX_PICTURES], cases, folder)}",
            f"<p>{escape(CONSENT)}</p>",
            f"<p><small>weights {escape(report.run.weights)}<br>photographs and prompts "
            f"{escape(report.run.data)}<br>seed {report.run.seed}</small></p></html>\n",
        ]
    )


def describe(report: FaceReport) -> list[str]:
    """Return what was judged and what was not, in sentences."""
    judge = f"{report.judge!r} judged" if report.judge else "nobody judged likeness"
    return [
        f"{report.num_drawn} pictures of {report.num_people} people; {report.num_failed} cases "
        f"failed for want of a face. The generator read {report.encoder!r}, {judge}.",
        *(f"Left out {one.name}, {one.num_cases} cases: {one.reason}" for one in report.lost),
        *(f"Not computed: {name}; it {why}." for name, why in report.not_computed.items()),
    ]


def table(group: Group) -> list[list[str]]:
    """Return a line of cells for each figure, as `HEADS` names them, and one for failures."""
    arrows = {True: " ↑", False: " ↓", None: ""}
    lines = [
        [
            one.title + arrows[one.higher_is_better],
            one.about,
            f"{one.value.mean:.4f} [{one.value.low:.4f}, {one.value.high:.4f}]",
            str(one.value.num_cases),
        ]
        for one in group.figures.values()
    ]
    return [*lines, ["pictures without a face ↓", "failures", str(group.num_without_face), ""]]


def _table(group: Group) -> str:
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in table(group)
    )
    return f"<table><thead><tr>{heads(HEADS)}</tr></thead><tbody>{body}</tbody></table>"


def _grid(rows: Sequence[FaceRow], cases: Mapping[str, FaceCase], folder: FaceFolder) -> str:
    lines = []
    for row in rows:
        case = cases[row.name]
        pictures = (_picture(folder, path) for path in (folder.crop(case), folder.picture(case)))
        cells = "".join(f"<td>{picture}</td>" for picture in pictures)
        scores = "; ".join(f"{name} {value:.3f}" for name, value in row.scores.items())
        note = scores if row.has_face else "no face; " + scores
        words = (
            f"{escape(row.prompt)}<br><small>{escape(f'{row.name} {row.person} {note}')}</small>"
        )
        lines.append(f"<tr>{cells}<td>{words}</td></tr>")
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _picture(folder: FaceFolder, path: Path) -> str:
    image = folder.read(path)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    return embed(image)
