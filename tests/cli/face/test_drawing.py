import numpy as np
import pytest

import swiftpie
from swiftpie.attention.shaping import AM1, AM2, STABLE_AM2
from swiftpie.cli.face.drawing import Drawing, identity_of
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.faces.face import FACE_ENCODERS
from swiftpie.guidance.methods.dcg import Decoupled
from swiftpie.guidance.style import Style, steering_of
from swiftpie.pipelines.request import Scales
from tests.faces.tiny_faces import photo
from tests.faces.tiny_world import FACE_ID

NUM_STEPS = 4


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


def drawn(session, identity, style, *, prompt="a person on a beach", seed=1):
    drawing = Drawing(session, Scales.of(session.components.preset), style, 64)
    return np.asarray(drawing.draw(identity, prompt, seed=seed).images[0], dtype=float)


@pytest.mark.parametrize(
    ("style", "has_dcg", "shaping"),
    [
        (Style.PLAIN, False, None),
        (Style.DCG, True, None),
        (Style.AM1, False, AM1),
        (Style.AM2, False, AM2),
        (Style.DCG_AM1, True, AM1),
        (Style.DCG_AM2, True, STABLE_AM2),
    ],
)
def test_a_style_is_guidance_and_reshaping_of_attention(style, has_dcg, shaping):
    steering = steering_of(style, NUM_STEPS)
    assert isinstance(steering["guidance"], Decoupled) == has_dcg
    assert steering["shaping"] is shaping
    if has_dcg:
        assert steering["guidance"].a == (1.0, 1.5, 1.5, 1.0)  # as published, for four steps
        assert steering["guidance"].b == (1.0, 3.0, 3.0, 1.0)


def test_style_and_face_change_the_picture(session, chosen):
    identity = identity_of(session, chosen)
    plain = drawn(session, identity, Style.PLAIN)
    assert plain.shape == (64, 64, 3)
    assert not np.array_equal(plain, drawn(session, identity, Style.DCG_AM2))
    turned = chosen.face.embedding[::-1].copy()
    face = type(chosen.face)(**{**vars(chosen.face), "embedding": turned})
    stranger = type(chosen)(**{**vars(chosen), "face": face})
    assert not np.array_equal(plain, drawn(session, identity_of(session, stranger), Style.PLAIN))
