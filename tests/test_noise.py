import torch

from swiftpie.noise import block_normals, grain


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
