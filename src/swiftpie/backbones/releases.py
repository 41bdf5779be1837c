"""Releases on GitHub whose weights are an archive in pieces: listed, fetched, joined, unpacked.

Complete pieces and the start of one stay after a stop, and the next call goes on with them. GitHub
states sums of newer files alone; where there is none, the size and the archive's own CRC-32 decide.
"""

import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from swiftpie.backbones.downloads import DownloadList, ModelPart, check_sum
from swiftpie.backbones.hub import (
    ANSWER_S,
    Host,
    RemoteFile,
    RepoListing,
    RepoReference,
    check_proxy,
    explain,
    parse_reference,
    root_of,
    transport_error,
)
from swiftpie.backbones.licences import licence_of
from swiftpie.backbones.presets import PLACES
from swiftpie.errors import WeightsError, short_reason
from swiftpie.imageio.atomic import atomic_folder
from swiftpie.validation import is_portable_name

API = "https://api.github.com"  # or GITHUB_API_URL, as for GitHub's own tools
PARTIAL = ".incomplete"  # ends the name of a piece that is not whole
ROOM = 2.2  # times an archive of weights: packed and unpacked
MAX_UNPACKED = 4  # times an archive; weights hardly compress, so more is an attack
MAX_MEMBERS = 10_000  # of an archive; a release of weights has tens
AROUND = 1 << 20  # bytes of headers and padding around a member, of which tar needs some hundred
MORE = "it holds more than weights take"
KEPT = ("config.json", ".safetensors", ".bin")  # what is unpacked


class ReleasePart(ModelPart):
    """An archive in pieces that becomes the folder `root`."""

    @property
    def missing(self) -> tuple[RemoteFile, ...]:
        """All pieces until the archive is unpacked."""
        return () if self.root.exists() else self.files

    @property
    def folder(self) -> Path:
        return self.root.parent

    def left(self, file: RemoteFile) -> int:
        """Return the bytes to fetch; what a stopped download left is subtracted."""
        place = self.store(file)
        if place.exists():
            return 0
        begun = _partial(place)
        return file.size - (min(begun.stat().st_size, file.size) if begun.exists() else 0)

    def store(self, file: RemoteFile) -> Path:
        """Return where a piece is until the archive is unpacked."""
        return self.root.with_name(f"{self.root.name}.parts") / file.path

    def room(self, file: RemoteFile) -> int:
        """Return the bytes that a piece takes, packed and unpacked."""
        return self.left(file) + round(file.size * (ROOM - 1))

    def fetch(self, file: RemoteFile) -> None:
        """Fetch a piece, or its rest; WeightsError if it cannot be had, or was changed."""
        from filelock import FileLock

        place = self.store(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place.with_name(f"{place.name}.lock")):
                if self.missing and not place.exists():  # else another process was quicker
                    _receive(file, _partial(place))
                    _partial(place).replace(place)
        except (OSError, ValueError, transport_error()) as error:
            assert self.listing is not None, "what is missing was listed"
            reference = RepoReference(self.listing.repository, file.path, host=Host.GITHUB)
            raise WeightsError(explain(reference, self.option, error)) from error

    def finish(self) -> None:
        """Unpack the archive and remove its pieces; WeightsError if damaged or without room."""
        if not self.missing:
            return
        pieces = [self.store(file) for file in self.files]
        try:
            with atomic_folder(self.root) as folder, _Joined(pieces) as joined:
                _extract(joined, folder, most=MAX_UNPACKED * sum(f.size for f in self.files))
        except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError) as error:
            remedy = "Its pieces stay. Make room, and run the same command again."
            if getattr(error, "errno", None) is None:  # the system had nothing to complain about
                shutil.rmtree(pieces[0].parent)
                remedy = "It is damaged, so it was removed. Run the same command again to fetch it."
            raise WeightsError(
                f"The archive of '{self.reference}' cannot be unpacked ({short_reason(error)}). "
                f"{remedy}"
            ) from error
        shutil.rmtree(pieces[0].parent)


def plan_releases(choices: Mapping[str, Any]) -> DownloadList:
    """Plan the releases that `choices` name and that are not here, or raise WeightsError."""
    parts = dict[Path, ModelPart]()
    for option in PLACES:
        reference = parse_reference(str(choices.get(option) or ""))
        if reference is not None and reference.host is Host.GITHUB:
            root = root_of(reference)
            assert root is not None, "a release has a place"
            if not root.exists() and root not in parts and not choices.get("offline"):
                parts[root] = _plan(option, reference, root)
    return DownloadList(tuple(parts.values()))


