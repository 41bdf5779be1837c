"""InsightFace, where the user has installed it: research only."""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from swiftpie.errors import MissingExtra, WeightsError
from swiftpie.faces import EncoderChoice, Face, FaceBox, FaceEncoder, ModelFile
from swiftpie.faces.choose import align

PACK = "buffalo_l"
TERMS = "InsightFace's models are for non-commercial research only"
LICENCE = "non-commercial research only (InsightFace)"
FILES = tuple(
    ModelFile(
        f"models/{PACK}/{name}",
        LICENCE,
        is_commercial=False,
        source="github.com/deepinsight/insightface",
    )
    for name in ("det_10g.onnx", "w600k_r50.onnx")
)
RECOGNISER = FILES[1]
SIDES_PX = tuple(range(640, 319, -64))  # FastFace looks for faces from fine to coarse


@dataclass(frozen=True, eq=False)
class InsightFaceEncoder:
    """The package's own detector and recogniser."""

    analysis: Any  # insightface.app.FaceAnalysis; the package has no types
    fingerprint: str
    name: str = "insightface"

    def find(self, image: Image.Image) -> list[Face]:
        pixels = np.asarray(image)[..., ::-1]
        found: list[Any] = []
        for side in SIDES_PX:
            self.analysis.det_model.input_size = (side, side)
            found = self.analysis.get(pixels)
            if found:
                break
        ordered = sorted(found, key=lambda face: -float(face.det_score))
        return [
            Face(
                box=FaceBox(*(float(edge) for edge in face.bbox)),
                landmarks=np.asarray(face.kps, dtype=np.float32),
                score=float(face.det_score),
                crop=align(image, np.asarray(face.kps, dtype=np.float64)),
                embedding=np.asarray(face.normed_embedding, dtype=np.float32),
            )
            for face in ordered
        ]


def _open(folder: Path | None) -> FaceEncoder:
    try:
        package: Any = importlib.import_module("insightface.app")
    except ImportError as error:
        raise MissingExtra(
            f"The face encoder 'insightface' is not installed. {TERMS}. If that "
            "fits your use, run: pip install insightface, and get its models; else choose another "
            "`encoder=`."
        ) from error
    # The package itself would fetch what is missing, so look first.
    root = folder or Path.home() / ".insightface"
    if missing := [file.name for file in FILES if not (root / file.name).is_file()]:
        raise WeightsError(
            f"'{root}' lacks {missing[0]}. {TERMS}, so they are never fetched for you. Get the "
            f"pack {PACK} from {FILES[0].source}, or choose another `encoder=`."
        )
    analysis = package.FaceAnalysis(
        name=PACK, root=str(root), allowed_modules=["detection", "recognition"]
    )
    analysis.prepare(ctx_id=-1)
    digest = hashlib.sha256((root / RECOGNISER.name).read_bytes()).hexdigest()
    return InsightFaceEncoder(analysis, digest)


ENCODER = EncoderChoice(
    name="insightface",
    summary=f"InsightFace's {PACK}, which IP-Adapter-FaceID was trained on; 512 numbers a face",
    files=FILES,
    open=_open,
)
