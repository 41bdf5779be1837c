"""Folded convolutions draw the same picture, and leave the given networks alone."""

import torch
from torch import nn

from swiftpie.engine.layers import FoldedUpsampling
from swiftpie.engine.transforms import transform
from swiftpie.engine.wrappers import module_of
from tests.pipelines.tiny_editor import tiny_editor


def count(network: nn.Module) -> int:
    return sum(isinstance(part, FoldedUpsampling) for part in network.modules())


@torch.no_grad()
def test_a_full_decoder_decodes_the_same():
    plain = tiny_editor()
    made = transform(plain, ["folded-upsampling"])
    latents = torch.randn(1, 4, 16, 16)
    found, expected = made.autoencoder.decode(latents), plain.autoencoder.decode(latents)
    assert (found - expected).abs().max() < 1e-4
    assert count(module_of(made.autoencoder)) > 0
    assert count(module_of(made.inversion)) > 0
    assert count(module_of(made.denoiser)) > 0
    assert count(module_of(plain.denoiser)) == 0
