from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

import swiftpie
from swiftpie.backbones.components import Engine
from swiftpie.engine.session import Session
from swiftpie.faces import FACE_ENCODERS
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.pipelines.settings import IdentityGuidance
from tests.tiny.faces import FACE_ID, make_world, photo


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def session(world):
    return swiftpie.load(
        "sdxl-lightning-4",
        weights=world / "unet",
        base=world / "pipeline",
        adapter=world / f"{FACE_ID}.safetensors",
        image_encoder=world / "encoder",
        offline=True,
    )


@pytest.fixture(scope="module")
def chosen(world):
    return choose_face(find_faces(FACE_ENCODERS.get("opencv").open(world / "faces"), photo()))


def drawn(session, chosen, style, *, prompt="a person on a beach", seed=1):
    identity = session.encode_face(chosen)
    result = session.personalize(
        identity, prompt, identity_guidance=style, seed=seed, size=(64, 64)
    )
    return np.asarray(result.images[0], dtype=float)


def test_another_face_is_another_picture(session, chosen):
    plain = drawn(session, chosen, IdentityGuidance.PLAIN)
    turned = chosen.face.embedding[::-1].copy()
    face = type(chosen.face)(**{**vars(chosen.face), "embedding": turned})
    stranger = type(chosen)(**{**vars(chosen), "face": face})
    assert not np.array_equal(plain, drawn(session, stranger, IdentityGuidance.PLAIN))


class Watched:
    def __init__(self, inner):
        self.inner, self.asked = inner, []

    def encode(self, prompts):
        self.asked.append(tuple(prompts))
        return self.inner.encode(prompts)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_faces_and_guidance_draw_in_the_scope_of_the_engine_and_from_the_caches(session, chosen):
    is_inside, seen, encoded = [False], [], []

    @contextmanager
    def scope():
        is_inside[0] = True
        yield
        is_inside[0] = False

    components = session.components
    watched = Watched(components.text)
    own = Session(replace(components, engine=Engine(scope=scope), text=watched))
    hooks = [
        components.denoiser.register_forward_hook(lambda *_: seen.append(is_inside[0])),
        components.image_encoder.register_forward_hook(lambda *_: encoded.append(1)),
    ]
    try:
        pictures = [drawn(own, chosen, IdentityGuidance.DCG_AM2) for _ in range(2)]
    finally:
        for hook in hooks:
            hook.remove()
    assert np.array_equal(*pictures)
    assert len(seen) == 2 * 4
    assert all(seen)
    assert len(encoded) == 2  # the person, and no person, for two pictures
    assert sorted(watched.asked) == [("",), ("a person on a beach",)]
