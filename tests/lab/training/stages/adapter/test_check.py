import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from swiftpie_lab.data.photographs import Augmentation
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.stages.adapter.check import Branch, figures_of, swap_references, verdicts
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops, LossWeights
from swiftpie_lab.training.state import LOG_FILE, read_state
from tests.policy.project import ROOT

UNCHANGED = Augmentation(flip=0, rotation_deg=0, smallest=1, largest=1, jitter=0, halo=0)
LOOP = LoopConfig(
    steps=20,
    learning_rate=3e-2,
    warmup_steps=1,
    sample_every=100,
    save_every=100,
    ema_decay=0.9,
    uses_muon=False,
)


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
    figures = figures_of({branch: torch.stack([own, own + gain + noise]) for branch in Branch})
    assert [*verdicts(figures).values()] == [learns, learns]


@pytest.mark.thorough
@pytest.mark.parametrize("branch", Branch)
def test_a_branch_that_is_trained_learns_and_the_other_does_not(branch, build, tmp_path):
    trains_detail = branch is Branch.DETAIL
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
    loop = replace(LOOP, steps=40 if trains_detail else LOOP.steps)
    *_, last = fit(stage, loop, tmp_path)
    found = verdicts(last.losses)
    learned = zip(Branch, found.values(), strict=True)
    assert [other for other, learns in learned if learns] == [branch], found


@pytest.fixture
def script(place, tmp_path):
    def start(name, *, steps):
        settings = {
            "stage.size_px": 64,
            "stage.batch_size": 1,
            "stage.num_judged": 2,
            "stage.weights": place / "pipeline",
            "stage.image_encoder": place / "encoder",
            "loop.save_every": 1,
            "loop.log_every": 1,
        }
        sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        out = {"OUT": str(tmp_path / name), "DEVICE": "cpu", "STEPS": str(steps)}
        return subprocess.Popen(
            [ROOT / "runs" / "adapter_sd_turbo.sh", place / "photos", "--threads", "1", *sets],
            env=os.environ | out | {"PYTHON": sys.executable, "CHECK_AFTER": "10h"},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


@pytest.mark.thorough
def test_the_script_goes_on_after_a_kill_bit_for_bit(script, tmp_path):
    steps = 6
    whole = script("whole", steps=steps)
    output, _ = whole.communicate()
    assert "The semantic branch" in output, output
    assert whole.returncode == int("does not learn" in output)
    killed = script("parts", steps=steps)
    log = tmp_path / "parts" / "adapter" / LOG_FILE
    while not log.is_file() or log.read_text().count("\n") < steps // 2:
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert 0 < read_state(log.parent).progress["step"] < steps
    script("parts", steps=steps).communicate()
    first, second = (read_state(tmp_path / name / "adapter") for name in ("whole", "parts"))
    assert first.progress == second.progress == {"step": steps}
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
