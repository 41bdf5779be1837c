"""Subjects in a folder that several servers share.

OWNER/ID/ has a subject's record, its identity as safetensors, its thumbnail, pictures and masks;
OWNER is the hash of the owner's name. Files never change. They are written before the record and
removed after it, so that a reader of a record finds all of it, or finds that it has gone. All is
read each time, so that every server knows at once what another one wrote.
"""

import asyncio
import errno
import functools
import hashlib
import logging
import re
import secrets
import shutil
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Concatenate, Literal, ParamSpec, TypeVar

from pydantic import Field, ValidationError

from swiftpie.errors import ConfigError, InputError, short_reason
from swiftpie.imageio.atomic import write_file
from swiftpie.pipelines.identity import MAX_REFERENCES
from swiftpie.pipelines.identity_file import identity_bytes, read_identity
from swiftpie.server.schemas import MAX_NAME, RequestError, Strict
from swiftpie.server.store import (
    KIND,
    MIB,
    PREFIX,
    REMEDY,
    THUMBNAIL,
    IdentityInfo,
    NotFound,
    StoredIdentity,
)
from swiftpie.types import Identity

logger = logging.getLogger(__name__)

NUMBER = re.compile(rf"{PREFIX}_[A-Za-z0-9_-]{{22}}")  # no path is made of anything else
IDENTITY, RECORD = "identity", "record.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OWNER_MIB = 256.0  # that an owner keeps
MAX_RECORD_BYTES = 64 << 10
ABANDONED_S = 3600  # a file without a record is not being written any more
THREADS = 8  # that wait for the store

P = ParamSpec("P")
T = TypeVar("T")


FileName = Annotated[
    str, Field(pattern=rf"^({THUMBNAIL}|(pictures|masks)/[0-{MAX_REFERENCES - 1}])$")
]
Line = Annotated[str, Field(max_length=1000)]


class Record(Strict):
    """The record of a subject in a store; it is checked when it is read."""

    format: Literal["swiftpie-kept/2"] = "swiftpie-kept/2"
    made: Annotated[float, Field(allow_inf_nan=False)]  # seconds since 1970
    name: Annotated[str, Field(max_length=MAX_NAME)]
    model: Annotated[str, Field(max_length=MAX_NAME)]
    warnings: Annotated[tuple[Line, ...], Field(max_length=MAX_REFERENCES)]
    is_face: bool = False
    files: Annotated[tuple[FileName, ...], Field(max_length=2 * MAX_REFERENCES + 1)]

    @property
    def info(self) -> IdentityInfo:
        """Its facts."""
        return IdentityInfo(self.name, self.model, self.files, self.warnings, self.is_face)


def in_thread(
    method: Callable[Concatenate["SharedIdentities", P], T],
) -> Callable[Concatenate["SharedIdentities", P], Coroutine[Any, Any, T]]:
    """Let a method run in a thread, and turn what fails there into an error for the caller."""

    async def waiting(self: "SharedIdentities", /, *args: P.args, **options: P.kwargs) -> T:
        call = functools.partial(method, self, *args, **options)
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, call)
        except RequestError:
            raise
        except Exception as error:
            raise _unreachable(error) from error

    return waiting


def _unreachable(error: Exception) -> RequestError:
    cause = error.__cause__ if isinstance(error, InputError) else error  # of a file
    if isinstance(cause, OSError) and cause.errno in FULL:
        logger.error("the store of identities is full")
        return RequestError(
            "The store of identities is full. Delete some of yours: DELETE /v1/identities/ID, or "
            "ask the operator of this server for more room.",
            status=507,
            code="identities_full",
        )
    logger.error("the store of identities does not answer", exc_info=error)
    return RequestError(
        "Identities cannot be reached now. Ask again a little later.",
        status=503,
        code="identities_unreachable",
    )


def _damaged(number: str, reason: object) -> RequestError:
    logger.warning("the identity %s is damaged: %s", number, short_reason(reason))
    return RequestError(
        f"The identity {number} is damaged where it is kept. Delete it, and send its pictures "
        "to POST /v1/identities.",
        status=404,
        code="identity_damaged",
        param="identity_id",
    )


def _unusable(folder: str | Path, reason: str) -> ConfigError:
    return ConfigError(
        f"--identities {folder} cannot be used: {reason}. A folder is needed in which this "
        "server can read, write and delete. Name another, or mount a bucket as a folder."
    )


