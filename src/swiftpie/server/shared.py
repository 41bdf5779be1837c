"""Subjects in a folder that several servers share.

An owner's subject is a small record and its files, below the hash of the owner's name:

    records/OWNER/ID.json         its facts, and the size and sha256 of each file
    files/OWNER/ID/SHA256         the identity as safetensors, its thumbnail, pictures and masks

Files never change. They are written before the record and removed after it, so that a reader of a
record finds all of it, or finds that it has gone. Records are read each time and files are kept in
memory by their hash, so that every server knows at once what another one wrote.
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
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
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
    size_of,
)
from swiftpie.types import Identity

logger = logging.getLogger(__name__)

NUMBER = re.compile(rf"{PREFIX}_[A-Za-z0-9_-]{{22}}")  # no path is made of anything else
IDENTITY = "identity"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
MAX_RECORD_BYTES = 64 << 10
ABANDONED_S = 3600  # a file without a record is not being written any more
THREADS = 8  # that wait for the store

P = ParamSpec("P")
T = TypeVar("T")


class Part(Strict):
    """A file in the record of its subject."""

    size: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, data: bytes) -> "Part":
        """Return the facts of a file."""
        return cls(size=len(data), sha256=hashlib.sha256(data).hexdigest())


FileName = Annotated[
    str, Field(pattern=rf"^({IDENTITY}|{THUMBNAIL}|(pictures|masks)/[0-{MAX_REFERENCES - 1}])$")
]
Line = Annotated[str, Field(max_length=1000)]


class Record(Strict):
    """The record of a subject in a store; it is checked when it is read."""

    format: Literal["swiftpie-kept/1"] = "swiftpie-kept/1"
    made: Annotated[float, Field(allow_inf_nan=False)]  # seconds since 1970
    name: Annotated[str, Field(max_length=MAX_NAME)]
    model: Annotated[str, Field(max_length=MAX_NAME)]
    warnings: Annotated[tuple[Line, ...], Field(max_length=MAX_REFERENCES)]
    is_face: bool = False
    files: Annotated[dict[FileName, Part], Field(max_length=2 * MAX_REFERENCES + 2)]

    @property
    def info(self) -> IdentityInfo:
        """Its facts."""
        files = tuple(name for name in self.files if name != IDENTITY)
        return IdentityInfo(self.name, self.model, files, self.warnings, self.is_face)


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

    def __init__(self, folder: str | Path, *, cache_mib: float, owner_mib: float) -> None:
        if "://" in str(folder):
            raise _unusable(folder, "it is an address")
        self._root = Path(folder).absolute()
        self._limit, self._cache_limit = owner_mib * MIB, cache_mib * MIB
        self._cache: OrderedDict[str, Identity] = OrderedDict()  # by the hash of the file
        self._lock = Lock()  # of the cache
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="swiftpie-identities")
        self._check_usable()

    def _check_usable(self) -> None:
        """Write, read and remove once what is written later."""
        path, text = f"records/{secrets.token_hex(16)}.txt", b"SwiftPie writes, reads and removes."
        try:
            self._write(path, text)
            is_there = self._read(path, len(text)) == text
            self._remove(path)
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
        info = known.info
        record = Record(
            made=time.time(),
            name=info.name,
            model=info.model,
            warnings=info.warnings,
            is_face=info.is_face,
            files={name: Part.of(data) for name, data in contents.items()},
        )
        folder = _folder_path(number, owner)
        try:
            for name, data in contents.items():
                self._write(f"{folder}/{record.files[name].sha256}", data)
            self._write(_record_path(number, owner), record.model_dump_json().encode())
        except Exception:
            with suppress(Exception):  # the first error says more
                self._remove(folder)
            raise
        self._remember(record.files[IDENTITY].sha256, known.identity)
        return number

    @in_thread
    def items(self, *, owner: str) -> list[tuple[str, IdentityInfo]]:
        """Return all that one owner has, the oldest first."""
        found = []
        for number in self._numbers(owner):
            with suppress(RequestError):  # damaged, or gone by now
                found.append((self._record(number, owner), number))
        found.sort(key=lambda pair: (pair[0].made, pair[1]))
        return [(number, record.info) for record, number in found]

    @in_thread
    def find(self, number: str, *, owner: str) -> tuple[IdentityInfo, Identity]:
        """Return a subject."""
        record = self._record(number, owner)
        part = record.files.get(IDENTITY)
        if part is None:
            raise _damaged(number, "it has no identity")
        with self._lock:
            identity = self._cache.get(part.sha256)
        if identity is None:
            try:
                identity = read_identity(self._content(number, part, owner), number)
            except InputError as error:
                raise _damaged(number, error) from error
        self._remember(part.sha256, identity)
        return record.info, identity

    @in_thread
    def file(self, number: str, name: str, *, owner: str) -> bytes | None:
        """Return one of its files, None if it has none of this name."""
        part = self._record(number, owner).files.get(name)
        return None if part is None else self._content(number, part, owner)

    @in_thread
    def rename(self, number: str, name: str, *, owner: str) -> IdentityInfo:
        """Give it another name; return its facts."""
        record = self._record(number, owner).model_copy(update={"name": name})
        self._write(_record_path(number, owner), record.model_dump_json().encode())
        return record.info

    @in_thread
    def drop(self, number: str, *, owner: str) -> None:
        """Delete it."""
        self._read_record(number, owner)
        self._remove(_record_path(number, owner))
        self._remove(_folder_path(number, owner))

    def _remember(self, sha256: str, identity: Identity) -> None:
        with self._lock:
            self._cache[sha256] = identity
            self._cache.move_to_end(sha256)
            while sum(map(size_of, self._cache.values())) > self._cache_limit:
                self._cache.popitem(last=False)

    def _read_record(self, number: str, owner: str) -> bytes:
        """Return a record, of which nothing is checked."""
        data = None
        if NUMBER.fullmatch(number):
            data = self._read(_record_path(number, owner), MAX_RECORD_BYTES)
        if data is None:
            raise NotFound(KIND, number, remedy=REMEDY)
        return data

    def _record(self, number: str, owner: str) -> Record:
        try:
            return Record.model_validate_json(self._read_record(number, owner))
        except ValidationError as error:
            raise _damaged(number, error) from error

    def _content(self, number: str, part: Part, owner: str) -> bytes:
        """Return a file that a record names."""
        if part.size > self._limit:
            raise _damaged(number, f"a file of {part.size} bytes")
        data = self._read(f"{_folder_path(number, owner)}/{part.sha256}", part.size)
        if data is None:
            self._remove(_record_path(number, owner))  # which a rename may have written again
            raise NotFound(KIND, number, remedy=REMEDY)
        if Part.of(data) != part:
            raise _damaged(number, "a file that is not the one of its record")
        return data

    def _check_quota(self, size: int, owner: str) -> None:
        """Delete what a server that ended has left half-written, and refuse too much."""
        held = {path: path.stat() for path in self._files_of(f"files/{_hashed(owner)}")}
        numbers = set(self._numbers(owner))
        for path in [path for path in held if path.parent.name not in numbers]:
            if time.time() - held[path].st_mtime > ABANDONED_S:
                path.unlink(missing_ok=True)
                del held[path]
        kept = sum(facts.st_size for facts in held.values())
        if kept + size > self._limit:
            raise RequestError(
                f"Your identities take {kept / MIB:.1f} MiB, this one takes {size / MIB:.1f}, and "
                f"{self._limit / MIB:g} are allowed. Delete some: DELETE /v1/identities/ID.",
                status=413,
                code="quota_exceeded",
            )

    def _numbers(self, owner: str) -> list[str]:
        paths = self._files_of(f"records/{_hashed(owner)}")
        return [path.stem for path in paths if path.suffix == ".json"]

    def _files_of(self, folder: str) -> list[Path]:
        return [path for path in (self._root / folder).rglob("*") if path.is_file()]

    def _read(self, path: str, most: int) -> bytes | None:
        """Return a file, one byte more than `most` of a larger one, None where there is none."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(most + 1)
        except FileNotFoundError:
            return None

    def _write(self, path: str, data: bytes) -> None:
        """Write a file that is whole from the moment at which it is there."""
        _make_private((self._root / path).parent)
        write_file(self._root / path, data, force=True)

    def _remove(self, path: str) -> None:
        """Remove a file, or a folder with all that is in it."""
        place = self._root / path
        with suppress(FileNotFoundError):
            shutil.rmtree(place) if place.is_dir() else place.unlink()


def _make_private(folder: Path) -> None:
    """Make a folder and its missing parents, readable by this user alone."""
    if not folder.is_dir():
        _make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _hashed(owner: str) -> str:
    return hashlib.sha256(owner.encode()).hexdigest()


def _record_path(number: str, owner: str) -> str:
    return f"records/{_hashed(owner)}/{number}.json"


def _folder_path(number: str, owner: str) -> str:
    return f"files/{_hashed(owner)}/{number}"
