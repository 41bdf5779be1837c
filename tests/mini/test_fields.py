"""Differences of pictures that networks drew: what is meant, and what is taken back."""

import torch

from swiftpie.mini.fields import meant_change, without_lamps

SIDE = 32


def noise():
    return 0.4 * torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) - 0.2


def test_a_change_counts_as_much_at_the_border():
    before = torch.zeros(1, 3, SIDE, SIDE)
    meant = meant_change(before, before + 0.035)
    assert 0 < meant.min() < 1
    torch.testing.assert_close(meant, meant[..., 16:17, 16:17].expand_as(meant))


def test_what_only_turns_warm_at_night_is_taken_back():
    before = noise()
    night, warm = before - 0.5, before - 0.5
    patch = (..., slice(12, 16), slice(12, 16))
    warm[0, 0][patch] += 0.3
    warm[0, 2][patch] -= 0.4  # no brighter than the rest
    left = (without_lamps(before, warm) - night)[0][patch]
    assert (warm - night)[0][patch].abs().max() > 0.3
    assert left.abs().max() < 0.1
