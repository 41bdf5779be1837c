import json
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from PIL import Image

import swiftpie
from swiftpie.imageio.writing import read_metadata
from tests.tiny.folders import make_model

TABLES = tomllib.loads(Path(__file__).with_name("published_weights.toml").read_text("utf-8"))


@pytest.fixture
def folder(models):
    return models / "sd21"


def personalize(call, folder, picture, out, *more, code=0):
    return call(
        *("personalize", picture, "a hamster on a beach", "-o", out, "--seed", 3),
        *("--preset", "sd-turbo", "--weights", folder / "pipeline", "--offline"),
        *("--adapter", folder / "own.safetensors", "--image-encoder", folder / "encoder"),
        *more,
        code=code,
    )


def test_a_picture_is_drawn_at_the_size_asked_for(call, folder, tmp_path, hamster):
    out = tmp_path / "out.png"
    options = ["--size", "96x64", "--dtype", "bfloat16", "--mask", "inline", "--json"]
    result = personalize(call, folder, hamster, out, *options)
    assert json.loads(result.stdout)["pictures"][0]["seed"] == 3
    with Image.open(out) as opened:
        assert opened.size == (96, 64)
    stored = read_metadata(out)
    assert (stored["preset"], stored["identity_scale"]) == ("sd-turbo", "0.8")  # the adapter's


@pytest.mark.parametrize(("options", "code", "message"), TABLES["refused"])
def test_what_cannot_be_used_is_named(call, folder, tmp_path, hamster, options, code, message):
    result = personalize(call, folder, hamster, tmp_path / "out.png", *options, code=code)
    assert message in result.stderr
    assert "=`" not in result.stderr
    assert not (tmp_path / "out.png").exists()


def test_an_identity_is_saved_inspected_and_drawn(call, folder, tmp_path, hamster):
    chosen = ("--preset", "sd-turbo", "--weights", folder / "pipeline", "--offline")
    parts = ("--adapter", folder / "own.safetensors", "--image-encoder", folder / "encoder")
    saved, half = tmp_path / "saved.spid", ("--dtype", "bfloat16")
    call("identity", "save", hamster, "-o", saved, *chosen, *parts, *half)
    assert json.loads(call("show", saved, "--json").stdout)["preset"] == "sd-turbo"
    personalize(call, folder, saved, tmp_path / "out.png", *half, "--size", "64x64")


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "preset"), [("sd15", "instaflow"), ("sdxl", "sdxl-turbo")])
def test_a_tuned_subject_is_drawn_as_in_python(call, tmp_path, hamster, family, preset):
    choices = make_model(tmp_path, family, adapter="public")
    tuned, out = tmp_path / "tuned.spid", tmp_path / "out.png"
    given = [(f"--{name.replace('_', '-')}", path) for name, path in choices.items()]
    parts = ("--preset", preset, "--offline", *chain(*given))
    scenes = ("--steps", 1, "--num-scenes", 1, "--learning-rate", 0.3, "--json")
    result = call("tune", hamster, "-o", tuned, *scenes, *parts)
    facts = json.loads(result.stdout)
    assert facts["psnr"] > facts["first_psnr"]
    assert "draws 3 scenes and takes up to 1 steps; Ctrl-C keeps" in result.stderr
    call("personalize", tuned, "a cup", "-o", out, "--seed", 3, "--size", "64x64", *parts)
    session = swiftpie.load(preset, device="cpu", **choices)
    read, plain = session.load_identity(tuned), session.encode_identity(hamster)
    pictures = [session.personalize(one, "a cup", seed=3, size=(64, 64)) for one in (read, plain)]
    with Image.open(out) as opened:
        assert (
            opened.tobytes() == pictures[0].images[0].tobytes() != pictures[1].images[0].tobytes()
        )
