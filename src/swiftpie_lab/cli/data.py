"""`swiftpie data`: build the pack of subjects, the library and its scenes."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.cli.console import examples, say
from swiftpie.cli.options import Force

if TYPE_CHECKING:
    from swiftpie_lab.data.archive import Build

Archive = Annotated[
    Path | None, typer.Option(metavar="TGZ", help="The sprites, if already downloaded.")
]
NamesArchive = Annotated[
    Path | None, typer.Option(metavar="TGZ", help="Their names, if already downloaded.")
]
PackOut = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the pack goes.")]

app = typer.Typer()
data_app = typer.Typer(
    name="data", no_args_is_help=True, help="Build training data and the library."
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
    from swiftpie.scenes import ASSETS, PACK
    from swiftpie_lab.data.archive import write_scene_pack

    target = out or ASSETS / PACK
    count = write_scene_pack(target, force=force)
    say(f"wrote {target} ({count} pictures, {target.stat().st_size / 1e6:.1f} MB)")


@data_app.command(
    epilog=examples(
        "swiftpie data light pairs", "swiftpie data light pairs --assets models --seed 1"
    )
)
def light(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that grows.")],
    *,
    assets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Models, cut-outs and panoramas to use.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0, help="Begin no scene after so long.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Another one deals other scenes.")] = 0,
) -> None:
    """Render things under one light at a time, which teach the network of light; needs Blender."""
    from swiftpie_lab.data.light_pairs import grow

    count, begin = 0, time.monotonic()
    for path, lit in grow(folder, seed=seed, assets=assets):
        count += lit
        say(f"wrote {path} ({count} lit things, {time.process_time() / count:.2f} s each)")
        if time.monotonic() - begin > 60 * minutes:
            break


def _build(
    build: "Build", target: Path, archive: Path | None, names: Path | None, *, force: bool
) -> None:
    from swiftpie.imageio.atomic import check_target
    from swiftpie_lab.data.archive import build_from_archives

    check_target(target, force=force)
    build_from_archives(target, build, sprites=archive, names=names)
    say(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB)")
