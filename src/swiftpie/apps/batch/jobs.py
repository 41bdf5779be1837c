"""Jobs, one picture each: read from rows of a list, and checked before anything is loaded.

A row has the options that requests, scales and settings declare, by the names that they have on the
command line.
"""

import functools
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie.apps.batch.lists import PICTURES, JobRow, read_prompts, read_seeds
from swiftpie.apps.batch.report import SHEET
from swiftpie.backbones.components import cells_of
from swiftpie.backbones.preset import Preset
from swiftpie.backbones.resolve import settle
from swiftpie.config import Surface, options_of, read_fields, read_options
from swiftpie.engine.origin import check_texts
from swiftpie.errors import (
    ConfigError,
    ImageError,
    InputError,
    SwiftPieError,
    did_you_mean,
    short_reason,
)
from swiftpie.imageio.cutout import Way
from swiftpie.imageio.files import is_safetensors, open_image
from swiftpie.library import named_by
from swiftpie.models import rembg
from swiftpie.models.cutout import parse_search
from swiftpie.pipelines.drawing.request import (
    MAX_SUBJECTS,
    EditRequest,
    PersonalizeRequest,
    Subject,
    check_view,
)
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales
from swiftpie.pipelines.identity import read_identity_header
from swiftpie.pipelines.naming import newcomers, words_taught_to
from swiftpie.validation import Box, check_box, check_prompts, check_seeds, check_text, parse_size

MAX_JOBS = 200_000
MAX_ID_BYTES = 180  # a file system takes 255 for a name, with its suffix and while it is written
MAX_PICTURES = 64  # of one subject
ID = re.compile(r"\w[\w .,+=@()-]*")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)  # no names of files on Windows


class Model(NamedTuple):
    """The recipe or preset that draws a job."""

    recipe: str | None = None
    preset: str | None = None

    @property
    def known(self) -> Preset:
        """Its preset.

        Raises:
            ConfigError: There is no such preset or recipe.
        """
        return _preset_of(*self)


DEFAULT_MODEL = Model()


@dataclass(frozen=True, kw_only=True)
class JobSubject:
    """A subject as files, with the other fields of its `Subject`."""

    pictures: tuple[str, ...] = ()  # or one identity file
    cutouts: tuple[str, ...] = ("auto",)  # one for all, or one each; a file is a mask
    word: str = ""  # instead, a subject of the library
    shown: Mapping[str, Any] = field(default_factory=dict)


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
        named = [self.image, self.detail_mask, self.mask]
        for one in self.subjects:
            named += [*one.pictures, *filter(is_mask_file, one.cutouts)]
        sources = {*MaskSource, None}
        return tuple(dict.fromkeys(one for one in named if one is not None and one not in sources))


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


