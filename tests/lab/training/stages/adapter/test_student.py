"""The clamped loss of prompts: nothing above the threshold, minus the cosine below it."""

from dataclasses import replace

import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie_lab.training.perceptual import read_judge
from swiftpie_lab.training.stages.adapter.networks import AdapterDrops, LossWeights
from swiftpie_lab.training.stages.adapter.student import crop_around, draw_chances, prompt_term

CAPTIONS = ["a red cup", "a blue vase on a table"]
SINGLE_PROCESS = LossWeights(subject=0, whole=0, identity=0, maps=0, adversarial=0, prompt=0.5)


@pytest.fixture(scope="module")
def judge(place):
    return read_judge(place / "clip", torch.device("cpu"))


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(2, 3, 48, 48, generator=generator) * 2 - 1).requires_grad_()


def slope(loss, drawn):
    return torch.autograd.grad(loss, drawn)[0]


def test_above_the_threshold_there_is_neither_loss_nor_gradient(judge, drawn):
    lowest = float(judge.cosine(drawn, CAPTIONS).min().detach())
    loss = prompt_term(drawn, CAPTIONS, judge=judge, threshold=lowest - 0.01)
    assert float(loss.detach()) == 0
    assert not slope(loss, drawn).any()


def test_below_it_the_gradient_is_that_of_minus_the_cosine(judge, drawn):
    loss = prompt_term(drawn, CAPTIONS, judge=judge, threshold=1.0)
    cosine = judge.cosine(drawn, CAPTIONS)
    assert float(loss.detach()) == pytest.approx(float(1 - cosine.mean().detach()), abs=1e-6)
    wanted = slope(-cosine.mean(), drawn)
    assert wanted.abs().max() > 1e-7
    torch.testing.assert_close(slope(loss, drawn), wanted)


def test_only_pictures_below_the_threshold_are_moved(judge, drawn):
    cosine = judge.cosine(drawn, CAPTIONS).detach()
    middle = float(cosine.mean())
    found = slope(prompt_term(drawn, CAPTIONS, judge=judge, threshold=middle), drawn)
    assert [bool(one.any()) for one in found] == (cosine < middle).tolist()


def test_pictures_that_were_told_nothing_do_not_count(judge, drawn):
    one = prompt_term(drawn, [CAPTIONS[0], ""], judge=judge, threshold=1.0)
    alone = prompt_term(drawn[:1], CAPTIONS[:1], judge=judge, threshold=1.0)
    torch.testing.assert_close(one, alone)
    none = prompt_term(drawn, ["", ""], judge=judge, threshold=1.0)
    assert float(none.detach()) == 0
    assert not slope(none, drawn).any()


def test_it_needs_a_model_and_fades(build, place):
    assert build(loss=SINGLE_PROCESS).judge is None
    assert build(prompt_model=place / "clip", loss=LossWeights(prompt=0)).judge is None
    stage = build(
        prompt_model=place / "clip",
        prompt_threshold=1.0,
        prompt_steps=4,
        loss=replace(SINGLE_PROCESS, latents=1),
    )
    network = stage.network()
    first, later, last = (next(stage.updates(network, step, 3)).terms for step in (0, 1, 4))
    assert float(first["prompt"].detach()) > 0.1
    torch.testing.assert_close(later["prompt"], 0.75 * first["prompt"])
    assert "prompt" not in last
    with pytest.raises(ConfigError, match=r"stage\.prompt_steps is 0"):
        build(prompt_steps=0)


def test_it_may_be_the_only_term(build, place):
    stage = build(prompt_model=place / "clip", prompt_threshold=1.0, loss=SINGLE_PROCESS)
    network = stage.network()
    (update,) = stage.updates(network, 0, 3)
    assert update.terms.keys() == {"prompt"}
    update.terms["prompt"].backward()
    assert any(bool(one.grad.any()) for one in network.parameters() if one.grad is not None)


def test_conditions_are_withheld_as_often_as_the_settings_say():
    drops = AdapterDrops(semantic=0.1, detail=0.3, both=0.05, text=0.05, rescaled=0.3)
    chances = draw_chances(20_000, drops, seed=5)
    shares = [
        float((chances.identity_scale == 0).float().mean()),
        float((chances.detail_scale == 0).float().mean()),
        1 - sum(chances.has_text) / len(chances.has_text),
    ]
    assert shares == pytest.approx([0.145, 0.335, 0.05], abs=0.01)
    scaled = chances.identity_scale[chances.identity_scale > 0]
    assert float((scaled != 1).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert scaled.min() >= 0.5
    assert scaled.max() <= 1.2


def test_a_crop_holds_its_subject():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:20, 20:40] = 1
    scale, zero, x = crop_around(mask)[0, 0].tolist()
    assert (scale, zero, x) == pytest.approx((1.1 * 0.5, 0, 0.5))
