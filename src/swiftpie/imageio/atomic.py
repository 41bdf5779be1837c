"""Atomic writing: a file or folder appears whole or not at all."""

import functools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from swiftpie.errors import InputError, system_reason

TEMPORARY = ".swiftpie-*.tmp"  # a folder of what is being written; a kill leaves it
LEFT_S = 24 * 3600  # without a change; then its process was killed


def write_file(path: str | Path, data: bytes, *, force: bool = False) -> None:
    """Write `data` so that `path` holds either all of it or what it held before."""
    path = Path(path)
    check_target(path, force=force)
    try:
        with atomic_file(path, force=force) as temporary, temporary.open("xb") as file:
            file.write(data)
    except FileExistsError as error:  # another process was quicker
        raise InputError(_taken(path)) from error
    except (OSError, ValueError) as error:
        raise InputError(_unwritable(path, system_reason(error))) from error


@contextmanager
def atomic_file(path: Path, *, force: bool = True) -> Iterator[Path]:
    """Yield the name of a file to write, which becomes `path` at the end, in one step.

    If the block fails, `path` stays as it was; without `force` also if it exists by then, which
    raises FileExistsError. Afterwards all bytes are on the disk, with the permissions of new files.
    """
    with _workplace(path) as (folder, mode):
        temporary = folder / path.name
        yield temporary
        temporary.chmod(mode)  # some libraries write for the owner alone
        with temporary.open("r+b") as written:  # Windows puts nothing on the disk that is only read
            os.fsync(written.fileno())
        if force:
            temporary.replace(path)
        else:
            _create(temporary, path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder next to `path`, which takes that name at the end, in one step.

    A `path` that exists by then stays unchanged. What is left of the empty folder goes, also if the
    block fails.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _workplace(path) as (folder, mode):
        new = folder / path.name
        new.mkdir()
        yield new
        _open_to_others(new, mode)
        if new.is_dir() and not os.path.lexists(path):
            new.rename(path)


@contextmanager
def updated_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder whose files take their places in `path` at the end, one by one.

    Others in `path` stay. If the block fails, all do.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _workplace(path) as (folder, mode):
        new = folder / path.name
        new.mkdir()
        yield new
        for file in _open_to_others(new, mode):
            place = path / file.relative_to(new)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)


def _open_to_others(folder: Path, mode: int) -> list[Path]:
    """Give all files below `folder` the permissions of new ones, and return them."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    for file in files:
        file.chmod(mode | (file.stat().st_mode & 0o111))
    return files


def check_target(path: str | Path, *, force: bool = False) -> None:
    """Refuse what `write_file` would refuse, before any work is done for it."""
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder. Add a file name to the path.")
        if os.path.lexists(path) and not force:  # a link that leads nowhere is something, too
            raise InputError(_taken(path))
        if not path.parent.is_dir():
            raise InputError(_unwritable(path, "its folder does not exist"))
        if not os.access(path.parent, os.W_OK):
            raise InputError(_unwritable(path, "its folder is read-only"))
    except OSError as error:
        raise InputError(_unwritable(path, system_reason(error))) from error


def are_one_place(first: str | Path, second: str | Path) -> bool:
    """Whether two names lead to one file, whether or not it exists."""
    try:
        if os.path.realpath(first) == os.path.realpath(second):
            return True
        return Path(first).samefile(second)
    except (OSError, ValueError):
        return False  # one of them does not exist


def make_folder(path: Path) -> None:
    """Make `path` a folder that exists, with all above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be made a folder ({system_reason(error)}). Choose another folder."
        ) from error


@contextmanager
def _workplace(path: Path) -> Iterator[tuple[Path, int]]:
    """Yield a folder next to `path`, deleted at the end and in no error, and new files' mode."""
    remove_leftovers(path.parent.absolute())
    prefix, suffix = TEMPORARY.split("*")
    name = ""
    try:
        with TemporaryDirectory(suffix, prefix, path.parent, ignore_cleanup_errors=True) as name:
            probe = Path(name) / path.name
            probe.touch()
            mode = probe.stat().st_mode & 0o777
            probe.unlink()
            yield Path(name), mode
    except OSError as error:
        if error.filename is not None and prefix not in str(error.filename):
            raise
        raise OSError(error.errno, system_reason(error), str(path)) from error
    except InputError as error:
        if prefix not in str(error):
            raise
        raise InputError(str(error).replace(str(Path(name)), str(path.parent))) from error


@functools.lru_cache(maxsize=1024)  # once a run; folders may hold many files
def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in `folder` when they were writing there."""
    for left in folder.glob(TEMPORARY):
        with suppress(OSError):
            last = max(path.stat().st_mtime for path in (left, *left.rglob("*")))
            if time.time() - last > LEFT_S:
                shutil.rmtree(left)


def _create(temporary: Path, path: Path) -> None:
    """Give `temporary` the name `path`."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        temporary.replace(path)


def _taken(path: Path) -> str:
    return f"'{path}' exists already. Choose a new name, or replace it with `force=True`."


def _unwritable(path: Path, reason: str) -> str:
    return f"'{path}' cannot be written ({reason}). Choose a folder that exists and is writable."
