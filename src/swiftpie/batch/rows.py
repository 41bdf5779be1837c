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
from dataclasses import dataclass, fields, replace
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
from swiftpie.errors import ConfigError, SwiftPieError, did_you_mean, short_reason
from swiftpie.faces import FaceSource
from swiftpie.imageio.cutout import CutoutMethod
from swiftpie.library import NAME, named_by, scenes
from swiftpie.models import rembg
from swiftpie.models.cutout import parse_search
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    EditRequest,
    FacePicture,
    IdentityRef,
    PersonalizeRequest,
    Pictures,
    Source,
    Subject,
)
from swiftpie.pipelines.settings import EditSettings, MaskSource, Scales
from swiftpie.validation import parse_size

MAX_PICTURES = 64  # of one subject


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
_APART = ("mask", "detail_mask", "where", "size_px")  # which `spec` has beside other options
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


Spec = dict[str, Any]
"""What a job's `spec` says; empty values are left out of it."""


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, inputs: Inputs, defaults: JobDefaults
) -> list[Job]:
    is_edit = row.get("image") not in (None, "")
    _check_names(row, is_edit=is_edit)
    own = _Row(**read_fields(_Row, row, is_text=is_text))
    read = functools.partial(read_options, surface=Surface.BATCH, is_text=is_text)
    said = read(EditRequest if is_edit else PersonalizeRequest, row, without=_SEEDS)
    said = {name: value for name, value in said.items() if value not in ("", None)}
    prompts, seeds = read_prompts(said.pop("prompt"), folder=inputs.root), _seeds_of(own, defaults)
    placed, scales = read(Subject, _part(row, _PLACES)), read(Scales, row)
    settings, files = read(EditSettings, row) if is_edit else {}, _Files(inputs)
    subjects = _subjects_of(own, row, {} if is_edit else placed, files=files, is_text=is_text)
    shown = tuple(subject for subject, _ in subjects)
    texts = {name: text for name, text in said.items() if name not in _APART}
    fields, spec = _edit(own, said, placed, files) if is_edit else _drawing(said, files)
    fields = texts | fields | {"prompt": prompts[0], "takes_named": True}
    if is_edit:
        chosen = EditSettings(**settings, scales=Scales(**scales))
        source = shown[0].source if shown else None
        request: JobRequest = EditRequest(**fields, seed=seeds[0], source=source, settings=chosen)
    else:
        strengths = Scales(**scales)
        request = PersonalizeRequest(**fields, seeds=seeds[:1], subjects=shown, scales=strengths)
    model = _model_of(own, defaults)
    spec |= {"model": model, "mask": said.get("mask", MaskSource.NONE), "texts": texts}
    spec |= {"subjects": [part for _, part in subjects], "scales": scales, "settings": settings}
    spec = json.loads(json.dumps(_without_empty(spec)))
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
    by = {"seed": seed} if isinstance(job.request, EditRequest) else {"seeds": (seed,)}
    spec = {**job.spec, "prompt": prompt, "seed": seed}
    return replace(job, request=replace(job.request, prompt=prompt, **by), spec=spec)


def _without_empty(spec: Spec) -> Spec:
    return {name: value for name, value in spec.items() if value not in (None, "", {}, (), [])}


def _drawing(said: Mapping[str, Any], files: _Files) -> tuple[dict[str, Any], Spec]:
    """Return those fields of a drawing that are no plain values, and what `spec` says of them."""
    size_px = parse_size(said["size_px"]) if "size_px" in said else None
    found: dict[str, Any] = {"size_px": size_px}
    for name in ("mask", "detail_mask"):
        if (mask := said.get(name)) is not None:
            found[name] = MaskSource(mask) if mask in {*MaskSource} else files.path(mask)
    if (scene := said.get("scene", WORDS_ALONE)) != WORDS_ALONE:
        is_name = NAME.fullmatch(scene) is not None
        found["scene"] = scenes().find(scene) if is_name else files.path(scene)
    if "style_reference" in said:
        found["style_reference"] = files.path(said["style_reference"])
    return found, {"size_px": size_px, "detail_mask": said.get("detail_mask")}


