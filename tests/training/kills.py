"""Kills toy runs at random until enough were killed; run as a script, it reports as JSON.

One process imports everything and forks the runs, so that each starts at once. Every attempt
saves in one file or in parts, by chance, so the form changes within a run.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch._dynamo  # noqa: F401 - optimizers import it late, and every fork would again

from swiftpie.files import TEMPORARY
from swiftpie.training.loop import fit
from swiftpie.training.state import INDEX_FILE, read_state
from tests.training.toy import CONFIG, ToyStage

STAGE = ToyStage(width=128)
FORMS = (None, 0.2)  # MiB a file; a state has about 0.3
MOST_STEPS = 3  # of a process before it is killed
LONGEST_S = 0.03  # after such a step


def main(folder, num_kills):
    torch.set_num_threads(1)
    draw = random.Random(0)
    train(folder / "whole")
    whole = read_state(folder / "whole")
    report = {"kills": 0, "while_saving": 0, "runs": 0, "differing": [], "broken_logs": []}
    while report["kills"] < num_kills:
        run = folder / f"run{report['runs']}"
        report["runs"] += 1
        while report["kills"] < num_kills and not train(run, draw):
            report["kills"] += 1
            report["while_saving"] += is_saving(run)
        train(run)
        if not same(read_state(run), whole):
            report["differing"].append(run.name)
        if steps(run) != list(range(1, CONFIG.steps + 1)):
            report["broken_logs"].append(run.name)
    sys.stdout.write(json.dumps(report))


def train(run, draw=None):
    """Train in a process of its own, which `draw` kills at random; tell whether it finished."""
    config = CONFIG if draw is None else replace(CONFIG, max_file_mib=draw.choice(FORMS))
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        for _ in fit(STAGE, config, run):
            os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb", buffering=0) as events:
        if draw is not None:
            wait_for_a_moment(events, run, draw)
            os.kill(process, signal.SIGKILL)
        while events.read(64):
            pass
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in {0, -signal.SIGKILL}
    return code == 0


def wait_for_a_moment(events, run, draw):
    """Wait for some steps and a random time, then perhaps until the run saves."""
    num_steps, pause_s, aims = (
        draw.randint(0, MOST_STEPS),
        draw.uniform(0, LONGEST_S),
        draw.random(),
    )
    for _ in range(num_steps):
        events.read(1)
    time.sleep(pause_s)
    deadline = time.monotonic() + 1
    while aims and not is_saving(run) and time.monotonic() < deadline:
        time.sleep(0.0002)


def is_saving(run):
    """Whether there are files that a finished save does not leave behind."""
    if any(run.glob(TEMPORARY)):
        return True
    try:
        listed = json.loads((run / INDEX_FILE).read_text())["parts"]
    except FileNotFoundError:
        listed = []
    return any(path.name not in listed for path in run.glob("state-step*"))


def same(first, second):
    return first.progress == second.progress and {
        name: value.numpy().tobytes() for name, value in first.tensors.items()
    } == {name: value.numpy().tobytes() for name, value in second.tensors.items()}


def steps(run):
    text = (run / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(row)["step"] for row in text.splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
