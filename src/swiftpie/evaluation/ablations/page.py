"""The ablation table as one web page that needs no other file."""

import base64
import io
from collections.abc import Iterable
from html import escape

from PIL import Image

from swiftpie.evaluation.ablations.measure import SHOWN_CASES, Row, Study
from swiftpie.evaluation.ablations.table import (
    Ablations,
    cells,
    describe,
    describe_sweep,
    headings,
)
from swiftpie.files import load_image
from swiftpie.images import to_pil

PICTURE_PX = 96
WEBP_QUALITY = 80

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #222; background: #fff }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .5rem; }
th { text-align: left } td { text-align: right; font-variant-numeric: tabular-nums }
tbody tr { border-top: 1px solid #ddd } small { color: #666 }
svg { display: block; width: 96px; height: 96px }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #181818 } }
"""


def render_page(found: Ablations, study: Study) -> str:
    """Return the page: a table a group, then the first cases as every row draws them."""
    title = f"Ablations: {found.preset}"
    groups = dict.fromkeys(line.group for line in found.lines)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style>",
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(describe(found))}</p>",
            *(_section(found, group) for group in groups),
            *(
                f"<h2>{escape(one.group)}</h2><p>{escape(one.title)}: {escape(one.reason)}</p>"
                for one in found.untried
            ),
            f"<h2>The first cases</h2>{_pictures(study)}",
            f"<p><small>weights {escape(found.weights)}<br>seed {found.seed}</small></p></html>\n",
        ]
    )


def _section(found: Ablations, group: str) -> str:
    body = "".join(
        f"<tr><th>{escape(line.title)}</th>{_cells(cells(line))}</tr>"
        for line in found.lines
        if line.group == group
    )
    heads = "".join(f"<th>{escape(title)}</th>" for title in ["", *headings()])
    words = "".join(
        f"<p>{escape(describe_sweep(sweep))}</p>" for sweep in found.sweeps if sweep.group == group
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f"<h2>{escape(group)}</h2>{table}{words}"


def _pictures(study: Study) -> str:
    """Return a table with a line a row and a column a case, the truth above all."""
    cases = study.cases[:SHOWN_CASES]
    truths = [to_pil(study.benchmark.truth(case).pixels)[0] for case in cases]
    lines = [_strip("", "truth", truths)]
    seen: set[str] = set()
    for row in study.rows:
        if study.key(row) not in seen:
            seen.add(study.key(row))
            lines.append(_strip(row.setting.group, row.setting.title, _drawn(study, row)))
    return f"<table><tbody>{''.join(lines)}</tbody></table>"


def _drawn(study: Study, row: Row) -> list[Image.Image]:
    return [load_image(study.picture(case, row)) for case in study.cases[:SHOWN_CASES]]


def _strip(group: str, title: str, images: Iterable[Image.Image]) -> str:
    name = f"<small>{escape(group)}</small><br>{escape(title)}"
    return f"<tr><th>{name}</th>{''.join(f'<td>{_embedded(image)}</td>' for image in images)}</tr>"


def _embedded(image: Image.Image) -> str:
    buffer = io.BytesIO()
    small = image.convert("RGB").resize((PICTURE_PX, PICTURE_PX), Image.Resampling.LANCZOS)
    small.save(buffer, "WEBP", quality=WEBP_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    source = f'<image href="data:image/webp;base64,{data}" width="96" height="96"/>'
    return f'<svg viewBox="0 0 96 96">{source}</svg>'


def _cells(values: Iterable[str]) -> str:
    return "".join(f"<td>{escape(value)}</td>" for value in values)
