"""The plan of a download, shown before anything large is fetched; huggingface_hub does the rest.

After each file its checksum is compared with the published one, which `hf_hub_download` does not do
by itself.
"""

import math
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from rich.filesize import decimal as as_size

from swiftpie.backbones.hub import (
    RemoteFile,
    RepoListing,
    RepoReference,
    check_proxy,
    explain,
    is_published,
    transport_error,
)
from swiftpie.errors import WeightsError

SPARE_BYTES = 64 << 20  # left free on the disk
WEIGHTS = (".safetensors", ".bin")

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
    names: tuple[str, ...] = ()  # All files below `root` that are read.
    listing: RepoListing | None = None  # None where the hub was not contacted
    files: tuple[RemoteFile, ...] = ()  # in the order of download
    licence: str | None = None  # None: the publisher states none

    @property
    def is_file(self) -> bool:
        """Whether a loader opens one file; else a folder."""
        return self.path.is_file() if self.reference is None else self.reference.is_file

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        return tuple(file for file in self.files if not (self.root / file.path).exists())

    def left(self, file: RemoteFile) -> int:
        """Return how many bytes of `file` are to be downloaded: none if another commit had it."""
        return 0 if self.store(file).exists() else file.size

    def store(self, file: RemoteFile) -> Path:
        """Return where the content of `file` is kept, whatever commits name it."""
        return self.root.parents[1] / "blobs" / file.blob

    @property
    def folder(self) -> Path:
        return self.root.parents[2]

    def room(self, file: RemoteFile) -> int:
        """Return the bytes that `file` still takes on the disk."""
        return self.left(file)

    def fetch(self, file: RemoteFile) -> None:
        """Download `file`; WeightsError if it cannot be had, or differs from the published one."""
        from huggingface_hub import hf_hub_download

        assert self.listing is not None, "what is missing was listed"
        listing = self.listing
        check_proxy()
        try:
            path = hf_hub_download(
                listing.repository, file.path, revision=listing.revision, library_name="swiftpie"
            )
        except (OSError, ValueError, transport_error()) as error:
            reference = RepoReference(listing.repository, file.path)
            raise WeightsError(explain(reference, self.option, error)) from error
        check_sum(file, Path(path))

    def finish(self) -> None:
        """Write the commit into the cache's refs, so that the complete part is found offline."""
        if self.reference is None or self.listing is None:
            return
        revision = self.reference.revision or "main"
        if revision != self.listing.revision:
            note = self.root.parents[1] / "refs" / revision
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(self.listing.revision, encoding="utf-8")


