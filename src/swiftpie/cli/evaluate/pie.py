"""`swiftpie evaluate pie`: PIE-Bench, from a folder of the user's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from swiftpie.backbones.choices import Choices
from swiftpie.cli.console import examples
from swiftpie.cli.edit import Mode, Rule, edit_settings
from swiftpie.cli.evaluate.edits import (
    LpipsFile,
    MaskName,
    choose_editor,
    needs_session,
    open_lpips,
    tell,
    write_report,
)
from swiftpie.cli.evaluate.running import Anew, Out, watched
from swiftpie.cli.options import (
    Adapter,
    AllowPickle,
    AsJson,
    Base,
    Device,
    ImageEncoder,
    Inversion,
    Offline,
    PresetName,
    Weights,
    open_session,
)
from swiftpie.pipelines.settings import EditMode

if TYPE_CHECKING:
    from swiftpie.evaluation.edits.editor import Editor
    from swiftpie.evaluation.edits.folder import EditFolder
    from swiftpie.evaluation.edits.pie.dataset import PieFolder
    from swiftpie.evaluation.edits.pie.score import Networks
    from swiftpie.evaluation.edits.report import EditReport

Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="PIE-Bench's folder, with mapping_file.json and annotation_images.",
        show_default=False,
    ),
]
EditorName = Annotated[
    Literal["swiftedit", "source"],
    typer.Option("--editor", help="Who edits: one-step inversion, or nobody, as a bound."),
]
Results = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        show_default=False,
        help="Judge pictures that another program has edited instead: a folder with "
        "annotation_images.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--cases", min=1, metavar="N", show_default=False, help="Only the first N."),
]
ClipFolder = Annotated[
    Path | None,
    typer.Option(
        "--clip",
        metavar="DIR",
        show_default=False,
        help="CLIP ViT-L/14; without it its figures are left out.",
    ),
]
DinoFolder = Annotated[
    Path | None,
    typer.Option(
        "--dino",
        metavar="DIR",
        show_default=False,
        help="DINO ViT-B/8; without it the structure distance is left out.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate pie PIE-Bench_v1 --preset swiftbrush-v2 --weights sbv2 "
        "--inversion inverse_ckpt --adapter ip_adapter.safetensors "
        "--image-encoder models/image_encoder --clip clip-vit-large-patch14 --dino dino-vitb8",
        "swiftpie evaluate pie PIE-Bench_v1 --results other-method --out out/other-method",
    )
)
def pie(
    *,
    dataset: Dataset,
    editor: EditorName = "swiftedit",
    results: Results = None,
    mask: MaskName = "found",
    cases: Limit = None,
    clip: ClipFolder = None,
    dino: DinoFolder = None,
    lpips: LpipsFile = None,
    mode: Mode = EditMode.PAPER,
    rule: Rule = None,
    preset: PresetName = "mini",
    weights: Weights = None,
    base: Base = None,
    adapter: Adapter = None,
    image_encoder: ImageEncoder = None,
    inversion: Inversion = None,
    allow_pickle: AllowPickle = False,
    offline: Offline = False,
    device: Device = "cpu",
    out: Out = Path("out/evaluate-pie"),
    as_json: AsJson = False,
    force: Anew = False,
) -> None:
    """Judge edits of PIE-Bench by its own definitions; bring the dataset yourself.

    Figures that need CLIP, DINO or LPIPS take weights that you give, and are otherwise reported as
    not computed. An interrupted run goes on where it stopped.
    """
    from swiftpie.evaluation.edits.pie.dataset import read_pie

    found, networks = read_pie(dataset, limit=cases), _open_networks(clip, dino, lpips)
    session = None
    if results is None and needs_session(editor):
        choices = Choices(
            weights=weights,
            base=base,
            adapter=adapter,
            image_encoder=image_encoder,
            inversion=inversion,
            allow_pickle=allow_pickle,
            offline=offline,
        )
        session = open_session(preset, device=device, **choices).session
    settings = edit_settings(preset, mode, rule, seed=0, scales={})
    chosen = choose_editor(editor, session, mask=mask, settings=settings)
    folder = _draw(found, chosen, results, out=out, force=force)
    tell(_judge(folder, found, networks), out, as_json=as_json)


def _draw(
    pie: "PieFolder", editor: "Editor", results: Path | None, *, out: Path, force: bool
) -> "EditFolder":
    """Edit all entries, or take over what is in `results`."""
    from swiftpie.evaluation.edits.folder import EditFolder
    from swiftpie.evaluation.edits.pie.generate import ResultsEditor, generate

    folder, chosen = EditFolder(out), editor if results is None else ResultsEditor(results, pie)
    drawn = generate(chosen, pie, folder=folder, force=force)
    for _ in watched(drawn, "editing", total=len(pie.cases)):
        pass
    return folder


def _open_networks(clip: Path | None, dino: Path | None, lpips: Path | None) -> "Networks":
    from swiftpie.evaluation.edits.pie.encoders import load_clip, load_dino
    from swiftpie.evaluation.edits.pie.score import Networks

    return Networks(
        clip=None if clip is None else load_clip(clip),
        dino=None if dino is None else load_dino(dino),
        lpips=open_lpips(lpips),
    )


def _judge(folder: "EditFolder", pie: "PieFolder", networks: "Networks") -> "EditReport":
    """Score what is in `folder`, and write the report beside it."""
    from swiftpie.evaluation.edits.pie.dataset import TYPES
    from swiftpie.evaluation.edits.pie.score import COLUMNS, score
    from swiftpie.evaluation.edits.report import summarise

    found = score(folder, pie.cases, networks)
    rows = list(watched(found, "judging", total=len(pie.cases)))
    report = summarise(
        rows,
        COLUMNS,
        run=folder.base.read_run(),
        types=TYPES,
        not_computed=networks.not_computed(),
    )
    write_report(folder, report, rows, ranked_by="psnr" if networks.clip is None else "clip-edited")
    return report
