"""Kills toy runs at random until enough were killed; run as a script, it reports as JSON.

One process imports everything and forks the runs, so that each starts at once.
"""

import json
import random
import sys
from pathlib import Path

import torch
import torch._dynamo  # noqa: F401 - optimizers import it late, and every fork would again

from swiftpie.imageio.atomic import TEMPORARY
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.state import read_state
from tests.kills import Moments, finishes
from tests.lab.training.toy import CONFIG, ToyStage

STAGE = ToyStage(width=128)
MOST_STEPS = 3  # of a process before it is killed
LONGEST_S = 0.03  # after such a step
AIMED = 1.0  # of the kills wait until the run saves


def main(folder, num_kills):
    torch.set_num_threads(1)
    chance = random.Random(0)
    train(folder / "whole")
    whole = read_state(folder / "whole")
    report = {"kills": 0, "while_saving": 0, "runs": 0, "differing": [], "broken_logs": []}
    while report["kills"] < num_kills:
        run = folder / f"run{report['runs']}"
        report["runs"] += 1
        while report["kills"] < num_kills and not train(run, chance):
            report["kills"] += 1
            report["while_saving"] += is_saving(run)
        train(run)
        if not same(read_state(run), whole):
            report["differing"].append(run.name)
        if steps(run) != list(range(1, CONFIG.steps + 1)):
            report["broken_logs"].append(run.name)
    sys.stdout.write(json.dumps(report))


def train(run, chance=None):
    """Train in a process of its own, which `chance` kills; tell whether it finished."""
    if chance is None:
        return finishes(lambda: fit(STAGE, CONFIG, run))
    moments = Moments(chance, MOST_STEPS, LONGEST_S, AIMED, lambda: is_saving(run))
    return finishes(lambda: fit(STAGE, CONFIG, run), moments)


def is_saving(run):
    return any(run.glob(TEMPORARY))


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
