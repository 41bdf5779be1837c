"""Faces, and the settings of the encoders that find and recognise them; loads no tensor library."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, Protocol

from swiftpie.config import OPTIONS, Option, home_folder
from swiftpie.config import Surface as Surface
from swiftpie.errors import ConfigError as ConfigError
from swiftpie.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CONSENT = (
    "Use only the face of a person who agreed to it, and say that the picture is generated; in "
    "many places both are the law."
)
DEFAULT_ENCODER = "opencv"
METADATA = {"face": "after a photograph of a person; to be used with that person's consent"}
"""Stored in every picture, besides the mark that it is generated."""


class FaceBox(NamedTuple):
    """Edges in pixels of the picture; a face that is cut off reaches beyond it."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """In pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """In pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> float:
        """In square pixels."""
        return max(self.width, 0.0) * max(self.height, 0.0)


@dataclass(frozen=True, eq=False)
class Face:
    """One face of a picture."""

    box: FaceBox
    landmarks: "NDArray[np.float32]"  # (5, 2) x, y in pixels: eyes, nose, mouth; left one first
    score: float  # confidence of the detector, 0 to 1
    crop: "Image.Image"  # 112 x 112 RGB, turned and scaled so that all faces lie alike
    embedding: (
        "NDArray[np.float32]"  # (D,) of length 1; only vectors of the same encoder can be compared
    )


class FaceEncoder(Protocol):
    """Finds faces and describes each by a vector."""

    @property
    def name(self) -> str:
        """The name of the encoder."""

    @property
    def fingerprint(self) -> str:
        """A sha256 of the network that makes the vectors; equal ones can be compared."""

    def find(self, image: "Image.Image") -> list[Face]:
        """Return the faces of an upright RGB picture, the surest first."""


@dataclass(frozen=True)
class ModelFile:
    """A file of weights that onnxruntime runs."""

    name: str
    licence: str
    is_commercial: bool | None  # None: unknown, ask the publisher
    sha256: str = ""  # sum of the published file; empty where any file will do
    source: str = ""  # where it is published
    repository: str = ""  # on the hub; "" if users provide the file
    path: str = ""  # in the repository; "": the name
    folder: str = "faces"  # of `home_folder()`, where a downloaded file lies
    option: str = "face_models"  # which names another folder for it; "" if none does

    @property
    def place(self) -> Path:
        """Where the file lies once it is downloaded."""
        return home_folder() / self.folder / self.name


@dataclass(frozen=True)
class EncoderChoice:
    """A face encoder that can be opened, and the terms it comes with."""

    name: str
    summary: str
    files: tuple[ModelFile, ...]  # below the folder that `open` takes
    open: Callable[[Path | None], FaceEncoder]

    @property
    def is_published(self) -> bool:
        return all(file.repository for file in self.files)

    def is_in(self, folder: Path) -> bool:
        return all((folder / file.name).is_file() for file in self.files)


FACE_ENCODERS: Registry[EncoderChoice] = Registry(
    package="swiftpie.faces.encoders",
    attribute="ENCODER",
    family_attribute="ENCODERS",
    entry_point_group="swiftpie.face_encoders",
)


@dataclass(frozen=True, kw_only=True)
class FaceSource:
    """The face of a person, in a photograph."""

    face: Annotated[  # over HTTP and in ComfyUI it is a picture of its own
        str, OPTIONS["FaceSource.face"]
    ] = ""
    face_number: Annotated[int | None, OPTIONS["FaceSource.face_number"]] = None


@dataclass(frozen=True, kw_only=True)
class FaceSettings:
    """The encoders that find, recognise and judge faces."""

    encoder: Annotated[str | None, OPTIONS["FaceSettings.encoder"]] = None
    face_models: Annotated[
        Path | None,
        Option("Folder with the face encoder's files; by default opencv's are fetched.", "DIR"),
    ] = None
    judge: Annotated[str | None, OPTIONS["FaceSettings.judge"]] = None
    judge_models: Annotated[Path | None, OPTIONS["FaceSettings.judge_models"]] = None

    @property
    def name(self) -> str:
        """The name of the encoder."""
        return self.encoder or DEFAULT_ENCODER

    def open(self) -> FaceEncoder:
        """Open the encoder.

        Raises:
            ConfigError: There is no such encoder.
            WeightsError: A file is missing or damaged.
            MissingExtra: A package is not installed.
        """
        return FACE_ENCODERS.get(self.name).open(self.face_models)
