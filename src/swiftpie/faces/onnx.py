"""ONNX models from the user's disk, through onnxruntime, and recognisers among them."""

import hashlib
import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.errors import MissingExtra, WeightsError, short_reason
from swiftpie.faces.align import CROP_PX
from swiftpie.faces.face import ModelFile

logger = logging.getLogger(__name__)

QUIET = 3  # onnxruntime's log level for errors alone
TINY = 1e-12

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A loaded model with one input."""

    session: Any  # onnxruntime.InferenceSession; the package has no types
    fingerprint: str  # sha256 of the file
    path: Path

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The sizes of the input, None where any is taken."""
        shape = self.session.get_inputs()[0].shape
        return tuple(side if isinstance(side, int) else None for side in shape)

    @property
    def outputs(self) -> Mapping[str, Sequence[int | str]]:
        """The shapes of the outputs by name."""
        return {one.name: one.shape for one in self.session.get_outputs()}

    def __call__(self, values: Array) -> dict[str, Array]:
        """Return all outputs by name."""
        inputs = {self.session.get_inputs()[0].name: np.ascontiguousarray(values)}
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


@dataclass(frozen=True, eq=False)
class Recogniser:
    """A network from 112 x 112 pixels to one vector."""

    model: OnnxModel
    mean: float  # subtracted from red, green and blue of 0..255
    deviation: float  # that they are divided by

    def __post_init__(self) -> None:
        sides, outputs = self.model.input_shape[2:], self.model.outputs
        if any(side not in {None, CROP_PX} for side in sides) or len(outputs) != 1:
            raise WeightsError(
                f"'{self.model.path}' takes pictures of {sides} and gives {len(outputs)} outputs. "
                f"A recogniser of {CROP_PX} x {CROP_PX} px with one output is needed. Choose one."
            )

    def embed(self, crop: Image.Image) -> Array:
        """Return the vector (D,) of length 1 of an aligned crop, 112 x 112 RGB."""
        pixels = (np.asarray(crop, dtype=np.float32) - self.mean) / self.deviation
        (vector,) = self.model(pixels.transpose(2, 0, 1)[None]).values()
        flat = vector.ravel()
        found: Array = flat / max(float(np.linalg.norm(flat)), TINY)
        return found


def open_model(folder: Path | None, file: ModelFile) -> OnnxModel:
    """Load a model file that the user brought; nothing is fetched.

    Raises:
        WeightsError: It is missing or no ONNX model.
        MissingExtra: onnxruntime is not installed.
    """
    where = "and no folder with it was given" if folder is None else f"which '{folder}' lacks"
    path = (folder or Path()) / file.name
    if folder is None or not path.is_file():
        raise WeightsError(
            f"Faces need the file {file.name} ({file.licence}), {where}. Get it from "
            f"{file.source or 'its publisher'} and name its folder (--face-models DIR); it is "
            "never fetched for you."
        )
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if file.sha256 and digest != file.sha256:
        logger.warning("'%s' is not the published file: its sha256 begins %s", path, digest[:12])
    return OnnxModel(_session(data, path), digest, path)


def _session(data: bytes, path: Path) -> Any:  # noqa: ANN401 - the package has no types
    try:
        runtime: Any = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingExtra(
            "Faces were asked for, and onnxruntime, which finds them, is not installed. "
            'Install it: pip install "swiftpie[faces]".'
        ) from error
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common parent but this
        raise WeightsError(
            f"'{path}' is not a readable ONNX model ({short_reason(error)}). A complete file is "
            "needed. Get it again."
        ) from error