@dataclass(frozen=True)
class DownloadList:
    """The parts of a model, and which of their files are missing on this machine."""

    parts: tuple[ModelPart, ...] = ()
    memory_bytes: int | None = None  # All weights in the chosen dtype; None: unknown.
    largest_bytes: int = 0  # The largest network, as far as known.

    def __add__(self, other: "DownloadList") -> "DownloadList":
        known = [size for size in (self.memory_bytes, other.memory_bytes) if size is not None]
        largest = max(self.largest_bytes, other.largest_bytes)
        return DownloadList(self.parts + other.parts, sum(known) if known else None, largest)

    @property
    def missing(self) -> list[tuple[ModelPart, RemoteFile]]:
        """Each file that is not here, once, with the first part that needs it."""
        found = {
            part.root / file.path: (part, file) for part in self.parts for file in part.missing
        }
        return list(found.values())

    @property
    def bytes_left(self) -> int:
        """The bytes to download; what is the same in two folders counts once."""
        return sum({part.store(file): part.left(file) for part, file in self.missing}.values())

    @property
    def folders(self) -> list[Path]:
        return list(dict.fromkeys(part.folder for part, _ in self.missing))

    @property
    def free_bytes(self) -> int:
        """The free bytes on the fullest of the disks that the files go to."""
        return min(map(_free, self.folders), default=0)

    def part(self, name: str) -> ModelPart | None:
        return next((part for part in self.parts if part.name == name), None)

    def path(self, name: str) -> Path | None:
        """Return what a loader opens of the part `name`; None if there is no such part."""
        part = self.part(name)
        return None if part is None else part.path

    def __getitem__(self, name: str) -> ModelPart:
        return next(part for part in self.parts if part.name == name)

    def with_memory(self, item_bytes: int, unread: Unread = ALL_READ) -> "DownloadList":
        """Return the plan with the memory of its weights at `item_bytes` per number.

        Those that are `unread` do not count. Files that are not here count with their size.

        Raises:
            WeightsError: A file is damaged.
        """
        networks = Counter[Path]()  # Pieces of one network count together.
        for part in self.parts:
            sizes = {file.path: file.size for file in part.files}
            for name in part.names:
                if name.endswith(WEIGHTS):
                    place = part.root / name
                    is_here = place.exists()
                    size = memory_of(place, item_bytes, unread) if is_here else sizes[name]
                    networks[place.parent] += size
        largest = max(networks.values(), default=0)
        return replace(self, memory_bytes=networks.total(), largest_bytes=largest)

    def check_space(self) -> None:
        """Refuse a plan that exceeds the disk, or whose largest network exceeds main memory.

        Networks can take turns in main memory, but each has to fit as a whole.

        Raises:
            WeightsError: There is not enough.
        """
        import psutil  # type: ignore[import-untyped]  # has no types

        memory = psutil.virtual_memory().total
        if self.largest_bytes > memory:
            raise WeightsError(
                f"The largest network takes {as_size(self.largest_bytes)} of memory, and this "
                f"machine has {as_size(memory)}. Choose `dtype=bfloat16`, or a smaller preset."
            )
        room = sum({part.store(file): part.room(file) for part, file in self.missing}.values())
        if self.missing and room + SPARE_BYTES > self.free_bytes:
            raise WeightsError(
                f"The download needs {as_size(room)} in '{self.folders[0]}', and "
                f"{as_size(self.free_bytes)} are free there. Make room, or set HF_HOME, or "
                "SWIFTPIE_HOME for releases of GitHub, to a larger disk."
            )

    def fetch(self) -> None:
        """Download what is missing, or raise WeightsError; complete files stay then."""
        if not self.parts:
            return
        self.check_space()
        self.fetch_only(lambda _: True)
        for part in self.parts:
            part.finish()

    def fetch_only(self, is_wanted: Callable[[RemoteFile], bool]) -> None:
        for part, file in self.missing:
            if is_wanted(file):
                part.fetch(file)


def memory_of(path: Path, item_bytes: int, unread: Unread = ALL_READ) -> int:
    """Return the memory of the weights in a file at `item_bytes` per number.

    Those that are `unread` do not count. Of a pickle, this is the size of the file.

    Raises:
        WeightsError: The file is damaged.
    """
    # Plans of what is not here do without PyTorch.
    from swiftpie.backbones.load.safe import METADATA, check_safetensors, kind_of_file

    if kind_of_file(path) != "safetensors":
        return path.stat().st_size
    stays = unread.get(path.parent.name)
    return item_bytes * sum(
        math.prod(entry["shape"])
        for name, entry in check_safetensors(path).items()
        if name != METADATA and not (stays and stays(name))
    )


def check_sum(file: RemoteFile, path: Path) -> None:
    """Remove what is at `path` and raise WeightsError unless it is the published `file`."""
    if not is_published(file, path):
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise WeightsError(
            f"'{file.path}' is not the file that was published: its checksum differs from "
            f"{file.sha256 or file.blob:.12}…, so it was removed. Try again. If this repeats, "
            "something between the publisher and this machine changes files."
        )


def _free(folder: Path) -> int:
    """Return the free bytes on the disk of `folder`, which may not exist yet."""
    here = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(here).free
