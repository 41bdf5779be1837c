"""Reflow on the packaged sprites: its pairs are the teacher's, made once and kept."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import swiftpie
from swiftpie import WeightsError
from swiftpie_lab.training.stages.distillation.base import NOTHING_DROPPED, encode, sample_ddim
from swiftpie_lab.training.stages.distillation.reflow import ReflowConfig, ReflowStage
from tests.lab.training.stages.conftest import SCENES

CONFIG = ReflowConfig(scenes=SCENES, sampling_steps=1, guidance=2.0, num_batches=2, pixel_samples=1)


@pytest.fixture
def stage(models, tmp_path):
    student, teacher = models
    return ReflowStage(student, teacher.networks, tmp_path / "pairs", config=CONFIG)


def test_a_pair_is_noise_and_what_the_teacher_makes_of_it(stage):
    pairs = stage.pairs(0)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        told = encode(
            stage.student.stage, stage.teacher, pairs.batch, drops=NOTHING_DROPPED, seed=0
        )
    answer = sample_ddim(stage.teacher.denoiser, pairs.batch.noise, told, steps=1, scale=2.0)
    apart = pairs.answer.sample - answer.sample  # as bfloat16 and float32 are
    assert apart.square().mean().sqrt() < 0.03 * answer.sample.std()
    assert float(pairs.answer.sample.std()) > 0.3


def test_pairs_are_made_once_and_read_back_the_same(stage):
    made = stage.pairs(1)
    assert [path.name for path in stage.folder.iterdir()] == ["000001.safetensors"]
    nobody = replace(stage, teacher=None)  # a second answer would need one
    read = nobody.pairs(3)  # there are two batches, so draw 3 is draw 1 again
    assert torch.equal(made.batch.noise, read.batch.noise)
    assert all(torch.equal(*pair) for pair in zip(made.answer, read.answer, strict=True))


def test_a_stored_answer_to_other_pictures_is_refused(stage):
    made = stage.pairs(0).answer._asdict()
    path = stage.folder / "000000.safetensors"
    for damaged in ({"sample": made["sample"]}, made | {"sample": made["sample"][:, :1].clone()}):
        save_file(damaged, path)
        with pytest.raises(WeightsError, match="Remove it"):
            stage.pairs(0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="cut short"):
        stage.pairs(0)


def test_endless_pairs_leave_no_files(stage):
    replace(stage, config=replace(CONFIG, num_batches=0)).pairs(5)
    assert not stage.folder.exists()


def test_a_student_that_agrees_with_the_teacher_has_nothing_to_learn(stage):
    same = replace(stage, config=replace(CONFIG, guidance=1.0))
    with torch.no_grad():
        terms = same.losses(same.teacher, 0)
        guided = stage.losses(stage.teacher, 1)
    assert set(terms) == {"latents", "mask", "pixels"}
    assert float(terms["latents"]) < 1e-6
    assert float(terms["pixels"]) < 1e-3
    assert float(guided["latents"]) > 1e-3


@pytest.mark.thorough
def test_a_trained_student_is_saved_and_loads_as_a_preset(stage, train, sprite):
    events, folder = train(stage)
    assert {"latents", "mask", "pixels", "psnr_db"} <= events[-1].losses.keys()
    assert len(list(stage.folder.glob("*.safetensors"))) == 2
    session = swiftpie.load("mini", weights=folder / "export", size_px=128)
    result = session.personalize(session.encode_identity(sprite), "a robot on a beach")
    assert result.images[0].size == (128, 128)
