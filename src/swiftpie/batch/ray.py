"""The batches of a run on Ray: its actors draw, here or on the machines of a cluster."""

import functools
import gc
import json
import logging
import operator
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import fields, is_dataclass, replace
from math import ceil
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import torch

from swiftpie.batch.run import Drawer, Work, Workers, write_files
from swiftpie.errors import SwiftPieError, check_installed, require, short_reason

if TYPE_CHECKING:
    from concurrent.futures import Future

    import ray as library

    from swiftpie.batch.folder import Outcome
    from swiftpie.batch.jobs import Batch
    from swiftpie.batch.run import Submit

logger = logging.getLogger(__name__)

LOCAL = "local"  # the address of a cluster that is started here, for one run
STORE_BYTES = 200 << 20  # of its memory for objects; pictures are small
TRIES = 3  # of a batch whose actor is lost, and of an actor that does not start
PATIENCE_S = 5.0
MOST_SENT = 64  # files that the cluster keeps for jobs to come

# Ray otherwise reports its use to its makers, by the network.
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1"}

# Of a cluster that is started here: addresses of the loopback interface, a token and certificates.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_USE_TLS": "1"}
TLS_FILES = {
    "RAY_TLS_SERVER_CERT": "certificate.pem",
    "RAY_TLS_CA_CERT": "certificate.pem",
    "RAY_TLS_SERVER_KEY": "key.pem",
}
# Reads process ids from its standard input; if that ends without a last word, ends those processes.
# The agents of Ray take a minute to notice.
END_WITH_ME = """
import os, sys
*pids, last = sys.stdin.read().split() or [""]
for pid in [*pids, last] if last != "ended" else []:
    try:
        os.kill(int(pid), 9)
    except (OSError, ValueError):
        pass
"""

Files = list[tuple[Path, Mapping[Path, bytes]]]
"""The place of each job, and its files."""


@contextmanager
def on_ray(
    address: str, work: Work, *, processes: int, threads: int, cpus: float, gpus: float
) -> Iterator[Workers]:
    """Connect to a cluster, or start one here; yield what starts actors for `draw`.

    Files are written by this process. What jobs read goes to the cluster, unless that is here. Each
    of so many `processes` has so many `threads`; other arguments are those of `connected`.
    """
    with connected(address, processes=processes, cpus=cpus, gpus=gpus) as ray:
        remote = ray.remote(Actor).options(num_cpus=cpus, num_gpus=gpus)
        begin = functools.partial(remote.remote, replace(work, devices={}), threads)

        @contextmanager
        def started(count: int) -> "Iterator[Submit]":
            with closing(_Pool(ray, begin, count, sends=address != LOCAL)) as pool:
                yield pool.submit

        yield started


