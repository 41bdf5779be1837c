"""`swiftpie engine`, `export` and `verify`: other forms of a model, compared with diffusers."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli import console, options
from swiftpie.cli.loading import (
    confirm_download,
    load_keywords,
    open_session,
    plan_downloads,
    preset_for,
)
from swiftpie.engine.transforms import TRANSFORMS
from swiftpie.errors import ConfigError, InputError, check_installed
from swiftpie.imageio.atomic import atomic_folder, check_target, write_file
from swiftpie.validation import parse_size

app = typer.Typer()
export_app = typer.Typer(
    name="export",
    no_args_is_help=True,
    help="Write a model as graphs for other runtimes, or as a page.",
)
app.add_typer(export_app)

CHOSEN = tuple(name for name in options.DRAWING if name not in {"dtype", "device", "engine"})
Folder = Annotated[Path, options.argument("New folder.", "DIR")]
Loading = Annotated[LoadOptions, options.FieldOptions(LoadOptions, CHOSEN)]
COMPARED = (
    *("preset", "recipe", "weights", "base", "adapter", "image_encoder", "autoencoder"),
    *("inversion", "steps", "dtype", "allow_pickle", "offline", "yes", "device"),
)
PASTED = ("recipe", "preset", "versions", "system", "device", "dtype", "memory_bytes", "files")
BY_DESIGN = """\
Differences are in levels of 255. Diffusers loads the files itself, with the scheduler that they
name. Equal in float32: at most 1 in every pixel, and for the subject at most 0.2 % of what it
changes, in the mean. In 16 bits: as far apart as rounding takes diffusers from itself."""


@app.command(epilog=console.examples("swiftpie engine", "swiftpie engine --json"))
def engine(*, as_json: options.AsJson = False) -> None:
    """List the transforms that make models quicker or smaller, for --engine."""
    facts = [
        {
            "name": name,
            **{fact: getattr(transform, fact) for fact in ("summary", "is_installed", "extra")},
        }
        for name, transform in TRANSFORMS.all().items()
    ]
    rows = [
        (str(fact["name"]), "yes" if fact["is_installed"] else "no", str(fact["summary"]))
        for fact in facts
    ]
    headings = ("transform", "installed", "what it does")
    console.show(facts, rows, headings=headings, as_json=as_json)


@export_app.command(
    epilog=console.examples(
        "swiftpie export onnx mini-onnx",
        "swiftpie export onnx own-onnx --weights runs/mini_world/export",
    )
)
@options.with_fields
def onnx(*, folder: Folder, loading: Loading, size: options.SizeText = None) -> None:
    """Write ONNX graphs that share one file of weights, and compare a picture."""
    _refuse_existing(folder)
    size_px = None if size is None else parse_size(size)
    known = preset_for(loading)
    loading = {**loading, "device": "cpu"}
    if known.family != "tiny":  # tiny networks know no other type
        loading["dtype"] = "float32"
    components = open_session(**loading).session.components

    from swiftpie.engine.graphs.export import check, export_onnx

    with atomic_folder(folder) as new:
        sheet = export_onnx(components, new, size_px=size_px)
        alike = check(components, new, sheet)
        size_mib = sum(path.stat().st_size for path in new.iterdir()) / 2**20
    console.say(
        f"wrote {folder} ({', '.join(sheet.graphs)}; {size_mib:.1f} MiB; PSNR to PyTorch's "
        f"picture: {alike:.1f} dB)"
    )


@export_app.command(
    epilog=console.examples(
        "npm pack onnxruntime-web@1.25.1",
        "swiftpie export page -o site/",
        "swiftpie export page --runtime ~/Downloads/onnxruntime-web-1.25.1.tgz -o site/",
    )
)
def page(
    *,
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="DIR", help="New folder.", show_default=False)
    ],
    runtime: Annotated[
        Path, typer.Option(metavar="FILE", help="ONNX Runtime Web, as npm packs it.")
    ] = Path("onnxruntime-web-1.25.1.tgz"),
) -> None:
    """Write a page that draws with mini in the browser itself, for any host of files."""
    from rich.filesize import decimal as as_size

    site = import_module("swiftpie.mini.site")
    _refuse_existing(out)
    check_installed("onnx", "onnxruntime", extra="export", use="A page")
    files = site.read_runtime(runtime)
    console.say("preparing the graphs of mini, about 30 s")
    with atomic_folder(out) as new:
        size = site.write_page(new, files)
    console.say(f"wrote {out} ({as_size(size)}). Try it: python -m http.server -d {out} 8000")


def _refuse_existing(folder: Path) -> None:
    if os.path.lexists(folder):
        raise InputError(f"'{folder}' exists already. Give the name of a new folder.")


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
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, COMPARED)],
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

    Both draw by the same files, seed and prompt: text alone, the subject's picture alone, strengths
    of 0, and an edit where both can. Weights, schedules and files are compared, too. The command
    prints a report to paste into an issue, and fails where pictures, weights or schedules differ.

    Raises:
        Exit: Something differs.
    """
    from swiftpie.engine.verify import verify as compare
    from swiftpie.imageio.writing import check_image_target, save_image

    _check_named(loading)
    if out is not None:
        check_image_target(out, force=force)
    if report is not None:
        check_target(report, force=force)
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
        console.write_table(found.table(), headings=("picture", "greatest", "mean", ""))
        facts = {name: fact for name, fact in facts.items() if name in PASTED}
        console.print_text("\n".join([*found.notes, json.dumps(facts), BY_DESIGN]))
    if found.is_equal is False:
        names = ", ".join(row.what for row in found.rows if row.is_equal is False)
        console.complain(
            f"Diffusers draws otherwise: {names or 'weights or schedules differ'}. Please report "
            "it, with what is printed above or the file that --report FILE writes."
        )
        raise typer.Exit(1)


def _check_named(loading: LoadOptions) -> None:
    """Refuse the packaged model, which diffusers does not know."""
    if loading.get("recipe") is None and loading.get("preset") is None:
        raise ConfigError(
            "--recipe or --preset is needed: diffusers does not know the packaged model. Write "
            "--recipe sdxl-turbo, or see `swiftpie recipes`."
        )
