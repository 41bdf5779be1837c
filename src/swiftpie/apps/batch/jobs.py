"""Jobs: one picture each, made of lines, tables or folders that people wrote, and checked.

What a line may say are the fields of the library's own values, called as the options of the command
line are. Nothing here is drawn, and no network is loaded.
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

from swiftpie.apps.batch.lists import PICTURES, Asked, read_prompts, read_seeds
from swiftpie.apps.batch.report import SHEET
from swiftpie.backbones.components import cells_of
from swiftpie.backbones.preset import Preset
from swiftpie.backbones.resolve import settle
from swiftpie.config import read_fields
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
from swiftpie.pipelines.drawing.request import MAX_SUBJECTS, Subject, check_view
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales
from swiftpie.pipelines.identity_file import read_identity_header
from swiftpie.pipelines.naming import new_subjects, vocabulary_of
from swiftpie.validation import Box, check_box, check_prompts, check_seeds, check_text, parse_size

MAX_JOBS = 200_000
MAX_ID_BYTES = 180  # a file system takes 255 for a name, with its suffix and while it is written
MAX_PICTURES = 64  # of one subject
ID = re.compile(r"\w[\w .,+=@()-]*")
DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.I)  # no names of files on Windows


class Model(NamedTuple):
    """What draws a job."""

    recipe: str | None = None
    preset: str | None = None

    @property
    def known(self) -> Preset:
        """The preset that it is about.

        Raises:
            ConfigError: There is no such preset or recipe.
        """
        return _preset_of(*self)


THE_DEFAULT = Model()


@dataclass(frozen=True, kw_only=True)
class JobSubject:
    """A subject as files have it; the rest are fields of `Subject`."""

    pictures: tuple[str, ...] = ()  # or one identity file
    cutouts: tuple[str, ...] = ("auto",)  # one for all or one each, a file among them is a mask
    word: str = ""  # names who is of the library instead
    shown: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One picture. Names of files are as they were written, below the folder of all jobs."""

    id: str  # what its file is called, without the suffix
    place: str  # where it was written
    prompt: str
    seed: int
    model: Model = THE_DEFAULT
    image: str | None = None  # to edit; None: the subjects are drawn into a new scene
    subjects: tuple[JobSubject, ...] = ()
    size_px: tuple[int, int] | None = None  # height and width
    mask: str = MaskSource.NONE  # one of them, or a file
    detail_mask: str | None = None
    box: Box | None = None  # where an edit changes its picture
    texts: Mapping[str, Any] = field(default_factory=dict)  # of the request, besides the prompt
    scales: Mapping[str, Any] = field(default_factory=dict)  # fields of `Scales`
    settings: Mapping[str, Any] = field(default_factory=dict)  # fields of `EditSettings`

    def asked(self) -> dict[str, Any]:
        """Return what decides about the picture, as JSON has it, without what is not said."""
        told = asdict(replace(self, id="", place=""), dict_factory=_said)
        return dict(json.loads(json.dumps(told)))

    @property
    def files(self) -> tuple[str, ...]:
        """All files that it reads."""
        named = [self.image, self.detail_mask, self.mask]
        for one in self.subjects:
            named += [*one.pictures, *filter(is_mask_file, one.cutouts)]
        sources = {*MaskSource, None}
        return tuple(dict.fromkeys(one for one in named if one is not None and one not in sources))


class Refused(NamedTuple):
    """A line that cannot be drawn."""

    place: str
    reason: str


class Seen(NamedTuple):
    """A file that jobs read."""

    digest: str  # sha256
    size: tuple[int, int] | None  # width and height; None of an identity file


class Jobs(NamedTuple):
    """All that was asked for."""

    root: Path  # where names of files begin
    jobs: tuple[Job, ...]
    refused: tuple[Refused, ...]
    files: Mapping[str, Seen]  # that they read


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What holds for jobs that do not say it themselves."""

    seeds: tuple[int, ...] = (0,)
    model: Model = THE_DEFAULT


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What a line may say besides fields of `Subject`, `Scales` and `EditSettings`."""

    prompt: str
    id: str | None = None
    seed: str | int | tuple[int, ...] | None = None
    seeds: str | int | tuple[int, ...] | None = None
    recipe: str | None = None
    preset: str | None = None
    image: str | None = None
    subject: str | tuple[str, ...] = ()
    cutout: str | tuple[str, ...] = "auto"
    size: str | None = None
    mask: str = MaskSource.NONE
    detail_mask: str | None = None
    source_prompt: str = ""
    keyword: str = ""
    negative_prompt: str = ""


