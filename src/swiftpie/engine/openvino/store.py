"""Exported graphs on disk: written whole or not at all, and no more of them than fit."""

import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftpie.engine.openvino.runtime import load
from swiftpie.files import TEMPORARY, atomic_folder

logger = logging.getLogger(__name__)

GRAPH = "graph.xml"  # OpenVINO writes the weights beside it, in graph.bin
MAX_BYTES = 20 << 30  # of a folder of graphs; those used longest ago are removed beyond


def default_folder() -> Path:
    """Return $SWIFTPIE_HOME/openvino, or ~/.cache/swiftpie/openvino."""
    home = os.environ.get("SWIFTPIE_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "swiftpie") / "openvino"


@dataclass(frozen=True)
class Store:
    """A folder of graphs, a folder a graph, named by the sha256 of what they depend on."""

    folder: Path
    max_bytes: int = MAX_BYTES

    def read(self, key: str, core: Any) -> Any:  # noqa: ANN401 - OpenVINO's classes
        """Return the graph of `key`, or None where there is none that can be read."""
        path = self.folder / key / GRAPH
        if not path.is_file():
            return None
        try:
            graph = core.read_model(path)
        except RuntimeError as error:
            logger.warning("'%s' is damaged (%s); the network is exported again.", path, error)
            shutil.rmtree(path.parent, ignore_errors=True)
            return None
        os.utime(path)
        return graph

    def write(self, key: str, graph: Any) -> None:  # noqa: ANN401 - OpenVINO's class
        """Keep `graph`; a folder that cannot be written to costs an export the next time."""
        try:
            with atomic_folder(self.folder / key) as new:  # another process may be quicker
                load("openvino").save_model(graph, new / GRAPH, compress_to_fp16=False)
            self._shrink(keep=key)
        except (OSError, RuntimeError) as error:
            logger.warning("'%s' cannot keep an exported network (%s).", self.folder, error)

    def _shrink(self, *, keep: str) -> None:
        """Remove graphs that were not used for longest until the rest fits."""
        graphs = [
            path.parent
            for path in self.folder.glob(f"*/{GRAPH}")
            if not path.parent.match(TEMPORARY)
        ]
        newest = sorted(graphs, key=lambda one: (one.name == keep, _used(one)), reverse=True)
        total = 0
        for place, one in enumerate(newest):
            total += sum(file.stat().st_size for file in one.iterdir())
            if place and total > self.max_bytes:
                logger.info("'%s' is removed; the folder is full.", one)
                shutil.rmtree(one, ignore_errors=True)


def _used(folder: Path) -> float:
    return (folder / GRAPH).stat().st_mtime
