"""Folded convolutions draw the same picture, and leave the given networks alone."""

import numpy as np
import torch
from torch import nn

from swiftpie.engine.layers import FoldedUpsampling
from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.engine.wrappers import module_of
from tests.pipelines.tiny_editor import tiny_editor

ROUNDING = 1  # of 255: both compute in float32, in another order


def count(network: nn.Module) -> int:
    return sum(isinstance(part, FoldedUpsampling) for part in network.modules())


def test_the_embedded_model_draws_the_same(session, identity):
    made = transform(session.components, ["folded-upsampling"])
    request = {"subjects": identity, "prompt": "a subject on a beach", "seed": 3}
    expected, found = session.personalize(**request), Session(made).personalize(**request)
    apart = np.asarray(expected.images[0], int) - np.asarray(found.images[0], int)
    assert np.abs(apart).max() <= ROUNDING
    assert count(module_of(made.denoiser)) == 1
    assert count(module_of(session.components.denoiser)) == 0


@torch.no_grad()
def test_a_full_decoder_decodes_the_same():
    plain = tiny_editor()
    made = transform(plain, ["folded-upsampling"])
    latents = torch.randn(1, 4, 16, 16)
    found, expected = made.autoencoder.decode(latents), plain.autoencoder.decode(latents)
    assert (found - expected).abs().max() < 1e-4
    assert count(module_of(made.autoencoder)) > 0
    assert count(module_of(made.inversion)) > 0
