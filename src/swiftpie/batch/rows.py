"""Turns rows of a list into jobs: a row gives one picture for each of its prompts and seeds.

A row has the options of its task, by the names that they have on the command line.
"""

import hashlib
import itertools
import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from swiftpie.batch.jobs import (
    DEFAULT_MODEL,
    MAX_JOBS,
    BatchJob,
    Inputs,
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
from swiftpie.photo.search import parse_search
from swiftpie.pipelines.animation import Film
from swiftpie.pipelines.request import (
    FacePicture,
    IdentityRef,
    Pictures,
    Source,
    Subject,
    drawing_of,
)
from swiftpie.pipelines.tasks import TASKS, Request, change_of, with_seed
from swiftpie.validation import MAX_REFERENCES, words_in_name


@dataclass(frozen=True, kw_only=True)
class JobDefaults:
    """Defaults of jobs that name no seed or no model."""

    seeds: tuple[int, ...] = (0,)
    model: Model = DEFAULT_MODEL


@dataclass(frozen=True, kw_only=True)
class _Row:
    """What a line says in addition to the options of its task."""

    id: str | None = None
    task: str | None = None
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


_SEEDS = ("seed", "seeds")  # `_seeds_of` reads these columns
_FACE = options_of(FaceSource, Surface.BATCH)
_SUBJECT = options_of(Subject, Surface.BATCH)

OPTIONS = {name: task.options(Surface.BATCH, without=_SEEDS) for name, task in TASKS.items()}


def _fields_of(name: str) -> tuple[str, ...]:
    task = TASKS[name]
    own = [field.name for field in fields(_Row) if field.name not in ("image", "subject", "cutout")]
    shown = ("subject", "cutout", *_FACE) if task.most_subjects else ()
    several = ("subjects",) if task.most_subjects > 1 else ()
    changed = ("image",) if task.is_change else ()
    keys = [field.key for field in OPTIONS[name].values()]
    return (*keys, *own, *shown, *several, *changed)


FIELDS = {name: _fields_of(name) for name in TASKS}
MOTION_FIELDS = tuple(  # a line that has one of them is an animation
    name for name in FIELDS["animate"] if name not in FIELDS["personalize"]
)


def collect(rows: Iterable[JobRow], *, root: Path, defaults: JobDefaults) -> Jobs:
    """Return a checked job for every picture of the rows; all their files are checked too."""
    inputs, jobs, refused = Inputs(root), dict[str, BatchJob](), list[RefusedJob]()
    for place, row, is_text in rows:
        try:
            if isinstance(row, Exception):
                raise row
            for job in _read(row, place=place, is_text=is_text, inputs=inputs, defaults=defaults):
                # Some file systems do not tell names apart by case or by Unicode form.
                key = unicodedata.normalize("NFC", job.id).casefold()
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
        self.names[name] = None
        return self.inputs.root / name


def _read(
    row: Mapping[str, object], *, place: str, is_text: bool, inputs: Inputs, defaults: JobDefaults
) -> list[BatchJob]:
    name = task_of(row)
    task = TASKS[name]
    _check_names(row, name)
    given = read_fields(_Row, row, is_text=is_text)
    own, files = _Row(**given), _Files(inputs)
    said = read_options(OPTIONS[name], row, is_text=is_text)
    said = {name: value for name, value in said.items() if value not in ("", None)}
    prompts = read_prompts(said.pop("prompt", ""), folder=inputs.root)
    seeds, face = _seeds_of(own, defaults), read_options(_FACE, row, is_text=is_text)
    several = row.get("subjects", [])
    words = {**said, "prompt": prompts[0]}

    def part(source: type) -> dict[str, Any]:
        return {name: words.pop(name) for name in options_of(source) if name in words}

    film = asdict(Film(**part(Film))) if Film in task.parts else {}
    shown = _subjects_of(own, several, face, {} if task.is_change else part(Subject), files)
    request: Request
    if task.is_change:
        request = change_of(
            task,
            words,
            image=files.path(str(own.image)),
            source=shown[0].source if shown else None,
            seed=seeds[0],
            file=files.path,
        )
    else:
        request = drawing_of(
            task, words, subjects=shown, seeds=seeds[:1], file=files.path, folder=inputs.root
        )
    model = Model(own.recipe, own.preset) if own.recipe or own.preset else defaults.model
    implied = ("task",) if name == task_of({**row, "task": None}) else ()
    given = {name: one for name, one in given.items() if name not in ("id", *_SEEDS, *implied)}
    spec = {**given, **said, **face, **film, "subjects": several}
    spec = {name: value for name, value in spec.items() if value not in (None, "", (), [])}
    spec = json.loads(json.dumps({**spec, "model": model}))
    first = BatchJob(
        id="", place=place, model=model, request=request, spec=spec, files=tuple(files.names)
    )
    jobs = []
    for (number, prompt), seed in itertools.product(enumerate(prompts, start=1), seeds):
        request = with_seed(replace(first.request, prompt=prompt), seed)
        spec = {**first.spec, "prompt": prompt, "seed": seed}
        job = replace(first, request=request, spec=spec)
        marks = f"-p{number}" * (len(prompts) > 1) + f"-s{seed}" * (len(seeds) > 1)
        jobs.append(replace(job, id=own.id + marks if own.id else _name_of(job)))
    return jobs


def task_of(row: Mapping[str, object]) -> str:
    """Return the task that a line names, or else the one that its other fields imply."""

    def says(*names: str) -> bool:
        return any(row.get(name) not in (None, "") for name in names)

    if says("task"):
        task = str(row["task"])
        if task not in TASKS:
            advice = did_you_mean(task, TASKS, otherwise=f"Choose from {', '.join(TASKS)}.")
            raise ConfigError(f"There is no task {short_reason(task)!r}. {advice}")
        return task
    if says("image"):
        return "edit"
    return "animate" if says(*MOTION_FIELDS) else "personalize"


def _check_names(row: Mapping[str, object], task: str) -> None:
    for name in row:
        others = [other for other, names in FIELDS.items() if name in names]
        if others and task not in others and row[name] not in (None, ""):
            raise ConfigError(
                f"{name!r} does not fit the task {task!r}, only {', '.join(others)}. Leave it "
                "out, or set 'task'."
            )
    _check_known(row, dict.fromkeys((*FIELDS[task], *itertools.chain(*FIELDS.values()))))
    prompt = OPTIONS[task].get("prompt")
    if prompt is not None and prompt.default is MISSING and not row.get("prompt"):
        raise ConfigError("It has no 'prompt'. Describe the picture.")
    if TASKS[task].is_change and not row.get("image"):
        raise ConfigError(
            f"The task {task!r} changes an 'image', and there is none. Name its file."
        )


def _check_known(row: Mapping[str, object], known: Collection[str]) -> None:
    for name in row:
        if name not in known:
            advice = did_you_mean(name, known, otherwise=f"Choose from {', '.join(known)}.")
            raise ConfigError(f"There is no {short_reason(name)!r}. {advice}")


def _seeds_of(own: _Row, defaults: JobDefaults) -> tuple[int, ...]:
    if own.seed is not None and own.seeds is not None:
        raise ConfigError("'seed' and 'seeds' exclude each other. Give one of them.")
    given = own.seeds if own.seed is None else own.seed
    if given is None:
        return defaults.seeds
    if isinstance(given, tuple):
        given = ",".join(map(str, given))
    return read_seeds(str(given))


def _subjects_of(
    own: _Row, several: object, face: Mapping[str, Any], placed: Mapping[str, Any], files: _Files
) -> tuple[Subject, ...]:
    given = {"'subject'": own.subject, "'subjects'": several, "'face'": face.get("face")}
    check_exclusive(given)
    if several:
        if not isinstance(several, list) or not all(isinstance(entry, dict) for entry in several):
            raise ConfigError(
                '\'subjects\' is not a list of objects. Write [{"pictures": "dog.jpg"}, …].'
            )
        if own.cutout != "auto" or placed:
            raise ConfigError(
                f"{next(iter(placed), 'cutout')!r} cannot be combined with 'subjects'. Put it into "
                "each entry."
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
    _check_known(entry, (*(field.name for field in fields(_SubjectRow)), *_FACE, *_SUBJECT))
    person = _person(read_options(_FACE, entry), files)
    if bool(entry.get("pictures")) == (person is not None):
        raise ConfigError("A subject needs its 'pictures', or a 'face'. Name one of these.")
    of_one = _SubjectRow(**read_fields(_SubjectRow, entry))
    source = person or _source(of_one.pictures, of_one.cutout, files)
    shown = {"name": _name(source), **read_options(_SUBJECT, entry)}
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
    if not 1 <= len(names) <= MAX_REFERENCES or len(cutouts) not in {1, len(names)}:
        raise ConfigError(
            f"A subject has {len(names)} pictures, and 'cutout' {len(cutouts)} values. 1 to "
            f"{MAX_REFERENCES} pictures are needed, and one value for all or one each."
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


def _name_of(job: BatchJob) -> str:
    """Return a readable name with a digest of the job, so that different jobs hardly share one."""
    digest = hashlib.sha256(json.dumps(job.spec, sort_keys=True).encode()).hexdigest()
    titles = [_title(source) for source in job.sources[:2]]
    if "image" in job.spec:
        task = job.spec.get("task")
        titles = [job.spec["image"], *([] if task is None else [task, *titles])]
    parts = [*(_slug(Path(name).stem, 24) for name in titles), _slug(job.spec["prompt"], 40)]
    return "-".join([part for part in parts if part] + [f"s{job.spec['seed']}", digest[:8]])


def _title(source: Source) -> str:
    match source:
        case Named(word=word):
            return word
        case Pictures(images=(image, *_)) | FacePicture(image=image) | IdentityRef(identity=image):
            return str(image)
    raise AssertionError("lines name files")


def _slug(text: str, letters: int) -> str:
    return words_in_name(text.casefold(), between="-")[:letters].strip("-")


def _duplicate(job: BatchJob, other: BatchJob) -> str:
    if job.spec == other.spec:
        return (
            f"It draws the same picture as {other.place} (seed {job.spec['seed']}). Leave it out, "
            "or give it another seed."
        )
    return f"Its id {job.id!r} is that of {other.place}. Each job needs its own. Choose another."