@dataclass(frozen=True, kw_only=True)
class JobDefaults:
    """Defaults of jobs that name no seed or no model."""

    seeds: tuple[int, ...] = (0,)
    model: Model = DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What a line says beside the options of its request, its scales and its settings."""

    id: str | None = None
    seed: str | int | tuple[int, ...] | None = None
    seeds: str | int | tuple[int, ...] | None = None
    recipe: str | None = None
    preset: str | None = None
    image: str | None = None
    subject: str | tuple[str, ...] = ()
    cutout: str | tuple[str, ...] = "auto"


@dataclass(frozen=True, kw_only=True)
class _SubjectRow:
    """What one of several subjects says beside the options of `Subject`."""

    pictures: str | tuple[str, ...]
    cutout: str | tuple[str, ...] = "auto"


def row_fields(source: type) -> tuple[str, ...]:
    """Return the names by which a line sets the options of a class; seeds are read apart."""
    known = options_of(source, Surface.BATCH, without=_SEEDS)
    return tuple(field.key for field in known.values())


_SEEDS = ("seed", "seeds")
_PLACES = ("box", "view")
_SUBJECT = tuple(field.name for field in fields(_SubjectRow))
_OWN = tuple(field.name for field in fields(_Row) if field.name != "image")
DRAWING_FIELDS = (
    *(*row_fields(PersonalizeRequest), *_OWN, "subjects", *_PLACES),
    *row_fields(Scales),
)
EDIT_FIELDS = (
    *(*row_fields(EditRequest), "image", *_OWN, "box"),
    *(*row_fields(Scales), *row_fields(EditSettings)),
)


def collect(asked: Iterable[JobRow], *, root: Path, defaults: JobDefaults) -> Jobs:
    """Return a checked job for every picture of the rows; all their files are checked too.

    Raises:
        ConfigError: There are too many.
    """
    inputs, jobs, refused = _Inputs(root), dict[str, Job](), list[RefusedJob]()
    for place, row, is_text in asked:
        try:
            if isinstance(row, Exception):
                raise row
            for job in _read(row, place=place, is_text=is_text, root=root, defaults=defaults):
                key = job.id.casefold()  # as some file systems tell names apart
                if (other := jobs.get(key)) is not None:
                    raise ConfigError(_duplicate(job, other))
                _check(job, inputs)
                jobs[key] = job
        except SwiftPieError as error:
            refused.append(RefusedJob(place, str(error)))
        if len(jobs) + len(refused) > MAX_JOBS:
            raise ConfigError(
                f"More than {MAX_JOBS} jobs are more than one run takes. Split "
                "them among several runs, each with its own folder."
            )
    return Jobs(root, tuple(jobs.values()), tuple(refused), inputs.seen)


def is_mask_file(cutout: str) -> bool:
    """Whether a value of `cutout` is a mask file, white where the subject is."""
    return parse_search(cutout) is None


# From a line to jobs


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, root: Path, defaults: JobDefaults
) -> list[Job]:
    is_edit = "image" in row
    _check_names(row, is_edit=is_edit)
    own = _Row(**read_fields(_Row, row, is_text=is_text))
    read = functools.partial(read_options, surface=Surface.BATCH, is_text=is_text)
    words = read(EditRequest if is_edit else PersonalizeRequest, row, without=_SEEDS)
    placed = read(Subject, _part(row, _PLACES))
    prompts = read_prompts(words.pop("prompt"), folder=root)
    seeds = _seeds_of(own, defaults)
    size = words.pop("size_px", None)
    first = Job(
        id=own.id or "",
        place=place,
        prompt=prompts[0],
        seed=seeds[0],
        model=_model_of(own, defaults),
        image=own.image,
        subjects=_subjects_of(own, row, {} if is_edit else placed, root=root),
        size_px=None if size is None else parse_size(size),
        mask=words.pop("mask", None) or MaskSource.NONE,
        detail_mask=words.pop("detail_mask", None),
        box=placed.get("box") if is_edit else None,
        texts={name: one for name, one in words.items() if one not in ("", None)},
        scales=read(Scales, row),
        settings=read(EditSettings, row) if is_edit else {},
    )
    jobs = []
    for (number, prompt), seed in itertools.product(enumerate(prompts, start=1), seeds):
        job = replace(first, prompt=prompt, seed=seed)
        marks = f"-p{number}" * (len(prompts) > 1) + f"-s{seed}" * (len(seeds) > 1)
        jobs.append(replace(job, id=own.id + marks if own.id else _name_of(job)))
    return jobs


def _check_names(row: Mapping[str, object], *, is_edit: bool) -> None:
    known, others = (EDIT_FIELDS, DRAWING_FIELDS) if is_edit else (DRAWING_FIELDS, EDIT_FIELDS)
    for name in row:
        if name in others and name not in known:
            kind = "without an image to edit" if is_edit else "that edit an image"
            raise ConfigError(f"{name!r} applies only to jobs {kind}. Leave it out.")
    _check_known(row, known)
    if row.get("prompt") in (None, ""):
        raise ConfigError("It has no 'prompt'. Describe the picture.")


def _check_known(row: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in row:
        if name not in known:
            advice = did_you_mean(name, known, otherwise=f"Choose from {', '.join(known)}.")
            raise ConfigError(f"There is no {short_reason(name)!r}. {advice}")


def _part(row: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: one for name, one in row.items() if name in names}


def _seeds_of(own: _Row, defaults: JobDefaults) -> tuple[int, ...]:
    if own.seed is not None and own.seeds is not None:
        raise ConfigError("'seed' and 'seeds' came together. Give one of them.")
    given = own.seeds if own.seed is None else own.seed
    if given is None:
        return defaults.seeds
    if isinstance(given, tuple):
        given = ",".join(map(str, given))
    return read_seeds(str(given))


def _model_of(own: _Row, defaults: JobDefaults) -> Model:
    if own.recipe is None and own.preset is None:
        return defaults.model
    return Model(own.recipe, own.preset)


def _subjects_of(
    own: _Row, row: Mapping[str, object], placed: Mapping[str, object], *, root: Path
) -> tuple[JobSubject, ...]:
    several = row.get("subjects", [])
    if several and own.subject:
        raise ConfigError("'subject' and 'subjects' came together. Give one of them.")
    if not several:
        if not own.subject:
            if placed:
                raise ConfigError(
                    f"{next(iter(placed))!r} belongs to a 'subject', and there is none. Give "
                    "its pictures, or leave it out."
                )
            return ()  # the subjects that the prompt names
        return (_subject(own.subject, own.cutout, placed, root),)
    if not isinstance(several, list) or not all(isinstance(one, dict) for one in several):
        raise ConfigError(
            '\'subjects\' is not a list of objects. Write [{"pictures": "dog.jpg"}, …].'
        )
    if idle := [name for name in ("cutout", *_PLACES) if name in row]:
        raise ConfigError(f"{idle[0]!r} came with 'subjects'. Give each subject its own.")
    found = []
    for one in several:
        _check_known(one, (*_SUBJECT, *row_fields(Subject)))
        if not one.get("pictures"):
            raise ConfigError("A subject has no 'pictures'. Name one or several.")
        of_one = _SubjectRow(**read_fields(_SubjectRow, one))
        shown = read_options(Subject, one, surface=Surface.BATCH)
        found.append(_subject(of_one.pictures, of_one.cutout, shown, root))
    return tuple(found)


def _subject(
    pictures: str | tuple[str, ...],
    cutout: str | tuple[str, ...],
    shown: Mapping[str, object],
    root: Path,
) -> JobSubject:
    named = [pictures] if isinstance(pictures, str) else list(pictures)
    cutouts = (cutout,) if isinstance(cutout, str) else cutout
    for one in named:
        if not _is_there(root / one) and (who := named_by(one)):
            if len(named) > 1 or cutouts != ("auto",):
                raise ConfigError(
                    f"{who.word!r} names a subject of the library, which is cut out already. "
                    "Give it alone."
                )
            return JobSubject(word=who.word, shown={"name": who.word, **shown})
    if len(named) == 1 and _is_there(root / named[0]) and (root / named[0]).is_dir():
        here = sorted(one.name for one in (root / named[0]).iterdir())
        named = [
            (Path(named[0]) / one).as_posix()
            for one in here
            if one.lower().endswith(PICTURES) and not one.startswith(".")
        ]
    if not 1 <= len(named) <= MAX_PICTURES or len(cutouts) not in {1, len(named)}:
        raise ConfigError(
            f"A subject has {len(named)} pictures and {len(cutouts)} ways to cut them out. 1 to "
            f"{MAX_PICTURES} pictures are needed, and one way for all or one each."
        )
    return JobSubject(pictures=tuple(named), cutouts=cutouts, shown=shown)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # such a name cannot exist; reading it says why


def _without_empty(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: one for name, one in pairs if one not in (None, "", {}, ())}


def _name_of(job: Job) -> str:
    """Return a readable name that no other job has."""
    digest = hashlib.sha256(json.dumps(job.spec(), sort_keys=True).encode()).hexdigest()
    told = [one.word or one.pictures[0] for one in job.subjects]
    shown = told if job.image is None else [job.image]
    parts = [*(_slug(Path(one).stem, 24) for one in shown[:2]), _slug(job.prompt, 40)]
    return "-".join([one for one in parts if one] + [f"s{job.seed}", digest[:8]])


def _slug(text: str, letters: int) -> str:
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text.casefold()))
    return words[:letters].strip("-")


def _duplicate(job: Job, other: Job) -> str:
    if job.spec() == other.spec():
        return (
            f"It draws the same picture as {other.place} (seed {job.seed}). Leave it out, or "
            "give it another seed."
        )
    return f"Its id {job.id!r} is that of {other.place}. Each job needs its own. Choose another."


# What can be known before anything is loaded


class _Inputs:
    """Checks each file once, however many jobs read it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen: dict[str, InputFile] = {}
        self._errors: dict[str, SwiftPieError] = {}

    def is_identity(self, name: str) -> bool:
        """Whether it is an identity file."""
        return is_safetensors(self._root / name)

    def look(self, name: str) -> None:
        """Check a picture or an identity file.

        Raises:
            SwiftPieError: It cannot be used.
        """
        if name in self._errors:
            raise self._errors[name]
        if name in self.seen:
            return
        try:
            path = self._root / name
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


