"""The loop: resuming, limits, averages, and loud failure."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from swiftpie.training.checkpoint import STATE_FILE
from swiftpie.training.loop import NotFiniteError, fit, learning_rate_factor
from tests.training.toy import CONFIG, ToyStage

KILLS = 4


@pytest.fixture(autouse=True)
def _one_thread():
    """The order of a sum, and so its last bit, depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(folder, config=CONFIG, **limits):
    return list(fit(ToyStage(), config, folder, **limits))


def state(folder):
    return load_file(folder / STATE_FILE)


def assert_same(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_lowers_the_loss_and_logs_every_step(tmp_path):
    events = run(tmp_path)
    assert events[-1].stopped == "all steps done"
    assert events[-1].losses["error"] < 0.8 * events[0].losses["error"]
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert (tmp_path / "export" / "weights.safetensors").exists()


def test_a_stopped_run_continues_bit_for_bit(tmp_path):
    run(tmp_path / "whole")
    run(tmp_path / "parts", time_limit_s=0.0)
    assert len(run(tmp_path / "parts")) == 39
    assert_same(state(tmp_path / "whole"), state(tmp_path / "parts"))


def test_killed_runs_continue_bit_for_bit(tmp_path):
    run(tmp_path / "whole")
    draw = random.Random(0)
    script = Path(__file__).parent / "toy.py"
    folder = tmp_path / "killed"
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        process.stdout.readline()  # after its first step, wherever that step is in the run
        time.sleep(draw.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    run(folder)
    assert_same(state(tmp_path / "whole"), state(folder))


def test_finished_runs_stay_finished(tmp_path):
    run(tmp_path)
    before = state(tmp_path)
    events = run(tmp_path)
    assert events[-1].stopped == "all steps done"
    assert_same(before, state(tmp_path))


def test_a_loss_that_is_no_number_stops_training_and_is_named(tmp_path):
    with pytest.raises(NotFiniteError, match="'error' is nan at step 3"):
        list(fit(ToyStage(breaks_at=3), CONFIG, tmp_path))
    assert state(tmp_path)


def test_learning_rate_warms_up_holds_and_decays():
    config = replace(CONFIG, steps=1000, warmup_steps=10, decay_share=0.5)
    factors = [learning_rate_factor(step, config) for step in (0, 9, 400, 750, 999)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, config.final_share], abs=1e-6)
