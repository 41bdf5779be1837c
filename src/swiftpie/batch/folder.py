"""The folder of a run, here or in a store of objects: its lock, its manifest and its report."""

import hashlib
import itertools
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from swiftpie import __version__
from swiftpie.batch.jobs import Jobs
from swiftpie.errors import ConfigError, InputError, short_reason
from swiftpie.imageio.atomic import make_folder, write_file
from swiftpie.validation import is_portable_name

logger = logging.getLogger(__name__)

PLAN = "plan.jsonl"  # the run in its first line, then a line a job
REPORT = "report.jsonl"
LOCK = ".swiftpie-batch.lock"
MAX_NAMED = 5  # jobs that a message names
MAX_THREADS = 4096

DONE, FAILED, REFUSED = "done", "failed", "refused"

# What reading JSON of others may raise, and a look at what is in it.
MALFORMED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)

Outcome = Mapping[str, Any]
"""A line of the report: id, place and status, then the file and its facts, or a reason."""


class RunManifest(NamedTuple):
    """What decides about the pictures of a folder; its file is `plan.jsonl`."""

    run: Mapping[str, Any]  # options that all jobs share
    jobs: Mapping[str, Mapping[str, Any]]  # by id: everything that decides about the picture


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Lock a folder against other runs; it is made if it does not exist.

    The operating system releases the lock when the process ends.

    Raises:
        ConfigError: Another run has locked it.
        InputError: It is a file, or cannot be made or written to.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK, blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise ConfigError(
            f"Another run is active in '{folder}'. A folder belongs to one run at a time. "
            "Wait until it has ended, or choose another --out."
        ) from error
    except OSError as error:
        raise InputError(
            f"'{folder}' cannot be written to ({error.strerror}). A writable folder is needed. "
            "Choose another --out."
        ) from error
    try:
        yield
    finally:
        lock.release()


def manifest_of(jobs: Jobs, run: Mapping[str, Any]) -> RunManifest:
    digests = {name: seen.digest[:16] for name, seen in jobs.files.items()}
    described = {
        job.id: {**job.spec, "files": {name: digests[name] for name in job.files}}
        for job in jobs.jobs
    }
    return RunManifest({"swiftpie": __version__, **run}, described)


def read_manifest(folder: Path) -> RunManifest | None:
    path = folder / PLAN
    try:
        head, *lines = path.read_text("utf-8").splitlines()
        run, rows = json.loads(head), [json.loads(line) for line in lines]
        if type(run["threads"]) is not int or not 1 <= run["threads"] <= MAX_THREADS:
            raise ValueError("its first line does not describe a run")
        jobs = {row.pop("id"): row for row in rows}
        if not all(isinstance(name, str) for name in jobs):
            raise ValueError("a job has no name")
        return RunManifest(run, jobs)
    except FileNotFoundError:
        return None
    except MALFORMED as error:
        raise ConfigError(
            f"'{path}' cannot be read ({short_reason(error)}), so what was drawn there is unknown. "
            "Choose another --out, or draw everything again with --force."
        ) from error


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Write a manifest, whole or not at all."""
    rows = [manifest.run, *({"id": name, **job} for name, job in manifest.jobs.items())]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_file(folder / PLAN, text.encode(), force=True)


def differences(before: RunManifest, now: RunManifest, *, done: Container[str]) -> list[str]:
    """Return what differs between two manifests, a sentence each; none for the same run.

    A job that is not `done` may change, for example after its damaged picture was replaced.
    """
    found = [
        f"{name} was {before.run.get(name)!r} and is {now.run.get(name)!r}."
        for name in dict.fromkeys([*before.run, *now.run])
        if before.run.get(name) != now.run.get(name)
    ]
    kept = before.jobs.keys() & now.jobs.keys()
    same = {name for name in kept if before.jobs[name] == now.jobs[name] or name not in done}
    changed = [name for name in now.jobs if name in kept - same]
    added = [name for name in now.jobs if name not in kept]
    gone = [name for name in before.jobs if name not in kept]
    if changed:
        about = [f"{name} ({_fields(before.jobs[name], now.jobs[name])})" for name in changed]
        found.append(f"{len(changed)} jobs changed: {_some(about)}.")
    for names, what in ((added, "are new"), (gone, "are gone")):
        if names:
            found.append(f"{len(names)} jobs {what}: {_some(names)}.")
    return found


def kept_of(
    before: RunManifest, manifest: RunManifest, folder: Path, *, update: bool
) -> dict[str, Outcome]:
    """Return outcomes of finished and unchanged jobs; ConfigError for another run's folder."""
    done = read_done(folder)
    changes = differences(before, manifest, done=done)
    if changes and (before.run != manifest.run or not update):
        remedy = "draw everything again with --force"
        if before.run == manifest.run:
            remedy = f"keep what is the same and draw the rest with --update, or {remedy}"
        raise ConfigError(
            f"'{folder}' holds another run. {' '.join(changes)} Choose another --out, or {remedy}."
        )
    same = {name for name, job in manifest.jobs.items() if before.jobs.get(name) == job}
    return {name: row for name, row in done.items() if name in same}


