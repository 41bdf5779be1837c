"""`swiftpie batch`: draw many pictures in one run, which may be interrupted at any moment."""

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from swiftpie.backbones.choices import LoadOptions, device_of
from swiftpie.backbones.machine import AUTO, spread
from swiftpie.backbones.presets import Recipe
from swiftpie.batch.lists import PROMPT_FILE, grid, read_lines, read_prompts, read_seeds
from swiftpie.cli import console, options
from swiftpie.cli.loading import confirm_download, load_keywords, plan_downloads
from swiftpie.cli.subjects import Recogniser, with_face_files
from swiftpie.errors import ConfigError, SwiftPieError, check_exclusive
from swiftpie.faces import CONSENT, FaceSettings

if TYPE_CHECKING:
    from swiftpie.batch.folder import Outcome
    from swiftpie.batch.jobs import Jobs, Model

LOADED = (*options.DRAWING, "inversion")
REPORT = "report.jsonl"
NOT_OF_PICTURES = {
    "yes",
    "offline",
    "commercial_only",
    "allow_pickle",
    "recipe",
    "preset",
}  # jobs name the last
MAX_NAMED = 20  # reasons on the screen; the report lists all
EXIT_INTERRUPTED = 130

JobFile = Annotated[
    Path | None,
    options.argument(
        "A file of jobs: one JSON object a line, or a table in .csv. See docs/batch.md.", "[JOBS]"
    ),
]
OutFolder = Annotated[
    str,
    typer.Option(
        "-o",
        "--out",
        metavar="DIR|URL",
        help="Folder for pictures and their report, or an address such as s3://a/b.",
    ),
]
Subjects = Annotated[
    Path | None,
    typer.Option(
        "--subjects",
        metavar="DIR",
        help="Instead of JOBS: a folder of subjects, each a picture, an identity file or a folder "
        "of pictures; or one such file.",
    ),
]
Prompts = Annotated[
    Path | None,
    typer.Option(
        "--prompts",
        metavar="FILE",
        help="File of prompts, one a line, drawn with every subject. {name} becomes the name of "
        "the subject's file.",
    ),
]
Seeds = Annotated[
    str, typer.Option(metavar="N|N-N[,…]", help="Seeds of jobs that have none, as in 1-8.")
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=256,
        help="Number of processes, each with its own networks; by default one for each of "
        "--devices. Several accelerators take turns.",
    ),
]
Devices = Annotated[
    str,
    typer.Option(
        metavar="NAME[,NAME]", help="Devices of the processes, in turn, as in cuda:0,cuda:1."
    ),
]
BatchSize = Annotated[
    int, typer.Option("--batch", min=1, max=64, help="Largest number of pictures in one pass.")
]
OnlyChecks = Annotated[bool, typer.Option("--check", help="Check all jobs, and draw none.")]
Update = Annotated[
    bool, typer.Option("--update", help="Continue although jobs changed: draw those that did.")
]


class Format(StrEnum):
    """Formats of pictures."""

    PNG = "png"
    JPG = "jpg"
    WEBP = "webp"
    TIF = "tif"


FileFormat = Annotated[Format, typer.Option("--format", help="Format of the pictures.")]

app = typer.Typer()


