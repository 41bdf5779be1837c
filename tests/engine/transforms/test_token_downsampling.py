"""Thinned attention draws nearly the same picture, and leaves the given networks alone."""

import numpy as np
import pytest
import torch

from swiftpie.engine.session import Session
from swiftpie.engine.transforms import transform
from swiftpie.engine.wrappers import shared_copy
from swiftpie.models.inversion import UNetInversion
from tests.pipelines.tiny_editor import tiny_editor

LEAST_DB = 33  # 96 pictures of the embedded model lay between 35 and 53
REQUEST = {"prompt": "a subject on a beach at sunset", "seed": 3}


def pixels(session, identity):
    drawn = session.personalize(identity, **REQUEST).images[0]
    return np.asarray(drawn, dtype=np.float64)


def test_it_draws_nearly_the_same(session, identity):
    before = pixels(session, identity)
    made = transform(session.components, ["token-downsampling"])
    thinned = pixels(Session(made), identity)
    error = np.mean((before - thinned) ** 2)
    assert 0 < error < 255**2 / 10 ** (LEAST_DB / 10)
    assert np.array_equal(pixels(session, identity), before)


@pytest.fixture(scope="module")
def editor():
    return tiny_editor()


def invert(inversion, editor, size=(8, 6)):
    latents = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return inversion(latents, editor.text.encode(["a cat on the sofa"]))


def test_inversion_networks_attend_as_diffusers_has_it_where_nothing_is_thinned(editor):
    plain = invert(editor.inversion, editor)
    whole = UNetInversion(shared_copy(editor.inversion.unet), stride=1)
    assert (invert(whole, editor) - plain).abs().max() < 1e-5


def test_large_inversion_networks_are_thinned_too(editor):
    before = invert(editor.inversion, editor)
    thinned = transform(editor, ["token-downsampling", "folded-upsampling"]).inversion
    assert (invert(thinned, editor) - before).abs().max() > 1e-4
    assert torch.equal(invert(editor.inversion, editor), before)
