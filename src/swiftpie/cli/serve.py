"""`swiftpie serve` and `swiftpie mcp`: interfaces for browsers, other programs and assistants."""

import asyncio
import errno
import os
import re
import socket
import sys
import webbrowser
from contextlib import nullcontext, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from swiftpie.backbones.choices import LoadOptions
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.presets import PRESETS, RECIPES, describe
from swiftpie.cli import console, options
from swiftpie.cli.loading import confirm_download, open_session, plan_downloads, preset_for
from swiftpie.cli.subjects import encoder_of, with_face_files
from swiftpie.errors import ConfigError, check_installed, system_reason
from swiftpie.faces import FaceSettings
from swiftpie.server import Limits

if TYPE_CHECKING:
    from swiftpie.engine.session import Session
    from swiftpie.server.store import ServedModel

PACKAGES = (
    *("fastapi", "uvicorn", "httptools", "websockets", "python_multipart", "prometheus_client"),
)
MCP_PACKAGES = ("mcp", "pydantic", "prometheus_client")
TOKEN_VARIABLE = "SWIFTPIE_TOKEN"
STORE_VARIABLE = "SWIFTPIE_STORE"  # as the address may hold a password
ROUTES = ("v1", "static", "health", "version", "metrics", "openapi.json")  # how addresses begin
PACKAGED = "mini"
MAX_TOKEN = 4_096  # letters; the headers that carry it are bounded, too

LOADING = tuple(name for name in options.DRAWING if name not in {"recipe", "preset"})
LIMITS = ("body_mib", "body_s", "deadline_s", "queue", "queue_per_key", "batch", "cache_mib")

