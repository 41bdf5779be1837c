"""Graphs ready to be called: from memory, from disk, or by exporting the network."""

import ctypes
import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

import swiftpie
from swiftpie.config import home_folder
from swiftpie.engine.graphs.int8 import Quantizer
from swiftpie.engine.graphs.runtime import (
    DEVICE,
    Function,
    Nested,
    Precision,
    Threads,
    Untyped,
    export,
    load,
    number_of,
    outline_and_tensors,
    preferred_precision,
    versions,
)
from swiftpie.errors import short_reason
from swiftpie.imageio.atomic import TEMPORARY, atomic_folder
from swiftpie.pipelines.denoise import trim_heap

logger = logging.getLogger(__name__)

LOGGED_S = 1.0  # longer work is logged at its end, too
MAX_OPEN = 12  # graphs in memory, each with weights of its own, or more if these take
MOST_OPEN_BYTES = 2 << 30  # together no more than so much
# OpenVINO writes code for each group of small operations: of a graph with 36 MiB of weights 45 MiB,
# and a third of the time of compiling, for no speed in float32. Large networks have few of them.
FUSED_BYTES = 64 << 20
# Their releases decide what a graph holds.
PACKAGES = ("openvino", "torch", "diffusers", "transformers")

GRAPH = "graph.xml"  # OpenVINO writes the weights into graph.bin
COMPILED = (
    "compiled"  # a folder beside it, of what is not compiled again; the weights are not in it
)
SUMS = "sha256sums.txt"  # sums of both files of a graph
MAX_BYTES = 20 << 30  # limit of a folder; beyond it the graphs used longest ago are removed


class GraphCache:
    """Exports each network once for every kind of arguments that it meets.

    Shapes are fixed in a graph: other sizes, or other numbers of pictures, subjects or references,
    are exported when they are first met, with a log of how long that took.
    """

    def __init__(
        self,
        store: "GraphStore",  # where graphs outlive this process
        *,
        settings: str,  # what else the graphs depend on
        quantizer: Quantizer | None = None,  # turns some to whole numbers after their export
        precision: Precision | None = None,  # None: what the processor does best
    ) -> None:
        self._store = store
        self._settings = json.dumps([swiftpie.__version__, versions(*PACKAGES), settings])
        self._quantizer = quantizer
        self._core = load("openvino").Core()
        self._precision = precision or preferred_precision(self._core)
        self.threads = Threads()
        self._open: OrderedDict[str, CompiledGraph] = OrderedDict()
        self._keys: WeakKeyDictionary[Function, dict[Hashable, str]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def call(self, function: Function, *arguments: object) -> tuple[Tensor, ...]:
        """Return what `function` computes of nested tensors, in float32 or int64."""
        form, tensors = outline_and_tensors(arguments)
        return self._graph(function, form)(tensors)

    def _graph(self, function: Function, form: Nested) -> "CompiledGraph":
        with self._lock:
            key = self._key(function, form)
            if key not in self._open:
                self._open[key] = self._ready(function, form, key)
                self._close_some()
            self._open.move_to_end(key)
            return self._open[key]

    def _close_some(self, *, left: int = MAX_OPEN, coming_bytes: int = 0) -> None:
        """Close the graphs beyond `left` until all fit with what is coming; they open again."""
        while len(self._open) > left:
            held = sum(graph.num_bytes for graph in self._open.values())
            if coming_bytes + held <= MOST_OPEN_BYTES:
                break
            self._open.popitem(last=False)

    def _ready(self, function: Function, form: Nested, key: str) -> "CompiledGraph":
        started = time.perf_counter()
        with self.threads.for_torch():
            kept = self._quantized(function, form, key) or self._exported(function, form, key)
        hints: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": self._precision.value,
            "INFERENCE_NUM_THREADS": self.threads.count,
            "NUM_STREAMS": 1,
        }
        if kept.file is not None and os.access(kept.file.parent, os.W_OK):
            hints |= {
                "CACHE_DIR": str(kept.file.with_name(COMPILED)),
                "CACHE_MODE": "OPTIMIZE_SIZE",
            }
        is_small = function.num_bytes < FUSED_BYTES
        if is_small and self._precision is Precision.SINGLE and self._quantizer is None:
            hints["SNIPPETS_MODE"] = "DISABLE"
        compiled = self._core.compile_model(kept.file or kept.graph, DEVICE, hints)
        ready = CompiledGraph(compiled, function.num_bytes)
        self._store.release_pages()
        trim_heap()  # compiling leaves what it needed meanwhile
        spent = time.perf_counter() - started
        if spent > LOGGED_S:
            logger.info("The %s is ready for OpenVINO after %.0f s.", function.name, spent)
        return ready

    def _exported(self, function: Function, form: Nested, key: str) -> "KeptGraph":
        def make() -> Untyped:
            logger.info("The %s is exported to OpenVINO, once for calls like this.", function.name)
            return export(function, form)

        kept = self._kept(key, make)
        assert kept is not None, "each network can be exported"
        return kept

    def _quantized(self, function: Function, form: Nested, key: str) -> "KeptGraph | None":
        quantizer = self._quantizer
        if quantizer is None or not quantizer.wants(function):
            return None

        def make() -> Untyped:
            graph = self._exported(function, form, key).graph
            logger.info("The %s is turned to 8 bits.", function.name)
            calls = quantizer.calls(function, form)  # this opens other networks
            self._close_some(left=0, coming_bytes=2 * function.num_bytes)  # computed in float32
            return quantizer.quantize(function, graph, calls)

        return self._kept(_digest([key, quantizer.settings]), make)

    def _kept(self, key: str, make: Callable[[], Untyped]) -> "KeptGraph | None":
        if (kept := self._store.read(key, self._core)) is not None:
            return kept
        if (graph := make()) is None:
            return None
        self._store.write(key, graph)
        # What comes back from disk rounds otherwise; so this process draws as later ones do.
        return self._store.read(key, self._core) or KeptGraph(graph)

    def _key(self, function: Function, form: Nested) -> str:
        """Return the name of a graph; it is long in the making, so those of calls are kept."""
        known = self._keys.setdefault(function, {})
        call = (function.processors, repr(form))
        if call not in known:
            known[call] = _digest([self._settings, function.describe(), call[1]])
        return known[call]


