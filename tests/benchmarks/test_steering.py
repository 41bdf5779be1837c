"""Ways of steering cost what is counted, and trials of others leave the networks as they were."""

import pytest
import torch

from benchmarks.steering import counted
from benchmarks.steering_trials import begin, injected
from swiftpie.pipelines.drawing.settings import MaskSource


@pytest.mark.parametrize(("mask", "calls"), [("none", 1), ("inline", 1), ("two-pass", 2)])
def test_a_second_pass_is_a_second_call(session, identity, mask, calls):
    with counted(session.components) as counts:
        session.personalize(
            identity, "a dog", seed=1, size_px=(64, 64), scene="words", mask=MaskSource(mask)
        )
    assert counts == {"denoiser": calls, "image encoder": 0}


@pytest.mark.thorough
@torch.no_grad()
def test_an_injection_ends_with_its_picture(session, identity):
    network = session.components.denoiser.installation.network
    before = dict(network.attn_processors)
    trial = begin(session, identity, "a dog on a beach", 3, is_semantic=True)
    plain = trial.latents()
    assert (injected(trial) - plain).abs().max() > 0.1
    assert network.attn_processors == before
    assert torch.equal(trial.latents(), plain)
