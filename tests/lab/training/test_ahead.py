"""Work ahead of time: results in their order, tensors whole, errors where their result is asked."""

import pytest
import torch

from swiftpie_lab.training.ahead import Ahead


def squares(number):
    if number == 3:
        raise ValueError("three")
    return torch.full((4,), float(number**2))


@pytest.mark.thorough
def test_results_come_by_their_number_and_errors_with_theirs():
    ahead = Ahead(squares, processes=1)
    assert ahead(1).tolist() == [1.0] * 4
    assert ahead(2).tolist() == [4.0] * 4
    with pytest.raises(ValueError, match="three"):
        ahead(3)
    assert ahead(7).tolist() == [49.0] * 4
