"""`swiftpie evaluate edits`: edits of rendered pictures, beside the exact answers."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from swiftpie.backbones.choices import Choices
from swiftpie.cli.console import examples, say
from swiftpie.cli.edit import Mode, Rule, edit_settings
from swiftpie.cli.evaluate.running import Anew, Out, Seed, open_benchmark, watched
from swiftpie.cli.options import (
    AsJson,
    BackgroundScale,
    DataPath,
    Device,
    IdentityScale,
    Inversion,
    PresetName,
    TextScale,
    Weights,
    open_session,
)
from swiftpie.pipelines.settings import EditMode

if TYPE_CHECKING:
    from swiftpie.engine.session import Session
    from swiftpie.evaluation.edits.benchmark import EditBenchmark
    from swiftpie.evaluation.edits.editor import Editor
    from swiftpie.evaluation.edits.folder import EditFolder
    from swiftpie.evaluation.edits.pie.lpips import Lpips
    from swiftpie.evaluation.edits.report import EditReport, EditRow
    from swiftpie.pipelines.request import EditSettings

EditorName = Annotated[
    Literal["swiftedit", "ddim", "naive", "target", "source"],
    typer.Option(
        "--editor",
        help="Who edits: one-step inversion, DDIM inversion with a multi-step model, or one of the "
        "bounds: the naive paste, the exact answer, or nobody.",
    ),
]
MaskName = Annotated[
    Literal["found", "keyword", "true", "none"],
    typer.Option(
        "--mask",
        help="Where it may change: found between the prompts, found by the keyword, the true "
        "mask, or everywhere.",
    ),
]
Cases = Annotated[int, typer.Option("--cases", min=1, metavar="N", help="How many edits to judge.")]
LpipsFile = Annotated[
    Path | None,
    typer.Option(
        "--lpips",
        metavar="FILE",
        show_default=False,
        help="Weights of LPIPS with SqueezeNet, as safetensors; without them it is left out.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate edits",
        "swiftpie evaluate edits --mask true --out out/edits-true-mask --json",
        "swiftpie evaluate edits --editor naive --cases 70 --out out/edits-naive",
        "swiftpie evaluate edits --editor ddim --weights runs/mini_teacher/export --out out/ddim",
    )
)
def edits(
    *,
    editor: EditorName = "swiftedit",
    mask: MaskName = "found",
    cases: Cases = 700,
    identity_scale: IdentityScale = None,
    background_scale: BackgroundScale = None,
    text_scale: TextScale = None,
    mode: Mode = EditMode.PAPER,
    rule: Rule = None,
    lpips: LpipsFile = None,
    preset: PresetName = "mini",
    weights: Weights = None,
    inversion: Inversion = None,
    data: DataPath = None,
    seed: Seed = 0,
    device: Device = "cpu",
    out: Out = Path("out/evaluate-edits"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Judge edits of rendered pictures of subjects that no model was trained on.

    One noise is drawn twice, before and after, so the answer and its mask are exact. The answer,
    the untouched source and a naive paste are judged beside the edit. An interrupted run goes on
    where it stopped.
    """
    from swiftpie.evaluation.edits.benchmark import EditBenchmark

    perceptual = open_lpips(lpips)
    benchmark = EditBenchmark(open_benchmark(data, seed=seed).subjects, seed=seed)
    named = {
        "identity_scale": identity_scale,
        "background_scale": background_scale,
        "text_scale": text_scale,
    }
    given = {name: scale for name, scale in named.items() if scale is not None}
    settings = edit_settings(preset, mode, rule, seed=0, scales=given)
    if not given:
        settings = replace(settings, scales=None)  # with references it is another than without
    session = None
    if needs_session(editor):
        choices = Choices(weights=weights, inversion=inversion)
        session = open_session(preset, device=device, **choices).session
    chosen = choose_editor(editor, session, mask=mask, settings=settings)
    folder = _draw(chosen, session, benchmark, cases, out=out, force=force)
    tell(_judge(folder, benchmark, cases, perceptual), out, as_json=as_json)


def needs_session(editor: str) -> bool:
    """Whether an editor draws with a preset."""
    return editor in {"swiftedit", "ddim", "naive"}


