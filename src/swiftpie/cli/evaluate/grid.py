"""`swiftpie evaluate grid`: one picture of held-out subjects in many scenes."""

from typing import Annotated

import typer

from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.evaluate.running import Seed, SheetOut, open_benchmark, save_sheet, watched
from swiftpie.cli.options import (
    AsJson,
    DataPath,
    Device,
    Force,
    PresetName,
    Steps,
    Weights,
    open_session,
)

CELL_PX = 128  # as the pictures of mini are drawn

NumSubjects = Annotated[int, typer.Option(min=1, help="Rows.")]
NumScenes = Annotated[int, typer.Option(min=1, help="Columns.")]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate grid -o grid.png",
        "swiftpie evaluate grid -o mine.png --weights runs/mini_one_step/export",
        "swiftpie evaluate grid -o small.webp --num-subjects 3 --num-scenes 4 --seed 7",
    )
)
def grid(
    *,
    out: SheetOut,
    num_subjects: NumSubjects = 8,
    num_scenes: NumScenes = 8,
    preset: PresetName = "mini",
    weights: Weights = None,
    steps: Steps = None,
    data: DataPath = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw held-out subjects in several scenes, as one picture with labels.

    The seed deals subjects and scenes, as for `stickers`, and nobody picks them. The first column
    shows the references. Picture i has the seed plus i.
    """
    from swiftpie.evaluation.grid import deal, deal_scenes, draw_rows, labelled_sheet
    from swiftpie.images import check_image_target

    check_image_target(out, force=force)
    benchmark = open_benchmark(data, seed=seed)
    scenes = deal_scenes(benchmark, num_scenes)
    cases = deal(benchmark, num_subjects=num_subjects, scenes=scenes)
    session = open_session(preset, device=device, weights=weights, steps=steps).session
    rows = list(watched(draw_rows(session, benchmark, cases), "drawing", total=len(cases)))
    sheet = labelled_sheet(
        rows,
        columns=["reference", *scenes],
        names=[row[0].subject for row in cases],
        cell_px=CELL_PX,
    )
    save_sheet(sheet, out, preset=preset, seed=seed, force=force)
    say(f"the picture is {out}")
    if as_json:
        pictures = [
            {"subject": case.subject, "scene": case.scene, "prompt": case.prompt, "seed": case.seed}
            for row in cases
            for case in row
        ]
        print_json({"path": str(out), "pictures": pictures})
