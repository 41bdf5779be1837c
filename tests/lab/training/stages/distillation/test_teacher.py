"""The multi-step teacher on the packaged sprites."""

import pytest
import torch

import swiftpie
from swiftpie_lab.training.stages.distillation.teacher import TeacherConfig, TeacherStage
from tests.lab.training.stages.conftest import SCENES


@pytest.fixture(scope="module")
def stage(models):
    return TeacherStage(
        models[0], config=TeacherConfig(scenes=SCENES, sampling_steps=2, validation_pictures=2)
    )


@pytest.fixture(scope="module")
def network(stage):
    return stage.network()


def test_the_same_draw_has_the_same_losses_and_another_draw_others(stage, network):
    with torch.no_grad():
        first, again, other = (stage.losses(network, draw) for draw in (5, 5, 6))
    assert set(first) == {"latents", "mask", "layout", "maps"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["latents"], other["latents"])


def test_every_weight_but_those_that_read_light_gets_a_gradient(stage, network):
    network.zero_grad()
    torch.stack(list(stage.losses(network, 0).values())).sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert {name.rpartition("light_reader.")[0] for name in idle} == {"layout_predictor."}


def test_what_enters_is_not_the_noise_that_decides_the_picture(stage, network):
    entered = []
    handle = network.denoiser.register_forward_pre_hook(lambda _, inputs: entered.append(inputs))
    with torch.no_grad():
        stage.losses(network, 7)
    handle.remove()
    latents, timesteps = entered[-1][:2]
    own = stage.model.stage.world.batch(2, 1, seed=7).noise
    clean = stage.model.stage.autoencoder.encode(stage.model.stage.world.batch(2, 1, seed=7).pixels)
    left = torch.stack([latents.flatten(1), clean.flatten(1), own.flatten(1)])
    likeness = torch.stack([torch.corrcoef(rows)[0] for rows in left.unbind(1)])
    assert len(set(timesteps.tolist())) == 2
    assert float(likeness[:, 1].max()) > 0.3  # the picture itself
    assert float(likeness[:, 2].abs().max()) < 0.1  # the renderer's noise


@pytest.mark.slow
def test_a_trained_teacher_is_saved_and_loads_as_a_preset_of_as_many_steps(stage, train, sprite):
    events, folder = train(stage)
    assert {"latents", "subject_psnr_db", "sharpness"} <= events[-1].losses.keys()
    assert (folder / "samples.png").is_file()
    session = swiftpie.load("mini", weights=folder / "export", size_px=128)
    assert [step.timestep for step in session.components.schedule.steps] == [999, 499]
    result = session.personalize(session.encode_identity(sprite), "a robot on a beach")
    assert result.images[0].size == (128, 128)
