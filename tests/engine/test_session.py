from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise, product
from random import Random
from threading import Barrier

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import MaskSource, Scales, Session, Subject
from swiftpie.backbones.components import Engine

NUM_THREADS = 8
MAX_LEVELS = 1  # of 255: threads may split sums in other ways than a call alone
SPRITES = ("1f439.webp", "1f916.webp", "1f980.webp")
PROMPTS = ("a subject on a beach", "a subject in the snow", "a subject in a city at night")
STRENGTHS = (
    Scales(),
    Scales(identity_scale=0.3, detail_scale=0.9),
    Scales(identity_scale=1.4, detail_scale=0.2, background_scale=0.3, text_background_scale=1.3),
    Scales(text_scale=0.8, balance=0.5),
)
SOURCES = (MaskSource.NONE, MaskSource.INLINE)


@pytest.fixture(scope="module")
def identities(session):
    folder = files("swiftpie") / "assets" / "samples"
    return [session.encode_identity((folder / name).read_bytes()) for name in SPRITES]


def requests(identities, count):
    choices = list(product(identities, PROMPTS, STRENGTHS, SOURCES))
    made = []
    for seed, (identity, prompt, scales, source) in enumerate(Random(0).sample(choices, count)):
        shown = identity
        if seed % 4 == 0:
            shown = [Subject(identity), Subject(identities[seed % 3], scale=0.6)]
        made.append((shown, prompt, {"seed": seed, "scales": scales, "mask": source}))
    return made


def pixels(session, request):
    shown, prompt, settings = request
    return np.asarray(session.personalize(shown, prompt, **settings).images[0], dtype=np.int16)


def run_together(session, calls):
    barrier = Barrier(NUM_THREADS)

    def work(first):
        barrier.wait(timeout=60)
        return {i: pixels(session, calls[i]) for i in range(first, len(calls), NUM_THREADS)}

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        parts = list(pool.map(work, range(NUM_THREADS)))
    return [part[i] for i in range(len(calls)) for part in parts if i in part]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("num_calls", "num_different"), [(8, 4), pytest.param(200, 72, marks=pytest.mark.slow)]
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


def test_pictures_are_drawn_in_the_scope_of_the_networks(session, identity, sprite):
    stages = []

    @contextmanager
    def scope():
        stages.append("in")
        yield
        stages.append("out")

    scoped = Session(replace(session.components, engine=Engine(scope=scope)))
    scoped.personalize(identity, "a dog")
    assert stages == ["in", "out"]
    scoped.edit(sprite, "a dog at night")
    assert stages == ["in", "out"] * 2


@pytest.fixture
def fresh(session):
    return Session(session.components)


@pytest.fixture
def forgetful(session):
    return Session(session.components, cache_mib=0)


@pytest.fixture
def passes(session):
    """Grows by one name whenever a network reads a reference or the text tower a prompt."""
    seen = []
    networks = {
        "image": session.components.image_encoder,
        "text": session.components.text.encoder,
        "denoiser": session.components.denoiser,
    }
    handles = [
        network.register_forward_hook(lambda *_, name=name: seen.append(name))
        for name, network in networks.items()
    ]
    yield seen
    for handle in handles:
        handle.remove()


def assert_same_identity(one, other):
    for name in ("tokens", "pooled", "pixels", "mask", "large"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name in ("keys", "values"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[layer], theirs[layer]) for layer in mine)
    assert (one.preset, one.fingerprint) == (other.preset, other.fingerprint)


def test_a_remembered_identity_costs_no_pass_and_equals_a_new_one(fresh, forgetful, sprite, passes):
    picture = sprite.resize((200, 200))
    first = fresh.encode_identity(picture)
    assert "image" in passes
    passes.clear()
    again = fresh.encode_identity(picture.copy())
    assert passes == []
    assert_same_identity(again, first)
    assert_same_identity(forgetful.encode_identity(picture), first)
    assert "image" in passes


def test_pictures_from_the_cache_equal_pictures_without_it_bit_for_bit(
    fresh, forgetful, identities, passes
):
    call = (identities[0], PROMPTS[0])
    expected = forgetful.personalize(*call, seed=0, num_images=2).images
    for _ in range(2):
        passes.clear()
        found = fresh.personalize(*call, seed=0, num_images=2).images
        assert [image.tobytes() for image in found] == [image.tobytes() for image in expected]
    assert passes == ["denoiser"]  # no text: the second call knows the prompt
    assert forgetful.cache.num_entries == 0


def test_how_a_picture_comes_does_not_matter_but_what_it_shows(fresh, sprite, tmp_path):
    path = tmp_path / "sprite.png"
    sprite.save(path)
    same = [
        fresh.encode_identity(source) for source in (sprite, path, str(path), path.read_bytes())
    ]
    assert all(identity is same[0] for identity in same)
    half = Image.new("L", sprite.size, 255)
    half.paste(0, (0, 0, sprite.width, sprite.height // 2))
    changed = sprite.copy()
    changed.putpixel((sprite.width // 2, sprite.height // 2), (1, 2, 3, 255))
    others = [
        fresh.encode_identity(changed),
        fresh.encode_identity(sprite, masks=half),
        fresh.encode_identity([sprite, sprite]),
        fresh.encode_identity([sprite, sprite], masks=[half, None]),
        fresh.encode_identity([sprite, sprite], masks=[None, half]),
    ]
    assert len({id(identity) for identity in [same[0], *others]}) == 1 + len(others)
    assert fresh.cache.misses["identity"] == 1 + len(others)


def test_a_size_is_width_and_height(session, identity):
    drawn = session.personalize(identity, "a robot on a beach", seed=0, size=(256, 192))
    assert drawn.images[0].size == (256, 192)
