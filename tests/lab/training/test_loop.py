import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from swiftpie.errors import InputError
from swiftpie_lab.training.loop import NotFiniteError, fit, learning_rate_factor
from swiftpie_lab.training.state import STATE_FILE, read_state
from tests.lab.training.toy import CONFIG, ToyRivals, ToyStage
from tests.processes import no_file_beyond
from tests.tiny.networks import same

LONGEST_S = 100  # of a process that a test starts
ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(folder, config=CONFIG, **limits):
    return list(fit(ToyStage(), config, folder, **limits))


def state(folder):
    return load_file(folder / STATE_FILE)


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
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))


def why_processes_cannot_meet():
    """Return why two processes of this machine cannot reach each other, or nothing."""
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.settimeout(1)
            client.connect(server.getsockname())
    except OSError as error:
        return f"the loopback interface does not answer ({error})"
    return ""


def by_two_processes(launcher, folder, steps):
    """Train with two processes as users launch them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", *launcher.split(), str(port)]
    command += ["-m", "tests.lab.training.toy", str(folder), str(steps)]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, start_new_session=True) as process:
        try:
            assert process.wait(LONGEST_S) == 0
        finally:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "starts_alone"),
    [
        ("torch.distributed.run --nproc-per-node 2 --master-port", False),
        ("accelerate.commands.launch --multi_gpu --num_processes 2 --main_process_port", True),
    ],
)
def test_two_processes_train_as_one_at_twice_the_batch_and_go_on_as_one(
    launcher, starts_alone, tmp_path
):
    if reason := why_processes_cannot_meet():
        pytest.skip(reason)
    one, half, folder = replace(CONFIG, accumulate=2), CONFIG.steps // 2, tmp_path / "both"
    run(tmp_path / "one", one)
    if starts_alone:
        for _ in zip(range(half), fit(ToyStage(), one, folder), strict=False):
            pass
        by_two_processes(launcher, folder, CONFIG.steps)
    else:
        by_two_processes(launcher, folder, half)
        run(folder, one)
    assert losses(folder) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    events = [(tmp_path / f"events-{rank}").read_text().splitlines() for rank in range(2)]
    assert len(events[0]) == len(events[1]) == half
    assert "norm" not in json.loads(events[1][-1])
    first, second = state(folder), state(tmp_path / "one")
    weights = [name for name in first if name.endswith((".weight", ".bias"))]
    assert len(weights) == 8
    for name in weights:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=1e-5)


def test_batches_follow_each_other_when_a_step_becomes_smaller(tmp_path, caplog):
    for _ in zip(range(2), fit(ToyStage(), replace(CONFIG, accumulate=3), tmp_path), strict=False):
        pass
    run(tmp_path, replace(CONFIG, steps=4))
    assert "sees 8 pictures, and saw 24 before" in caplog.text
    assert read_state(tmp_path).progress == {"step": 4, "draws": 2 * 3 + 2, "samples": 8}


def losses(folder):
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["error"] for row in rows]


def test_rivals_train_in_turn_each_with_its_own_weights_and_rate(tmp_path):
    config = replace(CONFIG, steps=2, learning_rates=(0.0, 1e-2), uses_muon=False)
    before = ToyRivals().network().state_dict()
    events = list(fit(ToyRivals(), config, tmp_path))
    assert {"gap", "fooled", "gradient_critic", "gradient_generator"} <= events[0].losses.keys()
    assert {"gap", "gradient_critic"}.isdisjoint(events[1].losses)
    after = state(tmp_path)
    assert torch.equal(after["network/network/critic.weight"], before["critic.weight"])
    assert not torch.equal(after["network/network/generator.weight"], before["generator.weight"])
    assert float(after["optimizer/critic.adamw/0/step"]) == 1
    assert float(after["optimizer/generator.adamw/0/step"]) == 2


def test_rivals_resume_bit_for_bit_with_accumulation(tmp_path):
    config = replace(CONFIG, steps=6, accumulate=3)
    list(fit(ToyRivals(), config, tmp_path / "whole"))
    list(fit(ToyRivals(), config, tmp_path / "parts", time_limit_s=0.0))
    assert len(list(fit(ToyRivals(), config, tmp_path / "parts"))) == 5
    whole, parts = (read_state(tmp_path / name) for name in ("whole", "parts"))
    assert same(whole.tensors, parts.tensors)


def test_a_loss_that_is_no_number_stops_training_and_is_named(tmp_path):
    with pytest.raises(NotFiniteError, match="'error' is nan at step 3"):
        list(fit(ToyStage(breaks_at=3), CONFIG, tmp_path))
    assert state(tmp_path)


def test_learning_rate_warms_up_holds_and_decays_by_steps_or_by_time(tmp_path):
    config = replace(CONFIG, steps=1000, warmup_steps=10, decay_share=0.5)
    factors = [learning_rate_factor(step, config) for step in (0, 9, 400, 750, 999)]
    assert factors == pytest.approx([0.1, 1.0, 1.0, 0.5, config.final_share], abs=1e-6)
    config = replace(CONFIG, steps=10**6, warmup_steps=1, decay_share=0.5, decays_by_time=True)
    shares = (0.0, 0.5, 0.75, 1.0)
    factors = [learning_rate_factor(9, config, time_share=share) for share in shares]
    assert factors == pytest.approx([1.0, 1.0, 0.5, config.final_share])
    assert run(tmp_path, config, time_limit_s=0.2)[-1].stopped == "time limit reached"


def test_a_full_disk_ends_a_run_in_a_sentence_that_goes_on_later(tmp_path):
    config = replace(CONFIG, steps=4)
    run(tmp_path / "whole", config)
    run(tmp_path / "parts", config, time_limit_s=0.0)
    with no_file_beyond(1024), pytest.raises(InputError, match="cannot be written"):
        run(tmp_path / "parts", config)
    run(tmp_path / "parts", config)
    assert same(state(tmp_path / "whole"), state(tmp_path / "parts"))
    assert len(losses(tmp_path / "parts")) == 4
