"""What callers choose and should know about faces; loads no tensor library."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from swiftpie.options import Option

CONSENT = (
    "Use only the face of a person who agreed to it, and say that the picture is generated; in "
    "many places both are the law."
)
METADATA = {"face": "after a photograph of a person; to be used with that person's consent"}
"""Stored in every picture, beside the mark that it is generated."""


@dataclass(frozen=True, kw_only=True)
class FaceSettings:
    """Who finds, recognises and judges faces."""

    encoder: Annotated[
        str,
        Option(
            "The face encoder; it has to be the one that the adapter was trained with.",
            "opencv|arcface|insightface",
        ),
    ] = "opencv"
    face_models: Annotated[
        Path | None,
        Option("Folder with the face encoder's files; nothing is fetched.", "DIR"),
    ] = None
    judge: Annotated[
        str | None,
        Option(
            "A second face encoder for the identity score; by default another one that is here.",
            "NAME",
        ),
    ] = None
    judge_models: Annotated[
        Path | None,
        Option("Folder with the judge's files; by default --face-models.", "DIR"),
    ] = None