class SharedIdentities:
    """Identities in a folder that other servers use, too; see `OwnIdentities`.

    What an owner may keep is bounded, and more is refused, so that nothing kept is dropped.
    Uploads of one owner to several servers at once may go beyond that by as many.
    """

    is_shared = True

    def __init__(self, folder: str | Path, *, owner_mib: float = OWNER_MIB) -> None:
        if "://" in str(folder):
            raise _unusable(folder, "it is an address")
        self._root = Path(folder).absolute()
        self._limit = owner_mib * MIB
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="swiftpie-identities")
        self._check_usable()

    def _check_usable(self) -> None:
        """Write, read and remove once what is written later."""
        path, text = self._root / secrets.token_hex(16), b"SwiftPie writes, reads and removes."
        try:
            _write(path, text)
            is_there = _read(path, len(text)) == text
            path.unlink()
        except (OSError, InputError) as error:
            raise _unusable(self._root, short_reason(error)) from error
        if not is_there:
            raise _unusable(self._root, "what is written is not read again")

    @in_thread
    def put(self, known: StoredIdentity, *, owner: str, key: str = "") -> str:
        """Keep a subject; return its number."""
        del key  # the bound is of each owner
        number = f"{PREFIX}_{secrets.token_urlsafe(16)}"
        contents = {IDENTITY: identity_bytes(known.identity), **known.files}
        self._check_quota(sum(map(len, contents.values())), owner)
        record = Record(made=time.time(), **asdict(known.info))
        folder = self._folder(number, owner)
        try:
            for name, data in contents.items():
                _write(folder / name, data)
            _write(folder / RECORD, record.model_dump_json().encode())
        except Exception:
            shutil.rmtree(folder, ignore_errors=True)  # the first error says more
            raise
        return number

    @in_thread
    def items(self, *, owner: str) -> list[tuple[str, IdentityInfo]]:
        """Return all that one owner has, the oldest first."""
        found = []
        for folder in self._folders(owner):
            with suppress(RequestError):  # damaged, or gone by now
                found.append((self._record(folder.name, owner), folder.name))
        found.sort(key=lambda pair: (pair[0].made, pair[1]))
        return [(number, record.info) for record, number in found]

    @in_thread
    def find(self, number: str, *, owner: str) -> tuple[IdentityInfo, Identity]:
        """Return a subject."""
        record, folder = self._record(number, owner), self._folder(number, owner)
        try:
            return record.info, read_identity(self._content(folder, IDENTITY), number)
        except InputError as error:
            raise _damaged(number, error) from error

    @in_thread
    def file(self, number: str, name: str, *, owner: str) -> bytes | None:
        """Return one of its files, None if it has none of this name."""
        is_there = name in self._record(number, owner).files
        return self._content(self._folder(number, owner), name) if is_there else None

    @in_thread
    def rename(self, number: str, name: str, *, owner: str) -> IdentityInfo:
        """Give it another name; return its facts."""
        record = self._record(number, owner).model_copy(update={"name": name})
        _write(self._folder(number, owner) / RECORD, record.model_dump_json().encode())
        return record.info

    @in_thread
    def drop(self, number: str, *, owner: str) -> None:
        """Delete it."""
        self._read_record(number, owner)
        folder = self._folder(number, owner)
        (folder / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    def _read_record(self, number: str, owner: str) -> bytes:
        """Return a record, of which nothing is checked."""
        data = None
        if NUMBER.fullmatch(number):
            data = _read(self._folder(number, owner) / RECORD, MAX_RECORD_BYTES)
        if data is None:
            raise NotFound(KIND, number, remedy=REMEDY)
        return data

    def _record(self, number: str, owner: str) -> Record:
        try:
            return Record.model_validate_json(self._read_record(number, owner))
        except ValidationError as error:
            raise _damaged(number, error) from error

    def _content(self, folder: Path, name: str) -> bytes:
        """Return a file of a subject that has a record."""
        data = _read(folder / name, int(self._limit))
        if data is None:
            (folder / RECORD).unlink(missing_ok=True)  # which a rename may have written again
            raise NotFound(KIND, folder.name, remedy=REMEDY)
        if len(data) > self._limit:
            raise _damaged(folder.name, f"more than {self._limit:.0f} bytes")
        return data

    def _check_quota(self, size: int, owner: str) -> None:
        """Delete what a server that ended has left half-written, and refuse too much."""
        kept = 0
        for folder in self._folders(owner):
            files = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
            newest_s = max((facts.st_mtime for facts in files.values()), default=time.time())
            if folder / RECORD not in files and time.time() - newest_s > ABANDONED_S:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                kept += sum(facts.st_size for facts in files.values())
        if kept + size > self._limit:
            raise RequestError(
                f"Your identities take {kept / MIB:.1f} MiB, this one takes {size / MIB:.1f}, and "
                f"{self._limit / MIB:g} are allowed. Delete some: DELETE /v1/identities/ID.",
                status=413,
                code="quota_exceeded",
            )

    def _folders(self, owner: str) -> list[Path]:
        place = self._root / _hashed(owner)
        return list(place.iterdir()) if place.is_dir() else []

    def _folder(self, number: str, owner: str) -> Path:
        return self._root / _hashed(owner) / number


def _hashed(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()


def _read(path: Path, most: int) -> bytes | None:
    """Return a file, one byte more than `most` of a larger one, None where there is none."""
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except FileNotFoundError:
        return None


def _write(path: Path, data: bytes) -> None:
    """Write a file that is whole from the moment at which it is there."""
    _make_private(path.parent)
    write_file(path, data, force=True)


def _make_private(folder: Path) -> None:
    """Make a folder and its missing parents, readable by this user alone."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
