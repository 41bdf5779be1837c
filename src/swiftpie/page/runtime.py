"""ONNX Runtime Web for the page: files of its npm package, fetched once and checked.

The wheel does not carry them. They would add 7 MB to each installation and to the history of each
clone at every upgrade, and only those who export a page need them.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from swiftpie.backbones.acquire.download import Advance, download_file
from swiftpie.backbones.hub import Host, RemoteFile, transport_error
from swiftpie.config import home_folder
from swiftpie.errors import InputError, WeightsError, short_reason

VERSION = "1.25.1"
FOLDER = "package/dist"  # inside of the archive
ARCHIVE = RemoteFile(
    path=f"onnxruntime-web-{VERSION}.tgz",
    size=30137229,
    url=f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    blob=f"onnxruntime-web-{VERSION}.tgz",
    sha256="731e568a1471c6969f6c1bfb7349eff6f88f33fa5d4b46f43104ea35e34aef51",
)
FILES: Mapping[str, str] = MappingProxyType(
    {
        "ort.wasm.min.mjs": "71cb6a78b3989d8ef4f6f9cff7f88f72302590df8ef6fcefd48b5a01a14bf90f",
        "ort-wasm-simd-threaded.mjs": (
            "ad9ee5889344e212b8b83daf778fc75bc3a2293ca640ab5e54f756a25cef1fa6"
        ),
        "ort-wasm-simd-threaded.wasm": (
            "3cbf90f74a919ff82acd1c0171ff40d1170d928e9634a430e9f3fa6f35674464"
        ),
    }
)
"""The files that the page needs, with their SHA-256."""


def read_runtime(archive: Path | None = None, *, advance: Advance) -> dict[str, bytes]:
    """Return the runtime's files by name, from an archive or from npm's registry.

    Args:
        archive: What `npm pack onnxruntime-web@VERSION` wrote, or the folder of an installed
            package; None takes the archive that an earlier export fetched, or fetches it.
        advance: Gets the number of bytes that arrive.

    Raises:
        InputError: `archive` is of another version, or cannot be read.
        WeightsError: The archive cannot be downloaded.
    """
    place = _fetched(advance) if archive is None else archive
    try:
        found = dict(_members(place))
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"'{place}' cannot be read as ONNX Runtime Web ({short_reason(error)}). Give what "
            f"`npm pack onnxruntime-web@{VERSION}` writes."
        ) from error
    for name, known in FILES.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != known:
            raise InputError(
                f"'{place}' holds no {name!r} of version {VERSION}, which the page needs. "
                f"Give what `npm pack onnxruntime-web@{VERSION}` writes."
            )
    return found


def _members(place: Path) -> Iterator[tuple[str, bytes]]:
    if place.is_dir():
        for name in FILES:
            yield name, (place / "dist" / name).read_bytes()
        return
    wanted = {f"{FOLDER}/{name}": name for name in FILES}
    with tarfile.open(place, "r:gz") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name in wanted else None
            if content is not None:
                yield wanted[member.name], content.read()


def _fetched(advance: Advance) -> Path:
    store = home_folder() / "browser" / ARCHIVE.path
    try:
        if not store.exists():
            download_file(ARCHIVE, store, host=Host.NPM, advance=advance)
    except (OSError, transport_error()) as error:
        raise WeightsError(
            f"ONNX Runtime Web cannot be downloaded from {ARCHIVE.url} ({short_reason(error)}). "
            f"Try again with a network, or run `npm pack onnxruntime-web@{VERSION}` on a machine "
            "that has one and pass the file as --runtime."
        ) from error
    return store
