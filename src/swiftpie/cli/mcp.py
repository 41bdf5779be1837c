"""`swiftpie mcp`: tools for assistants that speak the Model Context Protocol."""

import asyncio
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import describe
from swiftpie.cli import console, options
from swiftpie.cli.loading import open_session, plan_downloads, preset_for
from swiftpie.errors import ConfigError, check_installed
from swiftpie.server.jobs import Limits

if TYPE_CHECKING:
    from swiftpie.engine.session import Session

PACKAGES = ("mcp", "pydantic", "prometheus_client")

app = typer.Typer()

FoldersIn = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Folder whose pictures tools may read by their paths; may be repeated. Nothing else "
        "is read.",
    ),
]
OutFolder = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Also write every picture into this folder, under a new name. Tools may read it.",
    ),
]


@app.command(
    epilog=console.examples(
        "swiftpie mcp --folder ~/Pictures --out ~/Pictures/drawn",
        "swiftpie mcp --recipe sdxl-turbo --deadline-s 300",
    )
)
@options.with_fields
def mcp(
    *,
    folders: FoldersIn = None,
    out: OutFolder = None,
    limits: Annotated[Limits, options.FieldOptions(Limits, ("deadline_s",))],
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)],
) -> None:
    """Let assistants draw, edit, insert, remove, replace and find: a server of MCP."""
    check_installed(*PACKAGES, extra="mcp", use="`swiftpie mcp`")  # before anything is loaded
    from swiftpie.server.mcp.server import Toolbox, serve_stdio
    from swiftpie.server.mcp.tools import Folders
    from swiftpie.server.store import Models, ServedModel
    from swiftpie.server.worker import Worker

    known = Folders(folders or [], out=out)
    preset = preset_for(loading)
    _check_downloads(loading)
    facts = {**describe(preset), "knows_faces": False}
    models = Models({preset.name: ServedModel(partial(_load, loading), facts)})
    toolbox = Toolbox(Worker(models, limits=limits, tell=console.say), known)
    asyncio.run(serve_stdio(toolbox))


def _load(loading: LoadOptions) -> "Session":
    return open_session(**loading).session


def _check_downloads(loading: LoadOptions) -> None:
    """Download what is missing with --yes; the protocol has no questions."""
    needs = plan_downloads(loading)
    if needs.bytes_left and not loading.get("yes", False):
        raise ConfigError(
            f"{len(needs.missing)} files of the model are missing, and their download "
            "cannot be confirmed here. Run `swiftpie fetch` with the same options before, or add "
            "--yes."
        )
    needs.fetch()
