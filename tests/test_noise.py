import torch

from swiftpie.noise import NUM_STATISTICS, anchors, block_normals, grain, noise_statistics


def draw(count):
    return torch.randn(count, 32, 16, 16, generator=torch.Generator().manual_seed(0))


def test_block_normals_are_standard_and_independent():
    normals = block_normals(draw(1500))
    assert normals.shape == (1500, 16)
    assert normals.mean(dim=0).abs().max() < 0.12
    assert (normals.std(dim=0) - 1).abs().max() < 0.1
    correlation = torch.corrcoef(normals.T) - torch.eye(16)
    assert correlation.abs().max() < 0.13


def test_block_normals_are_the_scaled_means_of_the_fourth_field():
    noise = draw(2)
    field = grain(noise)[:, 3]
    first_block = field[:, :8, :8].mean(dim=(1, 2)) * 8
    assert torch.allclose(block_normals(noise)[:, 0], first_block, atol=1e-5)


def test_second_half_of_the_channels_decides_nothing():
    noise = draw(2)
    changed = noise.clone()
    changed[:, 16:] += 1
    assert torch.equal(grain(noise), grain(changed))


def test_the_places_that_noise_decides_are_those_of_the_training_pictures():
    lowest, highest = torch.zeros(1, 16), torch.ones(1, 16)
    assert torch.allclose(anchors(lowest), torch.tensor([[0.42, 0.15, 0.10]]))
    assert torch.allclose(anchors(highest), torch.tensor([[0.58, 0.85, 0.35]]))
    for place, number in enumerate((5, 7, 8)):
        one = lowest.clone()
        one[0, number] = 1
        assert (anchors(one) != anchors(lowest)).nonzero()[:, 1].tolist() == [place]


def test_statistics_are_those_that_networks_were_trained_with():
    noise = draw(4)
    found, uniform = noise_statistics(noise), torch.erf(block_normals(noise) / 2**0.5)
    assert found.shape == (4, NUM_STATISTICS) == (4, 48)
    assert torch.allclose(found[:, :16], uniform)
    assert torch.allclose(found[:, 16:32], torch.sin(torch.pi * uniform))
    assert torch.allclose(found[:, 32:], torch.cos(torch.pi * uniform))
