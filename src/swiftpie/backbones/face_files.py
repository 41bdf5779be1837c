"""Public files of face encoders and cut-outs, planned and downloaded as weights are."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.downloads import DownloadPlan
from swiftpie.backbones.hub import RepoReference
from swiftpie.backbones.presets import PINS
from swiftpie.backbones.sources import FileSelection, PartFinder, WeightFormats
from swiftpie.config import home_folder
from swiftpie.faces import FACE_ENCODERS, FaceEncoder, FaceSettings, ModelFile
from swiftpie.imageio.atomic import atomic_file, make_folder
from swiftpie.models import isnet


def face_folder() -> Path:
    """Return the folder of downloaded face encoders."""
    return home_folder() / "faces"


def plan_cutout(choices: Choices) -> DownloadPlan:
    """Plan the network that `swiftpie.models.isnet` reads.

    Raises:
        WeightsError: It is missing, and its host refuses it.
    """
    place = RepoReference(isnet.REPOSITORY, isnet.FILE, isnet.REVISION)
    finder = PartFinder(choices, WeightFormats(prefers_half=False, allow_pickle=False))
    part = finder.find("cut-out network", "cutout", str(place), FileSelection())
    return DownloadPlan((replace(part, licence=isnet.LICENCE),))


def plan_faces(encoders: Sequence[str], choices: Choices) -> DownloadPlan:
    """Plan the public files of these face encoders; files that users must bring are left out."""
    finder = PartFinder(choices, WeightFormats(prefers_half=False, allow_pickle=False))
    parts = []
    for file in _files_of(encoders):
        if not (face_folder() / file.name).is_file():
            place = RepoReference(file.repository, file.name, PINS.get(file.repository))
            part = finder.find(file.name, "face_models", str(place), FileSelection())
            parts.append(replace(part, licence=file.licence))
    return DownloadPlan(tuple(parts))


def fetch_faces(encoders: Sequence[str], choices: Choices | None = None) -> Path:
    """Return the folder with the files of these encoders after downloading the missing ones."""
    needs = plan_faces(encoders, choices or {})
    needs.fetch()
    make_folder(face_folder())
    for part in needs.parts:
        with atomic_file(face_folder() / part.name) as temporary:
            shutil.copyfile(part.path, temporary)
    return face_folder()


def fetched(settings: FaceSettings) -> list[str]:
    """Return the encoders of `settings` that need a download, as no local path is given."""
    chosen = [] if settings.face_models else [settings.name]
    if settings.judge is not None and not (settings.judge_models or settings.face_models):
        chosen.append(settings.judge)
    return [name for name in chosen if FACE_ENCODERS.get(name).is_published]


def with_files(settings: FaceSettings, choices: Choices | None = None) -> FaceSettings:
    """Return `settings` with the paths of all files, after downloading the public ones."""
    names = fetched(settings)
    if not names:
        return settings
    folder = fetch_faces(names, choices)
    own = folder if settings.name in names else settings.face_models
    return replace(settings, face_models=own, judge_models=settings.judge_models or folder)


def open_face_encoder(settings: FaceSettings, *, offline: bool = False) -> FaceEncoder:
    """Open a face encoder, after downloading its public files if they are missing.

    Raises:
        ConfigError: There is no such encoder.
        WeightsError: A file is missing or damaged, or cannot be downloaded.
        MissingExtra: A package is not installed.
    """
    return with_files(settings, {"offline": offline}).open()


def _files_of(encoders: Sequence[str]) -> list[ModelFile]:
    files = (file for name in encoders for file in FACE_ENCODERS.get(name).files)
    return [file for file in dict.fromkeys(files) if file.repository]