@contextmanager
def connected(address: str, *, processes: int, cpus: float, gpus: float) -> Iterator[Any]:
    """Connect to a cluster, or start one here with room for so many processes; yield Ray.

    Args:
        address: Of the cluster, as "10.0.0.5:6379", "auto" for the one of this machine, or "local".
        processes: Those that draw.
        cpus: Processors that each holds.
        gpus: Accelerators that each holds, as 0.5.

    Raises:
        MissingExtra: Ray is not installed.
        SwiftPieError: There is no cluster at the address, or too few accelerators are here.
    """
    check_installed("ray", extra="ray", use="--ray")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    room: dict[str, Any] = {
        "num_cpus": max(os.cpu_count() or 1, ceil(processes * cpus)),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
    running = sys.modules.get("ray")  # importing it is for later, see `_closed_to_others`
    is_ours = running is None or not running.is_initialized()
    own = room if address == LOCAL and is_ours else {}
    with _closed_to_others() if own else nullcontext() as ending:
        ray = require("ray", extra="ray", use="--ray")
        if is_ours:
            try:
                host, _, port = address.rpartition(":")
                if host and port.isdigit():  # where nothing listens, Ray would wait minutes
                    socket.create_connection((host, int(port)), timeout=PATIENCE_S).close()
                gc.collect()  # what is left of a cluster before has the ids of this one
                ray.init(address, log_to_driver=False, configure_logging=False, **own)
                if ending is not None:
                    _name_processes(ending)
            except (OSError, RuntimeError, ValueError) as error:
                raise SwiftPieError(
                    f"--ray {address} cannot be used ({short_reason(error)}). The address of a "
                    "cluster of Ray is needed. Write HOST:PORT as `ray start` says it, auto, or "
                    "local."
                ) from error
        try:
            _check_room(ray.cluster_resources(), address, processes=processes, cpus=cpus, gpus=gpus)
            yield ray
        finally:
            if is_ours:
                ray.shutdown()


@contextmanager
def _closed_to_others() -> "Iterator[subprocess.Popen[str]]":
    """Let a cluster that is started here listen on the loopback interface alone, and to its own.

    Its processes need a token and a certificate, which this process alone hands on: a port of
    replicas listens on all interfaces, and takes pickles. Yields a process that ends those named to
    it once this one is killed.
    """
    with tempfile.TemporaryDirectory(prefix="swiftpie-") as folder:
        places = {name: str(Path(folder, file)) for name, file in TLS_FILES.items()}
        settings = {**LOOPBACK, **places, "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)  # which Ray reads nowhere else, some of it as it is imported
        try:
            _write_certificate()
            with subprocess.Popen(
                [sys.executable, "-c", END_WITH_ME],
                stdin=subprocess.PIPE,
                start_new_session=True,
                text=True,
            ) as ending:
                try:
                    yield ending
                finally:
                    ending.communicate(" ended")
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


def _name_processes(ending: "subprocess.Popen[str]") -> None:
    """Name all processes that this one started, to the one that ends them; see `END_WITH_ME`."""
    import psutil  # type: ignore[import-untyped]  # which comes with Ray

    processes = psutil.Process().children(recursive=True)
    assert ending.stdin is not None
    ending.stdin.write(" ".join(str(each.pid) for each in processes if each.pid != ending.pid))
    ending.stdin.flush()


def _write_certificate() -> None:
    """Write a certificate that signs itself, and its key, where Ray is to read them."""
    check_installed("cryptography", extra="ray", use="--ray local")
    from ray._common.tls_utils import generate_self_signed_tls_certs
    from ray._private.ray_constants import ENABLE_RAY_CLUSTER

    if ENABLE_RAY_CLUSTER:
        raise SwiftPieError(
            "--ray local cannot be used, because Ray was imported before and would listen on all "
            "interfaces. Import it later, or set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 before that."
        )
    certificate, key = generate_self_signed_tls_certs()
    Path(os.environ["RAY_TLS_SERVER_CERT"]).write_text(certificate)
    Path(os.environ["RAY_TLS_SERVER_KEY"]).write_text(key)


def _check_room(
    found: Mapping[str, float], address: str, *, processes: int, cpus: float, gpus: float
) -> None:
    """Refuse what would wait forever here; a cluster may grow, so say that it waits."""
    there = f"{found.get('CPU', 0):g} processors and {found.get('GPU', 0):g} accelerators"
    if address == LOCAL and processes * gpus > found.get("GPU", 0):
        raise SwiftPieError(
            f"--ray-gpus {gpus:g} for each of {processes} processes does not fit. This machine has "
            f"{there}. Choose fewer or a part of one, as 0.5."
        )
    if cpus > found.get("CPU", 0) or gpus > found.get("GPU", 0):
        logger.warning("The cluster has %s now. Drawing waits until one process fits.", there)


class Actor:
    """A process of Ray's that draws. It writes no file of the run, and reads what it is sent."""

    def __init__(self, work: Work, num_threads: int) -> None:
        """Get ready; the first batch loads its model."""
        torch.set_num_threads(num_threads)
        self._made: Files = []
        self._drawer = Drawer(work, write=lambda *files: self._made.append(files))
        self._folder = tempfile.TemporaryDirectory(prefix="swiftpie-")

    def ready(self) -> None:
        """Answer once it has started."""

    def draw(
        self, batch: "Batch", sent: "Mapping[Path, library.ObjectRef[bytes]]"
    ) -> "tuple[list[Outcome], Files] | str":
        """Return the outcomes of a batch and the files, or why the run cannot go on."""
        import ray

        self._made.clear()

        def here(path: Path) -> Path:
            place = Path(self._folder.name, *path.parts[1:]) if path in sent else path
            if place != path and not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(ray.get(sent[path]))
            return place

        try:
            outcomes = self._drawer.draw(_with_paths(batch, here))
        except SwiftPieError as error:
            return str(error)
        # Reasons name the files as they are called where the run was started.
        return json.loads(json.dumps(outcomes).replace(self._folder.name, "")), [*self._made]


def _with_paths(value: Any, change: Callable[[Path], Path]) -> Any:  # noqa: ANN401 - any part of a batch
    """Return a batch, or a part of one, with its paths changed."""
    if isinstance(value, Path):
        return change(value)
    if isinstance(value, tuple):
        parts = [_with_paths(part, change) for part in value]
        same = all(map(operator.is_, parts, value))
        return value if same else type(value)(*parts) if hasattr(value, "_fields") else (*parts,)
    if not is_dataclass(value) or isinstance(value, type):
        return value
    given = {field.name: getattr(value, field.name) for field in fields(value) if field.init}
    made = {name: _with_paths(part, change) for name, part in given.items()}
    return replace(value, **{n: part for n, part in made.items() if part is not given[n]})


class _Pool:
    """Actors. A batch goes to the first that is free, and to another one if that is lost."""

    def __init__(self, ray: Any, begin: Callable[[], Any], count: int, *, sends: bool) -> None:  # noqa: ANN401
        self._ray, self._begin, self._sends = ray, begin, sends
        self._put = functools.lru_cache(MOST_SENT)(lambda path: ray.put(path.read_bytes()))
        self._free: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._begun: list[Any] = []
        self._failures: list[BaseException] = []  # of actors that did not start
        self._threads = ThreadPoolExecutor(count)
        for _ in range(count):
            self._start()

    def submit(self, batch: "Batch") -> "Future[list[Outcome]]":
        return self._threads.submit(self._draw, batch)

    def close(self) -> None:
        """End the actors, and threads that wait for one."""
        self._failures += [SystemExit()] * TRIES
        self._free.put((None, SystemExit()))
        for actor in self._begun:
            self._ray.kill(actor)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        actor = self._begin()
        self._begun.append(actor)
        ready = actor.ready.remote().future()
        ready.add_done_callback(lambda ended: self._free.put((actor, ended.exception())))

    def _next(self) -> Any:  # noqa: ANN401 - an actor
        while (found := self._free.get())[1] is not None:
            self._failures.append(found[1])
            if len(self._failures) > TRIES:
                self._free.put(found)  # for the others that wait
                raise SwiftPieError(
                    f"Ray starts no process ({short_reason(self._failures[0])}). Memory is needed, "
                    "and this version of SwiftPie on every machine. Install it, or draw with fewer."
                )
            self._start()
        return found[0]

    def _files_of(self, batch: "Batch") -> "dict[Path, library.ObjectRef[bytes]]":
        """Return what a batch reads, as the cluster holds it."""
        sent = {}

        def send(path: Path) -> Path:
            if self._sends and path.is_absolute() and path.is_file():
                sent[path] = self._put(path)
            return path

        _with_paths(batch, send)
        return sent

    def _draw(self, batch: "Batch") -> "list[Outcome]":
        errors = self._ray.exceptions
        for _ in range(TRIES):
            actor = self._next()
            try:
                answer = self._ray.get(actor.draw.remote(batch, self._files_of(batch)))
            except errors.RayTaskError:
                self._free.put((actor, None))
                raise
            except errors.RayError:  # it or its machine ended
                self._start()
                continue
            self._failures.clear()
            self._free.put((actor, None))
            if isinstance(answer, str):
                raise SwiftPieError(answer)
            outcomes, made = answer
            for place, files in made:
                write_files(place, files)
            return outcomes
        raise BrokenExecutor(f"{TRIES} actors that drew it were lost")
