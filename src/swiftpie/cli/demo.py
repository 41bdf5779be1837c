"""`swiftpie demo`: the first pictures, from what the package brings along."""

import statistics
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, say
from swiftpie.cli.options import AsJson, Force, open_session

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.masks import Box
    from swiftpie.types import GenerationResult

PRESET = "mini"
CELL_PX = 192
SHEET_COLUMNS = ("the subject", "one step", "one step") * 2

app = typer.Typer()


class Wish(NamedTuple):
    """One picture of the demo."""

    subject: str  # names the files
    source: str  # below the package's assets
    prompt: str
    seed: int
    box: "Box | None" = None


HAMSTER, ROBOT = "samples/1f439.webp", "samples/1f916.webp"
DINOSAUR, DAHLIA = "samples/1f995.webp", "photos/dahlia.jpg"
WISHES = (  # two for each subject, none of which training has shown
    Wish("hamster", HAMSTER, "a photo of a hamster on a beach", 1),
    Wish("hamster", HAMSTER, "a hamster wearing a crown in space", 2),
    Wish("dahlia", DAHLIA, "a photo of an object in the snow", 3),
    Wish("dahlia", DAHLIA, "an object under a starry night sky", 4),
    Wish("robot", ROBOT, "a picture of a robot in a forest", 5),
    Wish("robot", ROBOT, "a robot at sunset by the sea", 6),
    Wish("dinosaur", DINOSAUR, "a sauropod in a field of flowers", 7),
    Wish("dinosaur", DINOSAUR, "a sauropod in a city", 8, box=(0.05, 0.35, 0.6, 0.95)),
)


class Drawn(NamedTuple):
    """All pictures of the demo and what making them took."""

    references: "Mapping[str, Image.Image]"  # by source
    results: "Sequence[GenerationResult]"  # one a wish
    load_ms: float


@app.command(
    epilog=examples("swiftpie demo", "swiftpie demo --out pictures --force", "swiftpie demo --json")
)
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the pictures go.")] = (
        Path("swiftpie-demo")
    ),
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Put four subjects into eight scenes, with the model inside the package and no network."""
    from swiftpie.images import check_image_target, contact_sheet, save_image

    out.mkdir(parents=True, exist_ok=True)
    sheet = out / "demo.png"
    paths = [out / f"{i}-{wish.subject}.png" for i, wish in enumerate(WISHES, start=1)]
    for path in [sheet, *paths]:
        check_image_target(path, force=force)
    say("loading the model")
    drawn = _draw()
    common = {"preset": PRESET, "swiftpie": __version__}
    for path, wish, result in zip(paths, WISHES, drawn.results, strict=True):
        facts = {**common, "prompt": wish.prompt, "seed": str(wish.seed)}
        save_image(result.images[0], path, metadata=facts, force=force)
    picture = contact_sheet(_rows(drawn), cell_px=CELL_PX, captions=SHEET_COLUMNS)
    save_image(picture, sheet, metadata=common, force=force)
    medians = _medians([result.timings_ms for result in drawn.results])
    _tell(sheet, medians, drawn.load_ms)
    if as_json:
        print_json(_facts(sheet, paths, medians=medians, load_ms=drawn.load_ms))


def _draw() -> Drawn:
    """Encode every subject once and draw every wish, after one call that does not count."""
    from swiftpie.images import load_image

    session, load_ms = open_session(PRESET)
    with as_file(files("swiftpie") / "assets") as assets:
        references = {wish.source: load_image(assets / wish.source) for wish in WISHES}
    identities = {name: session.encode_identity(image) for name, image in references.items()}
    session.personalize(identities[WISHES[0].source], WISHES[0].prompt)  # warms up
    results = [
        session.personalize(identities[wish.source], wish.prompt, seed=wish.seed, box=wish.box)
        for wish in WISHES
    ]
    return Drawn(references, results, load_ms)


def _rows(drawn: Drawn) -> "list[list[Image.Image]]":
    """Return the cells of the sheet: each subject, then the pictures of it, two subjects a row."""
    cells = []
    previous = ""
    for wish, result in zip(WISHES, drawn.results, strict=True):
        if wish.source != previous:
            cells.append(drawn.references[wish.source])
            previous = wish.source
        cells.append(result.images[0])
    width = len(SHEET_COLUMNS)
    return [cells[i : i + width] for i in range(0, len(cells), width)]


def _medians(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {
        stage: round(statistics.median(one[stage] for one in timings), 2) for stage in timings[0]
    }


def _tell(sheet: Path, medians: Mapping[str, float], load_ms: float) -> None:
    import torch

    say(f"loading took {load_ms:.0f} ms; each picture then took {medians['total']:.0f} ms")
    say(
        f"(the one denoising step {medians['denoise']:.0f} ms of it; "
        f"medians of {len(WISHES)} pictures on {torch.get_num_threads()} CPU threads)"
    )
    say(f"the picture is {sheet}")


def _facts(
    sheet: Path, paths: Sequence[Path], *, medians: Mapping[str, float], load_ms: float
) -> dict[str, object]:
    import torch

    return {
        "picture": str(sheet),
        "pictures": [
            {"path": str(path), "prompt": wish.prompt, "seed": wish.seed, "subject": wish.subject}
            for path, wish in zip(paths, WISHES, strict=True)
        ],
        "load_ms": round(load_ms, 1),
        "timings_ms": dict(medians),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "preset": PRESET,
    }
