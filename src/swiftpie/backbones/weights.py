"""Reads network weights strictly and turns every way it can fail into a plain sentence."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn

from swiftpie.errors import WeightsError

MAX_REASON = 300  # characters of a library's own message that are worth reading
MAX_HEADER_BYTES = 4 << 20  # a real header is a few hundred KiB; a huge one is an attack


def load_network(build: Callable[[Path], nn.Module], folder: Path) -> Any:  # noqa: ANN401 - any network
    """Build one network from its folder and load its weights, strictly, as float32.

    Strictly, because the libraries' own loaders fill what is missing with random numbers.

    Raises:
        WeightsError: There are no weights, or they do not fit.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(
            f"There are {len(files)} safetensors files in {folder}; one is needed. SwiftPie reads "
            "only safetensors: convert other formats first, or reinstall."
        )
    check_header(files[0])
    try:
        network = build(folder)
        load_model(network, files[0])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The weights in {folder} do not fit this model: {str(error)[:MAX_REASON]}. Reinstall "
            "SwiftPie, or point `weights=` to a folder that this version wrote."
        ) from error
    return network


def check_header(path: Path) -> None:
    """Refuse what is not safetensors by content, whatever its name, before anything reads it.

    Raises:
        WeightsError: The file is something else, is damaged or is cut short.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(1)
    if start != b"{" or not 0 < length <= MAX_HEADER_BYTES:
        raise WeightsError(
            f"{path} is not a safetensors file, whatever its name. SwiftPie never unpickles "
            "weights; get the file again from where it came."
        )
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise WeightsError(f"The header of {path} is damaged. Get the file again.") from error
    ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != path.stat().st_size:
        raise WeightsError(f"{path} is cut short or has extra bytes. Get the file again.")


def fingerprint_of(folder: Path) -> str:
    """Return the sha256 (hexadecimal) over names and contents of all weights in `folder`."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
