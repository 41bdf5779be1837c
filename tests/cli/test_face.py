"""A public photograph of a person through all of `swiftpie face`, with tiny models."""

import json

import numpy as np
import onnx
import pytest
from PIL import Image

from swiftpie.faces import CONSENT
from swiftpie.imageio.writing import read_metadata
from tests.faces.tiny_faces import BOX, PHOTO, make_models, recogniser
from tests.faces.tiny_world import FACE_ID_PLUS, LOOKING, make_world, options


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world"))


def draw(call, world, out, *more, photo=PHOTO, **chosen):
    arguments = ["face", photo, "a person on a beach", "-o", out, "--seed", 3]
    return call(*arguments, *options(world, **chosen), *more)


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened.convert("RGB"), dtype=float)


@pytest.mark.parametrize("adapter", [FACE_ID_PLUS, LOOKING])
def test_a_photograph_is_found_encoded_drawn_and_judged(call, world, tmp_path, adapter):
    out = tmp_path / "out.png"
    result = draw(call, world, out, "-n", 2, "--json", adapter=adapter)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["face"]["number"], told["face"]["of"], told["face"]["turn"]) == (1, 1, 0)
    assert np.allclose([*told["face"]["box"].values()], BOX, atol=0.1)
    assert told["judge"] == "arcface"
    assert (told["prompt"], told["identity_guidance"]) == ("a person on a beach", "plain")
    assert told["size"] == {"width": 64, "height": 64}
    assert told["scales"]["identity_scale"] > 0
    assert [one["seed"] for one in told["pictures"]] == [3, 4]
    assert all(-1 <= one["identity"] < 1 for one in told["pictures"])
    assert CONSENT[:40] in result.stderr
    is_strange = "draws another person" in " ".join(result.stderr.split())
    assert is_strange == (adapter == FACE_ID_PLUS)  # it reads vectors, and those of opencv
    stored = read_metadata(tmp_path / "out-2.png")
    assert (stored["seed"], stored["identity_guidance"], stored["face_encoder"]) == (
        "4",
        "plain",
        "opencv",
    )
    assert "consent" in stored["face"]
    assert pixels(tmp_path / "out-1.png").shape == (64, 64, 3)


def test_with_one_encoder_there_is_no_score_and_it_is_said(call, world, tmp_path):
    result = draw(call, world, tmp_path / "out.png", "--json", judge=False)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["judge"] is None
    assert [one["identity"] for one in told["pictures"]] == [None]
    assert "No identity score" in result.stderr


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--face-number", "2"], 3, "shows 1"),
        (["--encoder", "insightface"], 1, "non-commercial"),
        (["--encoder", "opencvv"], 2, "Did you mean opencv"),
        (["--judge", "opencv", "--judge-models", "{faces}"], 2, "same recogniser"),
        (["--face-models", "nowhere"], 1, "face_detection_yunet_2023mar.onnx"),
        (["--identity-guidance", "painted"], 2, "painted"),
    ],
)
def test_what_cannot_be_used_is_named(call, world, tmp_path, more, code, message):
    more = [str(one).format(faces=world / "faces") for one in more]
    result = draw(call, world, tmp_path / "out.png", *more)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert not (tmp_path / "out.png").exists()


def test_a_picture_without_a_face_is_refused_before_anything_is_loaded(call, world, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (80, 60)).save(blank)
    result = draw(call, world, tmp_path / "out.png", "--base", "nowhere", photo=blank)
    assert result.exit_code == 3
    assert "No face was found" in result.stderr


def test_a_lora_scale_is_for_adapters_that_have_a_lora(call, world, tmp_path):
    result = draw(call, world, tmp_path / "out.png", "--lora-scale", 0.5, adapter=LOOKING)
    assert result.exit_code == 2
    assert "LoRA" in result.stderr


def test_an_embedding_of_another_width_is_refused_with_both_numbers(call, world, tmp_path):
    folder = make_models(tmp_path / "wide")
    onnx.save(recogniser(1, width=24), folder / "face_recognition_sface_2021dec.onnx")
    out = tmp_path / "out.png"
    result = draw(call, world, out, "--face-models", folder, judge=False)
    assert result.exit_code == 2
    assert "24" in result.stderr
    assert "16" in result.stderr


def test_every_prompt_of_a_file_shows_the_person(call, world, tmp_path):
    (tmp_path / "prompts.txt").write_text("a person at sea\na person in space\n")
    arguments = ["face", PHOTO, f"@{tmp_path / 'prompts.txt'}", "-o", tmp_path / "out.png"]
    result = call(*arguments, "--seed", 3, "--json", *options(world))
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)["pictures"]
    assert [(one["prompt"], one["seed"]) for one in told] == [
        ("a person at sea", 3),
        ("a person in space", 3),
    ]
    assert not np.array_equal(*(pixels(one["path"]) for one in told))


def edit(call, world, out, *more, photo=PHOTO, face=PHOTO):
    arguments = ["edit", photo, "a person at sea", "-o", out, "--seed", 3, "--face", face]
    chosen = [
        *("--preset", "sdxl-turbo", "--weights", world / "pipeline", "--offline"),
        *("--adapter", world / f"{FACE_ID_PLUS}.safetensors"),
        *("--image-encoder", world / "encoder", "--face-models", world / "faces"),
    ]
    return call(*arguments, *chosen, *more)


@pytest.mark.thorough
def test_a_face_comes_into_a_photograph_where_its_face_is(call, world, tmp_path):
    out, region = tmp_path / "out.png", tmp_path / "region.png"
    result = edit(call, world, out, "--save-region", region, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["branches"], told["scales"]["identity_scale"]) == (["semantic"], 1.0)
    outside = pixels(region).max(axis=-1) == 0
    before, after = pixels(PHOTO), pixels(out)
    assert (before[outside] == after[outside]).all()
    assert (before[~outside] != after[~outside]).any()
    assert CONSENT[:40] in result.stderr
    assert "consent" in read_metadata(out)["face"]


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [(["--subject", PHOTO], 2, "one newcomer"), (["--face-number", "2"], 3, "shows 1")],
)
def test_what_an_edit_cannot_draw_is_named(call, world, tmp_path, more, code, message):
    result = edit(call, world, tmp_path / "out.png", *more)
    assert (result.exit_code, message in result.stderr) == (code, True), result.output


def test_a_photograph_without_a_face_needs_a_place(call, world, tmp_path):
    blank = tmp_path / "blank.png"
    Image.new("RGB", (80, 60)).save(blank)
    result = edit(call, world, tmp_path / "out.png", "--base", "nowhere", photo=blank)
    assert result.exit_code == 3
    assert "by a mask or a box" in " ".join(result.stderr.split())
