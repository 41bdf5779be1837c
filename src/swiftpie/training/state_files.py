"""Named tensors on disk, in one file or in small parts; a crash leaves the old or the new, whole.

Parts are named after their step, so that new ones never replace those that the index lists. The
index is written last; only then the old parts go.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from swiftpie.errors import ConfigError, WeightsError, short_reason
from swiftpie.files import TEMPORARY, atomic_file, write_file

STATE_FILE = "state.safetensors"
INDEX_FILE = "state.safetensors.index.json"
PARTS = "state-step*-of-*.safetensors"
HEADER_BYTES = 256  # more than safetensors writes about one tensor, besides its name
MIN_PART_BYTES = 4096
MIB = 2**20


class Stored(NamedTuple):
    """What is on disk."""

    tensors: dict[str, Tensor]
    progress: dict[str, int]


def write_state(
    folder: Path,
    tensors: dict[str, Tensor],
    *,
    progress: Mapping[str, int],
    max_file_mib: float | None = None,
) -> None:
    """Replace the state in `folder`.

    Args:
        folder: It exists.
        tensors: None shares memory with another.
        progress: Its `step` is beyond that of the state that is there.
        max_file_mib: If given, no file is larger.

    Raises:
        ConfigError: `max_file_mib` is too small for any part.
    """
    if max_file_mib is None:
        with atomic_file(folder / STATE_FILE) as temporary:
            save_file(tensors, temporary, metadata={"progress": json.dumps(dict(progress))})
        (folder / INDEX_FILE).unlink(missing_ok=True)
        names: list[str] = []
    else:
        names = _write_parts(folder, tensors, progress=progress, limit=int(max_file_mib * MIB))
        (folder / STATE_FILE).unlink(missing_ok=True)
    for path in (*folder.glob(PARTS), *folder.glob(TEMPORARY)):
        if path.name not in names:
            path.unlink()


def find_state(folder: Path) -> Path | None:
    """Return the file that leads to the newest state in `folder`, if there is one.

    A crash while the form changes leaves both; the one with the later step is newer.
    """
    found = [path for name in (STATE_FILE, INDEX_FILE) if (path := folder / name).is_file()]
    if len(found) < 2:
        return found[0] if found else None
    return max(found, key=lambda path: _progress(path)["step"])


def read_state(folder: Path) -> Stored | None:
    """Return what `write_state` wrote, in either form; None if there is nothing yet.

    Raises:
        WeightsError: A file is broken or missing.
    """
    try:
        path = find_state(folder)
        if path is None:
            return None
        tensors = _read_parts(path) if path.name == INDEX_FILE else _read(path)
        return Stored(tensors, _progress(path))
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"The training state in {folder} cannot be read ({short_reason(error)}). All of its "
            "files are needed, unchanged. Copy them again, or start anew with --fresh."
        ) from error


def _write_parts(
    folder: Path, tensors: Mapping[str, Tensor], *, progress: Mapping[str, int], limit: int
) -> list[str]:
    """Write parts of at most `limit` bytes, then their index; return the names of the parts.

    Raises:
        ConfigError: `limit` is too small for any part.
    """
    if limit < MIN_PART_BYTES:
        raise ConfigError(
            f"loop.max_file_mib is {limit / MIB:g}; at least {MIN_PART_BYTES / MIB:g} is needed. "
            "Raise it."
        )
    parts = _pack(tensors, limit=limit)
    stem = f"state-step{progress['step']}"
    names = [f"{stem}-{n:05d}-of-{len(parts):05d}.safetensors" for n in range(1, len(parts) + 1)]
    for name, part in zip(names, parts, strict=True):
        with atomic_file(folder / name) as temporary:
            save_file(part, temporary)
    shapes = {name: list(value.shape) for name, value in tensors.items()}
    index = {"progress": dict(progress), "parts": names, "shapes": shapes}
    write_file(folder / INDEX_FILE, json.dumps(index).encode(), force=True)
    return names


def _pack(tensors: Mapping[str, Tensor], *, limit: int) -> list[dict[str, Tensor]]:
    """Fill parts one after the other with flat tensors, cut where a part is full."""
    parts: list[dict[str, Tensor]] = [{}]
    room = limit - HEADER_BYTES
    for name, value in tensors.items():
        header = HEADER_BYTES + len(name.encode())
        assert header < MIN_PART_BYTES - HEADER_BYTES
        rest = value.flatten()
        while name not in parts[-1] or len(rest):
            count = (room - header) // rest.element_size()
            if count < min(len(rest), 1):
                parts.append({})
                room = limit - HEADER_BYTES
                continue
            parts[-1][name] = rest[:count].clone()
            room -= header + parts[-1][name].nbytes
            rest = rest[count:]
    return parts


def _read_parts(path: Path) -> dict[str, Tensor]:
    index = json.loads(path.read_text(encoding="utf-8"))
    pieces: dict[str, list[Tensor]] = {}
    for part in index["parts"]:
        for name, piece in _read(path.with_name(part)).items():
            pieces.setdefault(name, []).append(piece)
    return {name: torch.cat(pieces[name]).view(shape) for name, shape in index["shapes"].items()}


def _read(path: Path) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as stored:
        names = list(stored.keys())
        return {name: stored.get_tensor(name) for name in names}


def _progress(path: Path) -> dict[str, int]:
    if path.name == INDEX_FILE:
        found = json.loads(path.read_text(encoding="utf-8"))["progress"]
    else:
        with safe_open(path, framework="pt") as stored:
            found = json.loads(stored.metadata()["progress"])
    return {name: int(value) for name, value in found.items()}
