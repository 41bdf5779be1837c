"""What commands about faces share: which models find them, and which face is meant."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from swiftpie.cli.console import say

if TYPE_CHECKING:
    from PIL import Image

    from swiftpie.backbones.choices import Choices
    from swiftpie.engine.session import Session
    from swiftpie.faces.choose import ChosenFace
    from swiftpie.faces.face import FaceEncoder
    from swiftpie.models.projection import FaceVersion

NO_JUDGE = (
    "No identity score: it takes a second face encoder, one that the generator did not use, and "
    "only one is here. Give its files with --judge-models."
)

PUBLISHED_WITH = "insightface"

FaceModels = Annotated[
    Path | None,
    typer.Option(
        "--face-models",
        metavar="DIR",
        show_default=False,
        help="Folder with the face encoder's files; nothing is fetched.",
    ),
]
EncoderName = Annotated[
    str,
    typer.Option(
        "--encoder",
        metavar="opencv|arcface|insightface",
        help="The face encoder; it has to be the one that the adapter was trained with.",
    ),
]
JudgeName = Annotated[
    str | None,
    typer.Option(
        "--judge",
        metavar="NAME",
        show_default=False,
        help="A second face encoder for the identity score; by default another one that is here.",
    ),
]
JudgeModels = Annotated[
    Path | None,
    typer.Option(
        "--judge-models",
        metavar="DIR",
        show_default=False,
        help="Folder with the judge's files; by default --face-models.",
    ),
]
FaceNumber = Annotated[
    int | None,
    typer.Option(
        "--face",
        min=1,
        metavar="N",
        show_default=False,
        help="Which face, counted from the left; by default the largest or most central.",
    ),
]
LoraScale = Annotated[
    float | None,
    typer.Option(
        "--lora-scale",
        min=0,
        max=2,
        show_default=False,
        help="Strength of the LoRA inside of a FaceID adapter; by default 1.",
    ),
]
PlusVersion = Annotated[
    int | None,
    typer.Option(
        "--face-version",
        min=1,
        max=2,
        show_default=False,
        help="Of a FaceID Plus adapter whose file name does not tell.",
    ),
]


class Eyes(NamedTuple):
    """Who looks at faces."""

    encoder: "FaceEncoder"  # what the generator reads
    judge: "FaceEncoder | None"  # did not help to draw


def open_eyes(
    encoder: str, folder: Path | None, judge: str | None, judge_folder: Path | None
) -> Eyes:
    """Open the encoder and the judge, and tell if there is none."""
    from swiftpie.faces.face import FACE_ENCODERS
    from swiftpie.faces.likeness import open_judge

    opened = FACE_ENCODERS.get(encoder).open(folder)
    critic = open_judge(opened, judge_folder or folder, name=judge)
    if critic is None:
        say(NO_JUDGE)
    return Eyes(opened, critic)


def with_face_adapter(
    choices: "Choices", *, lora_scale: float | None, version: int | None
) -> "Choices":
    """Return `choices` with what only adapters of the FaceID kind know."""
    face_version: FaceVersion | None = None if version is None else (1 if version == 1 else 2)
    return {**choices, "lora_scale": lora_scale, "face_version": face_version}


def warn_of_strange_vectors(session: "Session", encoder: "FaceEncoder") -> None:
    """Tell that an adapter may have been trained with the vectors of another encoder."""
    from swiftpie.models.face.encoder import FaceIdentityEncoder

    reads_vectors = isinstance(session.components.image_encoder, FaceIdentityEncoder)
    if reads_vectors and encoder.name != PUBLISHED_WITH:
        say(
            f"This adapter reads face vectors, and understands only those of the encoder that it "
            f"was trained with: {PUBLISHED_WITH} for the published FaceID files. Those of "
            f"{encoder.name} show it a stranger, unless it was trained with them."
        )


def choose(
    encoder: "FaceEncoder", image: "Image.Image", number: int | None, *, name: str
) -> "ChosenFace":
    """Return the face that is meant, and tell what there is to know about it."""
    from swiftpie.faces.choose import choose_face, find_faces

    chosen = choose_face(find_faces(encoder, image), number=number, name=name)
    for note in chosen.notes:
        say(f"{name}: {note}")
    return chosen
