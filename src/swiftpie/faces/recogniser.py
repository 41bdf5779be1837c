"""Aligned faces to vectors, by recognisers of ArcFace's input format."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.align import CROP_PX
from swiftpie.faces.face import Array
from swiftpie.faces.runtime import OnnxModel

TINY = 1e-12


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
