from dataclasses import replace

import pytest
import torch

from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.errors import ConfigError
from swiftpie.types import TextCondition
from swiftpie_lab.training.loop import fit
from swiftpie_lab.training.stages.adapter.networks import LossWeights
from swiftpie_lab.training.stages.adapter.student import no_drops, run_student
from swiftpie_lab.training.stages.adapter.teachers import Teacher
from tests.lab.training.stages.adapter.test_stage import LOOP, NEVER, first_terms, stored
from tests.lab.training.test_dists import tiny_dists

OFF = dict.fromkeys(("subject", "whole", "identity", "maps", "adversarial"), 0.0)


@pytest.fixture(scope="module")
def teacher(models):
    return models / "sd21" / "other_unet"


def trained(stage, folder):
    """Return what fitting made of the networks of a stage."""
    list(fit(stage, LOOP, folder))
    network, prefix = stage.network(), "network/network/"
    state = {name.removeprefix(prefix): one for name, one in stored(folder).items()}
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network


@pytest.mark.thorough
def test_the_teacher_draws_latents_to_what_it_makes_of_them(build, place, teacher, tmp_path):
    stage = build(
        data=place / "photos" / "red_cup",
        teacher=teacher,
        teacher_predicts="v_prediction",
        drops=NEVER,
        loss=LossWeights(**OFF, teacher=1.0),
    )
    for weight in stage.teacher.unet.conv_out.parameters():
        torch.nn.init.zeros_(weight)  # a velocity of 0 everywhere belongs to latents around 0
    before, after = stage.network(), trained(stage, tmp_path)

    @torch.no_grad()
    def size(network):
        examples = stage.examples.batch(2, 100)
        drawn = run_student(stage.base, network, examples, no_drops(2, read_at=200))
        return float(drawn.clean.square().mean())

    assert {*first_terms(stage, before, 0)} == {"teacher"}
    assert size(after) < 0.97 * size(before)


def condition(size, rows, unet):
    states = size * torch.ones(rows, 3, unet.config.cross_attention_dim)
    return TextCondition(states, torch.ones(rows, 3), torch.ones(rows, 1))


def test_the_teacher_is_guided_by_the_prompt(teacher):
    unet = read_unet(
        teacher, NetworkReader("cpu", torch.float32, allow_pickle=False), name="teacher"
    )
    clean = torch.zeros(2, 4, 8, 8).requires_grad_()
    told, empty = (condition(0.3, 2, unet), condition(-0.2, 1, unet))
    losses, slopes = [], []
    for text, guidance in ((told, 1.0), (told, 3.0), (empty.repeat(2), 3.0)):
        loss = Teacher(unet, "epsilon", guidance).loss(clean, text, empty, 7)
        losses.append(loss.item())
        slopes.append(torch.autograd.grad(loss, clean)[0])
    assert len({*losses}) == 3
    assert all(slope.isfinite().all() and slope.any() for slope in slopes)


@pytest.mark.thorough
def test_dists_takes_the_place_of_features_and_falls(build, place, tmp_path):
    stage = build(
        data=place / "photos" / "red_cup",
        drops=NEVER,
        loss=LossWeights(**OFF | {"subject": 1.0, "whole": 0.5}),
    )
    stage = replace(stage, dists=tiny_dists())
    before, after = stage.network(), trained(stage, tmp_path)
    for name in ("subject", "whole"):
        first, last = (
            sum(float(first_terms(stage, network, draw)[name].detach()) for draw in (100, 101))
            for network in (before, after)
        )
        assert last < first, name


def test_a_teacher_has_a_weight_and_a_weight_a_teacher(build, teacher):
    for settings in ({"teacher": teacher}, {"loss": LossWeights(teacher=0.5)}):
        with pytest.raises(ConfigError, match=r"stage\.loss\.teacher"):
            build(**settings)
