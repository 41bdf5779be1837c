import io
import json

import numpy as np
import pytest
from PIL import Image

from swiftpie.faces import FACE_ENCODERS
from swiftpie.imageio.decoding import load_image
from tests.server.conftest import picture_in, serving, to_png
from tests.tiny.faces import PHOTO, make_world, small_session

FACE = ("me.jpg", PHOTO.read_bytes())


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    world = make_world(tmp_path_factory.mktemp("world"))
    encoder = FACE_ENCODERS.get("opencv").open(world / "faces")
    session = small_session(world).with_face_encoder(encoder)
    with serving(session, facts={"knows_faces": True}) as running:
        yield running


@pytest.fixture(scope="module")
def person(backend):
    made = backend.upload("/v1/identities", face=FACE, face_number="1", name="me")
    assert made.status == 201, made.json
    return made.json


def test_a_person_is_kept_without_the_photograph(backend, person):
    assert (person["is_face"], person["pictures"], person["name"]) == (True, [], "me")
    (model,) = backend.ask("GET", "/v1/models").json["data"]
    assert model["swiftpie"]["knows_faces"] is True
    assert Image.open(io.BytesIO(backend.ask("GET", person["thumbnail"]).content)).size == (64, 64)


def test_a_person_is_drawn_in_a_style_and_the_file_asks_for_consent(backend, person):
    subjects = {"subjects": [{"identity_id": person["id"]}]}
    call = {"prompt": "a person at sea", "seed": 3, "size": "64x64"}
    plain, styled = (
        picture_in(backend.draw(**call, swiftpie=subjects | more))
        for more in ({}, {"identity_guidance": "am1"})
    )
    assert "consent" in plain.info["swiftpie"]
    assert json.loads(styled.info["swiftpie"])["identity_guidance"] == "am1"
    assert plain.tobytes() != styled.tobytes()


def test_a_person_comes_into_a_photograph_where_its_face_is(backend, person):
    own = json.dumps({"subjects": [{"identity_id": person["id"]}]})
    fields = {"prompt": "a person at sea", "seed": "3", "swiftpie": own}
    answer = backend.upload("/v1/images/edits", image=FACE, **fields)
    changed = np.asarray(picture_in(answer)) != np.asarray(load_image(PHOTO))
    assert 0 < changed.any(axis=-1).mean() < 0.5


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"face": FACE, "face_number": "2"}, "face_not_found", "shows 1"),
        ({"face": ("a.png", to_png(Image.new("RGB", (80, 60))))}, "face_not_found", "No face"),
        ({"face": FACE, "image": FACE}, None, "one of the three"),
        ({"image": FACE, "face_number": "1"}, None, "one of the three"),
    ],
)
def test_a_face_that_cannot_be_used_is_named(backend, fields, code, words):
    answer = backend.upload("/v1/identities", **fields)
    assert answer.status == 400
    assert (answer.json["error"]["code"], words in answer.json["error"]["message"]) == (code, True)
