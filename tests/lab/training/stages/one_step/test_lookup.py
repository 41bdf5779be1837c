import torch

from swiftpie_lab.training.stages.one_step.lookup import nearest_tokens


def test_a_place_is_shown_by_the_tokens_around_it():
    places = torch.tensor([[[-0.75, 0.25], [0.0, -1.0], [1.0, 1.0]]])  # x and y
    shares = nearest_tokens(places, 4).unflatten(-1, (4, 4))[0]  # (N, rows, columns)
    assert torch.allclose(shares.sum((1, 2)), torch.ones(3))
    assert shares[0, 2, 0] == 1  # the middle of a token
    assert torch.equal(shares[1, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))  # between two, at the edge
    assert shares[2, 3, 3] == 1  # in the corner
