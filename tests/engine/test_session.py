"""One session serves many threads at once, and no call feels another."""

from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from itertools import pairwise, product
from random import Random
from threading import Barrier

import numpy as np
import pytest

from swiftpie import MaskSource, Strength, Subject

NUM_THREADS = 8
MAX_LEVELS = 1  # of 255: threads may split sums in other ways than a call alone
SPRITES = ("1f439.webp", "1f916.webp", "1f980.webp")
PROMPTS = ("a subject on a beach", "a subject in the snow", "a subject in a city at night")
STRENGTHS = (
    Strength(),
    Strength(identity=0.3, detail=0.9),
    Strength(identity=1.4, detail=0.2, leak=0.3, context=1.3),
    Strength(text=0.8, balance=0.5, energy_cap=1.5),
)
SOURCES = (MaskSource.NONE, MaskSource.INLINE, MaskSource.TWO_PASS)


@pytest.fixture(scope="module")
def identities(session):
    """Three subjects of the package, encoded."""
    folder = files("swiftpie") / "assets" / "samples"
    return [session.encode_identity((folder / name).read_bytes()) for name in SPRITES]


def requests(identities, count):
    """Different calls, the same ones each time: one subject or two, in any combination."""
    choices = list(product(identities, PROMPTS, STRENGTHS, SOURCES))
    made = []
    for seed, (identity, prompt, strength, source) in enumerate(Random(0).sample(choices, count)):
        shown = identity
        if seed % 4 == 0:
            shown = [Subject(identity), Subject(identities[seed % 3], strength=0.6)]
        made.append((shown, prompt, {"seed": seed, "strength": strength, "mask": source}))
    return made


def pixels(session, request):
    shown, prompt, settings = request
    return np.asarray(session.personalize(shown, prompt, **settings).images[0], dtype=np.int16)


def run_together(session, calls):
    """Every call's pixels, from threads that start at the same moment."""
    barrier = Barrier(NUM_THREADS)

    def work(first):
        barrier.wait(timeout=60)
        return {i: pixels(session, calls[i]) for i in range(first, len(calls), NUM_THREADS)}

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        parts = list(pool.map(work, range(NUM_THREADS)))
    return [part[i] for i in range(len(calls)) for part in parts if i in part]


@pytest.mark.parametrize(
    ("num_calls", "num_different"), [(40, 20), pytest.param(200, 100, marks=pytest.mark.slow)]
)
def test_calls_from_threads_equal_calls_alone(
    session, identities, num_calls, num_different, record_property
):
    different = requests(identities, num_different)
    alone = [pixels(session, request) for request in different]
    pairs = [np.abs(one - other).max() for one, other in pairwise(alone)]
    assert min(pairs) > 10 * MAX_LEVELS  # mixing any two calls up would show
    order = [index % num_different for index in range(num_calls)]
    Random(1).shuffle(order)
    together = run_together(session, [different[index] for index in order])
    apart = [
        int(np.abs(found - alone[index]).max())
        for found, index in zip(together, order, strict=True)
    ]
    record_property("exact_calls", apart.count(0))
    assert len(apart) == num_calls
    assert max(apart) <= MAX_LEVELS
    assert apart.count(0) > num_calls // 2
