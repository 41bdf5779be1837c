"""Subjects by name on the command line."""

import json

import numpy as np
import pytest

from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie.library import CREDIT, subject_library

PROMPT = "a kitten on a beach"
SMALL = ("--size", "128x128")
ROUNDING = 2  # of 255, between PyTorch and what draws without it
NAMED = [{"word": "kitten", "name": "cat", "near": ["cat face"]}]


def pixels(path):
    return np.asarray(load_image(path))


@pytest.fixture(scope="module")
def drawn(call, tmp_path_factory):
    out = tmp_path_factory.mktemp("named") / "out.png"
    result = call("personalize", PROMPT, "-o", out, "--seed", 3, *SMALL, "--json")
    assert result.exit_code == 0, result.output
    return out, result


def test_a_sentence_is_drawn_with_the_subject_that_it_names(drawn, session):
    out, result = drawn
    facts = json.loads(result.stdout)
    assert facts["pictures"][0]["named"] == NAMED
    assert "'kitten' is drawn from the library as 'cat'; near: cat face." in result.stderr
    assert read_metadata(out)["library"] == "cat (for 'kitten')"
    expected = np.asarray(session.generate(PROMPT, seed=3, size=(128, 128)).images[0]).astype(int)
    assert (np.abs(pixels(out) - expected) > ROUNDING).mean() < 1e-3


def test_a_name_stands_where_a_picture_would(call, tmp_path, drawn):
    out = tmp_path / "out.png"
    result = call("personalize", "cat", PROMPT, "-o", out, "--seed", 3, *SMALL)
    assert result.exit_code == 0, result.output
    assert np.array_equal(pixels(out), pixels(drawn[0]))
    assert call("identity", "save", "kitten", "-o", tmp_path / "cat.spid").exit_code == 0


def test_boxes_are_for_given_and_named_subjects_in_their_order(call, tmp_path, hamster):
    out, boxes = tmp_path / "out.png", ("0.05,0.4,0.45,0.9", "0.55,0.4,0.95,0.9")
    prompt = "a hamster and a cat on a beach"
    places = [word for box in boxes for word in ("--box", box)]
    result = call("personalize", hamster, prompt, "-o", out, "--seed", 3, *SMALL, *places, "--json")
    assert result.exit_code == 0, result.output
    assert [who["name"] for who in json.loads(result.stdout)["pictures"][0]["named"]] == ["cat"]
    result = call("personalize", hamster, prompt, "-o", out, *places, "--box", boxes[0], "--force")
    assert "3 boxes came with 2 subjects" in result.stderr


def test_the_library_is_listed_and_searched(call):
    everyone = call("library")
    assert everyone.stdout.splitlines() == list(subject_library().names())
    assert CREDIT in everyone.stderr
    found = json.loads(call("library", "kitten", "--json").stdout)
    assert [entry["name"] for entry in found] == ["cat", "cat face"]
    assert "kitten" in found[0]["words"]
    cars = call("library", "car").stdout.splitlines()[1:]
    assert cars[0].startswith("automobile  ")
    table = call("library", "kitten").stdout.splitlines()
    rows = [line for line in table[1:] if not line.startswith(" ")]  # others go on
    assert [line.split("  ")[0] for line in rows] == ["cat", "cat face"]
    unknown = call("library", "xqzw")
    assert unknown.exit_code == 2
    assert "has no subject called 'xqzw'" in unknown.stderr


def test_scenes_are_listed_by_name(call):
    every = call("library", "--scenes")
    assert "castle" in every.stdout.splitlines()
    one = call("library", "castle", "--scenes", "--json")
    (castle,) = json.loads(one.stdout)
    assert castle["name"] == "castle"
    assert castle["pictures"] == len(castle["credits"]) == 2
    missing = call("library", "castel", "--scenes")
    assert missing.exit_code == 2
    assert "castle" in missing.stderr
