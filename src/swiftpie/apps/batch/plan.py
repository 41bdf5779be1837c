"""The plan of a run: the jobs of each pass, and the manifest of its folder.

Pictures drawn in one pass differ from pictures drawn alone by at most one level of 255. Passes are
therefore formed from all jobs, not from those that are left, so that an interrupted run draws the
same bits as an undisturbed one.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie import __version__
from swiftpie.apps.batch.jobs import Job, Jobs, Model
from swiftpie.errors import ConfigError
from swiftpie.imageio.files import write_file

PLAN = "plan.jsonl"  # the run in its first line, then a line a job
MAX_NAMED = 5  # jobs that a message names


class Batch(NamedTuple):
    """Jobs of one model that are drawn in one pass."""

    jobs: tuple[Job, ...]
    wanted: frozenset[str]  # ids of those whose files are written

    @property
    def model(self) -> Model:
        """The model that draws them."""
        return self.jobs[0].model


class RunManifest(NamedTuple):
    """What decides about the pictures of a folder; its file is `plan.jsonl`."""

    run: Mapping[str, Any]  # options that all jobs share
    jobs: Mapping[str, Mapping[str, Any]]  # by id: everything that decides about the picture


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


def manifest_of(jobs: Jobs, run: Mapping[str, Any]) -> RunManifest:
    """Return the manifest of a run of these jobs."""
    digests = {name: seen.digest[:16] for name, seen in jobs.files.items()}
    described = {
        job.id: job.spec() | {"files": {name: digests[name] for name in job.files}}
        for job in jobs.jobs
    }
    return RunManifest({"swiftpie": __version__, **run}, described)


def read_manifest(folder: Path) -> RunManifest | None:
    """Return the manifest in a folder; None if there is none.

    Raises:
        ConfigError: It cannot be read.
    """  # noqa: DOC501 - which is its own
    path = folder / PLAN
    try:
        head, *lines = path.read_text("utf-8").splitlines()
        run, rows = json.loads(head), [json.loads(line) for line in lines]
        if not isinstance(run, dict) or not isinstance(run["threads"], int):
            raise ValueError("its first line does not describe a run")
        return RunManifest(run, {row.pop("id"): row for row in rows})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' cannot be read ({error}), so what was drawn there is unknown. Choose "
            "another --out, or draw everything again with --force."
        ) from error


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Write a manifest, whole or not at all."""
    rows = [manifest.run, *({"id": name, **job} for name, job in manifest.jobs.items())]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_file(folder / PLAN, text.encode(), force=True)


def differences(before: RunManifest, now: RunManifest, *, done: Container[str]) -> list[str]:
    """Return what differs between two manifests, a sentence each; none for the same run.

    A job that is not `done` may change, for example after its damaged picture was replaced.
    """
    told = [
        f"{name} was {before.run.get(name)!r} and is {now.run.get(name)!r}."
        for name in dict.fromkeys([*before.run, *now.run])
        if before.run.get(name) != now.run.get(name)
    ]
    kept = before.jobs.keys() & now.jobs.keys()
    same = {name for name in kept if before.jobs[name] == now.jobs[name] or name not in done}
    changed = [name for name in now.jobs if name in kept - same]
    added = [name for name in now.jobs if name not in kept]
    gone = [name for name in before.jobs if name not in kept]
    if changed:
        about = [f"{name} ({_fields(before.jobs[name], now.jobs[name])})" for name in changed]
        told.append(f"{len(changed)} jobs changed: {_some(about)}.")
    for names, what in ((added, "are new"), (gone, "are gone")):
        if names:
            told.append(f"{len(names)} jobs {what}: {_some(names)}.")
    return told


def _pass_key(job: Job, jobs: Jobs) -> object:
    """Return what jobs must share to be drawn in one pass."""
    image = None if job.image is None else jobs.files[job.image].size
    counts = tuple(len(one.pictures) for one in job.subjects)
    return (job.model, image, job.size_px, counts, job.settings.get("size_px"))


def _subject_key(job: Job) -> object:
    return (job.image, tuple((one.pictures, one.cutouts, one.word) for one in job.subjects))


def _fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = dict.fromkeys([*before, *now])
    return ", ".join(name for name in names if before.get(name) != now.get(name))


def _some(names: Sequence[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