def check_others(
    manifest: RunManifest, before: RunManifest | None, path_of: Callable[..., Path]
) -> None:
    """Raise ConfigError for a job over a file of others; `path_of` names the file of a job."""
    ours = {} if before is None else before.jobs
    others = {name: spec for name, spec in manifest.jobs.items() if name not in ours}
    places = itertools.starmap(path_of, others.items())
    taken = [path for path in places if os.path.lexists(path)]
    if taken:
        raise ConfigError(
            f"'{taken[0]}' exists already, and no run that is known here wrote it. "
            "Choose another --out, or replace such files with --force."
        )


def read_done(folder: Path) -> dict[str, Outcome]:
    """Return the outcomes, by id, of jobs whose files exist and are complete.

    An incomplete line is left by a process that was killed; its job has no outcome.
    """
    done: dict[str, Outcome] = {}
    try:
        lines = (folder / REPORT).read_bytes().split(b"\n")
    except FileNotFoundError:
        return done
    for line in lines:
        with suppress(*MALFORMED):
            row = json.loads(line)
            path = folder / Path(row["file"]).name
            files = frames_in(path) if path.is_dir() else [path]
            size = sum(file.stat().st_size for file in files if file.is_file())
            is_whole = size == row["bytes"] > 0 and digest(files) == row["sha256"]
            if row["status"] == DONE and is_whole:
                done[row["id"]] = row
    return done


def digest(contents: Iterable[Path | bytes]) -> str:
    """Return the sha256 of the files of a job, or of their contents, one after the other."""
    whole = hashlib.sha256()
    for content in contents:
        whole.update(content if isinstance(content, bytes) else content.read_bytes())
    return whole.hexdigest()


def frames_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("frame-*.png"))


class Report:
    """The report file; each job appends one line in a single write."""

    def __init__(self, folder: Path, rows: Iterable[Outcome], *, order: Sequence[str]) -> None:
        """Start with known outcomes; `order` is the order of ids in the finished report."""
        self._rows = {_key(row): row for row in rows}
        self._order = {name: number for number, name in enumerate(order)}
        self._path = folder / REPORT
        self._write()
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND)

    def add(self, row: Outcome) -> None:
        line = _line(row)
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise InputError(_full(self._path, error.strerror or "")) from error
        if written < len(line):
            raise InputError(_full(self._path, "it was cut off"))
        self._rows[_key(row)] = row

    @property
    def rows(self) -> list[Outcome]:
        """All lines in the order of the jobs; refused lines come last."""
        last = len(self._order)
        return sorted(self._rows.values(), key=lambda row: self._order.get(_key(row), last))

    def close(self) -> None:
        """Rewrite the lines in order."""
        os.close(self._file)
        self._write()

    def _write(self) -> None:
        write_file(self._path, b"".join(map(_line, self.rows)), force=True)


