import copy
from dataclasses import replace

import pytest
import torch

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.autoencoder import AutoencoderConfig, AutoencoderStage
from swiftpie_world.sampler import World
from tests.lab.training.stages.conftest import check_learning


@pytest.fixture(scope="module")
def stage():
    world = World(sample_subjects(), "held_out")
    return AutoencoderStage(world, world, config=AutoencoderConfig(num_subjects=2))


@pytest.fixture(scope="module")
def start(stage):
    return stage.network()


@pytest.fixture
def network(start):
    return copy.deepcopy(start)


@pytest.mark.slow
def test_the_start_is_a_good_one_and_all_of_it_learns(stage, network, tmp_path):
    assert stage.sample(network, tmp_path / "samples.png")["psnr_db"] > 22
    assert (tmp_path / "samples.png").is_file()
    check_learning(replace(stage, start=network), rate=0.01, draw=5)


@pytest.mark.slow
@torch.no_grad()
def test_an_exported_autoencoder_has_latents_of_unit_size(stage, network, tmp_path):
    network.linear_encoder.weight *= 3
    network.linear_encoder.bias += 1
    stage.export(network, tmp_path)
    loaded = PatchAutoencoder.from_pretrained(tmp_path / "autoencoder")
    pixels = stage.held_out.batch(16, 4, seed=3).pixels
    latents = loaded.encode(pixels)
    assert latents.mean((0, 2, 3)).abs().max() < 0.3
    assert latents.std((0, 2, 3)).log().abs().max() < 0.5
    expected = network.decode_raw(network.encode_raw(pixels))
    torch.testing.assert_close(loaded.decode(latents), expected, atol=1e-4, rtol=0)
