"""YuNet and SFace of OpenCV's model zoo: allowed in commercial use."""

from pathlib import Path

from swiftpie.faces.face import EncoderChoice, FaceEncoder, ModelFile
from swiftpie.faces.onnx_encoder import YUNET, OnnxFaceEncoder
from swiftpie.faces.recogniser import Recogniser
from swiftpie.faces.runtime import open_model
from swiftpie.faces.yunet import YuNet

SFACE = ModelFile(
    "face_recognition_sface_2021dec.onnx",
    licence="Apache-2.0",
    is_commercial=True,
    sha256="0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
    source="github.com/opencv/opencv_zoo, models/face_recognition_sface",
)


def _open(folder: Path | None) -> FaceEncoder:
    detector = YuNet(open_model(folder, YUNET))
    recogniser = Recogniser(open_model(folder, SFACE), mean=0.0, deviation=1.0)  # scales by itself
    return OnnxFaceEncoder("opencv", detector, recogniser)


ENCODER = EncoderChoice(
    name="opencv",
    summary="YuNet finds, SFace (arXiv:2205.12010) recognises; 128 numbers a face",
    files=(YUNET, SFACE),
    open=_open,
)