@dataclass(frozen=True, kw_only=True)
class _SubjectRow:
    """One of several subjects, besides fields of `Subject`."""

    pictures: str | tuple[str, ...]
    cutout: str | tuple[str, ...] = "auto"


_OWN = tuple(one.name for one in fields(_Row))
_SUBJECT = tuple(one.name for one in fields(_SubjectRow))
_SCALES = tuple(one.name for one in fields(Scales))
_SETTINGS = tuple(one.name for one in fields(EditSettings) if one.name != "scales")
_PLACES = ("box", "view")
_TEXTS = ("source_prompt", "keyword", "negative_prompt")
_SHOWN = (*_PLACES, "name", "scale")  # fields of `Subject` that are no tensors
_OF_EDITS = ("image", "source_prompt", "keyword")
_OF_DRAWINGS = ("size", "detail_mask", "subjects", "view")
DRAWING_FIELDS = tuple(
    one for one in (*_OWN, "subjects", *_PLACES, *_SCALES) if one not in _OF_EDITS
)
EDIT_FIELDS = tuple(one for one in (*_OWN, "box", *_SCALES, *_SETTINGS) if one not in _OF_DRAWINGS)


def collect(asked: Iterable[Asked], *, root: Path, defaults: Defaults) -> Jobs:
    """Return a job for every picture that is asked for, each checked, as are all its files.

    Raises:
        ConfigError: There are too many.
    """
    inputs, jobs, refused = _Inputs(root), dict[str, Job](), list[Refused]()
    for place, row, is_text in asked:
        try:
            if isinstance(row, Exception):
                raise row
            for job in _read(row, place=place, is_text=is_text, root=root, defaults=defaults):
                key = job.id.casefold()  # as some file systems tell names apart
                if (other := jobs.get(key)) is not None:
                    raise ConfigError(_doubled(job, other))
                _check(job, inputs)
                jobs[key] = job
        except SwiftPieError as error:
            refused.append(Refused(place, str(error)))
        if len(jobs) + len(refused) > MAX_JOBS:
            raise ConfigError(
                f"More than {MAX_JOBS} jobs were asked for. A run takes at most so many. Split "
                "them among several runs, each with a folder of its own."
            )
    return Jobs(root, tuple(jobs.values()), tuple(refused), inputs.seen)


def is_mask_file(cutout: str) -> bool:
    """Whether what says how a subject is cut out is a file, white where the subject is."""
    return parse_search(cutout) is None


# From a line to jobs


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, root: Path, defaults: Defaults
) -> list[Job]:
    is_edit = "image" in row
    _check_names(row, is_edit=is_edit)
    own = _Row(**read_fields(_Row, row, is_text=is_text))
    placed = read_fields(Subject, _part(row, _PLACES), is_text=is_text)
    settings = _part(row, _SETTINGS) if is_edit else {}
    prompts = read_prompts(own.prompt, folder=root)
    seeds = _seeds_of(own, defaults)
    first = Job(
        id=own.id or "",
        place=place,
        prompt=prompts[0],
        seed=seeds[0],
        model=_model_of(own, defaults),
        image=own.image,
        subjects=_subjects_of(own, row, {} if is_edit else placed, root=root),
        size_px=None if own.size is None else parse_size(own.size),
        mask=own.mask,
        detail_mask=own.detail_mask,
        box=placed.get("box") if is_edit else None,
        texts={name: text for name in _TEXTS if (text := getattr(own, name))},
        scales=read_fields(Scales, row, is_text=is_text),
        settings=read_fields(EditSettings, settings, is_text=is_text),
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
            raise ConfigError(f"{name!r} has a meaning only in jobs {kind}. Leave it out.")
    _check_known(row, known)
    if row.get("prompt") in (None, ""):
        raise ConfigError("It has no 'prompt'. Say what the picture shows.")


def _check_known(row: Mapping[str, object], known: tuple[str, ...]) -> None:
    for name in row:
        if name not in known:
            advice = did_you_mean(name, known, otherwise=f"Choose from {', '.join(known)}.")
            raise ConfigError(f"There is no {short_reason(name)!r}. {advice}")


def _part(row: Mapping[str, object], names: tuple[str, ...]) -> dict[str, object]:
    return {name: one for name, one in row.items() if name in names}


def _seeds_of(own: _Row, defaults: Defaults) -> tuple[int, ...]:
    if own.seed is not None and own.seeds is not None:
        raise ConfigError("'seed' and 'seeds' came together. Give one of them.")
    given = own.seeds if own.seed is None else own.seed
    if given is None:
        return defaults.seeds
    if isinstance(given, tuple):
        given = ",".join(map(str, given))
    return read_seeds(str(given))


def _model_of(own: _Row, defaults: Defaults) -> Model:
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
                    f"{next(iter(placed))!r} came without a 'subject', and belongs to one. Give "
                    "its pictures, or leave it out."
                )
            return ()  # whom the prompt names
        return (_subject(own.subject, own.cutout, placed, root),)
    if not isinstance(several, list) or not all(isinstance(one, dict) for one in several):
        raise ConfigError('\'subjects\' is no list of objects. Write [{"pictures": "dog.jpg"}, …].')
    if idle := [name for name in ("cutout", *_PLACES) if name in row]:
        raise ConfigError(f"{idle[0]!r} came with 'subjects'. Give each subject its own.")
    found = []
    for one in several:
        _check_known(one, (*_SUBJECT, *_SHOWN))
        if not one.get("pictures"):
            raise ConfigError("A subject has no 'pictures'. Name one or several.")
        of_one = _SubjectRow(**read_fields(_SubjectRow, one))
        shown = read_fields(Subject, _part(one, _SHOWN))
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
                    f"{who.word!r} is of the library, which is a whole subject, cut out already. "
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
        return False  # the name cannot exist; reading it will say why


