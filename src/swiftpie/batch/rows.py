"""Rows of a list to jobs.

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
from dataclasses import dataclass, fields, replace
from pathlib import Path

from swiftpie.batch.jobs import (
    DEFAULT_MODEL,
    MAX_JOBS,
    MAX_PICTURES,
    Inputs,
    Job,
    Jobs,
    JobSubject,
    Model,
    RefusedJob,
    check,
)
from swiftpie.batch.lists import JobRow, read_prompts, read_seeds
from swiftpie.config import Surface, options_of, read_fields, read_options
from swiftpie.errors import ConfigError, SwiftPieError, did_you_mean, short_reason
from swiftpie.faces import FaceSource
from swiftpie.library import named_by
from swiftpie.pipelines.drawing.request import EditRequest, PersonalizeRequest, Subject
from swiftpie.pipelines.drawing.settings import EditSettings, MaskSource, Scales
from swiftpie.validation import parse_size


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

    pictures: str | tuple[str, ...] = ()
    cutout: str | tuple[str, ...] = "auto"


def row_fields(source: type) -> tuple[str, ...]:
    """Return the names by which a line sets the options of a class; seeds are read apart."""
    known = options_of(source, Surface.BATCH, without=_SEEDS)
    return tuple(field.key for field in known.values())


_SEEDS = ("seed", "seeds")
_PLACES = ("box", "view", "layers")
_SUBJECT = tuple(field.name for field in fields(_SubjectRow))
_OWN = tuple(field.name for field in fields(_Row) if field.name != "image")
_FACE = row_fields(FaceSource)
DRAWING_FIELDS = (
    *(*row_fields(PersonalizeRequest), *_OWN, "subjects", *_FACE, *_PLACES),
    *row_fields(Scales),
)
EDIT_FIELDS = (
    *(*row_fields(EditRequest), "image", *_OWN, *_FACE, "box"),
    *(*row_fields(Scales), *row_fields(EditSettings)),
)


def collect(rows: Iterable[JobRow], *, root: Path, defaults: JobDefaults) -> Jobs:
    """Return a checked job for every picture of the rows; all their files are checked too."""
    inputs, jobs, refused = Inputs(root), dict[str, Job](), list[RefusedJob]()
    for place, row, is_text in rows:
        try:
            if isinstance(row, Exception):
                raise row
            for job in _read(row, place=place, is_text=is_text, inputs=inputs, defaults=defaults):
                key = job.id.casefold()  # as some file systems tell names apart
                if (other := jobs.get(key)) is not None:
                    raise ConfigError(_duplicate(job, other))
                check(job, inputs)
                jobs[key] = job
        except SwiftPieError as error:
            refused.append(RefusedJob(place, str(error)))
        if len(jobs) + len(refused) > MAX_JOBS:
            raise ConfigError(
                f"More than {MAX_JOBS} jobs are more than one run takes. Split "
                "them among several runs, each with its own folder."
            )
    return Jobs(root, tuple(jobs.values()), tuple(refused), inputs.seen)


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, inputs: Inputs, defaults: JobDefaults
) -> list[Job]:
    is_edit = "image" in row
    _check_names(row, is_edit=is_edit)
    own = _Row(**read_fields(_Row, row, is_text=is_text))
    read = functools.partial(read_options, surface=Surface.BATCH, is_text=is_text)
    words = read(EditRequest if is_edit else PersonalizeRequest, row, without=_SEEDS)
    placed = read(Subject, _part(row, _PLACES))
    prompts = read_prompts(words.pop("prompt"), folder=inputs.root)
    seeds = _seeds_of(own, defaults)
    size = words.pop("size_px", None)
    first = Job(
        id=own.id or "",
        place=place,
        prompt=prompts[0],
        seed=seeds[0],
        model=_model_of(own, defaults),
        image=own.image,
        subjects=_subjects_of(own, row, {} if is_edit else placed, inputs=inputs, is_text=is_text),
        size_px=None if size is None else parse_size(size),
        mask=words.pop("mask", None) or MaskSource.NONE,
        detail_mask=words.pop("detail_mask", None),
        box=placed.get("box") if is_edit else None,
        where=_sought(where, inputs) if (where := words.pop("where", None)) else None,
        texts={name: text for name, text in words.items() if text not in ("", None)},
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
    return {name: value for name, value in row.items() if name in names}


def _seeds_of(own: _Row, defaults: JobDefaults) -> tuple[int, ...]:
    if own.seed is not None and own.seeds is not None:
        raise ConfigError("'seed' and 'seeds' exclude each other. Give one of them.")
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
    own: _Row,
    row: Mapping[str, object],
    placed: Mapping[str, object],
    *,
    inputs: Inputs,
    is_text: bool,
) -> tuple[JobSubject, ...]:
    several, face = row.get("subjects", []), _face(_part(row, _FACE), is_text=is_text)
    given = [("subject", own.subject), ("subjects", several), ("face", face.face)]
    if len(names := [name for name, value in given if value]) > 1:
        raise ConfigError(f"{names[0]!r} and {names[1]!r} exclude each other. Give one of them.")
    if face.face:
        return (_person(face, placed),)
    if not several:
        if not own.subject:
            if placed:
                raise ConfigError(
                    f"{next(iter(placed))!r} belongs to a 'subject', and there is none. Give "
                    "its pictures, or leave it out."
                )
            return ()  # the subjects that the prompt names
        return (_subject(own.subject, own.cutout, placed, inputs),)
    if not isinstance(several, list) or not all(isinstance(entry, dict) for entry in several):
        raise ConfigError(
            '\'subjects\' is not a list of objects. Write [{"pictures": "dog.jpg"}, …].'
        )
    if idle := [name for name in ("cutout", *_PLACES) if name in row]:
        raise ConfigError(f"{idle[0]!r} came with 'subjects'. Give each subject its own.")
    return tuple(_entry(entry, inputs) for entry in several)


def _entry(entry: Mapping[str, object], inputs: Inputs) -> JobSubject:
    """Return one of several subjects."""
    _check_known(entry, (*_SUBJECT, *_FACE, *row_fields(Subject)))
    face = _face(_part(entry, _FACE))
    if bool(entry.get("pictures")) == bool(face.face):
        raise ConfigError("A subject needs its 'pictures', or a 'face'. Name one of these.")
    of_one = _SubjectRow(**read_fields(_SubjectRow, entry))
    shown = read_options(Subject, entry, surface=Surface.BATCH)
    if face.face:
        return _person(face, shown)
    return _subject(of_one.pictures, of_one.cutout, shown, inputs)


def _face(given: Mapping[str, object], *, is_text: bool = False) -> FaceSource:
    source = FaceSource(**read_options(FaceSource, given, surface=Surface.BATCH, is_text=is_text))
    if source.face_number is not None and not source.face:
        raise ConfigError("'face_number' belongs to a 'face', and there is none. Leave it out.")
    return source


def _person(source: FaceSource, shown: Mapping[str, object]) -> JobSubject:
    return JobSubject(face=source.face, face_number=source.face_number, shown=shown)


def _subject(
    pictures: str | tuple[str, ...],
    cutout: str | tuple[str, ...],
    shown: Mapping[str, object],
    inputs: Inputs,
) -> JobSubject:
    named = [pictures] if isinstance(pictures, str) else list(pictures)
    cutouts = (cutout,) if isinstance(cutout, str) else cutout
    for source in named:
        if not _is_there(inputs.root / source) and (who := named_by(source)):
            if len(named) > 1 or cutouts != ("auto",):
                raise ConfigError(
                    f"{who.word!r} names a subject of the library, which is cut out already. "
                    "Give it alone."
                )
            return JobSubject(word=who.word, shown={"name": who.word, **shown})
    if len(named) == 1 and _is_there(place := inputs.root / named[0]) and place.is_dir():
        named = inputs.pictures_in(named[0])
    if not 1 <= len(named) <= MAX_PICTURES or len(cutouts) not in {1, len(named)}:
        raise ConfigError(
            f"A subject has {len(named)} pictures, and 'cutout' {len(cutouts)} values. 1 to "
            f"{MAX_PICTURES} pictures are needed, and one value for all or one each."
        )
    return JobSubject(pictures=tuple(named), cutouts=cutouts, shown=shown)


def _sought(where: str, inputs: Inputs) -> JobSubject:
    """Return the subject of PICTURE, PICTURE:MASK, an identity file or a name."""
    picture, _, mask = where.rpartition(":")
    if picture and not _is_there(inputs.root / where) and _is_there(inputs.root / picture):
        return _subject(picture, mask, {}, inputs)
    return _subject(where, "auto", {}, inputs)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # such a name cannot exist; reading it says why


def _name_of(job: Job) -> str:
    """Return a readable name that no other job has."""
    digest = hashlib.sha256(json.dumps(job.spec(), sort_keys=True).encode()).hexdigest()
    names = [subject.title for subject in job.subjects]
    shown = names if job.image is None else [job.image]
    parts = [*(_slug(Path(name).stem, 24) for name in shown[:2]), _slug(job.prompt, 40)]
    return "-".join([part for part in parts if part] + [f"s{job.seed}", digest[:8]])


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
