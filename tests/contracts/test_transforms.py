"""Every transform draws what the untouched model draws, and leaves that model alone."""

import numpy as np
import pytest

from swiftpie.engine.session import Session
from swiftpie.engine.transforms import TRANSFORMS, transform
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.identity_file import load_identity, save_identity

PROMPT = "a subject on a beach at sunset"
SEED = 4
LEAST_DB = {  # likeness to the untouched picture, peak signal to noise
    "openvino": 45,
    "openvino-int8": 45,
    "token-downsampling": 33,
    "folded-upsampling": 55,
}
REFUSED_BY_MINI = {"offload", "tiny-decoder", "tiny-encoder"}  # on the CPU, and tiny by itself
SLOW = {"openvino", "openvino-int8"}  # they export for a minute

drawing = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in LEAST_DB]
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SWIFTPIE_HOME", str(tmp_path_factory.mktemp("home")))


def draw(components, identity):
    result = Session(components, cache_mib=0).personalize(identity, PROMPT, seed=SEED)
    return np.asarray(result.images[0], dtype=np.float64)


def likeness_db(one, other):
    return 10 * np.log10(255**2 / max(np.mean((one - other) ** 2), 1e-9))


def applied(name, components):
    if not TRANSFORMS.get(name).is_installed:
        pytest.skip("its package is not installed")
    return transform(components, [name])


def test_every_transform_is_tested_here():
    assert {*TRANSFORMS.names()} == {*LEAST_DB} | REFUSED_BY_MINI


@drawing
def test_it_draws_the_same_picture_and_leaves_the_original_alone(session, identity, name):
    before = draw(session.components, identity)
    made = applied(name, session.components)
    assert likeness_db(draw(made, identity), before) >= LEAST_DB[name]
    assert np.array_equal(draw(session.components, identity), before)


@drawing
def test_identities_of_before_stay_valid(session, identity, name, tmp_path):
    save_identity(identity, tmp_path / "one.spid")
    made = applied(name, session.components)
    assert load_identity(tmp_path / "one.spid", made).keys.keys() == identity.keys.keys()
    assert made.device == session.components.device
    assert made.preset is session.components.preset


@drawing
def test_it_encodes_identities(session, sprite, identity, name):
    found = Session(applied(name, session.components)).encode_identity(sprite)
    for entry in ("tokens", "pooled"):
        ours, plain = getattr(found, entry), getattr(identity, entry)
        assert (ours - plain).norm() < 0.1 * plain.norm()
    assert found.values.keys() == identity.values.keys()


@pytest.mark.parametrize("name", sorted(REFUSED_BY_MINI))
def test_what_cannot_help_is_refused(session, name):
    with pytest.raises(CapabilityError, match=name):
        transform(session.components, [name])


@pytest.mark.thorough
def test_transforms_compose(session, identity):
    plain = draw(session.components, identity)
    one, other = "token-downsampling", "folded-upsampling"
    picture = draw(transform(session.components, [one, other]), identity)
    assert likeness_db(picture, plain) >= LEAST_DB[one]
    turned = transform(transform(session.components, [other]), [one])
    assert likeness_db(draw(turned, identity), picture) >= LEAST_DB[other]
    assert np.array_equal(draw(session.components, identity), plain)
