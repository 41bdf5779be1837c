"""ONNX Runtime Web for the page: files of its npm package, checked.

The wheel does not carry them. They would add 7 MB to each installation and to the history of each
clone at every upgrade, and only those who export a page need them.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from swiftpie.errors import InputError, short_reason

VERSION = "1.25.1"
FOLDER = "package/dist"  # inside of the archive
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
REMEDY = (
    f"Give what `npm pack onnxruntime-web@{VERSION}` writes, or "
    f"https://registry.npmjs.org/onnxruntime-web/-/{PACKAGE}."
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


def read_runtime(place: Path) -> dict[str, bytes]:
    """Return the runtime's files by name, from npm's archive or the folder of an installed package.

    Raises:
        InputError: `place` is of another version, or cannot be read.
    """
    try:
        found = dict(_members(place))
    except (OSError, tarfile.TarError) as error:
        raise InputError(
            f"'{place}' cannot be read as ONNX Runtime Web ({short_reason(error)}). {REMEDY}"
        ) from error
    for name, known in FILES.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != known:
            raise InputError(
                f"'{place}' holds no {name!r} of version {VERSION}, which the page needs. {REMEDY}"
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