def _check(job: Job, inputs: _Inputs) -> None:
    """Refuse a job that cannot be drawn, as far as this shows without networks.

    Raises:
        InputError: It cannot.
        ConfigError: It cannot.
    """
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
    for one in job.subjects:
        _check_subject(one, inputs)
    _check_masks(job)
    for name in job.files:
        inputs.look(name)
    if job.image is None:
        names = [one.shown.get("name", "") for one in job.subjects]
        newcomers(job.prompt, words_taught_to(preset), given=names)  # raises without a subject


def _check_id(name: str) -> None:
    is_ours = name.casefold() == SHEET
    fits = ID.fullmatch(name) and not is_ours and len(name.encode()) <= MAX_ID_BYTES
    if not fits or DEVICES.fullmatch(name) or name.endswith((".", " ")) or ".." in name:
        raise ConfigError(
            f"The id {short_reason(name)!r} is not a file name on every system. Letters, "
            f"digits and any of . , - _ + = @ ( ) are needed, at most {MAX_ID_BYTES} bytes."
        )


def _check_subject(subject: JobSubject, inputs: _Inputs) -> None:
    if subject.shown.get("box") is not None:
        check_box(subject.shown["box"])
    if subject.shown.get("view") is not None:
        check_view(subject.shown["view"])
    check_text(subject.shown.get("name", ""))
    for cutout in subject.cutouts:
        search = parse_search(cutout)
        if search is not None and search.way is Way.REMBG:
            rembg.locate(search.model)  # a mistake shows before a model is loaded
    for one in subject.pictures[:1]:
        inputs.look(one)
    if len(subject.pictures) > 1 or subject.cutouts != ("auto",):
        for one in subject.pictures:
            if inputs.is_identity(one):
                raise ConfigError(
                    f"{one!r} is an identity file, which is a whole subject, cut out already. Give "
                    "it alone."
                )


def _check_masks(job: Job) -> None:
    if job.image is not None:
        if job.box is not None and job.mask != MaskSource.NONE:
            raise ConfigError("'mask' and 'box' came together. Give one of them.")
        if job.mask != MaskSource.NONE and job.mask in {*MaskSource}:
            raise ConfigError(f"The mask of an edit is a file, and {job.mask!r} is not.")
        return
    for mask in (job.mask, job.detail_mask):
        if mask == MaskSource.BOX and any(not one.shown.get("box") for one in job.subjects):
            raise ConfigError("The mask 'box' needs a 'box' for every subject.")
        if mask is not None and mask not in {*MaskSource} and len(job.subjects) > 1:
            raise ConfigError(
                f"The mask {mask!r} came with {len(job.subjects)} subjects, and one file cannot "
                "separate them. Give each a box, and the mask 'box' or 'inline'."
            )


@functools.cache
def _preset_of(recipe: str | None, preset: str | None) -> Preset:
    return settle(preset, recipe, {})[0]
