"""Kills a subject's tuning at random until it was killed often; as a script, it reports as JSON."""

import json
import sys
from pathlib import Path
from random import Random

import torch
import torch._dynamo  # noqa: F401 - optimizers import it late, and every fork would again

from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.stages.subject.echo import EchoSettings
from swiftpie_lab.training.stages.subject.stage import SubjectConfig
from swiftpie_lab.training.state import read_state
from tests.kills import Moments, finishes
from tests.lab.training.kills import is_saving, same, steps
from tests.lab.training.stages.conftest import unseen

LOOP = LoopConfig(steps=3, learning_rate=1e-3, save_every=1, log_every=1, uses_muon=False)
MOST_STEPS = 2  # of a process before it is killed
LONGEST_S = 0.2  # after such a step
AIMED = 0.5  # of the kills wait until the run saves


def build_subject(place, **changes):
    """The stage on a tiny random Stable Diffusion, exact and quick unless told otherwise."""
    settings = {
        "data": place / "photos" / "red_cup",
        "noun": "cup",
        "weights": place / "pipeline",
        "unet": place / "teacher",
        "image_encoder": place / "encoder",
        "size_px": 64,
        "batch_size": 1,
        "rank": 2,
        "echo": EchoSettings(first_step=1, echo_every=1, num_pictures=3, share=1.0),
        "autocast": False,
    }
    return SubjectConfig(**settings | changes).build(Context(place, place, "cpu"))


def main(place, folder, num_kills):
    torch.set_num_threads(1)
    chance = Random(0)
    stage = unseen(build_subject(place))
    report = {"kills": 0, "differing": [], "broken_logs": []}
    finishes(lambda: fit(stage, LOOP, folder / "whole"))
    whole, number = read_state(folder / "whole"), 0
    while report["kills"] < num_kills:
        run, number = folder / f"run{number}", number + 1
        moments = Moments(chance, MOST_STEPS, LONGEST_S, AIMED, lambda run=run: is_saving(run))
        while report["kills"] < num_kills and not finishes(
            lambda run=run: fit(stage, LOOP, run), moments
        ):
            report["kills"] += 1
        finishes(lambda run=run: fit(stage, LOOP, run))
        if not same(read_state(run), whole):
            report["differing"].append(run.name)
        if steps(run) != list(range(1, LOOP.steps + 1)):
            report["broken_logs"].append(run.name)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