@app.command(
    epilog=console.examples(
        "swiftpie batch jobs.jsonl --out pictures",
        "swiftpie batch jobs.csv --out pictures --processes 2",
        "swiftpie batch --subjects products --prompts prompts.txt --seeds 1-8 --out pictures",
        "swiftpie batch jobs.jsonl --out pictures --processes 8 --ray 10.0.0.5:6379 --ray-gpus 1",
        "swiftpie batch jobs.jsonl --out s3://bucket/pictures",
        "swiftpie batch jobs.jsonl --out pictures --check",
    )
)
@options.with_fields
def batch(
    *,
    jobs: JobFile = None,
    out: OutFolder,
    subject_folder: Subjects = None,
    prompt_file: Prompts = None,
    seeds: Seeds = "0",
    processes: Processes = None,
    devices: Devices = "",
    ray: options.Ray = "",
    ray_cpus: options.RayCpus = None,
    ray_gpus: options.RayGpus = None,
    batch_size: BatchSize = 4,
    file_format: FileFormat = Format.PNG,
    only_checks: OnlyChecks = False,
    update: Update = False,
    force: options.Force = False,
    sign: options.Sign = None,
    as_json: options.AsJson = False,
    recogniser: Recogniser,
    loading: Annotated[LoadOptions, options.FieldOptions(LoadOptions, LOADED)],
) -> None:
    """Draw many pictures, each exactly once.

    After Ctrl-C, a crash or a full disk, the same command continues where it stopped.

    DIR/report.jsonl names jobs that fail; the others are drawn, and the exit code is 1.
    """
    options.check_ray(ray, ray_cpus=ray_cpus, ray_gpus=ray_gpus)
    check_exclusive({"--devices": devices, "--ray": ray})
    found = _collect(jobs, subject_folder, prompt_file, Path(out), seeds=seeds, loading=loading)
    _warn_of_refused(found)
    if only_checks:
        _print_plan(found, batch_size, as_json=as_json)
        sys.exit(int(bool(found.refused)))

    from swiftpie.batch.folder import RemoteFolder
    from swiftpie.batch.ray import on_ray
    from swiftpie.batch.run import Work, draw, open_run, stopping
    from swiftpie.imageio.credentials import check_signer

    check_signer(sign)
    options.check_key_stays(ray, sign)

    models, missing = _loadings(found, loading)
    faces = _face_settings(found, loading, recogniser)
    named = [name.strip() for name in devices.split(",") if name.strip()]
    count = processes or len(named) or 1
    is_spread = not ray and (count > 1 or bool(named))
    places = {model: _places(model, named, count, loading) for model in models if is_spread}
    remote = RemoteFolder(out) if "://" in out else None
    folder = remote.here if remote else Path(out).absolute()
    work = Work(
        *(folder, f".{file_format}", models, missing, faces),
        devices=places,
        sign=sign and sign.absolute(),
    )
    settings = {name: str(value) for name, value in loading.items() if name not in NOT_OF_PICTURES}
    settings |= {} if sign is None else {"sign": str(sign.absolute())}
    encoders = [face.name for face in faces.values() if isinstance(face, FaceSettings)]
    if encoders:
        settings["encoder"] = ", ".join(dict.fromkeys(encoders))
    started = time.monotonic()
    cpus = 1.0 if ray_cpus is None else ray_cpus
    whole = open_run(
        *(found, work),
        batch=batch_size,
        settings=settings,
        processes=count,
        threads=max(1, int(cpus)) if ray else None,
        update=update,
        force=force,
    )
    with (
        closing(remote) if remote else nullcontext(),
        whole as run,
        on_ray(
            *(ray, work), processes=count, threads=run.num_threads, cpus=cpus, gpus=ray_gpus or 0
        )
        if ray and run.batches
        else nullcontext() as workers,
        stopping(
            lambda: console.say("stopping after the current pictures; press again to stop at once")
        ) as stop,
        console.bar(len(found.jobs), transient=True) as advance,
    ):
        if run.num_done:
            console.say(f"{run.num_done} of {len(found.jobs)} jobs were done before")
        for line in dict.fromkeys(map(_spell_places, places.values())):
            console.say(f"{line}; threads of the processor for each: {run.num_threads}")
        advance(completed=run.num_done, description="drawing")
        outcomes = draw(run, work, stop=stop, workers=workers)
        for _ in remote.sending(outcomes) if remote else outcomes:
            advance(advance=1)
    rows = run.report.rows
    counts = Counter(str(row["status"]) for row in rows)
    facts: dict[str, Any] = {name: counts[name] for name in ("done", "failed", "refused")}
    left = len(found.jobs) - facts["done"] - facts["failed"]
    facts |= {"left": left, "before": run.num_done}
    _tell(rows, facts, spent=time.monotonic() - started)
    if encoders:
        console.say(CONSENT)
    if as_json:
        console.print_json({**facts, "report": f"{out.rstrip('/')}/{REPORT}"})
    if stop.is_set() and facts["left"]:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(int(facts["done"] < len(found.jobs) + len(found.refused)))


def _collect(
    jobs: Path | None,
    subjects: Path | None,
    prompts: Path | None,
    out: Path,
    *,
    seeds: str,
    loading: LoadOptions,
) -> "Jobs":
    from swiftpie.backbones.components import FAMILIES
    from swiftpie.batch.jobs import Model
    from swiftpie.batch.rows import JobDefaults, collect

    recipe = loading.get("recipe")
    name = recipe.name if isinstance(recipe, Recipe) else recipe
    model = Model(name, loading.get("preset"))
    defaults = JobDefaults(seeds=read_seeds(seeds), model=model)
    has_grid = subjects is not None and prompts is not None
    if (jobs is None) != has_grid or (jobs is not None and (subjects or prompts)):
        raise ConfigError(
            "Jobs are needed from one place: a file JOBS, or both --subjects DIR and --prompts "
            "FILE. See `swiftpie batch --help`."
        )
    if jobs is not None:
        found = collect(read_lines(jobs), root=jobs.parent.absolute(), defaults=defaults)
    else:
        assert subjects is not None
        if subjects.resolve() in (out.resolve(), *out.resolve().parents):
            raise ConfigError(
                f"--out '{out}' lies in --subjects '{subjects}', so drawn pictures would become "
                "subjects. Choose another folder."
            )
        lines = read_prompts(f"{PROMPT_FILE}{prompts}")
        root = subjects.parent if subjects.is_file() else subjects
        family = FAMILIES.get(model.known.family)
        rows = grid(subjects, lines, spell=family.name_of_file)
        found = collect(rows, root=root.absolute(), defaults=defaults)
    if not (found.jobs or found.refused):
        raise ConfigError(f"'{jobs}' holds no jobs. Write one a line; see docs/batch.md.")
    return found


