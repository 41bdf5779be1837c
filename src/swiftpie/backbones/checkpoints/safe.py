"""Tensor files at the border: the content decides what a file is, and no code in it ever runs."""

import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from swiftpie.errors import InputError, WeightsError, short_reason
from swiftpie.files import atomic_file, check_target

MAX_HEADER_BYTES = 4 << 20  # a real header is a few hundred KiB; a huge one is an attack
MAX_TENSORS = 10_000  # an SDXL U-Net has 1,680
MAX_DEPTH = 4  # of nested dictionaries; public checkpoints have 2
METADATA = "__metadata__"

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1} | {
    f"{sign}{8 * size}": size for sign in "IU" for size in (1, 2, 4, 8)
}


def read_tensors(path: str | Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, or of a torch pickle where that is allowed.

    `allow_pickle` also reads what `torch.save` wrote, with torch's reader of plain tensors, which
    refuses everything else. Names of nested dictionaries are joined by dots.

    Raises:
        WeightsError: The file is missing, is something else, is damaged or is over a limit.
    """
    path = Path(path)
    kind = _kind_of(path)
    if kind == "safetensors":
        _read_header(path)
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise WeightsError(_damaged(path, error)) from error
    if kind is None:
        raise WeightsError(
            f"'{path}' is neither a safetensors file nor a torch checkpoint, whatever its name. "
            "SwiftPie reads safetensors. Convert it, or get another file."
        )
    if not allow_pickle:
        raise WeightsError(
            f"'{path}' is a pickle, whatever its name, and a pickle can run code. SwiftPie reads "
            "safetensors. Pass `allow_pickle=True` to read plain tensors from it without running "
            "any code, or convert it once with convert_pickle()."
        )
    return _read_pickle(path, is_zip=kind == "zip")


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the free text that a safetensors file carries, by name.

    Raises:
        WeightsError: The file is missing, is not safetensors, or is damaged.
    """
    metadata: dict[str, str] = check_safetensors(Path(path)).get(METADATA, {})
    return metadata


def check_safetensors(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: entries by tensor name, and metadata.

    Raises:
        WeightsError: It is something else, whatever its name, or is damaged or cut short.
    """
    if _kind_of(path) != "safetensors":
        raise WeightsError(
            f"'{path}' is not a safetensors file, whatever its name. SwiftPie never unpickles "
            "weights here; get the file again from where it came."
        )
    return _read_header(path)


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MAX_HEADER_BYTES:
            raise WeightsError(_damaged(path, f"a header of {length} bytes"))
        text = file.read(length)
        size = os.fstat(file.fileno()).st_size
    try:
        header: dict[str, Any] = json.loads(text)
        entries = {name: entry for name, entry in header.items() if name != METADATA}
        end = _check_entries(entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(_damaged(path, error)) from error
    if 8 + length + end != size:
        raise WeightsError(
            f"'{path}' has {size} bytes where its header promises {8 + length + end}: it is cut "
            "short or has extra bytes. Get the file again."
        )
    metadata = header.get(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise WeightsError(_damaged(path, "metadata that is not text"))
    return header


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write a safetensors file so that `path` holds either all of it or what it held before.

    Raises:
        InputError: `path` exists and `force` is not set, or its folder cannot be written to.
    """
    path = Path(path)
    check_target(path, force=force)
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        with atomic_file(path) as temporary:
            save_file(own, temporary, metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"'{path}' cannot be written ({short_reason(error)}). Room for the whole file is "
            "needed. Choose another folder."
        ) from error


def convert_pickle(path: str | Path, out: str | Path, *, force: bool = False) -> None:
    """Write the tensors of a torch pickle as safetensors, without running any code in it.

    Raises:
        WeightsError: `path` holds more than tensors, or cannot be read.
        InputError: `out` exists and `force` is not set, or its folder cannot be written to.
    """
    check_target(out, force=force)
    write_tensors(out, read_tensors(path, allow_pickle=True), force=force)


def flatten(tree: Mapping[Any, Any], *, prefix: str = "", depth: int = MAX_DEPTH) -> dict[str, Any]:
    """Return the leaves of nested dictionaries, their names joined by dots.

    Raises:
        WeightsError: A name is not text, two leaves get one name, or the nesting is too deep.
    """
    if depth == 0:
        raise WeightsError(
            f"The dictionaries under {prefix!r} are nested more than {MAX_DEPTH} deep. Weights by "
            "name are needed. Save the state dict alone."
        )
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        if not isinstance(name, str):
            raise WeightsError(f"The name {name!r} under {prefix!r} is not text. Save it by name.")
        path = prefix + name
        new = {path: value}
        if isinstance(value, Mapping):
            new = flatten(value, prefix=f"{path}.", depth=depth - 1)
        if new.keys() & leaves.keys():
            raise WeightsError(f"Two tensors are called {path!r}. One is needed. Save it anew.")
        leaves |= new
    return leaves


def _kind_of(path: Path) -> Literal["safetensors", "zip", "pickle"] | None:
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WeightsError(
            f"'{path}' cannot be read ({reason}). A file of weights is needed. Check the path."
        ) from error
    if head[8:] == b"{":
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):  # opcode PROTO, version
        return "pickle"
    return None


def _check_entries(entries: dict[str, Any]) -> int:
    # Returns how many bytes of data the entries cover; they leave no gaps and do not overlap.
    if len(entries) > MAX_TENSORS:
        raise ValueError(f"{len(entries)} tensors, at most {MAX_TENSORS} are read")
    end = 0
    for begin, stop, name in sorted((*entries[n]["data_offsets"], n) for n in entries):
        shape = entries[name]["shape"]
        if any(type(number) is not int or number < 0 for number in (begin, stop, *shape)):
            raise ValueError(f"the shape or place of {name!r}")
        if begin != end or stop - begin != math.prod(shape) * ITEM_BYTES[entries[name]["dtype"]]:
            raise ValueError(f"the size or place of {name!r}")
        end = stop
    return end


def _read_pickle(path: Path, *, is_zip: bool) -> dict[str, Tensor]:
    if is_zip:
        _check_zip(path)
    try:
        with path.open("rb") as file:  # given a path, torch would heed its suffix
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make the reader raise anything
        raise WeightsError(
            f"'{path}' holds more than plain tensors, or is damaged ({short_reason(error)}). Only "
            "tensors by name are read. Save its state dict as safetensors."
        ) from error
    tensors = flatten(content if isinstance(content, Mapping) else {"": content})
    if len(tensors) > MAX_TENSORS:
        raise WeightsError(
            _damaged(path, f"{len(tensors)} tensors, at most {MAX_TENSORS} are read")
        )
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not name or not _is_plain(tensor):
            raise WeightsError(
                f"'{path}' holds something other than a plain tensor at {name!r}. Only tensors "
                "by name are read. Save its state dict as safetensors."
            )
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _check_zip(path: Path) -> None:
    # Compressed members can unpack to any size.
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise WeightsError(_damaged(path, error)) from error
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise WeightsError(_damaged(path, "compressed, which torch never writes"))


def _is_plain(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _damaged(path: Path, reason: object) -> str:
    return f"'{path}' is damaged ({short_reason(reason)}). Get the file again."
