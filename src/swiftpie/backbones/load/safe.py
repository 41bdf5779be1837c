"""Reading untrusted tensor files: the content decides the format, and no code in it ever runs."""

import itertools
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.torch import load, load_file, save_file
from torch import Tensor

from swiftpie.errors import InputError, WeightsError, short_reason, system_reason
from swiftpie.imageio.atomic import atomic_file, check_target
from swiftpie.imageio.decoding import LFS_POINTER, MAX_TENSOR_HEADER_BYTES

Kind = Literal["safetensors", "zip", "pickle"]

MAX_TENSORS = 10_000  # an SDXL U-Net has 1,680
MAX_DEPTH = 4  # Nested dictionaries; public checkpoints have 2.
MAX_NAME = 1000  # characters of a tensor's name, those of the dictionaries around it among them
MAX_SIZE = 2**63 - 1  # PyTorch counts with 64 bits, signed
METADATA = "__metadata__"

ALIGNMENT_BYTES = 64  # PyTorch aligns all memory that it allocates so.
MAX_CHECKED_BYTES = 1 << 30  # Weights that are checked one by one.
MAX_PICKLE_BYTES = 4 << 20  # without the tensors' own, as of a header
MAX_SHARING = 4  # times the size of a file that its tensors may have together
TYPES = {  # PyTorch's names of safetensors' types.
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "BOOL": torch.bool,
} | {
    f"{sign}{8 * size}": getattr(torch, f"{kind}{8 * size}")
    for sign, kind in {"I": "int", "U": "uint"}.items()
    for size in (1, 2, 4, 8)
}


def read_tensors(path: str | Path, *, allow_pickle: bool = False) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file, or of a torch pickle where that is allowed.

    `allow_pickle` also reads what `torch.save` wrote, with torch's reader of plain tensors, which
    refuses everything else. Names of nested dictionaries are joined by dots.

    Raises:
        WeightsError: The file is missing, is something else, is damaged or is over a limit.
    """
    path = Path(path)
    kind = kind_of_file(path)
    check_kind(kind, path, allow_pickle=allow_pickle)
    if kind == "safetensors":
        _read_header(path)
        try:
            tensors: dict[str, Tensor] = load_file(path)
        except Exception as error:  # what the header hides makes the reader raise anything
            raise WeightsError(_damaged(path, error)) from error
        check_finite(tensors, path)
        return tensors
    return _read_pickle(path, is_zip=kind == "zip")


def tensors_in(data: bytes, name: str) -> dict[str, Tensor]:
    """Return every tensor of a safetensors file's bytes, which messages call `name`."""
    header_in(data, name)
    try:
        tensors: dict[str, Tensor] = load(data)
    except Exception as error:  # as of `read_tensors`
        raise WeightsError(_damaged(Path(name), error)) from error
    check_finite(tensors, name)
    return tensors


def read_as(
    path: str | Path,
    dtype: torch.dtype,
    *,
    allow_pickle: bool = False,
    maps: bool = True,
    as_block: bool = False,
    skips: Callable[[str], bool] = lambda _name: False,
) -> dict[str, Tensor]:
    """Return what `read_tensors` does, every floating-point number as `dtype`.

    Tensors of that type stay in their file until they are used, where it `maps`; others are read
    and converted one after the other, so that nothing is in memory twice. `as_block` all of them
    share one piece of it: the system gets that back as soon as the last is gone, where pieces as
    small as one weight would be kept for later ones of their size. Tensors that it `skips` by name
    are left out, and not read.

    Raises:
        WeightsError: As of `read_tensors`.
    """
    path = Path(path)
    if kind_of_file(path) != "safetensors":
        tensors = read_tensors(path, allow_pickle=allow_pickle)
        return {
            name: entry.to(dtype) if entry.is_floating_point() else entry
            for name, entry in tensors.items()
            if not skips(name)
        }
    header = _read_header(path)
    entries = {n: entry for n, entry in header.items() if n != METADATA and not skips(n)}
    types = {TYPES[entry["dtype"]] for entry in entries.values()}
    if maps and all(kind is dtype for kind in types if kind.is_floating_point):
        return {name: tensor for name, tensor in read_tensors(path).items() if name in entries}
    read = _places(entries, dtype, as_block=as_block)
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        for name, entry in entries.items():
            place, stored = read[name], TYPES[entry["dtype"]]
            raw = place if stored is place.dtype else torch.empty(place.shape, dtype=stored)
            file.seek(begin + entry["data_offsets"][0])
            file.readinto(raw.flatten().view(torch.uint8).numpy().data)
            if raw is not place:
                place.copy_(raw)
    check_finite(read, path)
    return read


