"""Jobs, one picture each: what they hold, their checks before anything is loaded, and batches.

Pictures drawn in one pass differ from pictures drawn alone by at most one level of 255. Passes are
therefore formed from all jobs, not from those that are left, so that an interrupted run draws the
same bits as an undisturbed one.
"""

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie.attention.layer_scales import read_form
from swiftpie.backbones.components import FAMILIES, cells_of
from swiftpie.backbones.presets import Preset, check_personalizes
from swiftpie.backbones.resolve import resolve
from swiftpie.batch.lists import pictures_in
from swiftpie.engine.origin import check_texts
from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    ImageError,
    InputError,
    SwiftPieError,
    short_reason,
)
from swiftpie.imageio.cutout import CutoutMethod
from swiftpie.imageio.decoding import is_safetensors, open_image
from swiftpie.library import NAME, scenes
from swiftpie.models import rembg
from swiftpie.models.cutout import parse_search
from swiftpie.pipelines.drawing.request import MAX_SUBJECTS, check_view
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales
from swiftpie.pipelines.identity_file import read_identity_header
from swiftpie.validation import (
    Box,
    check_box,
    check_prompts,
    check_seeds,
    check_text,
    is_portable_name,
)

SHEET = "contact-sheet"  # no job may have this id
MAX_JOBS = 200_000
MAX_ID_BYTES = 180  # a file system takes 255 for a name, with its suffix and while it is written
MAX_PICTURES = 64  # of one subject
ID = re.compile(r"\w[\w .,+=@()-]*")


class Model(NamedTuple):
    """The recipe or preset that draws a job."""

    recipe: str | None = None
    preset: str | None = None

    @property
    def known(self) -> Preset:
        """Its preset."""
        return _preset_of(*self)


DEFAULT_MODEL = Model()