app = typer.Typer()

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="Recipe or preset to offer; may be repeated. By default mini. The first is the "
        "default of requests, and stands for the names of OpenAI's image models.",
    ),
]
HostName = Annotated[str, typer.Option(help="Address to listen on.")]
Browser = Annotated[bool, typer.Option(help="Open the page where this machine has a screen.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=f"File with the token that callers must send; or set {TOKEN_VARIABLE}. Required if "
        "other machines can reach the address.",
    ),
]
AllowHosts = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-host", metavar="NAME", help="Host name that requests may use; may be repeated."
    ),
]
RootPath = Annotated[
    str,
    typer.Option(metavar="PATH", help="Path at which a proxy serves this server, such as /pie."),
]
StoreAt = Annotated[
    str,
    typer.Option(
        "--store",
        metavar="memory|redis://…",
        envvar=STORE_VARIABLE,
        help="Where identities, pictures and answers of jobs are kept.\n\n"
        "memory: in this process.\n\n"
        "redis://…: in a Redis that servers share (extra redis). Set an address with a password in "
        "the variable, since all users of a machine see options.",
    ),
]
Replicas = Annotated[
    str | None,
    typer.Option(
        metavar="N|MIN-MAX",
        help="Number of replicas with --ray, up to MAX under load; 1 by default.",
    ),
]
FoldersIn = Annotated[
    list[Path] | None,
    typer.Option(
        "--folder",
        metavar="DIR",
        help="Folder whose pictures tools may read; may be repeated. Nothing else is read.",
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
        "swiftpie serve",
        "swiftpie serve --port 9000 --engine openvino",
        "swiftpie serve --model sdxl-turbo --model mini",
        "swiftpie serve --ray 10.0.0.5:6379 --replicas 2-8 --ray-gpus 0.5",
        "swiftpie serve --host 0.0.0.0 --token-file token.txt --allow-host pictures.example.org",
    )
)
@options.with_fields
def serve(
    *,
    models: Models = None,
    host: HostName = "127.0.0.1",
    port: Port = 8000,
    browser: Browser = True,
    token_file: TokenFile = None,
    allow_hosts: AllowHosts = None,
    root_path: RootPath = "",
    sign: options.Sign = None,
    store: StoreAt = "memory",
    ray: options.Ray = "",
    replicas: Replicas = None,
    ray_cpus: options.RayCpus = None,
    ray_gpus: options.RayGpus = None,
    limits: Annotated[Limits, options.FieldOptions(Limits, LIMITS)],
    recogniser: Annotated[
        FaceSettings, options.FieldOptions(FaceSettings, ("encoder", "face_models"))
    ],
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADING)],
) -> None:
    """Serve a page for drawing, and OpenAI's Images API.

    Pages of other sites cannot use it. Without a token, only this machine can.
    """
    check_installed(*PACKAGES, extra="serve", use="`swiftpie serve`")  # before anything is loaded
    options.check_ray(ray, replicas=replicas, ray_cpus=ray_cpus, ray_gpus=ray_gpus)
    from swiftpie.batch.ray import connected
    from swiftpie.imageio.credentials import check_signer
    from swiftpie.server.app import make_app
    from swiftpie.server.guard import loopback_names
    from swiftpie.server.listening import Server
    from swiftpie.server.ray import RayBackend
    from swiftpie.server.shared import MEMORY, open_stores
    from swiftpie.server.store import Models
    from swiftpie.server.worker import Worker

    if store != MEMORY:
        check_installed("redis", extra="redis", use="`--store`")
    stores = open_stores(store, limit_mib=limits.cache_mib)
    token, root = _read_token(token_file, host), _root_of(root_path)
    check_address(host, port)
    check_signer(sign)
    options.check_key_stays(ray, sign)
    served = {name: _served(name, loading, recogniser) for name in models or [PACKAGED]}
    known = Models(served, sign=sign and sign.absolute())
    names = loopback_names(host, allow_hosts or ())
    (least, most), cpus = _replicas_of(replicas or "1"), 1.0 if ray_cpus is None else ray_cpus
    held = {"cpus": cpus, "gpus": ray_gpus or 0.0}

    def tell(address: str) -> None:
        console.say(f"serving on {address}")
        if browser and is_loopback(host) and _has_browser():
            webbrowser.open(f"{address}{root}/")

    # Ray takes signals from their owner: it comes before the server.
    with connected(ray, processes=most, **held) if ray else nullcontext():
        held |= {"drain_s": limits.deadline_s}
        backend = RayBackend(known, least=least, most=most, **held) if ray else None
        worker = Worker(known, limits=limits, backend=backend, stores=stores, tell=console.say)
        guard = make_app(worker, hosts=tuple(names), token=token, limits=limits, root_path=root)
        server = Server(guard, host=host, port=port, limits=limits, tell=tell)
        server.run()
    if not server.started:
        sys.exit(1)


def _has_browser() -> bool:
    """Whether a person at this terminal has windows: not in a container, CI or a remote shell."""
    known = os.environ.keys()
    has_windows = sys.platform != "linux" or known & {"DISPLAY", "WAYLAND_DISPLAY"}
    hides = known & {"CI", "SSH_CONNECTION", "container"} or not sys.stderr.isatty()
    return bool(has_windows and not hides)


def _root_of(path: str) -> str:
    """Return a prefix of addresses with a slash before it and none behind."""
    parts = path.strip("/").split("/")
    if not all(re.fullmatch(r"[A-Za-z0-9._~-]*", part) for part in parts) or parts[0] in ROUTES:
        raise ConfigError(
            f"--root-path {path!r} cannot be used. A path of letters, digits, '.', '_', '~' and "
            "'-' that does not begin as a route of this server is needed. Write for example /pie."
        )
    return f"/{'/'.join(parts)}".rstrip("/")