def _places(entries: Mapping[str, Any], dtype: torch.dtype, *, as_block: bool) -> dict[str, Tensor]:
    """Return memory for the tensors of a header, floating-point numbers as `dtype`."""
    kinds = {}
    for name, entry in entries.items():
        stored = TYPES[entry["dtype"]]
        kinds[name] = (entry["shape"], dtype if stored.is_floating_point else stored)
    if not as_block:
        return {name: torch.empty(shape, dtype=kind) for name, (shape, kind) in kinds.items()}
    sizes = {name: math.prod(shape) * kind.itemsize for name, (shape, kind) in kinds.items()}
    steps = [math.ceil(size / ALIGNMENT_BYTES) * ALIGNMENT_BYTES for size in sizes.values()]
    starts = dict(zip(sizes, itertools.accumulate([0, *steps]), strict=False))
    block = torch.empty(sum(steps), dtype=torch.uint8)
    return {
        name: block[starts[name] :][: sizes[name]].view(kind).reshape(shape)
        for name, (shape, kind) in kinds.items()
    }


def read_metadata(path: str | Path) -> dict[str, str]:
    metadata: dict[str, str] = check_safetensors(Path(path)).get(METADATA, {})
    return metadata


def check_safetensors(path: Path) -> dict[str, Any]:
    """Return the header of a safetensors file: entries by tensor name, and metadata."""
    if kind_of_file(path) != "safetensors":
        raise WeightsError(
            f"'{path}' is not a safetensors file, whatever its name. SwiftPie never unpickles "
            "weights here; download the file again."
        )
    return _read_header(path)


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        head = file.read(8)
        head += file.read(min(_header_length(head, path), MAX_TENSOR_HEADER_BYTES))
    try:
        with safe_open(path, framework="pt"):  # compares places, sizes and the length of the file
            return check_header(json.loads(head[8:]), path)
    except (OSError, ValueError, SafetensorError) as error:
        raise WeightsError(_damaged(path, error)) from error


def header_in(data: bytes, name: str) -> dict[str, Any]:
    """Return the header of a safetensors file's bytes, which messages call `name`."""
    length = _header_length(data, Path(name))
    try:
        deserialize(data)  # type: ignore[no-untyped-call]
        return check_header(json.loads(data[8 : 8 + length]), Path(name))
    except (ValueError, SafetensorError) as error:
        raise WeightsError(_damaged(Path(name), error)) from error


