"""Thinned attention draws nearly the same picture, and leaves the given networks alone."""

import numpy as np

from swiftpie.engine.session import Session
from swiftpie.engine.transform import transform

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


def test_it_composes_with_others(session, identity):
    both = transform(session.components, ["token-downsampling", "channels-last"])
    alone = transform(session.components, ["token-downsampling"])
    apart = np.abs(pixels(Session(both), identity) - pixels(Session(alone), identity))
    assert apart.max() <= 2
