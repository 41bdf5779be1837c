"""What students and teachers see, and how they predict."""

import copy

import pytest
import torch

from swiftpie.errors import ConfigError, WeightsError
from swiftpie_lab.training.losses import guide
from swiftpie_lab.training.stages.distillation.base import (
    NOTHING_DROPPED,
    encode,
    load_model,
    load_pair,
    noise_generator,
    predict,
    predict_guided,
    sample_ddim,
)
from swiftpie_lab.training.stages.one_step.networks import Sizes, trainable
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, fast_precision
from swiftpie_lab.training.stages.one_step.tasks import Drops
from tests.lab.training.stages.conftest import SCENES


@pytest.mark.thorough
@torch.no_grad()
def test_one_seed_gives_and_withholds_the_same_of_student_and_teacher(models):
    student, teacher = models
    batch = student.stage.world.batch(4, 2, seed=1)
    drops = Drops(everything=0.0, semantic=0.5, detail=0.5, aligned=0.5)
    first, second, other = (
        encode(student.stage, networks, batch, drops=drops, seed=seed).subject
        for networks, seed in ((student.networks, 5), (teacher.networks, 5), (student.networks, 6))
    )
    assert torch.equal(first.aligned, second.aligned)
    assert torch.equal(first.attention.identity_scale, second.attention.identity_scale)
    assert not torch.equal(first.aligned, other.aligned)


@torch.no_grad()
def test_prompts_and_whole_references_are_withheld_when_asked_for(models):
    _, (networks, stage) = models
    batch = stage.world.batch(2, 1, seed=1)
    silent = Drops(everything=1.0)
    dropped = encode(stage, networks, batch, drops=silent, seed=0, text_drop=1.0)
    assert not dropped.has_subject
    assert float(dropped.subject.aligned.abs().sum()) == 0
    torch.testing.assert_close(dropped.text.hidden_states, dropped.no_text.hidden_states)
    given = encode(stage, networks, batch, drops=NOTHING_DROPPED, seed=0)
    assert given.has_subject
    assert not torch.equal(given.text.hidden_states, given.no_text.hidden_states)


@torch.no_grad()
def test_guidance_is_towards_the_prompt_and_keeps_the_subject(models, encoded):
    denoiser = models[1].networks.denoiser
    batch, told = encoded
    ask = (denoiser, batch.noise, torch.tensor([999, 300]))
    prompted = predict(*ask, told).sample
    blank = predict(*ask, told._replace(text=told.no_text)).sample
    assert not torch.equal(prompted, blank)
    assert torch.equal(predict_guided(*ask, told, scale=1.0).sample, prompted)
    guided = predict_guided(*ask, told, scale=3.0).sample
    torch.testing.assert_close(guided, guide(prompted, blank, 3.0))


@torch.no_grad()
def test_one_step_of_sampling_is_one_prediction(models, encoded):
    denoiser = models[1].networks.denoiser
    batch, told = encoded
    sampled = sample_ddim(denoiser, batch.noise, told, steps=1, scale=1.0)
    with fast_precision(batch.noise.device):
        predicted = predict(denoiser, batch.noise, 999, told)
    assert torch.equal(sampled.sample, predicted.sample)
    assert sampled.subject_mask.shape == (2, 1, 64, 64)


@torch.no_grad()
def test_each_row_is_denoised_at_its_own_timestep(models, encoded):
    denoiser = models[1].networks.denoiser
    batch, told = encoded
    mixed = predict(denoiser, batch.noise, torch.tensor([999, 300]), told).sample
    for row, timestep in enumerate((999, 300)):
        alone = predict(denoiser, batch.noise, timestep, told).sample
        torch.testing.assert_close(mixed[row], alone[row], atol=1e-4, rtol=1e-4)


def test_noise_shares_no_numbers_with_the_batch_of_its_draw(models):
    world = models[0].stage.world
    batch = world.batch(16, 1, seed=5)  # so many that the streams of one seed would line up
    own = set(batch.noise.flatten().tolist())
    same_seed = torch.randn(4000, generator=torch.Generator().manual_seed(5)).tolist()
    other = torch.randn(4000, generator=noise_generator(5)).tolist()
    assert len(own & set(same_seed)) > 3000
    assert len(own & set(other)) < 200


def test_packaged_weights_become_networks_that_can_be_trained(models):
    student, teacher = models
    copied = trainable(student.networks)
    assert all(weight.requires_grad for weight in copied.parameters())
    assert not any(weight.requires_grad for weight in teacher.networks.parameters())
    pairs = zip(copied.parameters(), student.networks.parameters(), strict=True)
    assert all(torch.equal(*pair) and pair[0] is not pair[1] for pair in pairs)


def test_a_run_that_was_never_made_is_named(context):
    with pytest.raises(ConfigError, match="mini-teacher"):
        load_model(context, "mini_teacher", scenes=SCENES)


def test_models_of_different_latents_do_not_distil(context, models, tmp_path):
    student, _ = models
    other = student.stage.autoencoder
    shift = other.shift.clone()
    try:
        other.shift += 1
        student.stage.export(student.networks, tmp_path / "other")
    finally:
        other.shift.copy_(shift)
    with pytest.raises(ConfigError, match="different autoencoders or vocabularies"):
        load_pair(context, student="mini", teacher=str(tmp_path / "other"), scenes=SCENES)


def test_new_weights_are_built_around_the_packaged_autoencoder(context, models):
    student, _ = models
    networks, stage = load_model(context, "", scenes=SCENES)
    assert torch.equal(stage.autoencoder.shift, student.stage.autoencoder.shift)
    assert networks.tokenizer is stage.tokenizer
    assert networks.text_encoder.config.vocab_size == Sizes().vocabulary
    assert stage.samples_per_step == 2


def test_another_autoencoder_can_be_named(context, models):
    own = copy.deepcopy(models[0].stage.autoencoder)
    own.shift += 1
    own.save_pretrained(context.runs / "world_autoencoder" / "export" / "autoencoder")
    stage = OneStepConfig(autoencoder="world_autoencoder", num_subjects=2).build(context)
    assert torch.equal(stage.autoencoder.shift, own.shift)
    with pytest.raises(WeightsError, match="autoencoder"):
        OneStepConfig(autoencoder=str(context.runs)).build(context)
