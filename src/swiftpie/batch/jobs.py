"""Jobs, one picture each: what they hold, their checks before anything is loaded, and batches.

Pictures drawn in one pass differ from pictures drawn alone by at most one level of 255. Passes are
therefore formed from all jobs, not from those that are left, so that an interrupted run draws the
same bits as an undisturbed one.
"""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie.backbones.choices import resolve
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.presets import Preset, check_personalizes
from swiftpie.batch.lists import pictures_in
from swiftpie.errors import CapabilityError, ConfigError, ImageError, SwiftPieError, short_reason
from swiftpie.imageio.decoding import is_safetensors, open_image
from swiftpie.imageio.writing import check_film
from swiftpie.pipelines.animation import AnimateRequest, FilmFormat
from swiftpie.pipelines.request import FacePicture, PersonalizeRequest, Source, cells_of
from swiftpie.pipelines.settings import MaskSource
from swiftpie.pipelines.tasks import EditRequest, Request, RetouchRequest
from swiftpie.validation import check_stored, is_of_word, is_portable_name

MAX_JOBS = 200_000
MAX_ID_BYTES = 180  # a file system takes 255 for a name, with its suffix and while it is written
ID_SIGNS = "_ .,+=@()-"  # besides letters


class Model(NamedTuple):
    """The recipe or preset that draws a job."""

    recipe: str | None = None
    preset: str | None = None

    @property
    def known(self) -> Preset:
        return _preset_of(*self)


DEFAULT_MODEL = Model()


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """One picture: its request, and where that comes from."""

    id: str  # name of its file, without the suffix
    place: str  # file and line of its row
    model: Model = DEFAULT_MODEL
    request: Request  # files are not open
    spec: Mapping[str, Any]  # what the row says, as JSON, with its prompt, seed and model
    files: tuple[str, ...]  # all that it reads, as the row names them

    @property
    def sources(self) -> tuple[Source, ...]:
        if isinstance(self.request, PersonalizeRequest):
            return tuple(subject.source for subject in self.request.subjects)
        return () if self.request.source is None else (self.request.source,)

    @property
    def has_faces(self) -> bool:
        return any(isinstance(source, FacePicture) for source in self.sources)


class RefusedJob(NamedTuple):
    """A row that cannot be drawn, and the reason."""

    place: str
    reason: str


class InputFile(NamedTuple):
    """A file that jobs read."""

    digest: str  # sha256
    size: tuple[int, int] | None  # width and height; None of an identity file


class Jobs(NamedTuple):
    """All jobs of a run."""

    jobs: tuple[BatchJob, ...]
    refused: tuple[RefusedJob, ...]
    files: Mapping[str, InputFile]  # files that the jobs read


class Batch(NamedTuple):
    """Jobs of one model that are drawn in one pass."""

    jobs: tuple[BatchJob, ...]
    wanted: frozenset[str]  # ids of those whose files are written

    @property
    def model(self) -> Model:
        return self.jobs[0].model


