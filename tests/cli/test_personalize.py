import json

import numpy as np
import pytest
from PIL import Image

from swiftpie import Subject, __version__
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie.validation import parse_box

PROMPT = "a hamster on a beach"
SMALL = ("--size", "128x128")


@pytest.fixture(scope="module")
def drawn(call, tmp_path_factory, hamster):
    out = tmp_path_factory.mktemp("drawn") / "out.png"
    call("personalize", hamster, PROMPT, "-o", out, "--seed", 7, *SMALL)
    return out


def draw(call, out, *arguments):
    return call("personalize", *arguments, "-o", out, "--seed", 7, *SMALL)


def pixels(path):
    return np.array(load_image(path))


def test_the_file_says_how_it_was_made_and_nothing_of_the_users_files(drawn, hamster):
    stored = read_metadata(drawn)
    assert stored["prompt"] == PROMPT
    assert (stored["seed"], stored["preset"], stored["swiftpie"]) == ("7", "mini", __version__)
    assert stored["identity_scale"] == "1.0"
    assert str(hamster.parent).encode() not in drawn.read_bytes()
    assert hamster.name not in str(stored)


def test_json_is_all_of_standard_output_and_a_random_seed_is_reported(call, tmp_path, hamster):
    out, mask = tmp_path / "out.webp", tmp_path / "mask.png"
    result = call("personalize", hamster, PROMPT, "-o", out, "--save-subject-mask", mask, "--json")
    facts = json.loads(result.stdout, parse_constant=pytest.fail)  # no infinity, which is not JSON
    assert (facts["prompt"], facts["preset"]) == (PROMPT, "mini")
    assert facts["size"] == {"width": 768, "height": 576}  # of the photographed place
    assert facts["scales"]["identity_scale"] == 1.0
    picture = facts["pictures"][0]
    assert (picture["path"], picture["subject_mask"]) == (str(out), str(mask))
    assert f"(seed {picture['seed']})" in result.stderr
    assert read_metadata(out)["seed"] == str(picture["seed"])
    assert load_image(mask).size == load_image(out).size


def test_a_region_that_a_drawing_saved_is_given_back(call, tmp_path, hamster):
    out, mask = tmp_path / "out.png", tmp_path / "mask.png"
    arguments = ("personalize", hamster, PROMPT, "-o", out, "--scene", "words", "--seed", 7)
    call(*arguments, "--save-subject-mask", mask)
    first = pixels(out)
    call(*arguments, "--mask", mask, "--force")
    assert pixels(out).shape == first.shape
    assert (pixels(out) != first).any()


def test_standard_input_and_output_carry_the_same_picture(call, hamster, drawn):
    arguments = ("personalize", "-", PROMPT, "-o", "-", "--seed", 7, *SMALL)
    assert call(*arguments, stdin=hamster.read_bytes()).stdout_bytes == drawn.read_bytes()


def test_an_identity_file_stands_for_its_picture(call, tmp_path, hamster, drawn):
    identity = tmp_path / "hamster.jpg"  # content decides, not the name
    call("identity", "save", hamster, "-o", identity)
    draw(call, tmp_path / "out.png", identity, PROMPT)
    assert np.array_equal(pixels(tmp_path / "out.png"), pixels(drawn))
    result = call("personalize", identity, hamster, PROMPT, "-o", tmp_path / "two.png", code=2)
    assert "identity file" in result.stderr


def test_a_mask_decides_what_is_cut_out(call, tmp_path, photo):
    mask = Image.new("L", load_image(photo).size)
    mask.paste(255, (0, 0, 100, 100))
    mask.save(tmp_path / "mask.png")
    for name, cutout in {"masked": tmp_path / "mask.png", "found": "auto"}.items():
        call("cutout", photo, "-o", tmp_path / f"{name}.png", "--cutout", cutout)
    assert not np.array_equal(pixels(tmp_path / "masked.png"), pixels(tmp_path / "found.png"))
    assert read_metadata(tmp_path / "masked.png") == {}


LEFT, RIGHT = "0.02,0.4,0.45,0.9", "0.55,0.4,0.98,0.9"


def test_further_subjects_take_the_next_boxes(call, tmp_path, session, hamster, samples):
    robot, out = samples / "1f916.webp", tmp_path / "both.png"
    draw(call, out, hamster, "--also", robot, PROMPT, "--box", LEFT, "--box", RIGHT)
    subjects = [
        Subject(session.encode_identity(path), parse_box(box))
        for path, box in ((hamster, LEFT), (robot, RIGHT))
    ]
    expected = session.personalize(subjects, PROMPT, seed=7, size=(128, 128)).images[0]
    assert np.array_equal(pixels(out), np.asarray(expected))


def test_pictures_have_seeds_that_count_up(call, tmp_path, hamster, drawn):
    masks = ("--save-subject-mask", tmp_path / "mask.png")
    result = draw(call, tmp_path / "out.png", hamster, PROMPT, "-n", 2, "--json", *masks)
    facts = json.loads(result.stdout)["pictures"]
    assert load_image(tmp_path / "mask-2.png").size == load_image(facts[1]["path"]).size
    assert [picture["seed"] for picture in facts] == [7, 8]
    assert [picture["path"] for picture in facts] == [
        str(tmp_path / f"out-{number}.png") for number in (1, 2)
    ]
    difference = pixels(tmp_path / "out-1.png").astype(int) - pixels(drawn)
    assert np.abs(difference).max() <= 1  # batched arithmetic may round otherwise
