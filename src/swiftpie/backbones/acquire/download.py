"""The plan of a download, shown before anything large is fetched, and the transfer itself.

huggingface_hub lists repositories, checks access, holds sessions, tokens and locks, and defines
the cache that files go to. The transfer is our own, because `hf_hub_download` (checked up to 2.4)
begins anew in each call, compares no checksum outside of Xet, and waits as long as a server
demands. `tests/backbones/acquire/test_hub_client.py` shows each of the three.
"""

import errno
import gzip
import hashlib
import json
import math
import os
import re
import shutil
import tarfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from swiftpie.backbones.hub import (
    CHUNK_BYTES,
    FIRST_WAIT_S,
    TRIES,
    Host,
    RemoteFile,
    RepoListing,
    RepoReference,
    explain,
    hub_client,
    read_start,
    request,
    transport_error,
    wait_after,
)
from swiftpie.config import home_folder
from swiftpie.errors import WeightsError, short_reason
from swiftpie.imageio.atomic import atomic_folder

PARTIAL = ".incomplete"  # ends the name of a file that is not whole yet
MEASURED_BYTES = 8 << 20  # fewer say little about the speed of a connection
SPARE_BYTES = 64 << 20  # left free on the disk
ARCHIVE_ROOM = 2.2  # times the size of an archive of weights: packed and unpacked
MAX_UNPACKED = 4  # times the size of an archive; weights hardly compress, so more is an attack
MAX_MEMBERS = 1000  # of an archive
WEIGHTS = (".safetensors", ".bin")
HEAD_BYTES = 4096  # of a safetensors file: holds the dtype of its first tensor
BITS = re.compile(rb'"dtype":\s*"B?F(\d+)')
KEPT = ("config.json", ".safetensors", ".bin")  # members that are extracted

Advance = Callable[[int], object]
Unread = Mapping[str, Callable[[str], bool]]  # by a network's folder, whether a weight of it is
ALL_READ: Unread = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class ModelPart:
    """Files of one repository that belong together, and their place on this machine."""

    name: str  # base, adapter, image encoder, …
    option: str  # the choice that names another place for them
    reference: RepoReference | None  # None: files of the user
    root: Path  # laid out as the repository; may not exist yet
    path: Path  # `root` or below it: the folder or file that a loader opens
    names: tuple[str, ...] = ()  # of all files below `root` that are read
    listing: RepoListing | None = None  # None where no host was contacted
    files: tuple[RemoteFile, ...] = ()  # in the order of download
    licence: str | None = None  # None: the publisher states none

    @property
    def is_archive(self) -> bool:
        """Whether it is published as an archive, in one or several files."""
        return self.reference is not None and self.reference.host is Host.GITHUB

    @property
    def is_file(self) -> bool:
        """Whether a loader opens one file; else a folder."""
        return self.path.is_file() if self.reference is None else self.reference.is_file

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """The files that are not in their place."""
        if self.is_archive:
            return () if self.path.exists() else self.files
        return tuple(file for file in self.files if not (self.root / file.path).exists())

    def store(self, file: RemoteFile) -> Path:
        """Return where the content of `file` is kept, beside what else the repository had."""
        if self.is_archive:
            return self.root.with_name(f"{self.root.name}.parts") / file.path
        return self.root.parents[1] / "blobs" / file.blob

    def left(self, file: RemoteFile) -> int:
        """Return how many bytes of `file` are still to be taken."""
        store = self.store(file)
        if store.exists():
            return 0
        begun = _partial(store)
        return file.size - (min(begun.stat().st_size, file.size) if begun.exists() else 0)