def _edit(
    own: _Row, said: Mapping[str, Any], placed: Mapping[str, Any], files: _Files
) -> tuple[dict[str, Any], Spec]:
    """Return the same of an edit: its picture, and where that changes."""
    mask, box, where = said.get("mask"), placed.get("box"), said.get("where")
    mask = None if mask == MaskSource.NONE else mask
    named = [repr(name) for name, one in (("mask", mask), ("box", box), ("where", where)) if one]
    if len(named) > 1:
        raise ConfigError(f"{' and '.join(named)} exclude each other. Give one of them.")
    if mask in {*MaskSource}:
        raise ConfigError(f"The mask of an edit is a file, and {mask!r} is not.")
    sought, spec = (None, None) if where is None else _sought(where, files)
    found = {
        "image": files.path(str(own.image)),
        "where": sought and sought.source,
        "mask": box if mask is None else files.path(mask),
    }
    return found, {"image": own.image, "box": box, "where": spec}


def _check_names(row: Mapping[str, object], *, is_edit: bool) -> None:
    known, others = (EDIT_FIELDS, DRAWING_FIELDS) if is_edit else (DRAWING_FIELDS, EDIT_FIELDS)
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
    own: _Row,
    row: Mapping[str, object],
    placed: Mapping[str, object],
    *,
    files: _Files,
    is_text: bool,
) -> list[tuple[Subject, Spec]]:
    """Return the subjects of a line, each with what the job's `spec` says of it."""
    several, face = row.get("subjects", []), _face(_part(row, _FACE), is_text=is_text)
    given = [("subject", own.subject), ("subjects", several), ("face", face.face)]
    if len(names := [name for name, value in given if value]) > 1:
        raise ConfigError(f"{names[0]!r} and {names[1]!r} exclude each other. Give one of them.")
    if face.face:
        return [_person(face, placed, files)]
    if not several:
        if not own.subject:
            if placed:
                raise ConfigError(
                    f"{next(iter(placed))!r} belongs to a 'subject', and there is none. Give "
                    "its pictures, or leave it out."
                )
            return []  # the subjects that the prompt names
        return [_subject(own.subject, own.cutout, placed, files)]
    if not isinstance(several, list) or not all(isinstance(entry, dict) for entry in several):
        raise ConfigError(
            '\'subjects\' is not a list of objects. Write [{"pictures": "dog.jpg"}, …].'
        )
    if idle := [name for name in ("cutout", *_PLACES) if name in row]:
        raise ConfigError(f"{idle[0]!r} came with 'subjects'. Give each subject its own.")
    return [_entry(entry, files) for entry in several]


def _entry(entry: Mapping[str, object], files: _Files) -> tuple[Subject, Spec]:
    """Return one of several subjects."""
    _check_known(entry, (*_SUBJECT, *_FACE, *row_fields(Subject)))
    face = _face(_part(entry, _FACE))
    if bool(entry.get("pictures")) == bool(face.face):
        raise ConfigError("A subject needs its 'pictures', or a 'face'. Name one of these.")
    of_one = _SubjectRow(**read_fields(_SubjectRow, entry))
    shown = read_options(Subject, entry, surface=Surface.BATCH)
    if face.face:
        return _person(face, shown, files)
    return _subject(of_one.pictures, of_one.cutout, shown, files)


def _face(given: Mapping[str, object], *, is_text: bool = False) -> FaceSource:
    source = FaceSource(**read_options(FaceSource, given, surface=Surface.BATCH, is_text=is_text))
    if source.face_number is not None and not source.face:
        raise ConfigError("'face_number' belongs to a 'face', and there is none. Leave it out.")
    return source


