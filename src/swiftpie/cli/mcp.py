"""`swiftpie mcp`: tools for assistants that speak the Model Context Protocol."""

import asyncio
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.presets import describe
from swiftpie.cli import console, options
from swiftpie.cli.loading import open_session, plan_downloads, resolved
from swiftpie.cli.serve import check_address, is_loopback
from swiftpie.errors import ConfigError, check_installed
from swiftpie.server.limits import Limits

if TYPE_CHECKING:
    from swiftpie.engine.session import Session

PACKAGES = ("mcp", "pydantic", "prometheus_client", "uvicorn")

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
UsesHttp = Annotated[
    bool, typer.Option("--http", help="Serve streamable HTTP instead of standard input and output.")
]
HostName = Annotated[str, typer.Option(help="With --http, the address, of this machine alone.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="With --http; 0 takes a free one.")]


@app.command(
    epilog=console.examples(
        "swiftpie mcp --folder ~/Pictures --out ~/Pictures/drawn",
        "swiftpie mcp --http --port 8001",
        "swiftpie mcp --recipe sdxl-turbo --deadline-s 300",
    )
)
@options.with_fields
def mcp(
    *,
    folders: FoldersIn = None,
    out: OutFolder = None,
    uses_http: UsesHttp = False,
    host: HostName = "127.0.0.1",
    port: Port = 8001,
    limits: Annotated[Limits, options.FieldOptions(Limits, ("deadline_s", "body_mib"))],
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)],
) -> None:
    """Let assistants draw: a server of the Model Context Protocol with tools.

    The tools are draw, edit, insert and remove.
    """
    check_installed(*PACKAGES, extra="mcp", use="`swiftpie mcp`")  # before anything is loaded
    from swiftpie.server.mcp.server import Toolbox, serve_http, serve_stdio
    from swiftpie.server.mcp.tools import Folders
    from swiftpie.server.store import Models, ServedModel
    from swiftpie.server.worker import Worker

    known = Folders(folders or [], out=out)
    listening = _listen(host, port) if uses_http else None
    loading, preset = resolved(loading)
    _check_downloads(loading)
    facts = {**describe(preset), "knows_faces": False}
    models = Models({preset.name: ServedModel(partial(_load, loading), facts)})
    toolbox = Toolbox(Worker(models, limits=limits, tell=console.say), known)
    if listening is None:
        asyncio.run(serve_stdio(toolbox))
    else:
        asyncio.run(serve_http(toolbox, listening, tell=console.say))


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


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket on an address of this machine alone."""
    if not is_loopback(host):
        raise ConfigError(
            f"--host {host} can be reached by others, and this server knows no users. Choose "
            "127.0.0.1 or ::1, or use `swiftpie serve` with a token."
        )
    check_address(host, port)
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(address)
    return listening
