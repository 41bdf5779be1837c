import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.upsampling import Upsample2D
from torch import nn

from swiftpie.engine.layers import (
    BoundedUpsampling,
    ChannelwiseNorm,
    FoldedUpsampling,
    HalvedGate,
    can_fold,
    with_openvino_layers,
)
from swiftpie.engine.transforms import transform
from swiftpie.engine.wrappers import shared_copy
from swiftpie.models.denoiser import module_of
from swiftpie.models.inversion import UNetInversion

SIZES = [(5, 7), (1, 1), (8, 2)]
OFFSET = 30.0  # of values, so that a difference of squares would be seen to be inexact


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def layer():
    return Upsample2D(6, use_conv=True, out_channels=4).requires_grad_(False)


@pytest.mark.parametrize("size", SIZES)
def test_values_are_those_of_the_whole_convolution(layer, size):
    pixels = torch.randn(2, 6, *size)
    doubled = (2 * size[0], 2 * size[1])
    folded = FoldedUpsampling(layer)
    assert can_fold(layer)
    for output_size in (None, doubled):
        assert (folded(pixels, output_size) - layer(pixels, output_size)).abs().max() < 1e-5


def test_sizes_that_are_not_doubled_go_the_long_way_and_half_precision_stays_half(layer):
    pixels = torch.randn(1, 6, 4, 4)
    assert torch.equal(FoldedUpsampling(layer)(pixels, (7, 9)), layer(pixels, (7, 9)))
    assert FoldedUpsampling(layer.bfloat16())(pixels.bfloat16()).dtype is torch.bfloat16


@pytest.mark.parametrize(
    "options",
    [{"use_conv": False}, {"use_conv_transpose": True}, {"use_conv": True, "bias": False}],
)
def test_other_layers_are_left_alone(options):
    assert not can_fold(Upsample2D(8, **options))


def norm(channels=12):
    made = nn.GroupNorm(4, channels)
    nn.init.normal_(made.weight)
    nn.init.normal_(made.bias)
    return made.requires_grad_(False)


def test_a_halved_gate():
    layer = GEGLU(6, 10).requires_grad_(False)
    states = torch.randn(2, 5, 6)
    assert torch.allclose(HalvedGate(layer)(states), layer(states), atol=1e-5)


@pytest.mark.parametrize("size", [(40, 31), (32, 32)])
def test_a_channelwise_norm(size):
    layer, states = norm(), torch.randn(2, 12, *size) * 3 + OFFSET
    assert torch.allclose(ChannelwiseNorm(layer)(states), layer(states), atol=2e-5)


@pytest.mark.parametrize("size", [(9,), (31, 33), (5, 7), (1, 1)])
def test_a_norm_of_rows_or_few_pixels_is_left_as_it_was(size):
    layer, states = norm(), torch.randn(2, 12, *size) * 3 + OFFSET
    assert torch.equal(ChannelwiseNorm(layer)(states), layer(states))


def test_bounded_upsampling():
    layer = FoldedUpsampling(Upsample2D(6, use_conv=True)).requires_grad_(False)
    pixels = 1e4 * torch.randn(1, 6, 4, 4)
    for size in (None, (7, 9)):
        assert torch.equal(BoundedUpsampling(layer)(pixels, size), layer(pixels, size))


def test_a_network_gets_all_of_them_and_the_given_one_keeps_its_own():
    plain = nn.Sequential(norm(), nn.Sequential(GEGLU(3, 3), nn.GroupNorm(3, 3)))
    plain.append(FoldedUpsampling(Upsample2D(6, use_conv=True)))
    made = with_openvino_layers(plain)
    kinds = [ChannelwiseNorm, HalvedGate, ChannelwiseNorm, BoundedUpsampling]
    assert [type(layer) for layer in (made[0], *made[1], made[2])] == kinds
    assert [type(layer) for layer in (plain[0], *plain[1])] == [nn.GroupNorm, GEGLU, nn.GroupNorm]
    assert made[0].inner.weight.data_ptr() == plain[0].weight.data_ptr()
    assert made[1][0].gate.weight.data_ptr() == plain[1][0].proj.weight[3:].data_ptr()


def test_gates_that_an_adapter_changed_are_left_alone():
    layer = GEGLU(3, 3)
    layer.proj = nn.Sequential(layer.proj)
    assert type(with_openvino_layers(nn.Sequential(layer))[0]) is GEGLU


@torch.no_grad()
def test_a_folded_decoder_decodes_the_same(editor):
    editor = editor.components
    made = transform(editor, ["folded-upsampling"])
    latents = torch.randn(1, 4, 16, 16)
    found, expected = made.autoencoder.decode(latents), editor.autoencoder.decode(latents)
    assert (found - expected).abs().max() < 1e-4
    for name in ("autoencoder", "inversion", "denoiser"):
        counts = [
            sum(isinstance(part, FoldedUpsampling) for part in module_of(network).modules())
            for network in (getattr(made, name), getattr(editor, name))
        ]
        assert counts[0] > counts[1] == 0


def invert(inversion, editor):
    latents = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return inversion(latents, editor.text.encode(["a cat on the sofa"]))


def test_inversion_networks_are_thinned_by_their_stride_alone(editor):
    editor = editor.components
    before = invert(editor.inversion, editor)
    whole = UNetInversion(shared_copy(editor.inversion.unet), stride=1)
    assert (invert(whole, editor) - before).abs().max() < 1e-5
    thinned = transform(editor, ["token-downsampling", "folded-upsampling"]).inversion
    assert (invert(thinned, editor) - before).abs().max() > 1e-4
    assert torch.equal(invert(editor.inversion, editor), before)