class KeptGraph(NamedTuple):
    """A graph, and its file if it is kept on disk."""

    graph: Untyped
    file: Path | None = None


class CompiledGraph:
    """A network's computation, ready for this processor."""

    def __init__(self, compiled: Untyped, num_bytes: int) -> None:
        self._compiled = compiled
        self.num_bytes = num_bytes  # size of the weights before they were compiled
        self._order = [number_of(place) for place in compiled.inputs]
        self._idle: deque[_Request] = deque()  # a call has one of its own while it lasts

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return all outputs in float32 or int64; inputs that the graph ignores are dropped."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = _Request(self._compiled)
        for place, number in zip(request.inputs, self._order, strict=True):
            place.copy_(tensors[number])
        request.inner.infer(share_outputs=True)  # what it returns else is one copy more
        outputs = tuple(output.clone() for output in request.outputs)
        self._idle.append(request)
        return outputs


class _Request:
    """One call at a time, with memory of its own for what enters and leaves."""

    def __init__(self, compiled: Untyped) -> None:
        self.inner = compiled.create_infer_request()
        self.inputs, self.outputs = (
            [torch.from_numpy(tensor.data) for tensor in tensors]
            for tensors in (self.inner.input_tensors, self.inner.output_tensors)
        )


@dataclass(frozen=True)
class GraphStore:
    """A folder of graphs, a folder a graph, named by the sha256 of what they depend on."""

    # By default $SWIFTPIE_HOME/openvino, or ~/.cache/swiftpie/openvino.
    folder: Path = field(default_factory=lambda: home_folder() / "openvino")
    max_bytes: int = MAX_BYTES

    def read(self, key: str, core: Untyped) -> KeptGraph | None:
        """Return the graph of `key`, or None where there is none that can be read."""
        path = self.folder / key / GRAPH
        if not os.path.lexists(path.parent):
            return None
        reason: object = "its checksums do not agree with its content"
        try:
            # A flipped bit in the weights is read without complaint, and draws other pictures.
            if (path.parent / SUMS).read_text(encoding="utf-8") == _checksums(path.parent):
                graph = core.read_model(path)
                with suppress(OSError):  # of another user, or read-only
                    os.utime(path.parent)  # what is compiled counts for its file of this time alone
                return KeptGraph(graph, path)
        except (OSError, ValueError, RuntimeError) as error:
            reason = short_reason(error)
        logger.warning("'%s' is damaged (%s); the network is exported again.", path, reason)
        # A half of one would keep a whole one from taking its place.
        with suppress(OSError):
            path.parent.unlink()  # a file, or a link
        shutil.rmtree(path.parent, ignore_errors=True)
        return None

    def write(self, key: str, graph: Untyped) -> None:
        """Keep `graph`; a folder that cannot be written to costs an export the next time."""
        try:
            with atomic_folder(self.folder / key) as new:  # another process may be quicker
                load("openvino").save_model(graph, new / GRAPH, compress_to_fp16=False)
                (new / SUMS).write_text(_checksums(new), encoding="utf-8")
            self._shrink(keep=key)
        except (OSError, RuntimeError) as error:
            logger.warning("'%s' cannot keep an exported network (%s).", self.folder, error)

    def release_pages(self) -> None:
        """Let the system have the pages of weights, of which compiled graphs hold their own form.

        They are mapped from files, so where one is needed again the system reads it again.
        """
        mapped = rf"(?m)^(\w+)-(\w+) .*{re.escape(str(self.folder))}/.*\.bin$"
        with suppress(AttributeError, OSError):  # no Linux
            for ends in re.findall(mapped, Path("/proc/self/maps").read_text(encoding="utf-8")):
                start, end = (int(place, 16) for place in ends)
                pages = ctypes.c_void_p(start), ctypes.c_size_t(end - start)
                ctypes.CDLL(None).madvise(*pages, mmap.MADV_DONTNEED)

    def _shrink(self, *, keep: str) -> None:
        graphs = [path.parent for path in self.folder.glob(f"*/{GRAPH}")]
        newest = sorted(
            (folder for folder in graphs if not folder.match(TEMPORARY)),
            key=lambda folder: (folder.name != keep, -folder.stat().st_mtime),
        )
        total = 0
        for place, folder in enumerate(newest):
            total += sum(file.stat().st_size for file in folder.rglob("*"))
            if place and total > self.max_bytes:
                logger.info("'%s' is removed; the folder is full.", folder)
                shutil.rmtree(folder, ignore_errors=True)


def _checksums(folder: Path) -> str:
    """Return the sha256 of each file in `folder` but the list of them, as `sha256sum` does."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name not in {SUMS, COMPILED}:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def _digest(facts: list[str]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
