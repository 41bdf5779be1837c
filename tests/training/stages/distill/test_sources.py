import pytest
import torch

from swiftpie.errors import ConfigError
from swiftpie.training.stages.distillation import load_model, load_pair
from swiftpie.training.stages.one_step_networks import VOCABULARY, trainable
from tests.training.stages.conftest import SCENES


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


def test_new_weights_are_built_around_a_trained_autoencoder(context, models):
    student, _ = models
    folder = context.runs / "mini_autoencoder" / "export" / "autoencoder"
    student.stage.autoencoder.save_pretrained(folder)
    networks, stage = load_model(context, "", scenes=SCENES)
    assert torch.equal(stage.autoencoder.shift, student.stage.autoencoder.shift)
    assert networks.tokenizer is stage.tokenizer
    assert networks.text_encoder.config.vocab_size == VOCABULARY
    assert stage.samples_per_step == 2
