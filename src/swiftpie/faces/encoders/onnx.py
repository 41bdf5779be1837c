"""YuNet with a recogniser, SFace or one of ArcFace's format: ONNX files from the user's disk.

SFace is allowed in commercial use. OpenCV has the same decoding of YuNet, and agrees to 0.001 px;
it would save some 70 lines here and bring 150 MB with threads and log lines of their own besides
onnxruntime, which other recognisers need.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from swiftpie.errors import WeightsError, require, short_reason
from swiftpie.faces import EncoderChoice, Face, FaceBox, ModelFile
from swiftpie.faces.choose import CROP_PX, align

logger = logging.getLogger(__name__)

YUNET = ModelFile(
    "face_detection_yunet_2023mar.onnx",
    licence="MIT",
    is_commercial=True,
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    source="github.com/opencv/opencv_zoo, models/face_detection_yunet",
    repository="opencv/face_detection_yunet",
)
SFACE = ModelFile(
    "face_recognition_sface_2021dec.onnx",
    licence="Apache-2.0",
    is_commercial=True,
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    source="github.com/opencv/opencv_zoo, models/face_recognition_sface",
    repository="opencv/face_recognition_sface",
)
ARCFACE = ModelFile(
    "face_recognition_arcface.onnx", licence="the licence of the file you bring", is_commercial=None
)
MIDDLE = 127.5  # half of 255: ArcFace's networks see -1 to 1; SFace scales by itself
QUIET = 3  # onnxruntime's log level for errors alone
TINY = 1e-12

STRIDES = (8, 16, 32)  # pixels between neighbouring places that a face can be found at
OUTPUTS = tuple(f"{kind}_{s}" for kind in ("cls", "obj", "bbox", "kps") for s in STRIDES)
FREE_SIDE_PX = 640  # side for models that take any size
SHRINK = (1, 2, 4)  # it finds faces of 10 to 300 px, so larger ones need a smaller picture
MIN_SCORE = 0.7
MAX_OVERLAP = 0.3
MAX_CANDIDATES = 5000

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class OnnxNetwork:
    """A loaded model."""

    session: Any  # onnxruntime.InferenceSession; the package has no types
    fingerprint: str  # sha256 of the file
    path: Path

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        """The sizes of the first input, None where any is taken."""
        shape = self.session.get_inputs()[0].shape
        return tuple(side if isinstance(side, int) else None for side in shape)

    @property
    def outputs(self) -> Mapping[str, Sequence[int | str]]:
        return {output.name: output.shape for output in self.session.get_outputs()}

    def __call__(self, *values: Array) -> dict[str, Array]:
        """Return the outputs by name for the values of all inputs, in their order."""
        names = (one.name for one in self.session.get_inputs())
        inputs = dict(zip(names, map(np.ascontiguousarray, values), strict=True))
        return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


class Detections(NamedTuple):
    """N faces, the surest first; lengths in pixels."""

    boxes: Array  # (N, 4) left, top, right, bottom
    landmarks: Array  # (N, 5, 2)
    scores: Array  # (N,)

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> "Detections":
        return Detections(*(field[np.asarray(rows, dtype=np.intp)] for field in self))


@dataclass(frozen=True, eq=False)
class YuNet:
    """The detector of OpenCV's model zoo."""

    model: OnnxNetwork

    def __post_init__(self) -> None:
        if missing := [name for name in OUTPUTS if name not in self.model.outputs]:
            raise WeightsError(
                f"'{self.model.path}' has no output {missing[0]!r}, so it is no YuNet of 2023 or "
                "later. face_detection_yunet_2023mar.onnx is needed. Get it from OpenCV's zoo."
            )

    def detect(self, image: Image.Image) -> Detections:
        """Return the faces of an RGB picture, looking at it smaller while none is found."""
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

    The RGB picture is scaled; `side` is the canvas, (width, height), black where it does not reach.
    """
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", side)
    small = image if size == image.size else image.resize(size, Image.Resampling.BILINEAR)
    canvas.paste(small)
    return np.asarray(canvas, dtype=np.float32)[..., ::-1].transpose(2, 0, 1)[None]


def decode(outputs: Mapping[str, Array], side: tuple[int, int]) -> Detections:
    """Return every face that is likely enough, overlapping ones included.

    Offsets are counted in strides from the upper left corner of each cell, sizes are logarithms;
    the score is the geometric mean of two, that it is a face and that the box is good. Each of the
    `OUTPUTS` is (1, cells, values), for an input of `side`, (width, height).
    """
    found = [_decode_level(outputs, side, stride) for stride in STRIDES]
    merged = Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    order = np.argsort(-merged.scores, kind="stable")
    return merged.take(order[:MAX_CANDIDATES])


def suppress(found: Detections) -> Detections:
    """Return the faces that no surer one covers."""
    kept: list[int] = []
    rest = np.arange(len(found.scores))
    while len(rest):
        best, rest = int(rest[0]), rest[1:]
        kept.append(best)
        rest = rest[overlap(found.boxes[best], found.boxes[rest]) <= MAX_OVERLAP]
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


@dataclass(frozen=True, eq=False)
class Recogniser:
    """A network from 112 x 112 pixels to one vector."""

    model: OnnxNetwork
    mean: float  # subtracted from red, green and blue of 0..255
    deviation: float  # what the difference is divided by

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


@dataclass(frozen=True, eq=False)
class OnnxFaceEncoder:
    """Detects, aligns, embeds."""

    name: str
    detector: YuNet
    recogniser: Recogniser

    @property
    def fingerprint(self) -> str:
        """The sha256 of the recogniser's file."""
        return self.recogniser.model.fingerprint

    def find(self, image: Image.Image) -> list[Face]:
        faces = []
        for box, landmarks, score in zip(*self.detector.detect(image), strict=True):
            crop = align(image, landmarks.astype(np.float64))
            edges = FaceBox(*(float(edge) for edge in box))
            faces.append(Face(edges, landmarks, float(score), crop, self.recogniser.embed(crop)))
        return faces