def _loadings(
    found: "Jobs", loading: LoadOptions
) -> "tuple[dict[Model, dict[str, Any]], dict[Model, str]]":
    """Return how each model is loaded, and why the others cannot be; fetch missing files."""
    models: dict[Model, dict[str, Any]] = {}
    missing: dict[Model, str] = {}
    for model in dict.fromkeys(job.model for job in found.jobs):
        own: LoadOptions = {**loading, "recipe": model.recipe, "preset": model.preset}
        try:
            needs = plan_downloads(own)
            confirm_download(needs, yes=loading.get("yes", False))
            needs.fetch()
        except SwiftPieError as error:
            if len({job.model for job in found.jobs}) == 1:
                raise
            missing[model], failure = str(error), error
            continue
        models[model] = load_keywords(own)
    if missing and not models:
        raise failure
    return models, missing


def _places(
    model: "Model", named: Sequence[str], count: int, loading: LoadOptions
) -> tuple[str, ...]:
    """Return where each process computes with a model, each device after a trial."""
    from swiftpie.backbones.components import FAMILIES

    if named and loading.get("device", AUTO) != AUTO:
        raise ConfigError("--devices and --device were given. Name all devices in --devices.")
    is_large = FAMILIES.get(model.known.family).is_large
    if named:
        known = [device_of(name, is_large=is_large) for name in named]
        return tuple(known[number % len(known)] for number in range(count))
    return spread(device_of(loading.get("device", AUTO), is_large=is_large), count)


def _spell_places(devices: Sequence[str]) -> str:
    """Return where processes compute, and what it means if they share an accelerator."""
    used, count = [*dict.fromkeys(devices)], len(devices)
    where = f"{count} process{'es' * (count > 1)} on {', '.join(used)}"
    if len(used) == count or used == ["cpu"]:
        return where
    return (
        f"{where}: processes of one device take turns, and each holds networks of its own there; "
        "a larger --batch is often quicker"
    )


def _face_settings(
    found: "Jobs", loading: LoadOptions, settings: FaceSettings
) -> "dict[Model, FaceSettings | str]":
    """Return how faces are found for each model with such jobs, or why not; fetch missing files."""
    faces: dict[Model, FaceSettings | str] = {}
    for model in dict.fromkeys(job.model for job in found.jobs if job.has_faces):
        try:
            faces[model] = with_face_files(settings, {**loading, "recipe": model.recipe})[0]
        except SwiftPieError as error:
            if all(job.has_faces for job in found.jobs):
                raise
            faces[model] = str(error)
    return faces


def _warn_of_refused(found: "Jobs") -> None:
    for refused in found.refused[:MAX_NAMED]:
        console.warn(f"{refused.place}: {refused.reason}")
    count = len(found.refused)
    if count > MAX_NAMED:
        console.warn(f"and {count - MAX_NAMED} more bad jobs, which the report names")
    if not found.jobs:
        raise ConfigError(f"All {count} jobs are bad, so none is drawn. Correct them.")


def _print_plan(found: "Jobs", size: int, *, as_json: bool) -> None:
    from swiftpie.batch.jobs import batches_of

    passes = batches_of(found, size, wanted=[job.id for job in found.jobs])
    models = len({job.model for job in found.jobs})
    console.say(
        f"{len(found.jobs)} jobs in {len(passes)} passes by {models} model{'s' * (models > 1)}, "
        f"{len(found.refused)} refused; nothing was drawn."
    )
    if as_json:
        rows = [{"id": job.id, "place": job.place, **job.spec} for job in found.jobs]
        refused = [row._asdict() for row in found.refused]
        console.print_json({"jobs": rows, "refused": refused})


def _tell(rows: "Sequence[Outcome]", facts: Mapping[str, Any], *, spent: float) -> None:
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed[:MAX_NAMED]:
        console.warn(f"{row['place']}: {row['reason']}")
    warned = sum(bool(row.get("warnings")) for row in rows)
    if warned:
        console.warn(f"{warned} pictures have warnings, which {REPORT} lists.")
    counts = ", ".join(f"{facts[name]} {name}" for name in ("done", "failed", "refused", "left"))
    console.say(f"{counts}; {spent:.1f} s")