class Inputs:
    """Checks each file once, however many jobs read it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, list[str]] = {}
        self.seen: dict[str, InputFile] = {}
        self._errors: dict[str, SwiftPieError] = {}

    def pictures_in(self, folder: str) -> list[str]:
        """Return the pictures of a folder, which show one subject, as files of jobs."""
        if folder not in self._folders:
            found = pictures_in(self.root / folder, name=folder)
            self._folders[folder] = [(Path(folder) / name).as_posix() for name in found]
        return self._folders[folder]

    def look(self, name: str) -> InputFile:
        """Check a picture or an identity file, or raise a SwiftPieError if it cannot be used."""
        if name in self._errors:
            raise self._errors[name]
        if name in self.seen:
            return self.seen[name]
        try:
            path = self.root / name
            size = None
            if is_safetensors(path):
                from swiftpie.pipelines.identity_file import read_identity_header

                read_identity_header(path)
            else:
                size = open_image(path).size
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except SwiftPieError as error:
            self._errors[name] = error
            raise
        except OSError as error:  # deleted since
            self._errors[name] = ImageError(f"'{name}' cannot be read ({error.strerror}).")
            raise self._errors[name] from error
        self.seen[name] = InputFile(digest, size)
        return self.seen[name]


def check(job: BatchJob, inputs: Inputs) -> None:
    """Refuse a job that cannot be drawn, as far as this shows without networks."""
    request, preset = job.request, job.model.known
    _check_id(job.id)
    assert isinstance(request.prompt, str), "lines have words"
    if job.sources:
        check_personalizes(preset)
    family = FAMILIES.get(preset.family)
    if job.has_faces and not family.takes_adapters:
        raise CapabilityError(
            f"Preset {preset.name!r} draws no faces. A full-size model with an adapter is needed, "
            "as of the recipe 'face-plus'."
        )
    for name in job.files:
        inputs.look(name)
    if isinstance(request, EditRequest):
        words = {"source_prompt": request.source_prompt, "keyword": request.keyword}
        check_stored(prompt=request.prompt, **words)
        is_by_words = request.best_of is not None and request.source is None
        if is_by_words and "prompt_score" not in family.ranks_by:
            raise CapabilityError(
                f"`best_of={request.best_of}` compares pictures with a subject, and this edit "
                f"brings none; preset {preset.name!r} compares no picture with words. Leave it out."
            )
        return
    if isinstance(request, RetouchRequest):
        check_stored(prompt=request.prompt)
        brings = request.source is not None or not request.adds_named_subjects
        if not brings and not family.named_besides(request.prompt, preset, given=()):
            raise ConfigError(
                "It has no 'subject', and its prompt names none. Name a picture of it."
            )
        return
    if isinstance(request, AnimateRequest):
        check_stored(prompt=request.prompt, to="; ".join(request.to))
        check_film(FilmFormat(job.spec["format"]).suffix, fps=job.spec["fps"])
    check_stored(prompt=request.prompt)
    cells_of(preset, request.size_px)
    boxes = [subject.box for subject in request.subjects]
    if MaskSource.BOX in (request.mask, request.detail_mask) and None in boxes:
        raise ConfigError("The mask 'box' needs a 'box' for every subject.")
    names = [subject.name for subject in request.subjects]
    family.named_besides(request.prompt, preset, given=names)  # raises without a subject


def _check_id(name: str) -> None:
    is_read = all(is_of_word(letter) or letter in ID_SIGNS for letter in name)
    fits = is_read and name[:1] not in ID_SIGNS[1:] and len(name.encode()) <= MAX_ID_BYTES
    if not fits or not is_portable_name(name) or ".." in name:
        raise ConfigError(
            f"The id {short_reason(name)!r} is not a file name on every system. Letters, "
            f"digits and any of . , - _ + = @ ( ) are needed, at most {MAX_ID_BYTES} bytes."
        )


@functools.cache
def _preset_of(recipe: str | None, preset: str | None) -> Preset:
    return resolve(preset, recipe, {})[0]


def batches_of(jobs: Jobs, size: int, *, wanted: Iterable[str]) -> list[Batch]:
    """Return batches of at most `size` jobs, each with at least one that is `wanted`.

    A batch has jobs of one model, kind and shape. Jobs of one subject follow each other, so that
    the subject is encoded once.
    """
    groups: dict[object, dict[object, list[BatchJob]]] = {}
    for job in jobs.jobs:
        shown = groups.setdefault(_pass_key(job, jobs), {})
        shown.setdefault((job.spec.get("image"), job.sources), []).append(job)
    missing = frozenset(wanted)
    found = []
    for shown in groups.values():
        group = [job for same in shown.values() for job in same]
        for first in range(0, len(group), size):
            together = tuple(group[first : first + size])
            if own := missing.intersection(job.id for job in together):
                found.append(Batch(together, own))
    return found


def _pass_key(job: BatchJob, jobs: Jobs) -> object:
    """Return what jobs must share to be drawn in one pass."""
    counts = tuple(len(getattr(source, "images", ())) for source in job.sources)
    request = job.request
    if not isinstance(request, PersonalizeRequest):
        image = jobs.files[job.spec["image"]].size
        kind = request.settings.size_px if isinstance(request, EditRequest) else job.spec["task"]
        return (job.model, image, None, counts, kind)
    alone = job.id if isinstance(request, AnimateRequest) else None
    return (job.model, None, request.size_px, counts, alone)