@dataclass(frozen=True)
class DownloadPlan:
    """The parts of a model, and which of their files are missing on this machine."""

    parts: tuple[ModelPart, ...] = ()
    memory_bytes: int | None = None  # of all weights in the chosen dtype; None: unknown
    largest_bytes: int = 0  # of the largest network, as far as known

    def __add__(self, other: "DownloadPlan") -> "DownloadPlan":
        known = [size for size in (self.memory_bytes, other.memory_bytes) if size is not None]
        largest = max(self.largest_bytes, other.largest_bytes)
        return DownloadPlan(self.parts + other.parts, sum(known) if known else None, largest)

    @property
    def missing(self) -> list[tuple[ModelPart, RemoteFile]]:
        """Each file that is not here, once, with the first part that needs it."""
        found = {
            part.root / file.path: (part, file) for part in self.parts for file in part.missing
        }
        return list(found.values())

    @property
    def bytes_left(self) -> int:
        """The bytes still to download; what an interrupted download left is subtracted."""
        stores = {part.store(file): part.left(file) for part, file in self.missing}
        return sum(stores.values())

    @property
    def folders(self) -> list[Path]:
        """The folders that the files go to."""
        places = (part.root.parents[0 if part.is_archive else 2] for part, _ in self.missing)
        return list(dict.fromkeys(places))

    @property
    def free_bytes(self) -> int:
        """The free bytes on the fullest of the disks that the files go to."""
        return min(map(_free, self.folders), default=0)

    @property
    def seconds(self) -> float | None:
        """The expected duration at the rate of the last download; None: none was measured."""
        rate = last_rate()
        return None if rate is None else self.bytes_left / rate

    def part(self, name: str) -> ModelPart | None:
        """Return a part by its name; None if there is none."""
        return next((part for part in self.parts if part.name == name), None)

    def path(self, name: str) -> Path | None:
        """Return what a loader opens of the part `name`; None if there is no such part."""
        part = self.part(name)
        return None if part is None else part.path

    def __getitem__(self, name: str) -> ModelPart:
        return next(part for part in self.parts if part.name == name)

    def with_memory(self, item_bytes: int, unread: Unread = ALL_READ) -> "DownloadPlan":
        """Return the plan with the memory of its weights at `item_bytes` per number.

        Those that are `unread` do not count. The memory stays unknown while an archive is missing.
        """
        if any(part.is_archive and part.missing for part in self.parts):
            return self
        found = {
            (part.root, name): _weight_bytes(part, name, item_bytes, unread)
            for part in self.parts
            for name in part.names
            if name.endswith(WEIGHTS)
        }
        networks = Counter[Path]()
        for (root, name), count in found.items():
            networks[(root / name).parent] += count  # of one in pieces all
        largest = max(networks.values(), default=0)
        return replace(self, memory_bytes=sum(found.values()), largest_bytes=largest)

    def check_space(self) -> None:
        """Refuse a plan that exceeds the disk, or whose largest network exceeds main memory.

        Networks can take turns in main memory, but each has to fit as a whole.

        Raises:
            WeightsError: There is not enough.
        """
        memory = total_memory()
        if memory is not None and self.largest_bytes > memory:
            raise WeightsError(
                f"The largest network takes {as_size(self.largest_bytes)} of memory, and this "
                f"machine has {as_size(memory)}. Choose `dtype=bfloat16`, or a smaller preset."
            )
        needed = sum(
            part.left(file) * (ARCHIVE_ROOM if part.is_archive else 1)
            for part, file in self.missing
        )
        if self.missing and needed + SPARE_BYTES > self.free_bytes:
            raise WeightsError(
                f"The download needs {as_size(needed)} in '{self.folders[0]}', and "
                f"{as_size(self.free_bytes)} are free there. Make room, or set HF_HOME to a larger "
                "disk."
            )

    def fetch(self) -> None:
        """Download every missing file; complete files stay when a later one fails.

        Raises:
            WeightsError: A file cannot be downloaded, differs from the published one, or has no
                room.
        """
        self.check_space()
        missing, total = self.missing, self.bytes_left
        if missing:
            self._take(missing, total)
        for part in self.parts:
            _note_newest(part)

    def fetch_only(self, is_wanted: Callable[[RemoteFile], bool]) -> None:
        """Download the missing files that `is_wanted` accepts, without a progress bar.

        Raises:
            WeightsError: A file cannot be downloaded, differs from the published one, or has no
                room.
        """
        for part, file in self.missing:
            if is_wanted(file):
                _fetch_one(part, file, lambda _: None)

    def _take(self, missing: Sequence[tuple[ModelPart, RemoteFile]], total: int) -> None:
        begun = time.monotonic()
        with transfer_bar(total) as advance:
            for part, file in missing:
                _fetch_one(part, file, advance)
        _note_rate(total, time.monotonic() - begun)
        for part in dict.fromkeys(part for part, _ in missing if part.is_archive):
            _unpack(part)


