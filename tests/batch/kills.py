"""Kills a run of many jobs at random until enough were killed; as a script, it reports as JSON.

    python -m tests.batch.kills FOLDER [KILLS] [JOBS]

One process loads the model and forks the runs, so that each starts at once. A run that is killed
goes on in the same folder, and in the end every file is compared with an undisturbed run's.
"""

import json
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import torch

import swiftpie
from swiftpie.batch.folder import REPORT
from swiftpie.batch.jobs import DEFAULT_MODEL
from swiftpie.batch.lists import grid
from swiftpie.batch.rows import JobDefaults, collect
from swiftpie.batch.run import Work, draw, open_run
from swiftpie.imageio.atomic import TEMPORARY
from swiftpie.imageio.images import sample_pictures

PROMPTS = [f"a {size}animal {place}" for size in ("", "tiny ") for place in ("of wood", "of gold")]
SIDE_PX = 64  # the smallest that there is
BATCH = 4
LONGEST_S = 0.3  # after the steps of a run
AIMED = 0.5  # of the kills wait until a file is being written,
LONGEST_WAIT_S, BETWEEN_LOOKS_S = 3, 0.0002  # so long


def main(folder, num_kills=200, num_jobs=1000):
    torch.set_num_threads(1)
    session = swiftpie.load("mini")
    jobs = jobs_of(folder / "subjects", num_jobs)
    killed, chance = folder / "killed", random.Random(0)
    # The steps are so few that all kills come before the end.
    amid = partial(wait, chance=chance, most_steps=num_jobs // num_kills, folder=killed)
    started = time.monotonic()
    assert run(jobs, session, folder / "whole")
    assert len(jobs.jobs) == num_jobs  # else every run would end before it is killed
    report = {"jobs": len(jobs.jobs), "kills": 0, "while_writing": 0, "runs": 0, "finished": 0}
    report |= {"undisturbed_s": round(time.monotonic() - started, 1), "differing": []}
    while report["kills"] < num_kills:
        is_whole = run(jobs, session, killed, kill_at=amid)
        report["runs"] += 1
        report["finished"] += is_whole
        report["kills"] += not is_whole
        report["while_writing"] += is_writing(killed)
        if is_whole:  # all is drawn before enough were killed: once more, elsewhere
            report["differing"] += differing(folder, jobs)
            killed.rename(folder / f"killed{report['runs']}")
    run(jobs, session, killed)
    report["differing"] += differing(folder, jobs)
    report["seconds"] = round(time.monotonic() - started, 1)
    sys.stdout.write(json.dumps(report))


def jobs_of(folder, count):
    folder.mkdir(parents=True)
    samples = sample_pictures(2)
    for sample in samples:
        (folder / sample.name).write_bytes(sample.read_bytes())
    seeds = tuple(range(-(-count // (len(samples) * len(PROMPTS)))))
    asked = (
        row._replace(row={**row.row, "size": f"{SIDE_PX}x{SIDE_PX}"})
        for row in grid(folder, PROMPTS)
    )
    found = collect(asked, root=folder, defaults=JobDefaults(seeds=seeds))
    return found._replace(jobs=found.jobs[:count])


def run(jobs, session, folder, kill_at=None):
    """Draw in a process of its own, killed when `kill_at` returns; tell whether it finished."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        drawing = Work(folder, ".png", {DEFAULT_MODEL: {}}, load=lambda: session)
        with open_run(jobs, drawing, batch=BATCH, settings={}) as manifest:
            for _ in draw(manifest, drawing):
                os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as steps:
        if kill_at is not None:
            kill_at(steps, process)
            os.kill(process, signal.SIGKILL)
        while steps.read(64):
            pass
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in {0, -signal.SIGKILL}
    return code == 0


def wait(steps, process, chance, most_steps, folder):
    """Return after some of the process's `steps` and a while, often amid a write."""
    aims, pause_s = chance.random() < AIMED, chance.uniform(0, LONGEST_S)
    for _ in range(chance.randint(0, most_steps)):
        steps.read(1)
    time.sleep(pause_s)
    deadline = time.monotonic() + LONGEST_WAIT_S
    while aims and time.monotonic() < deadline:
        os.kill(process, signal.SIGSTOP)  # else it may have written before it is killed
        if is_writing(folder):
            break
        os.kill(process, signal.SIGCONT)
        time.sleep(BETWEEN_LOOKS_S)


def is_writing(folder):
    return any(folder.glob(TEMPORARY))


def differing(folder, jobs):
    """Return what is not as in the undisturbed run: files, and jobs without exactly one line."""
    whole, killed = (
        {path.name: path.read_bytes() for path in each.iterdir() if not path.match(TEMPORARY)}
        for each in (folder / "whole", folder / "killed")
    )
    names = {*whole, *killed} - {REPORT}
    found = [name for name in sorted(names) if whole.get(name) != killed.get(name)]
    lines = [json.loads(line) for line in killed[REPORT].splitlines()]
    outcomes = [(row["id"], row["status"]) for row in lines]
    return found + [outcomes] * (outcomes != [(job.id, "done") for job in jobs.jobs])


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
