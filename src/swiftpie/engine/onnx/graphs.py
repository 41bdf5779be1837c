"""Exported graphs with the sheet beside them, computed by a runtime."""

import importlib
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swiftpie.errors import WeightsError, short_reason
from swiftpie.models.vocabulary import CUT

logger = logging.getLogger(__name__)

FORMAT = "swiftpie-graphs/1"
SHEET = "swiftpie.json"
TEXT, IDENTITY, DRAW, CUTOUT = "text", "identity", "draw", "cutout"  # the graphs, by their names
RELIGHT, JOIN, SCENE = "relight", "join", "scene"  # two more, and the picture that both read
LIT, FINISHED, FINISHED_MASK = "lit", "finished", "finished_mask"  # what they return
PIXELS, SUBJECT_MASK, PLACE = "image", "subject_mask", "place"  # outputs of `draw`
OUTLINE, SHADOW = "outline", "shadow"  # likewise, of the subject before a scene

Array = NDArray[Any]
Compute = Callable[[Mapping[str, Array]], dict[str, Array]]


class Port(NamedTuple):
    """A tensor that enters or leaves a graph."""

    dtype: str  # as numpy calls it
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphSheet:
    """One graph; inputs of the same names as outputs of another take what that returns."""

    file: str
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """An exported model."""

    preset: str
    fingerprint: str  # of the weights, as identities have it
    image_size_px: tuple[int, int]  # height and width of what is drawn
    frame_px: int  # side of the frames that subjects are read from
    tokenizers: tuple[str, ...]  # files, one a tower
    defaults: Mapping[str, float]  # of the inputs of `draw` that are a number
    schedule: tuple[Mapping[str, float], ...]  # timestep, alpha and sigma of each step, as drawn
    taught: Mapping[str, Any] | None  # words, as `Vocabulary.stored` reads them
    graphs: Mapping[str, GraphSheet]
    made_with: Mapping[str, str]  # versions
    format: str = field(default=FORMAT)

    def write(self, folder: Path) -> None:
        """Write it beside the graphs."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / SHEET).write_text(text + "\n", encoding="utf-8")


def read_sheet(folder: Path) -> Sheet:
    """Return what `Sheet.write` wrote.

    Raises:
        WeightsError: It is missing, or this version does not know it.
    """
    try:
        raw = json.loads((folder / SHEET).read_text(encoding="utf-8"))
        assert raw["format"] == FORMAT, f"its format is {raw['format']!r}"
        raw["graphs"] = {name: _graph(sheet) for name, sheet in raw["graphs"].items()}
        return Sheet(**raw)
    except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
        raise WeightsError(
            f"'{folder / SHEET}' cannot be read ({short_reason(error)}). This version "
            f"reads format {FORMAT!r} of `swiftpie export`. Export the model again."
        ) from error


def _graph(raw: Mapping[str, Any]) -> GraphSheet:
    ports = (
        {name: Port(dtype, tuple(shape)) for name, (dtype, shape) in raw[side].items()}
        for side in ("inputs", "outputs")
    )
    return GraphSheet(raw["file"], *ports)


def _open_onnxruntime(path: Path) -> Compute:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    outputs = [output.name for output in session.get_outputs()]

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        made = session.run(outputs, {name: inputs[name] for name in names})
        return dict(zip(outputs, made, strict=True))

    return compute


def _open_openvino(path: Path) -> Compute:
    # The package that reports its use over the network; OpenVINO does without where it is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    openvino: Any = importlib.import_module("openvino")
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    # Tensors that are the same have several names, ours among them.
    places = [port.get_names() for port in compiled.inputs]
    outputs = [output.get_names() for output in compiled.outputs]

    def compute(inputs: Mapping[str, Array]) -> dict[str, Array]:
        given = [next(inputs[name] for name in names if name in inputs) for names in places]
        made = compiled(given)
        return {
            name: np.array(made[place]) for place, names in enumerate(outputs) for name in names
        }

    return compute


RUNTIMES: Mapping[str, Callable[[Path], Compute]] = MappingProxyType(
    {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}
)
"""What computes graphs."""


class Graphs:
    """All graphs of an exported model, and its sheet."""

    def __init__(self, folder: Path, *, runtime: str) -> None:
        """Read the sheet in `folder` and open the graphs with one of `RUNTIMES`.

        Raises:
            WeightsError: There is no sheet that this version can read.
        """
        self.folder = folder
        self.sheet: Sheet = read_sheet(folder)
        self._graphs = {
            name: RUNTIMES[runtime](folder / graph.file)
            for name, graph in self.sheet.graphs.items()
        }

    def __getitem__(self, name: str) -> Compute:
        """Return what computes a graph; it leaves inputs alone that the graph does not have."""
        return self._graphs[name]

    @cached_property
    def tokenizers(self) -> list[Any]:
        """The tokenizers, one a tower, of the library that transformers uses too."""
        from tokenizers import Tokenizer

        return [Tokenizer.from_file(str(self.folder / name)) for name in self.sheet.tokenizers]

    def defaults(self) -> dict[str, Array]:
        """Return the inputs of drawing that are a preset's own, and regions that are everything."""
        ports = self.sheet.graphs["draw"].inputs
        plain = {
            name: np.full(ports[name].shape, value, np.float32)
            for name, value in self.sheet.defaults.items()
        }
        everywhere = {
            name: np.ones(ports[name].shape, np.float32) for name in ("region", "detail_region")
        }
        boxes = {"box": np.array([[0, 0, 1, 1]], np.float32)} if "box" in ports else {}
        return {**plain, **everywhere, **boxes}

    def read(self, prompt: str) -> dict[str, Array]:
        """Return what `draw` takes of a prompt."""
        encoded = [tokenizer.encode(prompt) for tokenizer in self.tokenizers]
        if any(row.attention_mask[-1] for row in encoded):
            logger.warning(CUT, len(encoded[0].ids))
        ids = [np.array([ids_of.ids], np.int64) for ids_of in encoded]
        names = ("input_ids", "second_input_ids")
        mask = np.array([encoded[-1].attention_mask], np.int64)
        return self["text"]({**dict(zip(names, ids, strict=False)), "attention_mask": mask})