@dataclass(frozen=True, kw_only=True)
class JobSubject:
    """A subject as files, with the other fields of its `Subject`."""

    pictures: tuple[str, ...] = ()  # or one identity file
    face: str = ""  # instead, a photograph of a person
    face_number: int | None = None  # from the left; None: the largest or most central
    cutouts: tuple[str, ...] = ("auto",)  # one for all, or one each; a file is a mask
    word: str = ""  # instead, a subject of the library
    shown: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What its identity depends on."""
        return (self.pictures, self.cutouts, self.word, self.face, self.face_number)

    @property
    def title(self) -> str:
        """The name that it has in names of files."""
        return self.word or self.face or self.pictures[0]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture. Names of files are relative to the folder of all jobs."""

    id: str  # name of its file, without the suffix
    place: str  # file and line of its row
    prompt: str
    seed: int
    model: Model = DEFAULT_MODEL
    image: str | None = None  # to edit; None: the subjects are drawn into a new scene
    subjects: tuple[JobSubject, ...] = ()
    size_px: tuple[int, int] | None = None  # height and width
    mask: str = MaskSource.NONE  # one of them, or a file
    detail_mask: str | None = None
    box: Box | None = None  # where an edit changes its picture
    where: JobSubject | None = None  # instead, what an edit finds in its picture and changes
    texts: Mapping[str, Any] = field(default_factory=dict)  # other options of the request
    scales: Mapping[str, Any] = field(default_factory=dict)  # fields of `Scales`
    settings: Mapping[str, Any] = field(default_factory=dict)  # fields of `EditSettings`

    def spec(self) -> dict[str, Any]:
        """Return what decides about the picture, as JSON, without empty values."""
        values = asdict(replace(self, id="", place=""), dict_factory=_without_empty)
        return dict(json.loads(json.dumps(values)))

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it reads."""
        named = [self.image, self.detail_mask, self.mask, self.scene_file, self.style_file]
        for subject in filter(None, (*self.subjects, self.where)):
            named += [
                subject.face or None,
                *subject.pictures,
                *filter(is_mask_file, subject.cutouts),
            ]
        sources = {*MaskSource, None}
        return tuple(
            dict.fromkeys(name for name in named if name is not None and name not in sources)
        )

    @property
    def has_faces(self) -> bool:
        """Whether it draws a person by the face."""
        return any(subject.face for subject in self.subjects)

    @property
    def scene_file(self) -> str | None:
        """The file of its scene; None where it names a scene of the library, or has none."""
        scene: str = self.texts.get("scene", "")
        return scene if scene and NAME.fullmatch(scene) is None else None

    @property
    def style_file(self) -> str | None:
        """The file of its style picture, if it has one."""
        return self.texts.get("style_reference")


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

    root: Path  # folder of relative names
    jobs: tuple[Job, ...]
    refused: tuple[RefusedJob, ...]
    files: Mapping[str, InputFile]  # that they read


class Batch(NamedTuple):
    """Jobs of one model that are drawn in one pass."""

    jobs: tuple[Job, ...]
    wanted: frozenset[str]  # ids of those whose files are written

    @property
    def model(self) -> Model:
        """The model that draws them."""
        return self.jobs[0].model


def is_mask_file(cutout: str) -> bool:
    """Whether a value of `cutout` is a mask file, white where the subject is."""
    return parse_search(cutout) is None


def _without_empty(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value not in (None, "", {}, ())}


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

    def is_identity(self, name: str) -> bool:
        """Whether it is an identity file."""
        return is_safetensors(self.root / name)

    def look(self, name: str) -> None:
        """Check a picture or an identity file."""
        if name in self._errors:
            raise self._errors[name]
        if name in self.seen:
            return
        try:
            path = self.root / name
            size = None
            if self.is_identity(name):
                read_identity_header(path)
            else:
                size = open_image(path).size
            with path.open("rb") as file:
                self.seen[name] = InputFile(hashlib.file_digest(file, "sha256").hexdigest(), size)
        except SwiftPieError as error:
            self._errors[name] = error
            raise
        except OSError as error:  # deleted since
            self._errors[name] = ImageError(f"'{name}' cannot be read ({error.strerror}).")
            raise self._errors[name] from error


def check(job: Job, inputs: Inputs) -> None:
    """Refuse a job that cannot be drawn, as far as this shows without networks."""
    _check_id(job.id)
    check_seeds([job.seed])
    texts = {name: job.texts.get(name, "") for name in ("source_prompt", "keyword")}
    check_prompts(job.prompt)
    check_text(*(text for text in job.texts.values() if isinstance(text, str)))
    check_texts(prompt=job.prompt, **(texts if job.image is not None else {}))
    preset = job.model.known
    cells_of(preset, job.size_px)
    Scales(**job.scales)
    EditSettings(**job.settings)
    if job.box is not None:
        check_box(job.box)
    if len(job.subjects) > MAX_SUBJECTS:
        raise InputError(f"It has {len(job.subjects)} subjects; at most {MAX_SUBJECTS} fit.")
    if job.subjects:
        check_personalizes(preset)
    for subject in filter(None, (*job.subjects, job.where)):
        _check_subject(subject, inputs)
    if job.has_faces and not preset.knows_faces:
        raise CapabilityError(
            f"Preset {preset.name!r} draws no faces. A full-size model with an adapter is needed, "
            "as of the recipe 'face-plus'."
        )
    _check_masks(job)
    if (scene := job.texts.get("scene")) and job.scene_file is None:
        scenes().find(scene)
    for name in job.files:
        inputs.look(name)
    if job.image is None:
        names = [subject.shown.get("name", "") for subject in job.subjects]
        family = FAMILIES.get(preset.family)
        family.read(job.prompt, preset).named_besides(names)  # raises without a subject


def _check_id(name: str) -> None:
    is_ours = name.casefold() == SHEET
    fits = ID.fullmatch(name) and not is_ours and len(name.encode()) <= MAX_ID_BYTES
    if not fits or not is_portable_name(name) or ".." in name:
        raise ConfigError(
            f"The id {short_reason(name)!r} is not a file name on every system. Letters, "
            f"digits and any of . , - _ + = @ ( ) are needed, at most {MAX_ID_BYTES} bytes."
        )


def _check_subject(subject: JobSubject, inputs: Inputs) -> None:
    if subject.shown.get("box") is not None:
        check_box(subject.shown["box"])
    if subject.shown.get("view") is not None:
        check_view(subject.shown["view"])
    if subject.shown.get("layers"):
        read_form(subject.shown["layers"])
    check_text(subject.shown.get("name", ""))
    for cutout in subject.cutouts:
        search = parse_search(cutout)
        if search is not None and search.way is CutoutMethod.REMBG:
            rembg.locate(search.model)  # a mistake shows before a model is loaded
    for picture in subject.pictures[:1]:
        inputs.look(picture)
    if len(subject.pictures) > 1 or subject.cutouts != ("auto",):
        for view in subject.pictures:
            if inputs.is_identity(view):
                raise ConfigError(
                    f"{view!r} is an identity file, which holds a whole subject. Give it alone."
                )


def _check_masks(job: Job) -> None:
    if job.image is not None:
        places = {"mask": job.mask != MaskSource.NONE, "box": job.box, "where": job.where}
        if len(named := [repr(name) for name, place in places.items() if place]) > 1:
            raise ConfigError(f"{' and '.join(named)} exclude each other. Give one of them.")
        if job.mask != MaskSource.NONE and job.mask in {*MaskSource}:
            raise ConfigError(f"The mask of an edit is a file, and {job.mask!r} is not.")
        return
    for mask in (job.mask, job.detail_mask):
        if mask == MaskSource.BOX and any(not subject.shown.get("box") for subject in job.subjects):
            raise ConfigError("The mask 'box' needs a 'box' for every subject.")
        if mask is not None and mask not in {*MaskSource} and len(job.subjects) > 1:
            raise ConfigError(
                f"The mask {mask!r} came with {len(job.subjects)} subjects, and one file cannot "
                "separate them. Give each a box, and the mask 'box' or 'inline'."
            )


@functools.cache
def _preset_of(recipe: str | None, preset: str | None) -> Preset:
    return resolve(preset, recipe, {})[0]


def batches_of(jobs: Jobs, size: int, *, wanted: Iterable[str]) -> list[Batch]:
    """Return batches of at most `size` jobs, each with at least one that is `wanted`.

    A batch has jobs of one model, kind and shape. Jobs of one subject follow each other, so that
    the subject is encoded once.
    """
    groups: dict[object, dict[object, list[Job]]] = {}
    for job in jobs.jobs:
        shown = groups.setdefault(_pass_key(job, jobs), {})
        shown.setdefault(_subject_key(job), []).append(job)
    missing = frozenset(wanted)
    found = []
    for shown in groups.values():
        group = [job for same in shown.values() for job in same]
        for first in range(0, len(group), size):
            together = tuple(group[first : first + size])
            if own := missing.intersection(job.id for job in together):
                found.append(Batch(together, own))
    return found


def _pass_key(job: Job, jobs: Jobs) -> object:
    """Return what jobs must share to be drawn in one pass."""
    image = None if job.image is None else jobs.files[job.image].size
    counts = tuple(len(subject.pictures) for subject in job.subjects)
    return (job.model, image, job.size_px, counts, job.settings.get("size_px"))


def _subject_key(job: Job) -> object:
    return (job.image, tuple(subject.key for subject in job.subjects))
