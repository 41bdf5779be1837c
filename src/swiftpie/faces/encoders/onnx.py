"""YuNet with a recogniser: SFace, allowed in commercial use, or one of ArcFace's format."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from swiftpie.faces.align import align
from swiftpie.faces.face import EncoderChoice, Face, FaceBox, ModelFile
from swiftpie.faces.onnx import Recogniser, open_model
from swiftpie.faces.yunet import YuNet

YUNET = ModelFile(
    "face_detection_yunet_2023mar.onnx",
    licence="MIT",
    is_commercial=True,
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    source="github.com/opencv/opencv_zoo, models/face_detection_yunet",
)
SFACE = ModelFile(
    "face_recognition_sface_2021dec.onnx",
    licence="Apache-2.0",
    is_commercial=True,
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    source="github.com/opencv/opencv_zoo, models/face_recognition_sface",
)
ARCFACE = ModelFile(
    "face_recognition_arcface.onnx",
    licence="the licence of the file you bring",
    is_commercial=None,
)
MIDDLE = 127.5  # of 0..255: ArcFace's networks see -1 to 1; SFace scales by itself


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
        """Return the faces of an upright RGB picture, the surest first."""
        faces = []
        for box, landmarks, score in zip(*self.detector.detect(image), strict=True):
            crop = align(image, landmarks.astype(np.float64))
            edges = FaceBox(*(float(edge) for edge in box))
            faces.append(Face(edges, landmarks, float(score), crop, self.recogniser.embed(crop)))
        return faces


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