def _key(row: Outcome) -> str:
    return str(row["id"] or row["place"])


def _line(row: Outcome) -> bytes:
    return (json.dumps(row) + "\n").encode()


def _full(path: Path, reason: str) -> str:
    return (
        f"'{path}' cannot be written ({reason}). Room on its disk is needed. Make some, and give "
        "the same command again: it continues where it stopped."
    )


def _fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = dict.fromkeys([*before, *now])
    return ", ".join(name for name in names if before.get(name) != now.get(name))


def _some(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")


FRAME = re.compile(r"frame-\d+\.png")
SENT_EVERY = 50  # outcomes after which the report is sent; those since are drawn again elsewhere


class RemoteFolder:
    """A folder at an address of fsspec. A store of objects holds a file whole or not at all.

    It has no lock: one run at a time is up to its user.
    """

    def __init__(self, address: str) -> None:
        """Copy what earlier runs left; InputError if the address is unreadable, or has too much."""
        from fsspec.core import url_to_fs  # type: ignore[import-untyped]

        self._address = address
        self._temporary = tempfile.TemporaryDirectory(prefix="swiftpie-")
        self.here = Path(self._temporary.name) / "run"
        self.here.mkdir()
        with self._reached():
            self._store, root = url_to_fs(address, use_listings_cache=False)
            self._root = root.rstrip("/")
            self._copy_here()

    def _copy_here(self) -> None:
        """Copy the objects whose names a run writes, as far as the disk has room."""
        found = self._store.find(self._root, detail=True)
        sizes = {key.removeprefix(f"{self._root}/"): facts["size"] for key, facts in found.items()}
        ours = {name: size for name, size in sizes.items() if _is_written(name)}
        if foreign := sizes.keys() - ours.keys():
            logger.warning(
                "%d objects of %s have names that no run writes, as %s. They stay where they are.",
                *(len(foreign), self._address, short_reason(min(foreign))),
            )
        needed = sum(ours.values())
        if needed > shutil.disk_usage(self.here).free // 2:
            raise OSError(
                f"its {needed >> 20} MiB are more than half of what is free in "
                f"'{tempfile.gettempdir()}', where they are copied to"
            )
        for name in ours:
            place = self.here / name
            place.parent.mkdir(exist_ok=True)
            self._store.get_file(f"{self._root}/{name}", str(place))

    def sending(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """Yield outcomes once their files were sent, and now and then the report."""
        self._send(self.here / PLAN)  # so that these files are known as this run's
        for number, outcome in enumerate(outcomes, start=1):
            if outcome["status"] == DONE:
                self._send_job(self.here / Path(outcome["file"]).name)
            if number % SENT_EVERY == 0:
                self._send(self.here / REPORT)
            yield outcome

    def close(self) -> None:
        """Send the report, and delete the copy."""
        with self._temporary:
            if (self.here / REPORT).exists():  # else the run did not begin
                self._send(self.here / REPORT)

    def _send_job(self, path: Path) -> None:
        frames, place = frames_in(path), f"{self._root}/{path.name}"
        with self._reached():
            if frames and self._store.exists(place):  # with more frames, maybe
                self._store.rm(place, recursive=True)
        for file in frames or [path]:
            self._send(file)

    def _send(self, path: Path) -> None:
        with self._reached():
            place = path.relative_to(self.here).as_posix()
            self._store.pipe_file(f"{self._root}/{place}", path.read_bytes())

    @contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each store has errors of its own
            self._temporary.cleanup()
            extra = " Install swiftpie[s3]." if isinstance(error, ImportError) else ""
            raise InputError(
                f"--out '{self._address}' cannot be used ({short_reason(error)}).{extra} A place "
                "that exists and can be written to is needed. Check its name and your rights."
            ) from error


def _is_written(name: str) -> bool:
    """Whether a run writes a file of this name: one in its folder, or a frame of a film there."""
    film, _, frame = name.partition("/")
    return is_portable_name(film) and (not frame or FRAME.fullmatch(frame) is not None)
