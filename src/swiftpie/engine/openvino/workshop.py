"""Opens the graph of a call: from memory, from disk, or by exporting the network."""

import hashlib
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from torch import Tensor

import swiftpie
from swiftpie.engine.openvino.arguments import flatten, outline
from swiftpie.engine.openvino.export import Function, export
from swiftpie.engine.openvino.graph import Graph
from swiftpie.engine.openvino.runtime import (
    Precision,
    compile_graph,
    load,
    preferred_precision,
    versions,
)
from swiftpie.engine.openvino.store import Store
from swiftpie.engine.openvino.threads import Threads

logger = logging.getLogger(__name__)

MAX_OPEN = 12  # graphs in memory; each has weights of its own
MOST_BYTES = 100 << 20  # of a network's weights that may be in memory twice
PACKAGES = ("openvino", "torch", "diffusers", "transformers")  # that decide what a graph holds


class Change(Protocol):
    """What is done to some graphs after their export."""

    settings: str  # tells its graphs from those of another change

    def wants(self, function: Function) -> bool:
        """Tell whether graphs of `function` are changed."""

    def __call__(self, function: Function, form: Any, graph: Any) -> Any:  # noqa: ANN401 - any nesting; OpenVINO's class
        """Return the graph to use for arguments whose outline is `form`; None for `graph`.

        `graph` is of `function` and may be written into.
        """


class Workshop:
    """Exports each network once for every kind of arguments that it meets.

    Shapes are fixed in a graph: other sizes, or other numbers of pictures, subjects or references,
    are exported when they are first met, with a log of how long that took.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: str,
        change: Change | None = None,
        precision: Precision | None = None,
    ) -> None:
        """Keep graphs in `store`.

        Args:
            store: Where graphs outlive this process.
            settings: Whatever else tells graphs apart.
            change: What is done to some graphs after their export.
            precision: What graphs compute in; None for what the processor does best.
        """
        self._store = store
        self._settings = json.dumps([swiftpie.__version__, versions(*PACKAGES), settings])
        self._change = change
        self._core = load("openvino").Core()
        self._precision = precision or preferred_precision(self._core)
        self.threads = Threads()
        self._open: OrderedDict[tuple[str, int], Graph] = OrderedDict()  # by key and streams
        self._keys: WeakKeyDictionary[Function, dict[Hashable, str]] = WeakKeyDictionary()
        self._lock = threading.RLock()

    def call(self, function: Function, *arguments: object) -> tuple[Tensor, ...]:
        """Return what `function` computes of nested tensors, in float32 or int64."""
        return self._graph(function, outline(arguments))(flatten(arguments))

    def call_each(
        self, function: Function, calls: Sequence[tuple[object, ...]]
    ) -> list[tuple[Tensor, ...]]:
        """Return what `function` computes of the arguments of each call, exactly as `call` would.

        Calls of a small network run at the same time, as it has too little work for all cores. That
        takes its weights into memory once more, so a large network's come one after the other.
        """
        forms = [outline(arguments) for arguments in calls]
        streams = min(len(calls), self.threads.count)
        is_alike = all(form == forms[0] for form in forms)
        if streams <= 1 or not is_alike or function.num_bytes > MOST_BYTES:
            return [self.call(function, *arguments) for arguments in calls]
        graph = self._graph(function, forms[0], streams)
        return graph.each([flatten(arguments) for arguments in calls])

    def _graph(self, function: Function, form: Any, streams: int = 1) -> Graph:  # noqa: ANN401 - any nesting
        with self._lock:
            key = self._key(function, form)
            opened = (key, streams)
            if opened not in self._open:
                self._open[opened] = self._ready(function, form, key, streams)
                while len(self._open) > MAX_OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(opened)
            return self._open[opened]

    def _ready(self, function: Function, form: Any, key: str, streams: int) -> Graph:  # noqa: ANN401 - see export
        started = time.perf_counter()
        with self.threads.for_torch():
            graph = self._changed(function, form, key) or self._exported(function, form, key)
        threads = self.threads.count
        ready = Graph(compile_graph(self._core, graph, self._precision, threads, streams))
        spent = time.perf_counter() - started
        logger.info("The %s was ready for OpenVINO after %.1f s.", function.name, spent)
        return ready

    def _exported(self, function: Function, form: Any, key: str) -> Any:  # noqa: ANN401 - see export
        def make() -> Any:  # noqa: ANN401 - OpenVINO's class
            logger.info("The %s meets a new kind of call and is exported.", function.name)
            return export(function, form)

        return self._kept(key, make)

    def _changed(self, function: Function, form: Any, key: str) -> Any:  # noqa: ANN401 - see export
        """Return the graph after the change, or None where there is none."""
        change = self._change
        if change is None or not change.wants(function):
            return None
        changed_key = _digest([key, change.settings])
        return self._kept(
            changed_key, lambda: change(function, form, self._exported(function, form, key))
        )

    def _kept(self, key: str, make: Callable[[], Any]) -> Any:  # noqa: ANN401 - OpenVINO's class
        """Return the graph of `key` from disk, after writing there what `make` returns."""
        graph = self._store.read(key, self._core)
        if graph is not None:
            return graph
        graph = make()
        if graph is None:
            return None
        self._store.write(key, graph)
        # What comes back from disk rounds otherwise; so this process draws as later ones do.
        return self._store.read(key, self._core) or graph

    def _key(self, function: Function, form: Any) -> str:  # noqa: ANN401 - any nesting
        """Return the name of a graph; it is long in the making, so those of calls are kept."""
        known = self._keys.setdefault(function, {})
        call = (function.processors, repr(form))
        if call not in known:
            known[call] = _digest([self._settings, function.describe(), call[1]])
        return known[call]


def _digest(facts: list[str]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
