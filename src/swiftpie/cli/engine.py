"""`swiftpie engine` and `swiftpie export`: other forms of a model, prepared once."""

import time
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.cli import console, options
from swiftpie.cli.loading import open_session, preset_for
from swiftpie.engine.transforms import TRANSFORMS
from swiftpie.errors import InputError, check_installed
from swiftpie.validation import parse_size

if TYPE_CHECKING:
    from swiftpie.engine.session import Session

app = typer.Typer()
engine_app = typer.Typer(name="engine")
app.add_typer(engine_app)
export_app = typer.Typer(
    name="export",
    no_args_is_help=True,
    help="Write a model as graphs for other runtimes, or as a page.",
)
app.add_typer(export_app)

CHOSEN = tuple(name for name in options.DRAWING if name not in {"dtype", "device", "engine"})
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="New folder.", show_default=False)]
Loading = Annotated[LoadOptions, options.FieldOptions(LoadOptions, CHOSEN)]


@engine_app.callback(
    invoke_without_command=True,
    epilog=console.examples(
        "swiftpie engine",
        "swiftpie engine --json",
        "swiftpie engine prepare --recipe sdxl-turbo --engine openvino-int8",
    ),
)
def engine(*, context: typer.Context, as_json: options.AsJson = False) -> None:
    """List the transforms that make models quicker or smaller, for --engine."""
    if context.invoked_subcommand is not None:
        return
    facts = [
        {
            "name": name,
            **{fact: getattr(transform, fact) for fact in ("summary", "is_installed", "extra")},
        }
        for name, transform in TRANSFORMS.all().items()
    ]
    if as_json:
        console.print_json(facts)
        return
    console.write_table(
        [
            (str(fact["name"]), "yes" if fact["is_installed"] else "no", str(fact["summary"]))
            for fact in facts
        ],
        headings=("transform", "installed", "what it does"),
    )


@engine_app.command(
    epilog=console.examples(
        "swiftpie engine prepare --engine openvino",
        "swiftpie engine prepare --recipe sdxl-turbo --engine openvino-int8 --size 512x512",
    )
)
@options.with_fields
def prepare(
    *,
    loading: Annotated[
        LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING, ("engine",))
    ],
    size: options.SizeText = None,
    as_json: options.AsJson = False,
) -> None:
    """Export, calibrate and compile now, so that later pictures and edits do not wait for it.

    Sizes are fixed: later pictures need the same --size, model and engine, and one subject with
    one reference.
    """
    size_px = None if size is None else parse_size(size)
    session, load_ms = open_session(**loading)
    seconds = _prepared(session, size_px)
    if as_json:
        console.print_json({"load_s": round(load_ms / 1000, 2), "seconds": seconds})
        return
    stages = ", ".join(f"{stage} {spent:g} s" for stage, spent in seconds.items())
    console.say(f"The engine is ready for this model: {stages}. Later calls like it do not wait.")


def _prepared(session: "Session", size_px: tuple[int, int] | None) -> dict[str, float]:
    """Prepare with a progress bar; return the seconds of each stage."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from swiftpie.engine.warm_up import stages_of, warm_up

    seconds: dict[str, float] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=len(stages_of(session)))
        running, started = "", time.perf_counter()
        for stage in chain(warm_up(session, size_px=size_px), [""]):
            now = time.perf_counter()
            if running:
                seconds[running] = round(now - started, 2)
                bar.advance(task)
            running, started = stage, now
            bar.update(task, description=stage or "prepared")
    return seconds


@export_app.command(
    epilog=console.examples(
        "swiftpie export onnx mini-onnx",
        "swiftpie export onnx own-onnx --weights runs/mini_world/export",
    )
)
@options.with_fields
def onnx(*, folder: Folder, loading: Loading, size: options.SizeText = None) -> None:
    """Write ONNX graphs that share one file of weights, and compare a picture."""
    from swiftpie.imageio.atomic import atomic_folder

    _refuse_existing(folder)
    size_px = None if size is None else parse_size(size)
    known = preset_for(loading)
    loading = {**loading, "device": "cpu"}
    if known.family != "tiny":  # which computes in nothing else
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
    from swiftpie.backbones.downloads import as_size
    from swiftpie.imageio.atomic import atomic_folder

    site = import_module("swiftpie.mini.page.site")
    _refuse_existing(out)
    check_installed("onnx", "onnxruntime", extra="export", use="A page")
    files = site.read_runtime(runtime)
    console.say("preparing the graphs of mini, about 20 s")
    with atomic_folder(out) as new:
        size = site.write_page(new, files)
    console.say(f"wrote {out} ({as_size(size)}). Try it: python -m http.server -d {out} 8000")


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        raise InputError(f"'{folder}' exists already. Give the name of a new folder.")
