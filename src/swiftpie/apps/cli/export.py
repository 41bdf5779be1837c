"""`swiftpie export`: a model as graphs that draw without PyTorch."""

from pathlib import Path
from typing import Annotated

import typer

from swiftpie.apps.cli import console
from swiftpie.apps.cli import options as given
from swiftpie.backbones.choices import LoadOptions
from swiftpie.errors import InputError
from swiftpie.validation import parse_size

app = typer.Typer()
export_app = typer.Typer(
    name="export", no_args_is_help=True, help="Write a model as graphs for other runtimes."
)
app.add_typer(export_app)

CHOSEN = tuple(name for name in given.DRAWING if name not in {"dtype", "device", "engine"})
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make.", show_default=False)]
Loading = Annotated[LoadOptions, given.Fields(LoadOptions, CHOSEN)]


@export_app.command(
    epilog=console.examples(
        "swiftpie export onnx mini-onnx",
        "swiftpie export onnx own-onnx --weights runs/mini_one_step/export",
    )
)
@given.with_fields
def onnx(*, folder: Folder, loading: Loading, size: given.SizeText = None) -> None:
    """Write graphs of ONNX that share one file of weights, and compare a picture."""
    _export("onnxruntime", folder, loading, size)


@export_app.command(
    epilog=console.examples(
        "swiftpie export openvino mini-openvino",
        "swiftpie export openvino small-openvino --size 64x64",
    )
)
@given.with_fields
def openvino(*, folder: Folder, loading: Loading, size: given.SizeText = None) -> None:
    """Write graphs of OpenVINO, and compare a picture."""
    _export("openvino", folder, loading, size)


def _export(runtime: str, folder: Path, loading: LoadOptions, size: str | None) -> None:
    from swiftpie.imageio.files import atomic_folder

    if folder.exists():
        raise InputError(f"'{folder}' exists. The name of a new folder is needed. Give another.")
    size_px = None if size is None else parse_size(size)
    loading, known = given.settled(loading)
    loading = {**loading, "device": "cpu"}
    if known.family != "tiny":  # which computes in nothing else
        loading["dtype"] = "float32"
    components = given.open_session(**loading).session.components

    from swiftpie.engine.onnx.export import check, export_onnx, export_openvino

    write = {"onnxruntime": export_onnx, "openvino": export_openvino}[runtime]
    with atomic_folder(folder) as new:
        sheet = write(components, new, size_px=size_px)
        alike = check(components, new, runtime=runtime)
        size_mib = sum(one.stat().st_size for one in new.iterdir()) / 2**20
    console.say(
        f"wrote {folder} ({', '.join(sheet.graphs)}; {size_mib:.1f} MiB; a picture by {runtime} is "
        f"{alike:.1f} dB alike)"
    )