def open_model(
    folder: Path | None, file: ModelFile, *, use: str = "A face encoder", extra: str = "faces"
) -> OnnxNetwork:
    """Load a model file; nothing is fetched here.

    Raises:
        WeightsError: It is missing or damaged.
        MissingExtra: `use` needs onnxruntime, which the `extra` brings.
    """
    where = "and no folder with it was given" if folder is None else f"which '{folder}' lacks"
    path = (folder or Path()) / file.name
    if folder is None or not path.is_file():
        raise WeightsError(
            f"Faces need the file {file.name} ({file.licence}), {where}. Get it from "
            f"{file.source or 'its publisher'} and name its folder as `face_models=`."
        )
    # This says what is missing before anything large is read.
    runtime = require("onnxruntime", extra=extra, use=use)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if file.sha256 and digest != file.sha256:
        logger.warning("'%s' is not the published file: its sha256 begins %s", path, digest[:12])
    return OnnxNetwork(_session(runtime, data, path), digest, path)


def _session(runtime: Any, data: bytes, path: Path) -> Any:  # noqa: ANN401 - likewise
    options = runtime.SessionOptions()
    options.log_severity_level = QUIET
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common parent but this
        raise WeightsError(
            f"'{path}' is not a readable ONNX model ({short_reason(error)}). A complete file is "
            "needed. Get it again."
        ) from error


def _open(
    folder: Path | None, *, name: str, recogniser: ModelFile, mean: float, deviation: float
) -> OnnxFaceEncoder:
    detector = YuNet(open_model(folder, YUNET))
    network = Recogniser(open_model(folder, recogniser), mean=mean, deviation=deviation)
    return OnnxFaceEncoder(name, detector, network)


ENCODERS: Mapping[str, EncoderChoice] = MappingProxyType(
    {
        "opencv": EncoderChoice(
            name="opencv",
            summary="YuNet finds, SFace (arXiv:2205.12010) recognises; 128 numbers a face",
            files=(YUNET, SFACE),
            open=partial(_open, name="opencv", recogniser=SFACE, mean=0.0, deviation=1.0),
        ),
        "arcface": EncoderChoice(
            name="arcface",
            summary="YuNet finds, a recogniser of yours in ArcFace's format (arXiv:1801.07698) "
            "recognises",
            files=(YUNET, ARCFACE),
            open=partial(_open, name="arcface", recogniser=ARCFACE, mean=MIDDLE, deviation=MIDDLE),
        ),
    }
)
