import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from swiftpie_lab.data.photographs import Augmentation
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.stages.adapter.check import (
    TrainedBranch,
    figures_of,
    swap_references,
    verdicts,
)
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops, LossWeights
from swiftpie_lab.training.state import read_state
from tests.lab.training.stages import conftest
from tests.policy.project import ROOT

UNCHANGED = Augmentation(flip=0, rotation_deg=0, smallest=1, largest=1, jitter=0, halo=0)
LOOP = replace(conftest.LOOP, steps=20, learning_rate=3e-2, ema_decay=0.9)


def test_swapped_references_are_of_other_subjects(build):
    examples = build().examples.batch(4, 0)._replace(names=["a", "a", "b", "a"])
    swapped = swap_references(examples)
    assert torch.equal(swapped.reference, examples.reference[[2, 2, 3, 2]])
    assert torch.equal(swapped.reference_mask, examples.reference_mask[[2, 2, 3, 2]])
    assert torch.equal(swapped.pixels, examples.pixels)
    alike = swap_references(examples._replace(names=["a"] * 4))
    assert torch.equal(alike.reference, examples.reference[[1, 2, 3, 0]])


@pytest.mark.parametrize(("gain", "learns"), [(0.1, True), (0.01, False), (-0.1, False)])
def test_a_difference_counts_where_it_exceeds_its_error(gain, learns):
    own = torch.linspace(0.3, 0.5, 16)
    noise = torch.tensor([-0.08, 0.08]).repeat(8)
    figures = figures_of(
        {branch: torch.stack([own, own + gain + noise]) for branch in TrainedBranch}
    )
    assert [*verdicts(figures).values()] == [learns, learns]


@pytest.mark.thorough
@pytest.mark.parametrize("branch", TrainedBranch)
def test_a_branch_that_is_trained_learns_and_the_other_does_not(branch, build, tmp_path):
    trains_detail = branch is TrainedBranch.DETAIL
    stage = build(
        batch_size=4,
        num_judged=16,
        pixel_samples=4,
        cross_view=0.0,
        gate=1.0,
        augmentation=UNCHANGED,
        drops=AdapterDrops(
            semantic=float(trains_detail), detail=float(not trains_detail), both=0, text=0
        ),
        loss=LossWeights(subject=0, whole=0, identity=10, maps=0, adversarial=0),
    )
    loop = replace(LOOP, steps=120 if trains_detail else LOOP.steps)
    *_, last = fit(stage, loop, tmp_path)
    found = verdicts(last.losses)
    learned = zip(TrainedBranch, found.values(), strict=True)
    assert [other for other, learns in learned if learns] == [branch], found


@pytest.mark.thorough
def test_the_script_trains_and_fails_where_a_branch_does_not_learn(place, tmp_path):
    settings = {
        "stage.size_px": 64,
        "stage.batch_size": 1,
        "stage.num_judged": 2,
        "stage.weights": place / "pipeline",
        "stage.image_encoder": place / "encoder",
    }
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    out = {"OUT": str(tmp_path), "DEVICE": "cpu", "STEPS": "2", "PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / "runs" / "adapter_sd_turbo.sh", place / "photos", "--threads", "1", *sets],
        env=os.environ | out | {"CHECK_AFTER": "10h"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert "The semantic branch" in done.stdout, done.stdout
    assert done.returncode == int("does not learn" in done.stdout)
    assert read_state(tmp_path / "adapter").progress["step"] == 2
