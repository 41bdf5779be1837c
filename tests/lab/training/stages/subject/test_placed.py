"""A subject of the mini model beside a teacher: its own terms, its echoes and its file."""

import importlib.resources
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError, InputError
from swiftpie.tuning.change import features_of
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import LoopConfig, fit
from swiftpie_lab.training.recipes.mini import mini_echo_distill
from swiftpie_lab.training.stages.subject.echo import NOISE_SEED, EchoSettings
from swiftpie_lab.training.stages.subject.placed import IDENTITY_FILE, PlacedSubjectConfig
from swiftpie_lab.training.state import read_state
from tests.lab.training.stages.conftest import unseen

ECHO = EchoSettings(first_step=1, echo_every=1, num_pictures=2, share=1.0)
LOOP = LoopConfig(steps=3, learning_rate=1e-3, save_every=1, log_every=1, uses_muon=False)
MINI = Path(str(importlib.resources.files("swiftpie"))) / "assets" / "mini"


@pytest.fixture(scope="module")
def subject(tmp_path_factory, sprite):
    folder = tmp_path_factory.mktemp("subject")
    sprite.save(folder / "robot.png")
    return folder


@pytest.fixture(scope="module")
def stage(subject):
    """The packaged weights are student and teacher at the same time."""
    settings = PlacedSubjectConfig(
        data=subject, teacher="mini", size_px=128, num_scenes=2, echo=ECHO
    )
    return settings.build(Context(subject, subject, "cpu"))


@pytest.fixture
def network(stage):
    return stage.network()


def test_both_begin_as_their_encoders_read_the_subject(stage, network):
    own, made = features_of(stage.base.own), network.student_features()
    assert torch.equal(made.tokens, own.tokens)
    assert all(torch.equal(rows, own.values[name]) for name, rows in made.values.items())
    with torch.no_grad():
        network.teacher.rows[0].add_(1)  # the tokens
    assert torch.equal(network.student_features().tokens, own.tokens + 1)


@torch.no_grad()
def test_the_teachers_term_is_its_error_at_the_textbooks_noise(stage, network):
    batch = stage.batch(network, 1)
    found = stage.teacher_terms(network, batch, 1)["subject"]
    generator = torch.Generator().manual_seed(NOISE_SEED + 1)
    noise = torch.randn(batch.latents.shape, generator=generator).double()
    time = torch.randint(1000, (1,), generator=generator)
    signal = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[int(time)]
    noisy = signal**0.5 * batch.latents.double() + (1 - signal) ** 0.5 * noise
    raw = stage.teach(network, noisy.float(), time, batch).double()
    weight = (0.1 + 0.9 * batch.mask.double()).expand_as(raw)
    wanted = ((raw - batch.latents.double()).square() * weight).sum() / weight.sum()
    assert float(found) == pytest.approx(float(wanted), rel=1e-4)


def test_terms_reach_what_they_train_and_nothing_else(stage, network):
    for update in stage.updates(network, 0, 3):
        network.zero_grad()
        torch.stack([*update.terms.values()]).sum().backward()
        touched = {n.split(".")[0] for n, w in network.named_parameters() if w.grad is not None}
        assert touched >= set(stage.groups[update.group])
        if update.group != "discriminator":
            assert touched <= {*stage.groups[update.group], "discriminator"}
    frozen = stage.base.teacher.denoiser.parameters()
    assert all(weight.grad is None for weight in frozen)


@torch.no_grad()
def test_what_is_drawn_is_judged_where_the_reference_shows_it(stage, network):
    batch = stage.batch(network, 0)
    known, wanted = stage.known(batch), stage.base.scenes[0].example.wanted
    right, wrong = (stage.seen(one, batch) for one in (wanted, wanted.roll(40, dims=3)))
    right, wrong = (float(F.cosine_similarity(one, known)) for one in (right, wrong))
    assert right > wrong


def test_the_students_pictures_come_back_as_data(stage, network):
    own = stage.batch(network, 3)
    stage.draw_echoes(network, 1)
    network.num_echoes.fill_(2)
    network.echo_places.copy_(torch.tensor([2, 3]))
    network.echoes.copy_(torch.arange(2.0).view(2, 1, 1, 1).expand_as(network.echoes))
    echo = stage.batch(network, 3)
    assert own.told < stage.settings.num_scenes <= echo.told
    assert float(echo.latents.unique()) == echo.told - 2


def test_the_file_is_an_identity_that_draws(stage, network, tmp_path):
    with torch.no_grad():
        network.teacher.rows[0].add_(0.1)
    stage.export(network, tmp_path)
    session = Session(stage.base.student)
    identity = session.load_identity(tmp_path / IDENTITY_FILE)
    assert identity.tuned == "echo-distill"
    assert session.personalize(identity, "a toy on a beach", seed=1).images[0].size == (128, 128)
    assert stage.sample(network, tmp_path / "samples.png")["own_psnr_db"] > 10


@pytest.mark.thorough
def test_a_stopped_run_ends_with_the_same_bits(stage, tmp_path):
    list(fit(unseen(stage), LOOP, tmp_path / "whole"))
    for _ in range(2):
        list(fit(unseen(stage), LOOP, tmp_path / "parts", time_limit_s=0.0))
    list(fit(unseen(stage), LOOP, tmp_path / "parts"))
    whole, parts = (read_state(tmp_path / name).tensors for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_state_is_of_one_subject(network):
    state = network.state_dict()
    network.load_state_dict(state)
    state["_extra_state"] = state["_extra_state"] + 1
    with pytest.raises(ValueError, match="other pictures"):
        network.load_state_dict(state)


def test_what_cannot_be_tuned_is_refused(subject, tmp_path):
    context = Context(subject, tmp_path, "cpu")
    with pytest.raises(ConfigError, match="mini-teacher"):
        PlacedSubjectConfig(data=subject).build(context)
    with pytest.raises(InputError, match="no picture"):
        PlacedSubjectConfig(data=tmp_path / "none", teacher="mini").build(context)
    shutil.copytree(MINI, tmp_path / "other")
    file = tmp_path / "other" / "image_encoder" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: weight * 2 for name, weight in weights.items()}, file)
    with pytest.raises(ConfigError, match="the same encoders"):
        PlacedSubjectConfig(data=subject, teacher=str(tmp_path / "other")).build(context)


def test_the_recipe_has_a_rate_for_each_group(stage):
    assert len(mini_echo_distill().loop.learning_rates) == len(stage.groups)
