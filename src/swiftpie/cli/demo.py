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


class Scene(NamedTuple):
    """One picture of the demo."""

    subject: str  # names the files
    source: str  # below the package's assets
    prompt: str
    seed: int
    box: "Box | None" = None


HAMSTER, ROBOT = "samples/1f439.webp", "samples/1f916.webp"
DINOSAUR, DAHLIA = "samples/1f995.webp", "photos/dahlia.jpg"
SCENES = (  # two for each subject, none of which training has shown
    Scene("hamster", HAMSTER, "a photo of a hamster on a beach", 1),
    Scene("hamster", HAMSTER, "a hamster wearing a crown in space", 2),
    Scene("dahlia", DAHLIA, "a photo of an object in the snow", 3),
    Scene("dahlia", DAHLIA, "an object under a starry night sky", 4),
    Scene("robot", ROBOT, "a picture of a robot in a forest", 5),
    Scene("robot", ROBOT, "a robot at sunset by the sea", 6),
    Scene("dinosaur", DINOSAUR, "a sauropod in a field of flowers", 7),
    Scene("dinosaur", DINOSAUR, "a sauropod in a city", 8, box=(0.05, 0.35, 0.6, 0.95)),
)


class Drawn(NamedTuple):
    """All pictures of the demo and what making them took."""

    references: "Mapping[str, Image.Image]"  # by source
    results: "Sequence[GenerationResult]"  # one a scene
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
    paths = [out / f"{i}-{scene.subject}.png" for i, scene in enumerate(SCENES, start=1)]
    for path in [sheet, *paths]:
        check_image_target(path, force=force)
    say("loading the model")
    drawn = _draw()
    common = {"preset": PRESET, "swiftpie": __version__}
    for path, scene, result in zip(paths, SCENES, drawn.results, strict=True):
        facts = {**common, "prompt": scene.prompt, "seed": str(scene.seed)}
        save_image(result.images[0], path, metadata=facts, force=force)
    picture = contact_sheet(_rows(drawn), cell_px=CELL_PX, captions=SHEET_COLUMNS)
    save_image(picture, sheet, metadata=common, force=force)
    medians = _medians([result.timings_ms for result in drawn.results])
    _tell(sheet, medians, drawn.load_ms)
    if as_json:
        print_json(_facts(sheet, paths, medians=medians, load_ms=drawn.load_ms))


def _draw() -> Drawn:
    """Encode every subject once and draw every scene, after one call that does not count."""
    from swiftpie.images import load_image

    session, load_ms = open_session(PRESET)
    with as_file(files("swiftpie") / "assets") as assets:
        references = {scene.source: load_image(assets / scene.source) for scene in SCENES}
    identities = {name: session.encode_identity(image) for name, image in references.items()}
    session.personalize(identities[SCENES[0].source], SCENES[0].prompt)  # warms up
    results = [
        session.personalize(identities[scene.source], scene.prompt, seed=scene.seed, box=scene.box)
        for scene in SCENES
    ]
    return Drawn(references, results, load_ms)


def _rows(drawn: Drawn) -> "list[list[Image.Image]]":
    """Return the cells of the sheet: each subject, then the pictures of it, two subjects a row."""
    cells = []
    previous = ""
    for scene, result in zip(SCENES, drawn.results, strict=True):
        if scene.source != previous:
            cells.append(drawn.references[scene.source])
            previous = scene.source
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
        f"medians of {len(SCENES)} pictures on {torch.get_num_threads()} CPU threads)"
    )
    say(f"the picture is {sheet}")


def _facts(
    sheet: Path, paths: Sequence[Path], *, medians: Mapping[str, float], load_ms: float
) -> dict[str, object]:
    import torch

    return {
        "picture": str(sheet),
        "pictures": [
            {
                "path": str(path),
                "prompt": scene.prompt,
                "seed": scene.seed,
                "subject": scene.subject,
            }
            for path, scene in zip(paths, SCENES, strict=True)
        ],
        "load_ms": round(load_ms, 1),
        "timings_ms": dict(medians),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "preset": PRESET,
    }
