import copy

import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.layout_predictor import (
    LayoutConfig,
    LayoutStage,
    LightConfig,
    LightStage,
)
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_world.sampler import World
from swiftpie_world.textures import make_textures
from tests.lab.training.stages.conftest import check_learning, small_model


@pytest.fixture(scope="module")
def stage():
    subjects = sample_subjects()
    world = World(subjects, "held_out", surfaces=make_textures(8, subjects.tiles, seed=0))
    model = small_model(world, OneStepConfig(sceneries=4))
    return LightStage(model, LightConfig(num_pictures=4, validation_pictures=4))


@pytest.mark.thorough
def test_only_what_looks_at_pictures_learns(stage):
    learned = check_learning(stage, rate=0.05)
    taught = {"reference", "own", "scenery", "mood", "vote"}
    assert {name.split(".")[1] for name in learned} == taught


def test_a_mirror_turns_pictures_and_lights_together(stage):
    seen = stage.shown(4, seed=5)
    rows = torch.tensor([True, False, True, False])
    mirrored = seen.mirrored(rows)
    assert torch.equal(mirrored.given[0], seen.given[0].flip(-1))
    assert torch.equal(mirrored.given[1], seen.given[1])
    for light, before in zip(mirrored.truth, seen.truth, strict=True):
        assert torch.equal(light.direction[::2, 0], -before.direction[::2, 0])
        assert torch.equal(light.direction[:, 1:], before.direction[:, 1:])
        assert torch.equal(light.direction[1::2], before.direction[1::2])
    assert torch.equal(mirrored.mirrored(rows).given, seen.given)


@pytest.mark.thorough
def test_the_export_is_the_model_with_this_reader(stage, tmp_path):
    network = copy.deepcopy(stage.network())
    assert stage.sample(network, tmp_path / "sheet.png")["validation"] > 0
    with torch.no_grad():
        network.light_reader.mood.bias.add_(1)
    stage.export(network, tmp_path)
    kept = type(network).from_pretrained(tmp_path / "layout_predictor").float()
    bias, stored = (predictor.light_reader.mood.bias for predictor in (network, kept))
    torch.testing.assert_close(stored, bias, atol=1e-3, rtol=1e-3)
    assert stage.model.initial.layout_predictor.light_reader.mood.bias.abs().max() < 1
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {
        "denoiser",
        "autoencoder",
    }


@pytest.fixture(scope="module")
def placing():
    world = World(sample_subjects(), "held_out")
    model = small_model(world, OneStepConfig())
    return LayoutStage(model, LayoutConfig(num_subjects=2, views=3, validation_pictures=64))


def test_only_the_layers_that_place_learn(placing):
    learned = check_learning(placing, rate=0.01, draw=1)
    assert all(name.startswith("layers.") for name in learned)


def test_figures_of_progress_and_an_export_that_places_as_the_network_does(placing, tmp_path):
    network = placing.network()
    with torch.no_grad():
        network.layers[-1].bias += 0.1
    assert placing.sample(network, tmp_path / "sheet.png")["validation"] > 0
    placing.export(network, tmp_path / "export")
    again = type(network).from_pretrained(tmp_path / "export" / "layout_predictor")
    assert torch.allclose(again.layers[-1].bias, network.layers[-1].bias, atol=1e-3)
    assert (tmp_path / "export" / "denoiser").is_dir()