def choose_editor(
    name: str, session: "Session | None", *, mask: str, settings: "EditSettings"
) -> "Editor":
    """Return the editor of this name.

    Raises:
        CapabilityError: The preset has no inversion network.
    """
    from swiftpie.evaluation.edits.ddim import DdimEditor
    from swiftpie.evaluation.edits.editor import SourceEditor, TargetEditor
    from swiftpie.evaluation.edits.editors import MaskChoice, NaiveEditor, SwiftEditor

    if session is None:
        return TargetEditor() if name == "target" else SourceEditor()
    if name == "naive":
        return NaiveEditor(session)
    if name == "ddim":
        return DdimEditor(session)
    return SwiftEditor(session, mask=MaskChoice(mask), settings=settings)


def open_lpips(path: Path | None) -> "Lpips | None":
    """Return the network, if there are weights for it."""
    from swiftpie.evaluation.edits.pie.lpips import load_lpips

    return None if path is None else load_lpips(path)


def _draw(
    editor: "Editor",
    session: "Session | None",
    benchmark: "EditBenchmark",
    count: int,
    *,
    out: Path,
    force: bool,
) -> "EditFolder":
    """Draw all cases and, with a session, the naive paste beside them."""
    from swiftpie.evaluation.edits.editors import NaiveEditor, SwiftEditor
    from swiftpie.evaluation.edits.folder import EditFolder
    from swiftpie.evaluation.edits.generate import generate

    # Only an editor in one step draws with weights that can draw the paste as well.
    is_swift = isinstance(editor, SwiftEditor)
    baseline = NaiveEditor(session) if session is not None and is_swift else None
    folder, cases = EditFolder(out), benchmark.cases(count)
    drawn = generate(editor, benchmark, cases, folder=folder, baseline=baseline, force=force)
    for _ in watched(drawn, "editing", total=count):
        pass
    return folder


def _judge(
    folder: "EditFolder", benchmark: "EditBenchmark", count: int, lpips: "Lpips | None"
) -> "EditReport":
    """Score what is in `folder`, and write the report beside it."""
    from swiftpie.evaluation.edits.case import TYPES
    from swiftpie.evaluation.edits.metric import EDIT_METRICS
    from swiftpie.evaluation.edits.report import summarise
    from swiftpie.evaluation.edits.score import not_computed, score
    from swiftpie.evaluation.judges import load_panel

    panel = load_panel(benchmark.stickers.codes, *benchmark.stickers.gallery())
    found = score(folder, benchmark.cases(count), panel, lpips=lpips)
    rows = list(watched(found, "judging", total=count))
    report = summarise(
        rows,
        EDIT_METRICS.all(),
        run=folder.base.read_run(),
        types=TYPES,
        not_computed=not_computed(lpips),
    )
    write_report(folder, report, rows, ranked_by="inside-psnr")
    return report


def write_report(
    folder: "EditFolder",
    report: "EditReport",
    rows: "list[EditRow]",
    *,
    ranked_by: str,
) -> None:
    """Write rows, report and page; the worst cases by `ranked_by` come first on the page."""
    from dataclasses import asdict

    from swiftpie.evaluation.edits.page import render_page

    folder.base.write_rows("rows.jsonl", (asdict(row) for row in rows))
    folder.base.write_text("report.json", report.to_json())
    page = render_page(report, rows, folder=folder, ranked_by=ranked_by)
    folder.base.write_text("index.html", page)


def tell(report: "EditReport", out: Path, *, as_json: bool) -> None:
    """Write a report on standard output, and say where the pictures are."""
    from swiftpie.evaluation.edits.page import describe, table, table_by_type

    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        console = Console()
        for line in describe(report):
            console.print(Text(line))
        heads, lines = table(report.metrics)
        _print(console, heads, lines)
        _print(console, *table_by_type(report))
    say(f"The pictures are in {out}; open {out / 'index.html'}.")


def _print(console: Console, heads: list[str], lines: Iterable[list[str]]) -> None:
    shown = Table(*heads)
    for line in lines:
        shown.add_row(*(Text(cell.replace(" [", "\n[")) for cell in line))
    console.print(shown)
