import json

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.faces import CONSENT
from swiftpie.imageio.writing import read_metadata
from tests.quick import thorough_but
from tests.tiny.faces import (
    BOX,
    FACE_ID,
    FACE_ID_PLUS,
    LOOKING,
    PHOTO,
    make_models,
    make_world,
    options,
    recogniser,
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def blank(tmp_path_factory):
    path = tmp_path_factory.mktemp("blank") / "blank.png"
    Image.new("RGB", (80, 60)).save(path)
    return path


def draw(call, world, out, *more, photo=PHOTO, adapter=FACE_ID, **expected):
    arguments = ["personalize", "--face", photo, "a person on a beach", "-o", out, "--seed", 3]
    return call(*arguments, *options(world, adapter=adapter), *more, **expected)


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"), dtype=float)


@pytest.mark.parametrize("adapter", thorough_but([FACE_ID_PLUS, LOOKING], [FACE_ID_PLUS]))
def test_every_picture_shows_the_person(call, world, tmp_path, adapter):
    result = draw(call, world, tmp_path / "out.png", "-n", 2, "--json", adapter=adapter)
    facts = json.loads(result.stdout)
    assert (facts["face"]["number"], facts["face"]["of"], facts["face"]["turn"]) == (1, 1, 0)
    assert np.allclose([*facts["face"]["box"].values()], BOX, atol=0.1)
    assert facts["size"] == {"width": 64, "height": 64}
    assert facts["scales"]["identity_scale"] > 0
    assert [picture["seed"] for picture in facts["pictures"]] == [3, 4]
    assert CONSENT[:40] in result.stderr
    is_strange = "draws another person" in " ".join(result.stderr.split())
    assert is_strange == (adapter == FACE_ID_PLUS)  # it reads vectors, and those of opencv
    stored = read_metadata(tmp_path / "out-2.png")
    assert (stored["seed"], stored["face_encoder"]) == ("4", "opencv")
    assert "consent" in stored["face"]
    first, last = (pixels(picture["path"]) for picture in facts["pictures"])
    assert not np.array_equal(first, last)


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--face-number", "2"], 3, "shows 1"),
        (["--encoder", "insightface"], 1, "non-commercial"),
        (["--encoder", "opencvv"], 2, "Did you mean opencv"),
        (["--face-models", "nowhere"], 1, "face_detection_yunet_2023mar.onnx"),
        (["--identity-guidance", "painted"], 2, "painted"),
    ],
)
def test_what_cannot_be_used_is_named(call, world, tmp_path, more, code, message):
    draw(call, world, tmp_path / "out.png", *more, adapter=LOOKING, code=code, says=message)
    assert not (tmp_path / "out.png").exists()


def test_a_picture_without_a_face_is_refused_before_anything_is_loaded(
    call, world, blank, tmp_path
):
    result = draw(call, world, tmp_path / "out.png", "--base", "nowhere", photo=blank, code=3)
    assert "No face was found" in result.stderr


def test_an_embedding_of_another_width_is_refused_with_both_numbers(call, world, tmp_path):
    folder = make_models(tmp_path / "wide")
    onnx.save(recogniser(1, width=24), folder / "face_recognition_sface_2021dec.onnx")
    result = draw(call, world, tmp_path / "out.png", "--face-models", folder, code=2)
    assert "24" in result.stderr
    assert "16" in result.stderr


def edit(call, world, out, *more, photo=PHOTO, face=PHOTO, **expected):
    arguments = ["edit", photo, "a person at sea", "-o", out, "--seed", 3, "--face", face]
    chosen = [
        *("--preset", "sdxl-turbo", "--weights", world / "pipeline", "--offline"),
        *("--adapter", world / f"{FACE_ID_PLUS}.safetensors"),
        *("--image-encoder", world / "encoder", "--face-models", world / "faces"),
    ]
    return call(*arguments, *chosen, *more, **expected)


@pytest.mark.thorough
def test_a_face_comes_into_a_photograph_where_its_face_is(call, world, tmp_path):
    out, region = tmp_path / "out.png", tmp_path / "region.png"
    result = edit(call, world, out, "--save-region", region, "--json")
    facts = json.loads(result.stdout)
    assert (facts["branches"], facts["scales"]["identity_scale"]) == (["semantic"], 1.0)
    outside = pixels(region).max(axis=-1) == 0
    before, after = pixels(PHOTO), pixels(out)
    assert (before[outside] == after[outside]).all()
    assert (before[~outside] != after[~outside]).any()
    assert CONSENT[:40] in result.stderr
    assert "consent" in read_metadata(out)["face"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [(["--subject", PHOTO], 2, "exclude each other"), (["--face-number", "2"], 3, "shows 1")],
)
def test_what_an_edit_cannot_draw_is_named(call, world, tmp_path, more, code, message):
    edit(call, world, tmp_path / "out.png", *more, code=code, says=message)


def test_a_photograph_without_a_face_needs_a_place(call, world, blank, tmp_path):
    result = edit(call, world, tmp_path / "out.png", photo=blank, code=3)
    assert "by a mask or a box" in " ".join(result.stderr.split())
