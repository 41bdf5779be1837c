"""YuNet's face detector: pictures in, boxes and five landmarks out.

OpenCV has the same decoding, and agrees to 0.001 px. It would save some 70 lines here and bring
150 MB with threads and log lines of their own beside onnxruntime, which other recognisers need.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.errors import WeightsError
from swiftpie.faces.onnx import Array, OnnxModel

STRIDES = (8, 16, 32)  # pixels between neighbouring places that a face can be found at
OUTPUTS = tuple(f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in STRIDES)
FREE_SIDE_PX = 640  # for models that take any size
SHRINK = (1, 2, 4)  # it finds faces of 10 to 300 px, so larger ones need a smaller picture
MIN_SCORE = 0.7
MAX_OVERLAP = 0.3
MAX_CANDIDATES = 5000


class Detections(NamedTuple):
    """N faces, the surest first; lengths in pixels."""

    boxes: Array  # (N, 4) left, top, right, bottom
    landmarks: Array  # (N, 5, 2)
    scores: Array  # (N,)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> "Detections":
        """Return some of the faces."""
        return Detections(*(one[np.asarray(rows, dtype=np.intp)] for one in self))


@dataclass(frozen=True, eq=False)
class YuNet:
    """The detector of OpenCV's model zoo."""

    model: OnnxModel

    def __post_init__(self) -> None:
        if missing := [name for name in OUTPUTS if name not in self.model.outputs]:
            raise WeightsError(
                f"'{self.model.path}' has no output {missing[0]!r}, so it is no YuNet of 2023 or "
                "later. face_detection_yunet_2023mar.onnx is needed. Get it from OpenCV's zoo."
            )

    def detect(self, image: Image.Image) -> Detections:
        """Return the faces of an RGB picture, looking at it smaller while none is found."""
        found = _none()
        for shrink in SHRINK:
            found = self._look(image, shrink)
            if len(found.scores):
                break
        return found

    def _look(self, image: Image.Image, shrink: int) -> Detections:
        height, width = self.model.input_shape[2:]
        side = (width or FREE_SIDE_PX, height or FREE_SIDE_PX)
        scale = min(side[0] / image.width, side[1] / image.height) / shrink
        pixels = prepare(image, scale, side)
        found = suppress(decode(self.model(pixels), side))
        return Detections(found.boxes / scale, found.landmarks / scale, found.scores)


def prepare(image: Image.Image, scale: float, side: tuple[int, int]) -> Array:
    """Return blue, green and red of 0..255 (1, 3, H, W), the picture in the upper left corner.

    Args:
        image: RGB.
        scale: Of the picture.
        side: Width and height of the canvas, black where the picture does not reach.
    """
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", side)
    small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    canvas.paste(small)
    return np.asarray(canvas, dtype=np.float32)[..., ::-1].transpose(2, 0, 1)[None]


def decode(outputs: Mapping[str, Array], side: tuple[int, int]) -> Detections:
    """Return every face that is likely enough, overlapping ones included.

    Offsets are counted in strides from the upper left corner of each cell, sizes are logarithms;
    the score is the geometric mean of two, that it is a face and that the box is good.

    Args:
        outputs: `OUTPUTS`, each (1, cells, values).
        side: Width and height of the network's input.
    """
    found = [_decode_level(outputs, side, stride) for stride in STRIDES]
    merged = Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    order = np.argsort(-merged.scores, kind="stable")
    return merged.take(order[:MAX_CANDIDATES])


def suppress(found: Detections, *, max_overlap: float = MAX_OVERLAP) -> Detections:
    """Return the faces that no surer one covers."""
    kept: list[int] = []
    rest = np.arange(len(found.scores))
    while len(rest):
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        rest = rest[overlap(found.boxes[best], found.boxes[rest]) <= max_overlap]
    return found.take(kept)


def overlap(box: Array, others: Array) -> Array:
    """Return the shared area over the joint area of `box` (4,) and each of `others` (N, 4)."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    shared = (high - low).clip(0).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    covered: Array = shared / np.maximum(areas - shared, np.finfo(np.float32).tiny)
    return covered


def _decode_level(outputs: Mapping[str, Array], side: tuple[int, int], stride: int) -> Detections:
    width, height = side[0] // stride, side[1] // stride
    rows, columns = np.divmod(np.arange(width * height), width)
    corner = np.stack([columns, rows], axis=1).astype(np.float32)
    kinds = (outputs[f"{kind}_{stride}"][0] for kind in ("cls", "obj", "bbox", "kps"))
    is_face, is_good, box, points = kinds
    scores = np.sqrt(is_face[:, 0].clip(0, 1) * is_good[:, 0].clip(0, 1))
    likely = np.flatnonzero(scores >= MIN_SCORE)
    corner, box, points = corner[likely], box[likely], points[likely]
    centre, size = (corner + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
    return Detections(
        boxes=np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        landmarks=(points.reshape(-1, 5, 2) + corner[:, None]) * stride,
        scores=scores[likely],
    )


def _none() -> Detections:
    empty = np.zeros((0,), dtype=np.float32)
    return Detections(empty.reshape(0, 4), empty.reshape(0, 5, 2), empty)
