"""`swiftpie verify`: whether a recipe draws what diffusers draws, on the weights that are here."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli import console, options
from swiftpie.cli.loading import confirm_download, load_keywords, plan_downloads
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from swiftpie.engine.verify import Row, Verification

CHOSEN = (
    *(
        "preset",
        "recipe",
        "weights",
        "base",
        "adapter",
        "image_encoder",
        "autoencoder",
        "inversion",
    ),
    *("steps", "dtype", "allow_pickle", "offline", "yes", "device"),
)
HEADINGS = ("picture", "greatest", "mean", "diffusers", "SwiftPie", "memory of both", "")
BY_DESIGN = """\
Differences are in levels of 255. Equal: at most 1 in every pixel, and for (b) at most 0.2 % of
what the subject changes, in the mean. By design, SwiftPie alone resizes the photograph, for both,
and the last picture has branches, masks and a cut-out that diffusers does not have. In 16 bits
both round in other ways, and diffusers draws other fresh noise: --dtype float32 compares."""

app = typer.Typer()


@app.command(
    epilog=console.examples(
        "swiftpie verify --recipe sdxl-turbo",
        "swiftpie verify --recipe sd-turbo -o sheet.png --report report.json",
        "swiftpie verify --preset sdxl-lightning-4 --device cuda --dtype float16",
    )
)
@options.with_fields
def verify(
    *,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, CHOSEN)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="One picture with all, diffusers' above."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="JSON for a bug report; names no path."),
    ] = None,
    as_json: options.AsJson = False,
    force: options.Force = False,
) -> None:
    """Compare pictures of a recipe or preset with those of diffusers' own pipeline.

    Both draw from the same files, seed and prompt: text alone, the subject's picture alone, and
    strengths of 0. The command fails where pictures differ.
    """
    from swiftpie.engine.verify import verify as compare
    from swiftpie.imageio.atomic import check_target, write_file
    from swiftpie.imageio.writing import check_image_target, save_image

    _check_named(loading)
    if out is not None:
        check_image_target(out, force=force)
    if report is not None:
        check_target(report, force=force)
    loading["dtype"] = loading.get("dtype") or "float32"
    confirm_download(plan_downloads(loading), yes=loading.get("yes", False))
    found = compare(**load_keywords(loading), on_picture=console.say)
    if out is not None:
        save_image(found.sheet(), out, metadata=None, force=force)
        console.say(f"wrote {out}")
    facts = found.report()
    if report is not None:
        write_file(report, (json.dumps(facts, indent=2) + "\n").encode(), force=force)
        console.say(f"wrote {report}")
    if as_json:
        console.print_json(facts)
    else:
        console.write_table([_cells(row) for row in found.rows], headings=HEADINGS)
        console.print_text(BY_DESIGN)
    if found.is_equal is False:
        _fail(found)


def _check_named(loading: LoadOptions) -> None:
    """Refuse the packaged model, which diffusers does not know."""
    if loading.get("recipe") is None and loading.get("preset") is None:
        raise ConfigError(
            "Neither --recipe nor --preset was given, and diffusers does not know the packaged "
            "model. Write --recipe sdxl-turbo, or see `swiftpie recipes`."
        )


def _fail(found: "Verification") -> NoReturn:
    """End the command with an error that names the pictures."""
    names = ", ".join(f"({row.name})" for row in found.rows if row.is_equal is False)
    console.complain(
        f"The pictures {names} differ from those of diffusers. Please report it, with the file "
        "that --report FILE writes."
    )
    raise typer.Exit(1)


def _cells(row: "Row") -> tuple[str, ...]:
    greatest, mean = (f"{x:.4f}" for x in row.differences) if row.differences else ("", "")
    sides = (row.theirs, row.ours)
    times = ["" if side is None else f"{side.seconds:.2f} s" for side in sides]
    memory = " / ".join(
        "-" if side is None or side.peak_mib is None else f"{side.peak_mib:.0f}" for side in sides
    )
    verdict = {True: "equal", False: "DIFFERENT", None: ""}[row.is_equal]
    return (f"({row.name}) {row.what}", greatest, mean, *times, f"{memory} MiB", verdict)
