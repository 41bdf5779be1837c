"""Rows of a list to jobs: each becomes the request of a picture.

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
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from swiftpie.batch.jobs import (
    DEFAULT_MODEL,
    MAX_JOBS,
    Inputs,
    Job,
    JobRequest,
    Jobs,
    Model,
    RefusedJob,
    check,
)
from swiftpie.batch.lists import JobRow, read_prompts, read_seeds
from swiftpie.config import Surface, options_of, read_fields, read_options
from swiftpie.errors import ConfigError, SwiftPieError, check_exclusive, did_you_mean, short_reason
from swiftpie.faces import FaceSource
from swiftpie.library import Named, named_by
from swiftpie.models.cutout import parse_search
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.pipelines.request import (
    EditRequest,
    FacePicture,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    Source,
    Subject,
    typed_fields,
    with_seed,
)
from swiftpie.pipelines.settings import EditSettings, MaskSource, Scales

MAX_PICTURES = 64  # of one subject


@dataclass(frozen=True, kw_only=True)
class JobDefaults:
    """Defaults of jobs that name no seed or no model."""

    seeds: tuple[int, ...] = (0,)
    model: Model = DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What a line says in addition to the options of request, scales and settings."""

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
    """What one of several subjects says in addition to the options of `Subject`."""

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
MOTION_FIELDS = tuple(
    name
    for name in (*row_fields(AnimateRequest), *row_fields(Film))
    if name not in DRAWING_FIELDS  # by which a line is an animation
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
    return Jobs(tuple(jobs.values()), tuple(refused), inputs.seen)


class _Files:
    """Paths of the files that a line names."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.names: dict[str, None] = {}

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        self.names[name] = None
        return self.inputs.root / name


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, inputs: Inputs, defaults: JobDefaults
) -> list[Job]:
    kind = kind_of(row)
    is_edit = kind is EditRequest
    _check_names(row, is_edit=is_edit)
    given = read_fields(_Row, row, is_text=is_text)
    own, files = _Row(**given), _Files(inputs)
    read = functools.partial(read_options, surface=Surface.BATCH, is_text=is_text)
    said = read(kind, row, without=_SEEDS)
    said = {name: value for name, value in said.items() if value not in ("", None)}
    prompts, seeds = read_prompts(said.pop("prompt"), folder=inputs.root), _seeds_of(own, defaults)
    placed, scales = read(Subject, _part(row, _PLACES)), read(Scales, row)
    settings, face = read(EditSettings, row) if is_edit else {}, read(FaceSource, row)
    film = asdict(Film(**read(Film, row))) if kind is AnimateRequest else {}
    several = row.get("subjects", [])
    shown = _subjects_of(own, several, face, {} if is_edit else placed, files)
    typed = functools.partial(typed_fields, file=files.path, folder=inputs.root)
    fields = _edit(own, said, placed, files) if is_edit else typed(said)
    fields = {**said, **fields, "prompt": prompts[0], "takes_named": True}
    if is_edit:
        fields["settings"] = EditSettings(**settings, scales=Scales(**scales))
        fields |= {"seed": seeds[0], "source": shown[0].source if shown else None}
    else:
        fields |= {"seeds": seeds[:1], "subjects": shown, "scales": Scales(**scales)}
    request: JobRequest = kind(**fields)
    model = _model_of(own, defaults)
    given = {name: value for name, value in given.items() if name not in ("id", *_SEEDS)}
    spec = {**given, **said, **placed, **scales, **settings, **face, **film, "subjects": several}
    spec = {name: value for name, value in spec.items() if value not in (None, "", (), [])}
    spec = json.loads(json.dumps({**spec, "model": model}))
    first = Job(
        id="", place=place, model=model, request=request, spec=spec, files=tuple(files.names)
    )
    jobs = []
    for (number, prompt), seed in itertools.product(enumerate(prompts, start=1), seeds):
        job = _with_words(first, prompt, seed)
        marks = f"-p{number}" * (len(prompts) > 1) + f"-s{seed}" * (len(seeds) > 1)
        jobs.append(replace(job, id=own.id + marks if own.id else _name_of(job)))
    return jobs


def _with_words(job: Job, prompt: str, seed: int) -> Job:
    """Return the same job with another prompt and seed."""
    request = with_seed(replace(job.request, prompt=prompt), seed)
    return replace(job, request=request, spec={**job.spec, "prompt": prompt, "seed": seed})


def _edit(
    own: _Row, said: Mapping[str, Any], placed: Mapping[str, Any], files: _Files
) -> dict[str, Any]:
    """Return the same of an edit: its picture, and where that changes."""
    mask, box = said.get("mask"), placed.get("box")
    mask = None if mask == MaskSource.NONE else mask
    check_exclusive({"'mask'": mask, "'box'": box})
    if mask in {*MaskSource}:
        raise ConfigError(f"The mask of an edit is a file, and {mask!r} is not.")
    return {"image": files.path(str(own.image)), "mask": box if mask is None else files.path(mask)}


def kind_of(row: Mapping[str, object]) -> type[JobRequest]:
    """Return what a line is a request for, by what it says."""

    def says(*names: str) -> bool:
        return any(row.get(name) not in (None, "") for name in names)

    if says("image"):
        return EditRequest
    return AnimateRequest if says(*MOTION_FIELDS) else PersonalizeRequest


def _check_names(row: Mapping[str, object], *, is_edit: bool) -> None:
    drawing = (*DRAWING_FIELDS, *MOTION_FIELDS)
    known, others = (EDIT_FIELDS, drawing) if is_edit else (drawing, EDIT_FIELDS)
    row = row if is_edit else {name: value for name, value in row.items() if name != "image"}
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
    own: _Row, several: object, face: Mapping[str, Any], placed: Mapping[str, Any], files: _Files
) -> tuple[Subject, ...]:
    """Return the subjects of a line."""
    given = {"'subject'": own.subject, "'subjects'": several, "'face'": face.get("face")}
    check_exclusive(given)
    if several:
        if not isinstance(several, list) or not all(isinstance(entry, dict) for entry in several):
            raise ConfigError(
                '\'subjects\' is not a list of objects. Write [{"pictures": "dog.jpg"}, …].'
            )
        if own.cutout != "auto" or placed:
            raise ConfigError(
                f"{next(iter(placed), 'cutout')!r} came with 'subjects'. Give each its own."
            )
        return tuple(_entry(entry, files) for entry in several)
    if person := _person(face, files):
        return (Subject(person, **placed),)
    if own.subject:
        source = _source(own.subject, own.cutout, files)
        return (Subject(source, **{"name": _name(source), **placed}),)
    if placed:
        raise ConfigError(
            f"{next(iter(placed))!r} belongs to a 'subject', and there is none. Give its pictures, "
            "or leave it out."
        )
    return ()  # the subjects that the prompt names


def _entry(entry: Mapping[str, object], files: _Files) -> Subject:
    """Return one of several subjects."""
    _check_known(entry, (*_SUBJECT, *_FACE, *row_fields(Subject)))
    person = _person(read_options(FaceSource, entry, surface=Surface.BATCH), files)
    if bool(entry.get("pictures")) == (person is not None):
        raise ConfigError("A subject needs its 'pictures', or a 'face'. Name one of these.")
    of_one = _SubjectRow(**read_fields(_SubjectRow, entry))
    source = person or _source(of_one.pictures, of_one.cutout, files)
    shown = {"name": _name(source), **read_options(Subject, entry, surface=Surface.BATCH)}
    return Subject(source, **shown)


def _person(given: Mapping[str, Any], files: _Files) -> FacePicture | None:
    face = FaceSource(**given)
    if face.face:
        return FacePicture(files.path(face.face), face.face_number)
    if face.face_number is not None:
        raise ConfigError("'face_number' belongs to a 'face', and there is none. Leave it out.")
    return None


def _name(source: Source) -> str:
    return source.word if isinstance(source, Named) else ""


def _source(
    pictures: str | tuple[str, ...], cutout: str | tuple[str, ...], files: _Files
) -> Source:
    """Return the subject of pictures, a folder of them, an identity file or a name."""
    names = [pictures] if isinstance(pictures, str) else list(pictures)
    cutouts = (cutout,) if isinstance(cutout, str) else cutout
    inputs = files.inputs
    for name in names:
        if not _is_there(inputs.root / name) and (known := named_by(name)):
            if len(names) > 1 or cutouts != ("auto",):
                raise ConfigError(
                    f"{known.word!r} names a subject of the library, which is cut out already. "
                    "Give it alone."
                )
            return known
    if len(names) == 1 and _is_there(place := inputs.root / names[0]) and place.is_dir():
        names = inputs.pictures_in(names[0])
    if not 1 <= len(names) <= MAX_PICTURES or len(cutouts) not in {1, len(names)}:
        raise ConfigError(
            f"A subject has {len(names)} pictures, and 'cutout' {len(cutouts)} values. 1 to "
            f"{MAX_PICTURES} pictures are needed, and one value for all or one each."
        )
    paths = tuple(files.path(name) for name in names)
    identities = [name for name in names if inputs.look(name).size is None]
    if identities and (len(names) > 1 or cutouts != ("auto",)):
        raise ConfigError(
            f"{identities[0]!r} is an identity file, which holds a whole subject. Give it alone."
        )
    if identities:
        return IdentityRef(paths[0])
    each = [_cut_by(cutout, files) for cutout in cutouts * (len(names) // len(cutouts))]
    return Pictures(
        paths, masks=tuple(mask for _, mask in each), cutouts=tuple(how for how, _ in each)
    )


def _cut_by(cutout: str, files: _Files) -> tuple[str, Path | None]:
    """Return how a picture is cut out, and its mask if `cutout` is the file of one."""
    return ("auto", files.path(cutout)) if parse_search(cutout) is None else (cutout, None)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # such a name cannot exist; reading it says why


def _name_of(job: Job) -> str:
    """Return a readable name that no other job has."""
    digest = hashlib.sha256(json.dumps(job.spec, sort_keys=True).encode()).hexdigest()
    is_edit = isinstance(job.request, EditRequest)
    shown = [job.spec["image"]] if is_edit else [_title(source) for source in job.sources[:2]]
    parts = [*(_slug(Path(name).stem, 24) for name in shown), _slug(job.spec["prompt"], 40)]
    return "-".join([part for part in parts if part] + [f"s{job.spec['seed']}", digest[:8]])


def _title(source: Source) -> str:
    match source:
        case Named(word=word):
            return word
        case Pictures(images=(image, *_)) | FacePicture(image=image) | IdentityRef(identity=image):
            return str(image)
    raise AssertionError("lines name files")


def _slug(text: str, letters: int) -> str:
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", text.casefold()))
    return words[:letters].strip("-")


def _duplicate(job: Job, other: Job) -> str:
    if job.spec == other.spec:
        return (
            f"It draws the same picture as {other.place} (seed {job.spec['seed']}). Leave it out, "
            "or give it another seed."
        )
    return f"Its id {job.id!r} is that of {other.place}. Each job needs its own. Choose another."
