"""`swiftpie demo` and `swiftpie samples`: first pictures, from files inside the package."""

import json
import statistics
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, print_json, request_facts, say
from swiftpie.cli.loading import open_session
from swiftpie.cli.options import AsJson, Force

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL import Image

    from swiftpie.engine.session import Session
    from swiftpie.masks import Box
    from swiftpie.types import GenerationResult

PRESET = "mini"
CELL_PX = 256
SHEET_COLUMNS = ("the subject", "in a scene", "in a scene") * 2
SCENE_FACTS = ("prompt", "seed", "subject")  # of a picture, in JSON

app = typer.Typer()


class Scene(NamedTuple):
    """One picture of the demo."""

    subject: str  # names the files
    source: str  # below the package's assets
    prompt: str
    seed: int
    box: "Box | None" = None


BOX = (0.05, 0.35, 0.6, 0.95)
HAMSTER, ROBOT = "samples/1f439.webp", "samples/1f916.webp"
DINOSAUR, DAHLIA = "samples/1f995.webp", "photos/dahlia.jpg"
SCENES = (  # two for each subject; no subject is in the training data
    Scene("hamster", HAMSTER, "a hamster on a beach at sunset", 1),
    Scene("hamster", HAMSTER, "a hamster in a library", 2),
    Scene("dahlia", DAHLIA, "an object on a wooden table", 3),
    Scene("dahlia", DAHLIA, "an object in a garden in autumn", 4),
    Scene("robot", ROBOT, "a robot at a castle in falling snow", 5),
    Scene("robot", ROBOT, "a golden robot on a stage", 6),
    Scene("dinosaur", DINOSAUR, "a sauropod at a waterfall in autumn", 7),
    Scene("dinosaur", DINOSAUR, "a sauropod in a village at night in the rain", 8, BOX),
)


@app.command(
    epilog=examples("swiftpie demo", "swiftpie demo --out pictures --force", "swiftpie demo --json")
)
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pictures.")] = (
        Path("swiftpie-demo")
    ),
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Put four subjects into eight places, with the packaged model and no network."""
    import torch

    from swiftpie.imageio.atomic import make_folder
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.images import contact_sheet
    from swiftpie.imageio.writing import check_image_target, save_image

    make_folder(out)
    sheet = out / "demo.png"
    paths = [out / f"{i}-{scene.subject}.png" for i, scene in enumerate(SCENES, start=1)]
    for path in [sheet, *paths]:
        check_image_target(path, force=force)
    say("loading the model")
    session, load_ms = open_session(PRESET)
    with as_file(files("swiftpie") / "assets") as assets:
        references = {scene.source: load_image(assets / scene.source) for scene in SCENES}
    results = _draw(session, references)

    common = {"preset": PRESET, "swiftpie": __version__}
    for path, scene, result in zip(paths, SCENES, results, strict=True):
        facts = {**common, "prompt": scene.prompt, "seed": str(scene.seed), **result.origin}
        save_image(result.images[0], path, metadata=facts, force=force)
    pictures = [result.images[0] for result in results]
    pairs = zip(SCENES[::2], pictures[::2], pictures[1::2], strict=True)
    cells = [cell for scene, *two in pairs for cell in (references[scene.source], *two)]
    rows = [cells[i : i + len(SHEET_COLUMNS)] for i in range(0, len(cells), len(SHEET_COLUMNS))]
    picture = contact_sheet(rows, cell_px=CELL_PX, captions=SHEET_COLUMNS)
    save_image(picture, sheet, metadata=common, force=force)

    stages = results[0].timings_ms
    medians = {
        stage: round(statistics.median(result.timings_ms[stage] for result in results), 2)
        for stage in stages
    }
    threads = torch.get_num_threads()
    say(f"loading took {load_ms:.0f} ms; each picture then took {medians['total']:.0f} ms")
    say(
        f"({medians['scene']:.0f} ms of it for the place; one step each for subject and place; "
        f"medians of {len(SCENES)} pictures on {threads} CPU threads)"
    )
    say(f"the picture is {sheet}")
    if as_json:
        rows_of_json = [
            {"path": str(path), "scene": result.origin["scene"]}
            | {name: getattr(scene, name) for name in SCENE_FACTS}
            for path, scene, result in zip(paths, SCENES, results, strict=True)
        ]
        machine = {"threads": threads, "torch": torch.__version__}
        drawn = request_facts(PRESET, results[0].scales, pictures[0])
        timings = {"load_ms": round(load_ms, 1), "timings_ms": medians}
        print_json({"picture": str(sheet), "pictures": rows_of_json, **drawn, **timings, **machine})


@app.command(epilog=examples("swiftpie samples samples", "swiftpie samples . --force"))
def samples(
    *,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the pictures.", show_default=False)
    ],
    force: Force = False,
) -> None:
    """Write the subjects and the photograph of the package, to try other commands with."""
    from swiftpie.imageio.atomic import make_folder
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.writing import check_image_target, save_image

    make_folder(folder)
    with as_file(files("swiftpie") / "assets") as assets:
        entries = json.loads((assets / "samples" / "subjects.json").read_text(encoding="utf-8"))
        pictures = {
            folder / f"{entry['name'].replace(' ', '-')}.png": assets
            / "samples"
            / f"{entry['code']}.webp"
            for entry in entries
        }
        pictures[folder / "dahlia.jpg"] = assets / DAHLIA
        for path in pictures:
            check_image_target(path, force=force)
        for path, source in pictures.items():
            save_image(load_image(source), path, metadata=None, force=force)
    say(f"wrote {len(pictures)} pictures to {folder}: {', '.join(path.name for path in pictures)}")
    say("licences: Fluent Emoji, MIT, Microsoft; dahlia.jpg, CC BY 2.0, vultilion on Flickr")


def _draw(session: "Session", references: "Mapping[str, Image.Image]") -> "list[GenerationResult]":
    identities = {name: session.encode_identity(image) for name, image in references.items()}
    session.personalize(identities[SCENES[0].source], SCENES[0].prompt)  # warms up
    return [
        session.personalize(identities[scene.source], scene.prompt, seed=scene.seed, box=scene.box)
        for scene in SCENES
    ]
