"""YuNet and a recogniser as one face encoder."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from swiftpie.faces.align import align
from swiftpie.faces.face import Face, FaceBox, ModelFile
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.yunet import YuNet

YUNET = ModelFile(
    "face_detection_yunet_2023mar.onnx",
    licence="MIT",
    is_commercial=True,
    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    source="github.com/opencv/opencv_zoo, models/face_detection_yunet",
)


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
