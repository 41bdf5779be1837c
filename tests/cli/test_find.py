"""`swiftpie find` writes where a subject is, and changes take a subject in place of a mask."""

import json

import pytest

from swiftpie.imageio.decoding import load_image


@pytest.mark.thorough
def test_the_subject_of_a_picture_is_found_in_it(call, hamster, tmp_path):
    out = tmp_path / "mask.png"
    told = call("find", hamster, hamster, "-o", out, "--json", "--is-there")
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    mask = load_image(out)
    assert (facts["path"], mask.size) == (str(out), load_image(hamster).size)
    assert facts["likeness"] > 0.7
    assert mask.getextrema()[0] == (0, 255)


@pytest.mark.parametrize(
    ("command", "other"),
    [
        (("remove",), ("--mask", "m.png")),
        (("replace", "cat"), ("--box", "0,0,1,1")),
        (("remove",), ("--point", "0.5,0.5")),
    ],
)
def test_a_subject_and_another_place_exclude_each_other(call, hamster, tmp_path, command, other):
    told = call(*command, hamster, "--where", "dog", *other, "-o", tmp_path / "out.png")
    assert (told.exit_code, "--where and" in told.stderr) == (2, True), told.stderr
