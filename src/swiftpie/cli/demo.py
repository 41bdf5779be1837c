"""`swiftpie demo` and `swiftpie samples`: first pictures, from files inside the package."""

import json
import statistics
import tomllib
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from swiftpie import __version__
from swiftpie.cli.console import examples, say
from swiftpie.cli.loading import open_session
from swiftpie.cli.options import Force, argument
from swiftpie.imageio.atomic import make_folder

PRESET = "mini"
CELL_PX = 320
LIGHTS = ("by day", "at sunset", "at night", "in rain, fog or snow")
OTHERS = ("on a table", "in a kitchen", "in a drawn place", "two subjects")

app = typer.Typer()


class Scene(NamedTuple):
    """One picture of the demo."""

    subject: str  # one of `PHOTOS`, or several
    prompt: str
    seed: int


# Names of photographs in the package's assets.
PHOTOS = ("dog", "sheep", "bison", "hedgehog", "dahlia")
_TEXT = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
SCENES = tuple(Scene(**row) for row in tomllib.loads(_TEXT)["scenes"])


@app.command(epilog=examples("swiftpie demo", "swiftpie demo --out pictures --force"))
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the pictures.")] = (
        Path("swiftpie-demo")
    ),
    force: Force = False,
) -> None:
    """Put photographed subjects into places in four lights, with the packaged model."""
    import torch
    from PIL import Image

    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.images import contact_sheet
    from swiftpie.imageio.writing import check_image_target, save_image
    from swiftpie.pipelines.request import Subject

    make_folder(out)
    sheet = out / "demo.png"
    paths = [
        out / f"{i}-{scene.subject.replace(' ', '-')}.png"
        for i, scene in enumerate(SCENES, start=1)
    ]
    for path in [sheet, *paths]:
        check_image_target(path, force=force)
    say("loading the model")
    session, load_ms = open_session(PRESET)
    with as_file(files("swiftpie") / "assets") as assets:
        references = {name: load_image(assets / "photos" / f"{name}.jpg") for name in PHOTOS}
    identities = {name: session.encode_identity(image) for name, image in references.items()}
    session.personalize(identities[SCENES[0].subject], SCENES[0].prompt)  # warms up
    results = []
    for scene in SCENES:
        subjects = [Subject(identities[name], name=name) for name in scene.subject.split()]
        results.append(session.personalize(subjects, scene.prompt, seed=scene.seed))

    common = {"preset": PRESET, "swiftpie": __version__}
    for path, scene, result in zip(paths, SCENES, results, strict=True):
        facts = {**common, "prompt": scene.prompt, "seed": str(scene.seed), **result.origin}
        save_image(result.images[0], path, metadata=facts, force=force)
    pictures = [result.images[0] for result in results]
    starts = range(0, len(pictures), len(LIGHTS))
    rows = [[references[SCENES[i].subject], *pictures[i : i + len(LIGHTS)]] for i in starts]
    parts = [
        contact_sheet(part, cell_px=CELL_PX, captions=("the subject", *names))
        for part, names in ((rows[:-1], LIGHTS), (rows[-1:], OTHERS))
    ]
    picture = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)))
    picture.paste(parts[0])
    picture.paste(parts[1], (0, parts[0].height))
    save_image(picture, sheet, metadata=common, force=force)

    total, place = (
        statistics.median(result.timings_ms[stage] for result in results)
        for stage in ("total", "scene")
    )
    say(f"loading took {load_ms:.0f} ms; each picture then took {total:.0f} ms")
    say(
        f"({place:.0f} ms of it for the place; one step each for subject and place; medians of "
        f"{len(SCENES)} pictures on {torch.get_num_threads()} CPU threads)"
    )
    say(f"the picture is {sheet}")


@app.command(epilog=examples("swiftpie samples samples", "swiftpie samples . --force"))
def samples(
    *, folder: Annotated[Path, argument("Folder for the pictures.", "DIR")], force: Force = False
) -> None:
    """Write the subjects and the photographs of the package, to try other commands with."""
    from swiftpie.imageio.decoding import load_image
    from swiftpie.imageio.writing import check_image_target, save_image

    make_folder(folder)
    with as_file(files("swiftpie") / "assets") as assets:
        drawn, entries = assets / "samples", (assets / "samples" / "subjects.json").read_bytes()
        pictures = {
            folder / f"{entry['name'].replace(' ', '-')}.png": drawn / f"{entry['code']}.webp"
            for entry in json.loads(entries)
        }
        pictures |= {folder / f"{name}.jpg": assets / "photos" / f"{name}.jpg" for name in PHOTOS}
        for path in pictures:
            check_image_target(path, force=force)
        for path, source in pictures.items():
            save_image(load_image(source), path, metadata=None, force=force)
    say(f"wrote {len(pictures)} pictures to {folder}: {', '.join(path.name for path in pictures)}")
    say("licences: Fluent Emoji, MIT, Microsoft; dahlia.jpg, CC BY 2.0, vultilion on Flickr")
    say("the other photographs: public domain or CC0, see assets/photos/CREDITS.md in the package")
