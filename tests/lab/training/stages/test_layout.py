import pytest
import torch

from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.layout import LayoutConfig, LayoutStage
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig
from swiftpie_world.sampler import World
from tests.lab.training.stages.conftest import check_learning, small_model


@pytest.fixture(scope="module")
def stage():
    world = World(sample_subjects(), "held_out")
    model = small_model(world, OneStepConfig())
    return LayoutStage(model, LayoutConfig(num_subjects=2, views=3, validation_pictures=64))


def test_only_the_layers_that_place_learn(stage):
    learned = check_learning(stage, rate=0.01, draw=1)
    assert all(name.startswith("layers.") for name in learned)


def test_subjects_are_placed_as_in_pictures(stage):
    world = stage.model.world
    placed = world.placed(2, 3, seed=4)
    assert len(placed.captions) == len(placed.specs) == len(placed.layout.scale) == 6
    drawn = world.batch(2, 3, seed=4, specs=placed.specs)
    still = world.batch(2, 3, seed=5, specs=placed.specs)
    # The first two layouts follow from other noise; what words alone decide is the same.
    for batch in (drawn, still):
        assert torch.equal(batch.layout.pose[:, 2:] != 0, placed.layout.pose[:, 2:] != 0)


def test_figures_of_progress_and_an_export_that_places_as_the_network_does(stage, tmp_path):
    network = stage.network()
    with torch.no_grad():
        network.layers[-1].bias += 0.1
    figures = stage.sample(network, tmp_path / "sheet.png")
    assert figures["centre"] > 0
    assert 0 <= figures["bent"] <= 1
    stage.export(network, tmp_path / "export")
    again = type(network).from_pretrained(tmp_path / "export" / "layout_predictor")
    assert torch.allclose(again.layers[-1].bias, network.layers[-1].bias, atol=1e-3)
    assert (tmp_path / "export" / "denoiser").is_dir()