def _said(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    return {name: one for name, one in pairs if one not in (None, "", {}, ())}


def _name_of(job: Job) -> str:
    """Return a name that people can read, and that no other job has."""
    digest = hashlib.sha256(json.dumps(job.asked(), sort_keys=True).encode()).hexdigest()
    told = [one.word or one.pictures[0] for one in job.subjects]
    shown = told if job.image is None else [job.image]
    parts = [*(_slug(Path(one).stem, 24) for one in shown[:2]), _slug(job.prompt, 40)]
    return "-".join([one for one in parts if one] + [f"s{job.seed}", digest[:8]])


def _slug(text: str, letters: int) -> str:
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text.casefold()))
    return words[:letters].strip("-")


def _doubled(job: Job, other: Job) -> str:
    if job.asked() == other.asked():
        return (
            f"It asks for the same picture as {other.place} (seed {job.seed}). Leave it out, or "
            "give it another seed."
        )
    return f"Its id {job.id!r} is that of {other.place}. Each job needs its own. Choose another."


# What can be known before anything is loaded


class _Inputs:
    """Looks at each file once, however many jobs read it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.seen: dict[str, Seen] = {}
        self._errors: dict[str, SwiftPieError] = {}

    def is_identity(self, name: str) -> bool:
        """Whether it is an identity file."""
        return is_safetensors(self._root / name)

    def look(self, name: str) -> None:
        """Look at a picture or an identity file.

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
                self.seen[name] = Seen(hashlib.file_digest(file, "sha256").hexdigest(), size)
        except SwiftPieError as error:
            self._errors[name] = error
            raise
        except OSError as error:  # gone since
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
    check_text(*job.texts.values())
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
        new_subjects(job.prompt, vocabulary_of(preset), given=names)  # complains if that is nobody


def _check_id(name: str) -> None:
    is_ours = name.casefold() == SHEET
    fits = ID.fullmatch(name) and not is_ours and len(name.encode()) <= MAX_ID_BYTES
    if not fits or DEVICES.fullmatch(name) or name.endswith((".", " ")) or ".." in name:
        raise ConfigError(
            f"The id {short_reason(name)!r} cannot be the name of a file everywhere. Letters, "
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
            raise ConfigError("'mask' and 'box' came together. One place is needed.")
        if job.mask != MaskSource.NONE and job.mask in {*MaskSource}:
            raise ConfigError(f"The mask of an edit is a file, and {job.mask!r} is none.")
        return
    for mask in (job.mask, job.detail_mask):
        if mask == MaskSource.BOX and any(not one.shown.get("box") for one in job.subjects):
            raise ConfigError("The mask 'box' needs a 'box' for every subject.")
        if mask is not None and mask not in {*MaskSource} and len(job.subjects) > 1:
            raise ConfigError(
                f"The mask {mask!r} came with {len(job.subjects)} subjects, and one file cannot "
                "tell them apart. Give each a box, and the mask 'box' or 'inline'."
            )


@functools.cache
def _preset_of(recipe: str | None, preset: str | None) -> Preset:
    return settle(preset, recipe, {})[0]
