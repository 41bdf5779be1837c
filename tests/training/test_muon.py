"""Muon's updates are orthogonal and of a known size."""

import torch

from swiftpie.training.optimizers import MATCH_ADAM, Muon, is_matrix_like, orthogonalise


def test_singular_values_become_about_one():
    matrix = torch.randn(24, 60, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_tall_and_wide_matrices_are_treated_alike():
    matrix = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    wide = orthogonalise(matrix.T).T
    assert torch.allclose(orthogonalise(matrix), wide, atol=1e-2)


def test_the_root_mean_square_of_a_step_is_that_of_adam():
    weight = torch.nn.Parameter(torch.zeros(64, 4, 4, 4))
    optimizer = Muon([weight], lr=0.1)
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)) * 1e-3
    optimizer.step()
    size = weight.detach().square().mean().sqrt()
    assert 0.5 < size / (0.1 * MATCH_ADAM) < 1.5


def test_thin_weights_are_left_to_another_optimizer():
    assert is_matrix_like(torch.zeros(16, 2, 3, 3))
    assert not is_matrix_like(torch.zeros(1000))
    assert not is_matrix_like(torch.zeros(8, 64))
