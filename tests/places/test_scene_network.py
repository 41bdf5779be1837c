import pytest
import torch

from swiftpie.noise import draw_noise
from swiftpie.places.scene_network import SceneCondition, SceneNetwork, scene_relighter


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SceneNetwork(num_places=3, widths=(16, 32), head_width=16).eval()


def draw(network, side_px, *, time=0, count=1, reference=None):
    noise = draw_noise(range(count), (32, side_px // 8, side_px // 8))
    if reference is None:
        reference = torch.zeros(count, 3, side_px, side_px)
    numbers = torch.tensor([[3, time, 0, 0]]).expand(count, -1)
    with torch.no_grad():
        return network(noise, reference, torch.zeros_like(noise), SceneCondition(*numbers.T))


@pytest.mark.parametrize("side_px", [128, 256, 512])
def test_pictures_are_as_large_as_their_reference(network, side_px):
    assert draw(network, side_px).shape == (1, 3, side_px, side_px)


def test_a_new_network_nearly_repeats_its_reference(network):
    reference = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    assert (draw(network, 128, reference=reference) - reference).abs().mean() < 0.5


def test_the_packaged_network_numbers_places_as_the_library_does():
    from swiftpie.scenes import scene_library

    relighter = scene_relighter()
    assert relighter.network.config.num_places == scene_library().number(None)
    assert not any(parameter.requires_grad for parameter in relighter.parameters())
    assert relighter.autoencoder.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 32, 8, 8)
