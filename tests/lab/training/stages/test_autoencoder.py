"""The autoencoder stage on small pictures of the packaged sprites."""

import copy

import pytest
import torch

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_lab.training.stages.autoencoder import AutoencoderConfig, AutoencoderStage
from swiftpie_world.sampler import World


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
def test_the_start_is_a_good_one_and_a_step_downhill_lowers_the_loss(stage, network, tmp_path):
    assert stage.sample(network, tmp_path / "samples.png")["psnr_db"] > 22
    assert (tmp_path / "samples.png").is_file()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    before = sum(stage.losses(network, 5).values())
    before.backward()
    optimizer.step()
    with torch.no_grad():
        assert sum(stage.losses(network, 5).values()) < before


@torch.no_grad()
def test_a_step_always_has_one_loss_and_steps_see_different_pictures(stage):
    torch.manual_seed(0)
    network = PatchAutoencoder()
    first, again = (stage.losses(network, 1) for _ in range(2))
    assert set(first) == {"l1", "rms", "edges", "latents"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    edges = [float(stage.losses(network, step)["edges"]) for step in range(1, 4)]
    assert max(edges) > 1.05 * min(edges)  # noise alone makes less


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
