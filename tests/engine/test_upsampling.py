"""Folded upsampling says what diffusers' own layer says."""

import pytest
import torch
from diffusers.models.upsampling import Upsample2D

from swiftpie.engine.upsampling import FoldedUpsampling, can_fold

SIZES = [(5, 7), (1, 1), (8, 2)]


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return Upsample2D(6, use_conv=True, out_channels=4).requires_grad_(False)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_those_of_the_whole_convolution(layer, size):
    pixels = torch.randn(2, 6, *size)
    doubled = (2 * size[0], 2 * size[1])
    folded = FoldedUpsampling(layer)
    assert can_fold(layer)
    for output_size in (None, doubled):
        assert (folded(pixels, output_size) - layer(pixels, output_size)).abs().max() < 1e-5


def test_sizes_that_are_not_doubled_go_the_long_way(layer):
    pixels = torch.randn(1, 6, 4, 4)
    assert torch.equal(FoldedUpsampling(layer)(pixels, (7, 9)), layer(pixels, (7, 9)))


def test_half_precision_stays_half(layer):
    folded = FoldedUpsampling(layer.bfloat16())
    assert folded(torch.randn(1, 6, 4, 4).bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize(
    "options",
    [{"use_conv": False}, {"use_conv_transpose": True}, {"use_conv": True, "bias": False}],
)
def test_other_layers_are_left_alone(options):
    assert not can_fold(Upsample2D(8, **options))