def check_header(header: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a header that safetensors has read, if PyTorch can hold its tensors."""
    entries = {name: entry for name, entry in header.items() if name != METADATA}
    if len(entries) > MAX_TENSORS:
        raise WeightsError(
            _damaged(path, f"{len(entries)} tensors, at most {MAX_TENSORS} are read")
        )
    for name, entry in entries.items():
        # Steps through memory are counted also where there is nothing in it.
        steps = math.prod(max(number, 1) for number in entry["shape"])
        if entry["dtype"] not in TYPES or 8 * steps > MAX_SIZE:
            raise WeightsError(_damaged(path, f"the shape or type of {short_reason(name)!r}"))
    return header


def _header_length(head: bytes, path: Path) -> int:
    length = int.from_bytes(head[:8], "little")
    if not 0 < length <= MAX_TENSOR_HEADER_BYTES:
        raise WeightsError(_damaged(path, f"a header of {length} bytes"))
    return length


def shapes_of(header: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a header, without numbers."""
    return {
        name: torch.empty(entry["shape"], dtype=TYPES[entry["dtype"]], device="meta")
        for name, entry in header.items()
        if name != METADATA
    }


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write a safetensors file so that `path` holds either all of it or what it held before."""
    path = Path(path)
    check_target(path, force=force)
    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    try:
        with atomic_file(path, force=force) as temporary:
            save_file(own, temporary, metadata=dict(metadata or {}))
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"'{path}' cannot be written ({short_reason(error)}). Choose a folder with room for "
            "the whole file."
        ) from error


def flatten(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the leaves of nested dictionaries, their names joined by dots."""
    leaves: dict[str, Any] = {}
    for number, (path, value) in enumerate(_walk(tree, prefix="", depth=MAX_DEPTH)):
        # Dictionaries may share others, so that a small file has more names than atoms are there.
        if number >= MAX_TENSORS or len(path) > MAX_NAME:
            raise WeightsError(
                f"There are more than {MAX_TENSORS} tensors or dictionaries, or longer names than "
                f"{MAX_NAME} characters. Weights by name are needed. Save the state dict alone."
            )
        if path in leaves:
            raise WeightsError(f"Two tensors are called {path!r}. Save the file again.")
        if not isinstance(value, Mapping):
            leaves[path] = value
    return leaves


def check_finite(tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that are no numbers: whatever is computed with them is grey.

    More than `MAX_CHECKED_BYTES` stay in their file until they are used, which would take longer
    to read than to load; there the first drawing shows it.

    Raises:
        WeightsError: One is infinite or not a number.
    """
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    if sum(tensor.nbytes for tensor in floats.values()) > MAX_CHECKED_BYTES:
        return
    for name, tensor in floats.items():
        numbers = tensor if tensor.element_size() > 1 else tensor.float()
        # The sum says it at once, unless it is too large itself.
        if not numbers.sum().isfinite() and not numbers.isfinite().all():
            raise WeightsError(
                f"{name!r} in '{path}' has infinite or NaN values. Weights have to be finite. Get "
                "the file again."
            )


def _walk(tree: Mapping[Any, Any], *, prefix: str, depth: int) -> Iterator[tuple[str, Any]]:
    """Yield paths and values in nested dictionaries, the dictionaries before what is in them."""
    if depth == 0:
        raise WeightsError(
            f"The dictionaries under {prefix!r} are nested more than {MAX_DEPTH} deep. Weights by "
            "name are needed. Save the state dict alone."
        )
    for name, value in tree.items():
        if not isinstance(name, str):
            raise WeightsError(f"The name {name!r} under {prefix!r} is not text. Save it by name.")
        yield prefix + name, value
        if isinstance(value, Mapping):
            yield from _walk(value, prefix=f"{prefix}{name}.", depth=depth - 1)


def kind_of_file(path: Path) -> Kind | None:
    """Return what a file of weights is by its content, or None; WeightsError if unreadable."""
    try:
        if path.is_fifo():
            raise OSError("it is a pipe")
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"'{path}' cannot be read ({system_reason(error)}). Check the path of the weights."
        ) from error
    if head == LFS_POINTER:
        raise WeightsError(
            f"'{path}' is a pointer of Git LFS, in place of the weights. Run `git lfs pull` there."
        )
    return kind_of(head)


def kind_of(head: bytes) -> Kind | None:
    """Return what a file of weights is, by its first bytes, at least nine; None if it is none."""
    if head[8:9] == b"{":
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if len(head) > 1 and head[0] == 0x80 and head[1] in range(2, 6):  # opcode PROTO, version
        return "pickle"
    return None


def check_kind(kind: Kind | None, path: Path, *, allow_pickle: bool) -> None:
    if kind is None:
        raise WeightsError(
            f"'{path}' is neither a safetensors file nor a torch checkpoint, whatever its name. "
            "SwiftPie reads safetensors. Convert it, or get another file."
        )
    if kind != "safetensors" and not allow_pickle:
        raise WeightsError(
            f"'{path}' is a pickle, whatever its name, and a pickle can run code. SwiftPie reads "
            "safetensors. Pass `allow_pickle=True` to read plain tensors from it without running "
            "any code."
        )


def _give_name(path: Path, name: Path) -> None:
    """Give a file another name: a link, or a copy where links need a right, as on Windows."""
    try:
        name.symlink_to(path)
    except (OSError, NotImplementedError):
        shutil.copyfile(path, name)


def _read_pickle(path: Path, *, is_zip: bool) -> dict[str, Tensor]:
    try:
        if is_zip:
            _check_records(path)
        # Windows removes no file that is mapped.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            plain_name = Path(folder) / "weights"  # PyTorch heeds the suffix of other names.
            _give_name(path.resolve(), plain_name)
            # Mapped, a storage ends with its file; copied, it is as long as the pickle says.
            content = torch.load(plain_name, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # broken bytes make the reader raise anything
        raise WeightsError(
            f"'{path}' holds more than plain tensors, or is damaged ({short_reason(error)}). Only "
            "tensors by name are read. Save its state dict as safetensors."
        ) from error
    tensors = flatten(content if isinstance(content, Mapping) else {"": content})
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not name or not _is_plain(tensor):
            raise WeightsError(
                f"'{path}' holds something other than a plain tensor at {name!r}. Only tensors "
                "by name are read. Save its state dict as safetensors."
            )
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if total > MAX_SHARING * path.stat().st_size:  # each will have memory of its own
        raise WeightsError(_damaged(path, f"{len(tensors)} tensors that share little memory"))
    plain = {name: tensor.detach() for name, tensor in tensors.items()}
    check_finite(plain, path)
    return plain


def _check_records(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:  # those can unpack to any size
                raise ValueError("it is compressed, which torch never writes")
            is_pickle = member.filename.lower().endswith("data.pkl")
            if is_pickle and member.file_size > MAX_PICKLE_BYTES:
                raise ValueError(f"a pickle of {member.file_size} bytes")


def _is_plain(tensor: Tensor) -> bool:
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _damaged(path: Path, reason: object) -> str:
    return f"'{path}' is damaged or cut short ({short_reason(reason)}). Get the file again."
