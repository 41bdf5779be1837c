"""Graphs as a page fetches them: computed ahead as far as possible, with one pack of weights.

A graph that is sent to a browser pays for its size, and for what is computed of it at each start.
So constants are folded here, weights that several graphs read are packed once, and their numbers
keep five bits of their fraction. Bytes with exponents are packed apart from bytes with fractions,
because the former repeat and the latter hardly do. What is no weight, as grids of coordinates,
stays exact inside of its graph.
"""

import gzip
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swiftpie.engine.graphs.runtime import Untyped, load
from swiftpie.engine.graphs.to_onnx import EXTRA, folded

HALF_FRACTION_BITS = 10
FRACTION_BITS = 5  # that are kept; pictures of `mini` stay above 45 dB with them, and with 4 do not
WEIGHTS = "weights"  # what graphs call the pack once it is unpacked
HIGH, LOW = "weights-high.bin", "weights-low.bin"

Halves = NDArray[np.uint16]


class WeightPack:
    """Weights in half precision that graphs refer to, each tensor once."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}
        self._parts: list[Halves] = []
        self._count = 0

    def place(self, halves: Halves) -> int:
        """Return where the pack holds these numbers."""
        key = halves.tobytes()
        if key not in self._places:
            self._places[key] = self._count
            self._parts.append(halves)
            self._count += halves.size
        return self._places[key]

    def write(self, folder: Path) -> int:
        """Write the pack into `folder`, and return how many numbers it holds."""
        numbers = rounded(np.concatenate(self._parts))
        for name, plane in ((HIGH, numbers >> 8), (LOW, numbers & 0xFF)):
            (folder / name).write_bytes(_coded(plane.astype(np.uint8).tobytes()))
        return self._count


def rounded(halves: Halves, *, bits: int = FRACTION_BITS) -> Halves:
    """Return halves, as their bits, with the nearest fractions of `bits` bits."""
    spare = HALF_FRACTION_BITS - bits
    wide = halves.astype(np.uint32)
    near = (((wide + (1 << (spare - 1))) >> spare) << spare).astype(np.uint16)
    return np.where(np.isfinite(near.view(np.float16)), near, halves)


def pack_graphs(graphs: Mapping[str, Path], folder: Path) -> int:
    """Write graphs and the pack of their weights into `folder`; return how many numbers it holds.

    Args:
        graphs: The files of graphs by name.
        folder: Where `NAME.graph` is written for each, compressed by gzip.

    Raises:
        MissingExtra: A package that prepares graphs is not installed.
    """
    onnx, pack = load("onnx", extra=EXTRA), WeightPack()
    for name, path in graphs.items():
        model, known = onnx.load_from_string(folded(path)), _weights_of(onnx, path)
        for tensor in model.graph.initializer:
            _move(onnx, tensor, pack, known)
        packed = gzip.compress(model.SerializeToString(), compresslevel=9, mtime=0)
        (folder / f"{name}.graph").write_bytes(packed)
    return pack.write(folder)


def _weights_of(onnx: Untyped, path: Path) -> Collection[bytes]:
    """Return the weights that a graph refers to, each by its numbers in their order."""
    raw = onnx.load(path, load_external_data=False)
    names = {
        tensor.name
        for tensor in raw.graph.initializer
        if onnx.external_data_helper.uses_external_data(tensor)
    }
    tensors = [tensor for tensor in onnx.load(path).graph.initializer if tensor.name in names]
    return {_key(onnx.numpy_helper.to_array(tensor)) for tensor in tensors}


def _key(values: NDArray[Any]) -> bytes:
    """Return what tensors share that differ by an order of axes, which folding may change."""
    return np.sort(values.astype(np.float32).ravel()).tobytes()


def _move(onnx: Untyped, tensor: Untyped, pack: WeightPack, known: Collection[bytes]) -> None:
    """Let a tensor of a graph refer to the pack, if its numbers are weights."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    values = onnx.numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16)
    if _key(values) not in known or not np.array_equal(halves.astype(np.float32), values):
        return
    tensor.ClearField("float_data")
    tensor.raw_data = b""  # the function below accepts no other tensor
    start = pack.place(halves.view(np.uint16).ravel())
    onnx.external_data_helper.set_external_data(
        tensor, WEIGHTS, offset=values.itemsize * start, length=values.nbytes
    )
    tensor.ClearField("raw_data")


def _coded(data: bytes) -> bytes:
    """Compress bytes by gzip with a code for single bytes: nothing repeats among weights."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(data) + coder.flush()