def _plan(option: str, reference: RepoReference, root: Path) -> ReleasePart:
    try:
        listing = _list_release(reference)
    except (OSError, ValueError, LookupError, TypeError, transport_error()) as error:
        raise WeightsError(explain(reference, option, error)) from error
    files = tuple(listing.files[name] for name in sorted(listing.files) if ".tar.gz" in name)
    if not files:
        raise WeightsError(
            f"The release '{reference}' has no archive. Name another by `{option}=`."
        )
    licence = licence_of(reference, None)
    whole = RepoReference(reference.repository, None, reference.revision, Host.GITHUB)
    return ReleasePart("release", option, whole, root, root, (), listing, files, licence)


def _list_release(reference: RepoReference) -> RepoListing:
    """Return the files of a release; `blob` is the address of each."""
    from huggingface_hub import get_session

    check_proxy()
    api = os.environ.get("GITHUB_API_URL", API).rstrip("/")
    address = f"{api}/repos/{reference.repository}/releases/tags/{reference.revision}"
    response = get_session().get(address, timeout=ANSWER_S, follow_redirects=True)
    response.raise_for_status()
    files = {}
    for asset in response.json()["assets"]:
        name, digest = str(asset["name"]), str(asset.get("digest") or "")
        if is_portable_name(name):
            sha256 = digest.removeprefix("sha256:") if digest.startswith("sha256:") else None
            address = str(asset["browser_download_url"])
            files[name] = RemoteFile(name, int(asset["size"]), address, sha256)
    return RepoListing(reference.repository, str(reference.revision), files, None)


def _receive(file: RemoteFile, begun: Path) -> None:
    """Append what is missing of a piece to `begun`, whatever an earlier process left there."""
    from huggingface_hub.file_download import http_get

    if begun.exists() and begun.stat().st_size > file.size:
        begun.unlink()
    with begun.open("ab") as out:
        http_get(
            file.blob,
            out,
            resume_size=out.tell(),
            headers={"Accept-Encoding": "identity"},
            expected_size=file.size,
            displayed_filename=file.path,
        )
        out.flush()
        os.fsync(out.fileno())
    if file.sha256 is not None:
        check_sum(file, begun)


def _extract(archive: "_Joined", folder: Path, *, most: int) -> None:
    """Unpack settings and weights alone.

    Raises:
        ValueError: There are none, or they take over `most` bytes; or the stream holds more than
            `AROUND` bytes of headers around the bytes of a member, or behind the last.
    """
    total = 0
    with gzip.GzipFile(fileobj=archive) as unpacked:
        plain = _Bounded(unpacked, AROUND)
        with tarfile.open(fileobj=plain, mode="r|") as members:
            for number, member in enumerate(members):
                name = PurePosixPath(member.name).name
                total += member.size
                if total > most or number >= MAX_MEMBERS:
                    raise ValueError(MORE)
                plain.left = member.size + AROUND
                if member.isfile() and name.endswith(KEPT) and not name.startswith("."):
                    members.extract(member, folder, filter="data")
        while plain.read(1 << 16):  # to its end, where its checksum is
            pass
    if not any(folder.iterdir()):
        raise ValueError("it holds no weights")


class _Bounded(io.RawIOBase):
    """Reads a stream until more than `left` bytes were read; then ValueError."""

    def __init__(self, stream: gzip.GzipFile, left: int) -> None:
        self.stream, self.left = stream, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable bytes
        count = self.stream.readinto(buffer)
        self.left -= count
        if self.left < 0:
            raise ValueError(MORE)
        return count


class _Joined(io.RawIOBase):
    """Reads pieces as one file, with a bar on terminals."""

    def __init__(self, pieces: Sequence[Path]) -> None:
        from huggingface_hub.utils.tqdm import tqdm

        total = sum(piece.stat().st_size for piece in pieces)
        self.files = [piece.open("rb") for piece in pieces]
        bar: Any = tqdm  # which has no types
        self.bar = bar(total=total, unit="B", unit_scale=True, desc="unpacking", disable=None)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable bytes
        while self.files:
            if count := self.files[0].readinto(buffer):
                self.bar.update(count)
                return count
            self.files.pop(0).close()
        return 0

    def close(self) -> None:
        self.bar.close()
        for file in self.files:
            file.close()
        super().close()


def _partial(place: Path) -> Path:
    return place.with_name(place.name + PARTIAL)