def as_size(count: float) -> str:
    """Return a number of bytes in a readable unit."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.{1 if count < 10 else 0}f} {unit}"
    return f"{count / 1000:.1f} GB"


def as_time(seconds: float) -> str:
    """Return a duration in a readable unit."""
    if seconds < 90:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{math.ceil(seconds / 60)} min"


def total_memory() -> int | None:
    """Return the bytes of main memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def last_rate() -> float | None:
    """Return the bytes per second of the last large download; None: none was measured."""
    try:
        rate = float(json.loads(_rate_file().read_text(encoding="utf-8"))["bytes_per_s"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return rate if math.isfinite(rate) and rate > 0 else None


def download_file(file: RemoteFile, store: Path, *, host: Host, advance: Advance) -> None:
    """Download a file to `store`, resume a partial one, and check its published checksum.

    `advance` gets the number of new bytes; a negative number takes bytes back.

    Raises:
        WeightsError: The checksum differs; nothing of the file stays.
        OSError: The download fails, or there is no room; see `explain`.
    """
    begun, lock = _partial(store), store.with_name(f"{store.name}.lock")
    if host is Host.HUB:  # where other programs lock it as well
        cache = store.parents[2]
        lock = cache / ".locks" / store.parents[1].name / lock.name
    for folder in (store.parent, lock.parent):
        folder.mkdir(parents=True, exist_ok=True)
    with hub_client().WeakFileLock(lock):
        if store.exists():
            advance(file.size)  # another process was quicker
            return
        _receive(file, begun, host=host, advance=advance)
        if not _is_published(file, begun):
            begun.unlink()
            raise WeightsError(
                f"'{file.path}' is not the file that was published: its checksum differs from "
                f"{(file.sha256 or file.git_sha1 or '')[:12]}…, so it was removed. Try again. If "
                "this repeats, something between the server and this machine changes files."
            )
        begun.replace(store)


def _fetch_one(part: ModelPart, file: RemoteFile, advance: Advance) -> None:
    assert part.listing is not None
    store = part.store(file)
    try:
        if not store.exists():
            download_file(file, store, host=part.listing.host, advance=advance)
        if not part.is_archive:
            _link(store, part.root / file.path)
    except (OSError, transport_error()) as error:
        place = RepoReference(part.listing.repository, file.path, host=part.listing.host)
        raise WeightsError(explain(place, part.option, error)) from error


def _receive(file: RemoteFile, begun: Path, *, host: Host, advance: Advance) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    trials, reached = 0, 0
    failure: Exception = EOFError("the connection ended early")
    begun.touch()
    while (have := begun.stat().st_size) != file.size:
        if have > file.size:
            advance(file.size - have)
            begun.write_bytes(b"")
            have = 0
        if have - reached >= CHUNK_BYTES:
            trials, reached = 0, have
        try:
            _append(file, begun, have, host=host, advance=advance)
            wait: float | None = 0.0
        except HfHubHTTPError as error:
            failure, wait = error, wait_after(error, trials)
        except transport_error() as error:
            failure, wait = error, FIRST_WAIT_S * 2**trials
        if begun.stat().st_size == file.size:
            return
        trials += 1
        if wait is None or trials >= TRIES:
            raise failure
        time.sleep(wait)


def _append(file: RemoteFile, begun: Path, have: int, *, host: Host, advance: Advance) -> None:
    with request(file.url, host=host, start=have) as response, begun.open("ab") as out:
        if have and response.status_code != 206:  # the server ignored the range and starts anew
            out.truncate(0)
            advance(-have)
            have = 0
        for chunk in response.iter_bytes():
            have += len(chunk)
            if have > file.size:
                raise WeightsError(
                    f"'{file.path}' is longer than the {file.size} bytes that were published. Try "
                    "again. If this repeats, something between the server and this machine "
                    "changes files."
                )
            out.write(chunk)
            advance(len(chunk))


def _is_published(file: RemoteFile, path: Path) -> bool:
    """Whether `path` has the published checksum; True where none is published."""
    start: Callable[[], Any] = hashlib.sha256
    if file.sha256 is None and file.git_sha1 is not None:  # as git counts: with a header
        start = partial(hashlib.sha1, b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as content:
        found = hashlib.file_digest(content, start).hexdigest()
    return found == (file.sha256 or file.git_sha1 or found)


def _link(store: Path, place: Path) -> None:
    """Link a blob into its snapshot, as huggingface_hub does."""
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    up = Path(*[".."] * (len(place.relative_to(store.parents[1]).parts) - 1))
    try:
        place.symlink_to(up / store.relative_to(store.parents[1]))
    except FileExistsError:
        return
    except (OSError, NotImplementedError):  # Windows, without the right to make links
        store.replace(place)


def _note_newest(part: ModelPart) -> None:
    """Write the commit of a complete part into the cache's refs, so that it is found offline."""
    if part.reference is None or part.listing is None or part.is_archive:
        return
    revision = part.reference.revision or "main"
    note = part.root.parents[1] / "refs" / revision
    is_noted = note.is_file() and note.read_text(encoding="utf-8") == part.listing.revision
    if revision != part.listing.revision and not is_noted:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(part.listing.revision, encoding="utf-8")


def _unpack(part: ModelPart) -> None:
    """Unpack an archive that was published in pieces, and remove the pieces.

    Raises:
        WeightsError: It is damaged, or holds other things than weights.
    """
    pieces = [part.store(file) for file in part.files]
    try:
        with atomic_folder(part.root) as folder, _Joined(pieces) as joined:
            _extract(joined, folder, most=MAX_UNPACKED * sum(file.size for file in part.files))
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
        if getattr(error, "errno", None) != errno.ENOSPC:  # then the pieces are not at fault
            shutil.rmtree(pieces[0].parent, ignore_errors=True)
        raise WeightsError(
            f"The archive of '{part.reference}' cannot be unpacked ({short_reason(error)}). Run "
            "the same command again to download it anew, with room for it packed and unpacked."
        ) from error
    shutil.rmtree(pieces[0].parent, ignore_errors=True)


def _extract(archive: IO[bytes], folder: Path, *, most: int) -> None:
    """Extract the settings and weights in an archive to `folder`, and nothing else.

    Raises:
        ValueError: It has links, leaves its folder, or is larger than `most` bytes unpacked.
    """
    total = 0
    with gzip.GzipFile(fileobj=archive) as plain, tarfile.open(fileobj=plain, mode="r|") as members:
        for number, member in enumerate(members):
            path = PurePosixPath(member.name)
            total += member.size
            if number >= MAX_MEMBERS or total > most:
                raise ValueError("it holds more than weights take")
            if path.is_absolute() or ".." in path.parts or "\\" in member.name:
                raise ValueError(f"{member.name!r} leaves its folder")
            if not member.name.isprintable():
                raise ValueError(f"{member.name!r} has letters that cannot be read")
            if not (member.isfile() or member.isdir()):
                raise ValueError(f"{member.name!r} is a link, or no file at all")
            is_wanted = path.name.endswith(KEPT) and not path.name.startswith(".")
            content = members.extractfile(member) if member.isfile() and is_wanted else None
            if content is not None:
                place = folder.joinpath(*path.parts)
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as out:
                    shutil.copyfileobj(content, out, CHUNK_BYTES)
        while plain.read(CHUNK_BYTES):  # to its end, where its checksum is
            pass


class _Joined:
    """Reads the pieces of a file as one stream."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        self.pieces = iter(pieces)
        self.current: IO[bytes] | None = None

    def __enter__(self) -> Any:  # noqa: ANN401 - as much of a file as tarfile reads
        return self

    def __exit__(self, *_: object) -> None:
        if self.current is not None:
            self.current.close()

    def read(self, count: int) -> bytes:
        """Return at most `count` bytes; none at the end of the last piece."""
        while True:
            found = b"" if self.current is None else self.current.read(count)
            if found:
                return found
            piece = next(self.pieces, None)
            if piece is None:
                return b""
            if self.current is not None:
                self.current.close()
            self.current = piece.open("rb")


class transfer_bar:  # noqa: N801 - reads as the function that it stands for
    """One progress bar for all files, on standard error if that is a terminal."""

    def __init__(self, total: int) -> None:
        self.bar = hub_client().tqdm(
            total=total, unit="B", unit_scale=True, desc="fetching", disable=None
        )

    def __enter__(self) -> Advance:
        return self.bar.update

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def _weight_bytes(part: ModelPart, name: str, item_bytes: int, unread: Unread) -> int:
    """Return the memory of the weights in a file, by its size and the dtype that it stores.

    Raises:
        WeightsError: The start of a remote file cannot be read, or is damaged.
    """
    here = part.root / name
    if here.exists():
        return memory_of(here, item_bytes, unread)
    assert part.listing is not None
    assert part.reference is not None
    listed = part.listing.files[name]
    start = _Start(here, listed.size, partial(read_start, listed))
    try:
        return _in_memory(start, item_bytes, unread)
    except (OSError, transport_error()) as error:
        raise WeightsError(explain(part.reference, part.option, error)) from error


def memory_of(path: Path, item_bytes: int, unread: Unread = ALL_READ) -> int:
    """Return the memory of the weights in a file at `item_bytes` per number.

    Raises:
        WeightsError: Some are `unread`, and the file is damaged.
    """

    def read(count: int) -> bytes:
        with path.open("rb") as file:
            return file.read(count)

    return _in_memory(_Start(path, path.stat().st_size, read), item_bytes, unread)


class _Start(NamedTuple):
    """What a file of weights begins with."""

    path: Path  # where it is or will be
    size: int  # of the whole file
    read: Callable[[int], bytes]  # as many bytes


def _in_memory(start: _Start, item_bytes: int, unread: Unread) -> int:
    head = start.read(HEAD_BYTES)
    stored = BITS.search(head)
    if stored is None:  # a pickle
        return start.size
    read_bytes = start.size - _unread_bytes(start, head, unread.get(start.path.parent.name))
    return read_bytes * 8 * item_bytes // int(stored[1])


def _unread_bytes(start: _Start, head: bytes, stays: Callable[[str], bool] | None) -> int:
    if stays is None:
        return 0
    from swiftpie.backbones.load.safe import (  # not for those who need sizes alone
        METADATA,
        header_length,
        parse_header,
    )

    whole = start.read(8 + header_length(head, start.path))
    header = parse_header(whole, start.path, size=start.size)
    places = [entry["data_offsets"] for n, entry in header.items() if n != METADATA and stays(n)]
    return sum(end - begin for begin, end in places)


def _partial(store: Path) -> Path:
    return store.with_name(store.name + PARTIAL)


def _free(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which may not exist yet."""
    here = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(here).free


def _rate_file() -> Path:
    return home_folder() / "rate.json"


def _note_rate(taken: int, seconds: float) -> None:
    if taken < MEASURED_BYTES:
        return
    with suppress(OSError):  # it is a convenience
        file = _rate_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"bytes_per_s": round(taken / seconds)}), encoding="utf-8")
