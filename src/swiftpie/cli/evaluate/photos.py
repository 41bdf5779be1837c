"""`swiftpie evaluate photos`: real photographs as subjects."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.cli.console import examples, say
from swiftpie.cli.evaluate.running import Seed, SheetOut, save_sheet, watched
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

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark
    from swiftpie.evaluation.photos.draw import Lost, Portrait
    from swiftpie.evaluation.photos.likeness import PhotoReport
    from swiftpie.models.judges import SubjectEmbedder

CELL_PX = 128
NUM_SCENES = 4

Photos = Annotated[
    Path,
    typer.Argument(
        metavar="DIR",
        help="A folder for each subject; the first picture of each is taken, and NAME.mask.png "
        "beside NAME.jpg is its mask.",
        show_default=False,
    ),
]
SceneNames = Annotated[
    str | None,
    typer.Option(
        "--scenes",
        metavar="A,B",
        show_default=False,
        help="Scenes to draw; by default four that the seed deals.",
    ),
]
Limit = Annotated[int, typer.Option(min=1, metavar="N", help="Use at most so many subjects.")]
Noun = Annotated[
    str,
    typer.Option(
        metavar="WORDS",
        show_default=False,
        help="What prompts call every subject; by default the name of its folder.",
    ),
]

app = typer.Typer()


@app.command(
    epilog=examples(
        "swiftpie evaluate photos my-photos -o sheet.png",
        "swiftpie evaluate photos my-photos -o sheet.png --scenes beach,snow --noun object --json",
    )
)
def photos(
    *,
    folder: Photos,
    out: SheetOut,
    scenes: SceneNames = None,
    limit: Limit = 22,
    noun: Noun = "",
    preset: PresetName = "mini",
    weights: Weights = None,
    steps: Steps = None,
    data: DataPath = None,
    seed: Seed = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Draw subjects of real photographs, and compare what is kept of them with sprites.

    The sheet shows each reference, its cut-out and the pictures. The figure is the similarity of
    subject and reference as the judge of sprites sees it, beside that of as many held-out sprites
    in the same scenes: the dozen inside the package, or those of --data.
    """
    from swiftpie.evaluation.photos.draw import draw_photos, draw_sprites
    from swiftpie.evaluation.photos.folder import find_subjects
    from swiftpie.evaluation.photos.likeness import summarise
    from swiftpie.images import check_image_target

    check_image_target(out, force=force)
    found = find_subjects(folder, limit=limit)
    benchmark = _benchmark(data, seed)
    names = _scenes(scenes, benchmark)
    session = open_session(preset, device=device, weights=weights, steps=steps).session
    embedder = _embedder()
    drawn = draw_photos(session, embedder, found, scenes=names, seed=seed, noun=noun.strip())
    everyone = list(watched(drawn, "photographs", total=len(found)))
    sprites = draw_sprites(session, embedder, benchmark, num_subjects=len(found), scenes=names)
    others = list(watched(sprites, "sprites", total=min(len(found), len(benchmark.codes))))
    report = summarise(session.components, everyone, others, scenes=names, seed=seed)
    save_sheet(_sheet(everyone, names), out, preset=preset, seed=seed, force=force)
    _tell(report, out, as_json=as_json)


def _benchmark(data: Path | None, seed: int) -> "StickerBenchmark":
    from swiftpie.data.subjects import load_subjects, sample_subjects
    from swiftpie.evaluation.benchmarks.stickers import StickerBenchmark

    subjects = sample_subjects() if data is None else load_subjects(data)
    return StickerBenchmark(subjects, seed=seed)


def _scenes(text: str | None, benchmark: "StickerBenchmark") -> list[str]:
    """Return the scenes that --scenes names, or those that are dealt."""
    from swiftpie.evaluation.grid import deal_scenes
    from swiftpie.evaluation.photos.draw import check_scenes

    if text is None:
        return deal_scenes(benchmark, NUM_SCENES)
    names = [name.strip() for name in text.split(",")]
    check_scenes(names)
    return names


def _embedder() -> "SubjectEmbedder":
    from swiftpie.evaluation.judges import load_judges

    with as_file(files("swiftpie") / "assets" / "judges") as folder:
        return load_judges(folder).embedder


def _sheet(drawn: "Sequence[Portrait | Lost]", scenes: Sequence[str]) -> "Image.Image":
    from swiftpie.evaluation.grid import labelled_sheet
    from swiftpie.evaluation.photos.draw import Portrait

    portraits = [one for one in drawn if isinstance(one, Portrait)]
    return labelled_sheet(
        [[one.reference, one.cutout, *one.pictures] for one in portraits],
        columns=["reference", "cut-out", *scenes],
        names=[one.name for one in portraits],
        cell_px=CELL_PX,
    )


def _tell(report: "PhotoReport", sheet: Path, *, as_json: bool) -> None:
    from swiftpie.evaluation.photos.likeness import WHAT_IT_SAYS, describe

    for lost in report.lost:
        say(f"left out {lost.name}: {lost.reason}")
    if as_json:
        typer.echo(report.to_json(), nl=False)
    else:
        for line in describe(report.likeness):
            typer.echo(line)
        typer.echo(WHAT_IT_SAYS)
    say(f"the picture is {sheet}")