def _replicas_of(text: str) -> tuple[int, int]:
    """Return the least and the most of N or MIN-MAX."""
    found = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", text)
    least, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= least <= most:
        raise ConfigError(
            f"--replicas {text!r} is no number of replicas. A number from 1, or the least and the "
            "most, is needed. Write for example 2, or 1-4."
        )
    return least, most


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, before models are loaded."""
    kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
    try:
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=kind, flags=flags):
            with socket.socket(family, kind) as probe:
                if os.name == "posix":  # elsewhere it would hide that the port is taken
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        is_taken = error.errno == errno.EADDRINUSE
        remedy = "Choose another --port, or 0 for a free one" if is_taken else "Check --host"
        if error.errno == errno.EACCES:
            remedy = "Choose a --port above 1023"
        raise ConfigError(
            f"--host {host} --port {port} cannot be used ({system_reason(error)}). An address of "
            f"this machine and a free port are needed. {remedy}."
        ) from error


def _served(name: str, loading: LoadOptions, recogniser: FaceSettings) -> "ServedModel":
    """Return how a model is loaded on its first request; download what it needs now."""
    from swiftpie.server.store import ServedModel

    is_recipe = name in RECIPES.names()
    preset = RECIPES.get(name).apply() if is_recipe else PRESETS.get(name)
    choices: LoadOptions = {**loading, "preset": None if is_recipe else name}
    if is_recipe:
        choices["recipe"] = name
    needs = plan_downloads(choices)
    confirm_download(needs, yes=choices.get("yes", False))
    needs.fetch()
    asks_for_faces = recogniser.encoder or recogniser.face_models or encoder_of(choices)
    faces = None
    if FAMILIES.get(preset.family).takes_adapters and asks_for_faces:
        faces, _ = with_face_files(recogniser, choices)
    facts = describe(preset) | {"knows_faces": faces is not None}
    load = partial(_load, choices, faces)
    engines = str(choices.get("engine") or "").split(",")
    plain = [engine for engine in engines if not engine.strip().startswith("openvino")]
    if name != PACKAGED or plain == engines:  # others are too large to be in memory twice
        return ServedModel(load, facts)
    quickly = partial(_load, {**choices, "engine": ",".join(plain)}, faces)
    return ServedModel(load, facts, stand_in=quickly)


def _load(choices: LoadOptions, faces: FaceSettings | None) -> "Session":
    session = open_session(**choices).session
    return session if faces is None else session.with_face_encoder(faces.open())


def _read_token(path: Path | None, host: str) -> str | None:
    """Return the token that callers must send, if they must."""
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if path is not None:
        try:
            with path.open(encoding="utf-8") as file:
                token = file.read(MAX_TOKEN + 1).strip()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--token-file '{path}' cannot be read ({error}). A text file with the token is "
                "needed. Check the path."
            ) from error
    if len(token) > MAX_TOKEN or (path is not None and not token):
        raise ConfigError(
            f"The token of --token-file or {TOKEN_VARIABLE} is empty or longer than {MAX_TOKEN} "
            "letters. A line of random letters is needed. Write one."
        )
    if not token and not is_loopback(host):
        raise ConfigError(
            f"--host {host} needs a token: other machines can reach it. Write a long random one "
            f"into a file for --token-file, or set {TOKEN_VARIABLE}."
        )
    return token or None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


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
    sign: options.Sign = None,
    limits: Annotated[Limits, options.FieldOptions(Limits, ("deadline_s",))],
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, options.DRAWING)],
) -> None:
    """Let assistants draw, animate, edit, insert, remove and replace: a server of MCP."""
    check_installed(*MCP_PACKAGES, extra="mcp", use="`swiftpie mcp`")  # before anything is loaded
    from swiftpie.imageio.credentials import check_signer
    from swiftpie.server.mcp import Folders, Toolbox, serve_stdio
    from swiftpie.server.store import Models, ServedModel
    from swiftpie.server.worker import Worker

    check_signer(sign)
    known = Folders(folders or [], out=out)
    preset = preset_for(loading)
    needs = plan_downloads(loading)  # the protocol has no questions
    if needs.bytes_left and not loading.get("yes", False):
        raise ConfigError(
            f"{len(needs.missing)} files of the model are missing, and their download "
            "cannot be confirmed here. Run `swiftpie fetch` with the same options before, or add "
            "--yes."
        )
    needs.fetch()
    facts = {**describe(preset), "knows_faces": False}
    served = {preset.name: ServedModel(partial(_load, loading, None), facts)}
    models = Models(served, sign=sign and sign.absolute())
    toolbox = Toolbox(Worker(models, limits=limits, tell=console.say), known)
    asyncio.run(serve_stdio(toolbox))