def _person(face: FaceSource, shown: Mapping[str, Any], files: _Files) -> tuple[Subject, Spec]:
    source = FacePicture(files.path(face.face), face.face_number)
    return _shown(source, shown, {"face": face.face, "face_number": face.face_number})


def _subject(
    pictures: str | tuple[str, ...],
    cutout: str | tuple[str, ...],
    shown: Mapping[str, Any],
    files: _Files,
) -> tuple[Subject, Spec]:
    named = [pictures] if isinstance(pictures, str) else list(pictures)
    cutouts = (cutout,) if isinstance(cutout, str) else cutout
    inputs = files.inputs
    for source in named:
        if not _is_there(inputs.root / source) and (who := named_by(source)):
            if len(named) > 1 or cutouts != ("auto",):
                raise ConfigError(
                    f"{who.word!r} names a subject of the library, which is cut out already. "
                    "Give it alone."
                )
            return _shown(who, {"name": who.word, **shown}, {"word": who.word})
    if len(named) == 1 and _is_there(place := inputs.root / named[0]) and place.is_dir():
        named = inputs.pictures_in(named[0])
    if not 1 <= len(named) <= MAX_PICTURES or len(cutouts) not in {1, len(named)}:
        raise ConfigError(
            f"A subject has {len(named)} pictures, and 'cutout' {len(cutouts)} values. 1 to "
            f"{MAX_PICTURES} pictures are needed, and one value for all or one each."
        )
    paths = tuple(files.path(picture) for picture in named)
    identities = [picture for picture in named if inputs.look(picture).size is None]
    if identities and (len(named) > 1 or cutouts != ("auto",)):
        raise ConfigError(
            f"{identities[0]!r} is an identity file, which holds a whole subject. Give it alone."
        )
    each = [_cut_by(cutout, files) for cutout in cutouts * (len(named) // len(cutouts))]
    ways, masks = tuple(way for way, _ in each), tuple(mask for _, mask in each)
    whole = IdentityRef(paths[0]) if identities else Pictures(paths, masks, ways)
    return _shown(whole, shown, {"pictures": named, "cutouts": cutouts})


def _cut_by(cutout: str, files: _Files) -> tuple[str, Path | None]:
    """Return how a picture is cut out, and its mask if `cutout` is the file of one."""
    search = parse_search(cutout)
    if search is None:
        return "auto", files.path(cutout)
    if search.way is CutoutMethod.REMBG:
        rembg.locate(search.model)  # a mistake shows before a model is loaded
    return cutout, None


def _shown(source: Source, shown: Mapping[str, Any], said: Spec) -> tuple[Subject, Spec]:
    spec = _without_empty({"cutouts": ("auto",), **said, "shown": dict(shown)})
    return Subject(source, **shown), spec


def _sought(where: str, files: _Files) -> tuple[Subject, Spec]:
    """Return the subject of PICTURE, PICTURE:MASK, an identity file or a name."""
    picture, _, mask = where.rpartition(":")
    root = files.inputs.root
    if picture and not _is_there(root / where) and _is_there(root / picture):
        return _subject(picture, mask, {}, files)
    return _subject(where, "auto", {}, files)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False  # such a name cannot exist; reading it says why


def _name_of(job: Job) -> str:
    """Return a readable name that no other job has."""
    digest = hashlib.sha256(json.dumps(job.spec, sort_keys=True).encode()).hexdigest()
    shown = [job.spec["image"]] if "image" in job.spec else _titles(job.spec)
    parts = [*(_slug(Path(name).stem, 24) for name in shown[:2]), _slug(job.spec["prompt"], 40)]
    return "-".join([part for part in parts if part] + [f"s{job.spec['seed']}", digest[:8]])


def _titles(spec: Mapping[str, Any]) -> list[str]:
    subjects = spec.get("subjects", ())
    return [one.get("word") or one.get("face") or one["pictures"][0] for one in subjects]


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
