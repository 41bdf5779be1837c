"""The plan of a run: which jobs are drawn in one pass, and what a folder was begun with.

Pictures of one pass are what each would be alone, up to one level of 255. So passes are formed of
all jobs, not of those that are left: a run that was interrupted draws the same bits as another.
"""

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from swiftpie import __version__
from swiftpie.apps.batch.jobs import Job, Jobs, Model
from swiftpie.errors import ConfigError
from swiftpie.imageio.atomic import write_file

PLAN = "plan.jsonl"  # the run in its first line, then a line a job
TOLD = 5  # jobs that a message names


class Batch(NamedTuple):
    """Jobs of one model that are drawn in one pass."""

    jobs: tuple[Job, ...]
    wanted: frozenset[str]  # those whose files are written; the others keep them company

    @property
    def model(self) -> Model:
        """What draws them."""
        return self.jobs[0].model


class Begun(NamedTuple):
    """What a folder was begun with."""

    run: Mapping[str, Any]  # what all jobs have in common
    jobs: Mapping[str, Mapping[str, Any]]  # by id, each with all that decides about its picture


def batches_of(jobs: Jobs, size: int, *, wanted: Iterable[str]) -> list[Batch]:
    """Return batches of at most `size` jobs, of which at least one each is `wanted`.

    Those of one model, kind and shape go together, and those of one subject follow each other, so
    that it is encoded once.
    """
    groups: dict[object, dict[object, list[Job]]] = {}
    for job in jobs.jobs:
        shown = groups.setdefault(_alike(job, jobs), {})
        shown.setdefault(_shown(job), []).append(job)
    missing = frozenset(wanted)
    found = []
    for shown in groups.values():
        group = [job for same in shown.values() for job in same]
        for first in range(0, len(group), size):
            together = tuple(group[first : first + size])
            if own := missing.intersection(job.id for job in together):
                found.append(Batch(together, own))
    return found


def begun_by(jobs: Jobs, run: Mapping[str, Any]) -> Begun:
    """Return what a folder says that is begun with these jobs."""
    digests = {name: seen.digest[:16] for name, seen in jobs.files.items()}
    described = {
        job.id: job.asked() | {"files": {name: digests[name] for name in job.files}}
        for job in jobs.jobs
    }
    return Begun({"swiftpie": __version__, **run}, described)


def read_begun(folder: Path) -> Begun | None:
    """Return what a folder was begun with; None if it was not.

    Raises:
        ConfigError: It cannot be read.
    """  # noqa: DOC501 - which is its own
    path = folder / PLAN
    try:
        head, *lines = path.read_text("utf-8").splitlines()
        run, rows = json.loads(head), [json.loads(line) for line in lines]
        if not isinstance(run, dict) or not isinstance(run["threads"], int):
            raise ValueError("its first line does not describe a run")
        return Begun(run, {row.pop("id"): row for row in rows})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"'{path}' cannot be read ({error}), so nobody knows what was drawn there. Choose "
            "another --out, or draw all anew with --force."
        ) from error


def write_begun(folder: Path, begun: Begun) -> None:
    """Write what a folder is begun with, whole or not at all."""
    rows = [begun.run, *({"id": name, **job} for name, job in begun.jobs.items())]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_file(folder / PLAN, text.encode(), force=True)


def differences(before: Begun, now: Begun, *, done: Container[str]) -> list[str]:
    """Return what differs between two beginnings, a sentence each; none for the same run.

    A job that is not `done` may change, as when somebody mends the picture that it failed for.
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


def _alike(job: Job, jobs: Jobs) -> object:
    """Return what jobs have in common that can be drawn in one pass."""
    image = None if job.image is None else jobs.files[job.image].size
    counts = tuple(len(one.pictures) for one in job.subjects)
    return (job.model, image, job.size_px, counts, job.settings.get("size_px"))


def _shown(job: Job) -> object:
    return (job.image, tuple((one.pictures, one.cutouts, one.word) for one in job.subjects))


def _fields(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = dict.fromkeys([*before, *now])
    return ", ".join(name for name in names if before.get(name) != now.get(name))


def _some(names: Sequence[str]) -> str:
    rest = len(names) - TOLD
    return ", ".join(names[:TOLD]) + (f" and {rest} more" if rest > 0 else "")
