"""YuNet and any recogniser of ArcFace's format that the user brings."""

from pathlib import Path

from swiftpie.faces.face import EncoderChoice, FaceEncoder, ModelFile
from swiftpie.faces.onnx_encoder import YUNET, OnnxFaceEncoder
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.runtime import open_model
from swiftpie.faces.yunet import YuNet

MIDDLE = 127.5  # of 0..255: the network sees -1 to 1
RECOGNISER = ModelFile(
    "face_recognition_arcface.onnx",
    licence="the licence of the file you bring",
    is_commercial=None,
)


def _open(folder: Path | None) -> FaceEncoder:
    detector = YuNet(open_model(folder, YUNET))
    recogniser = Recogniser(open_model(folder, RECOGNISER), mean=MIDDLE, deviation=MIDDLE)
    return OnnxFaceEncoder("arcface", detector, recogniser)


ENCODER = EncoderChoice(
    name="arcface",
    summary="YuNet finds, a recogniser of yours in ArcFace's format (arXiv:1801.07698) recognises",
    files=(YUNET, RECOGNISER),
    open=_open,
)
