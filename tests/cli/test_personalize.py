"""`swiftpie personalize` draws what it was asked for and says how."""

import json

import numpy as np
import pytest
from PIL import Image

from swiftpie import __version__
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata

PROMPT = "a hamster on a beach"
ROUNDING = 2  # of 255, between PyTorch and what draws without it


@pytest.fixture(scope="module")
def drawn(call, tmp_path_factory, hamster):
    """One picture, drawn with seed 7."""
    out = tmp_path_factory.mktemp("drawn") / "out.png"
    result = call("personalize", hamster, PROMPT, "-o", out, "--seed", 7)
    assert result.exit_code == 0, result.output
    return out


def draw(call, out, *arguments):
    result = call("personalize", *arguments, "-o", out, "--seed", 7)
    assert result.exit_code == 0, result.output
    return result


def pixels(path):
    return np.array(load_image(path))


def is_alike(path, drawn):
    """Whether PyTorch drew what was drawn without it."""
    return (np.abs(pixels(path).astype(int) - pixels(drawn)) > ROUNDING).mean() < 1e-3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(call, tmp_path, hamster, drawn):
    draw(call, tmp_path / "again.png", hamster, PROMPT)
    assert (tmp_path / "again.png").read_bytes() == drawn.read_bytes()
    call("personalize", hamster, PROMPT, "-o", tmp_path / "other.png", "--seed", 8)
    assert not np.array_equal(pixels(tmp_path / "other.png"), pixels(drawn))


def test_the_file_says_how_it_was_made_and_nothing_of_the_users_files(drawn, hamster):
    stored = read_metadata(drawn)
    assert stored["prompt"] == PROMPT
    assert (stored["seed"], stored["preset"], stored["swiftpie"]) == ("7", "mini", __version__)
    assert stored["identity_scale"] == "1.0"
    assert str(hamster.parent).encode() not in drawn.read_bytes()
    assert hamster.name not in str(stored)


def test_json_is_all_of_standard_output_and_a_random_seed_is_told(call, tmp_path, hamster):
    out, mask = tmp_path / "out.webp", tmp_path / "mask.png"
    result = call("personalize", hamster, PROMPT, "-o", out, "--save-subject-mask", mask, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout, parse_constant=pytest.fail)  # no infinity, which is not JSON
    assert (told["prompt"], told["preset"]) == (PROMPT, "mini")
    assert told["size"] == {"width": 256, "height": 256}
    assert (told["scales"]["identity_scale"], told["scales"]["energy_cap"]) == (1.0, None)
    picture = told["pictures"][0]
    assert (picture["path"], picture["subject_mask"]) == (str(out), str(mask))
    assert f"(seed {picture['seed']})" in result.stderr
    assert read_metadata(out)["seed"] == str(picture["seed"])
    assert load_image(mask).size == load_image(out).size


def test_several_pictures_are_numbered_and_each_repeats_alone(call, tmp_path, hamster, drawn):
    draw(
        call,
        tmp_path / "out.png",
        hamster,
        PROMPT,
        "-n",
        "2",
        "--save-subject-mask",
        tmp_path / "m.png",
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["m-1.png", "m-2.png", "out-1.png", "out-2.png"]
    assert read_metadata(tmp_path / "out-2.png")["seed"] == "8"
    difference = pixels(tmp_path / "out-1.png").astype(int) - pixels(drawn)
    assert np.abs(difference).max() <= 1  # batched arithmetic may round otherwise


@pytest.mark.parametrize(
    "options", [["--mask", "inline"], ["--box", "0.1,0.3,0.6,0.9", "--mask", "box"]]
)
def test_regions_and_boxes_run(call, tmp_path, hamster, options):
    draw(call, tmp_path / "out.png", hamster, PROMPT, "--background-scale", "0.2", *options)
    assert (tmp_path / "out.png").exists()


def test_a_region_can_be_a_file(call, tmp_path, hamster, drawn):
    Image.new("L", (64, 64), 255).save(tmp_path / "all.png")
    draw(call, tmp_path / "out.png", hamster, PROMPT, "--mask", tmp_path / "all.png")
    assert is_alike(tmp_path / "out.png", drawn)


def test_standard_input_and_output_carry_the_same_picture(call, hamster, drawn):
    arguments = ("personalize", "-", PROMPT, "-o", "-", "--seed", 7)
    result = call(*arguments, stdin=hamster.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert result.stdout_bytes == drawn.read_bytes()


def test_an_identity_file_stands_for_its_picture(call, tmp_path, hamster, drawn):
    identity = tmp_path / "hamster.jpg"  # content decides, not the name
    assert call("identity", "save", hamster, "-o", identity).exit_code == 0
    draw(call, tmp_path / "out.png", identity, PROMPT)
    assert is_alike(tmp_path / "out.png", drawn)
    result = call("personalize", identity, hamster, PROMPT, "-o", tmp_path / "two.png")
    assert result.exit_code == 2
    assert "identity file" in result.stderr


def test_a_very_long_prompt_is_cut_with_a_warning(call, tmp_path, hamster):
    result = draw(call, tmp_path / "out.png", hamster, "hamster " * 2_000)
    assert "warning: A prompt was cut" in result.stderr
    assert len(read_metadata(tmp_path / "out.png")["prompt"]) < 10_000


def test_an_existing_file_is_replaced_by_force(call, tmp_path, hamster, drawn):
    out = tmp_path / "out.png"
    out.write_bytes(b"old")
    draw(call, out, hamster, PROMPT, "--force")
    assert out.read_bytes() == drawn.read_bytes()


def test_a_mask_after_a_colon_decides_what_is_cut_out(call, tmp_path, photo):
    mask = Image.new("L", load_image(photo).size)
    mask.paste(255, (0, 0, 100, 100))
    mask.save(tmp_path / "mask.png")
    odd = tmp_path / "a:b.jpg"  # a colon of its own
    odd.write_bytes(photo.read_bytes())
    for name, subject in {"masked": f"{odd}:{tmp_path / 'mask.png'}", "found": odd}.items():
        result = call("cutout", subject, "-o", tmp_path / f"{name}.png")
        assert result.exit_code == 0, result.output
    assert not np.array_equal(pixels(tmp_path / "masked.png"), pixels(tmp_path / "found.png"))
    assert read_metadata(tmp_path / "masked.png") == {}


def test_standard_input_that_is_no_picture_gives_three(call, tmp_path):
    result = call("personalize", "-", PROMPT, "-o", tmp_path / "x.png", stdin=b"hello")
    assert result.exit_code == 3
    assert result.stderr.startswith("error: ")


LEFT, RIGHT = "0.02,0.4,0.45,0.9", "0.55,0.4,0.98,0.9"


def test_several_subjects_stand_in_their_boxes(call, tmp_path, hamster, samples):
    robot = samples / "1f916.webp"
    boxes = ("--box", LEFT, "--box", RIGHT)
    draw(call, tmp_path / "both.png", hamster, "--also", robot, PROMPT, *boxes)
    draw(call, tmp_path / "swapped.png", robot, "--also", hamster, PROMPT, *boxes)
    draw(call, tmp_path / "twice.png", hamster, "--also", hamster, PROMPT, *boxes)
    half = 64
    both, swapped, twice = (
        pixels(tmp_path / f"{name}.png").astype(int) for name in ("both", "swapped", "twice")
    )
    # Where the hamster stands on the left, it looks as beside itself, and not as the robot does.
    alike = np.abs(both[:, :half] - twice[:, :half]).mean()
    unlike = np.abs(swapped[:, :half] - twice[:, :half]).mean()
    assert alike < unlike / 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--box", LEFT, "--box", RIGHT, "--box", LEFT), "3 boxes came with 2 subjects"),
        (("--box", LEFT, "--mask", "box"), "1 boxes came with 2 subjects"),
        (("--view", "1,2", "--view", "3,4", "--view", "5,6"), "3 views came with 2 subjects"),
        (("--view", "left"), "Yaw and pitch in degrees are needed"),
        (("--view", "80,0"), "The yaw is 80.0 degrees"),
        (("--mask", "some.png"), "one file cannot separate"),
    ],
)
def test_places_must_fit_the_number_of_subjects(call, tmp_path, hamster, options, reason):
    out = tmp_path / "out.png"
    result = call("personalize", hamster, "--also", hamster, PROMPT, "-o", out, *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())
    assert not out.exists()


def test_words_and_sizes_that_it_does_not_know_are_told_and_it_draws_all_the_same(
    call, tmp_path, hamster
):
    out, prompt = tmp_path / "out.png", "a hamster riding a bicycle by a castel"
    result = call("personalize", hamster, prompt, "-o", out, "--size", "192x128")
    assert result.exit_code == 0, result.output
    told = " ".join(result.stderr.split())
    assert "warning: Preset 'mini' was never taught 'riding'" in told
    assert "'castel' (near: castle" in told
    assert "was trained on pictures of 256x256 px" in told
    assert load_image(out).size == (192, 128)


def test_every_prompt_of_a_file_is_drawn_with_the_same_seeds(call, tmp_path, hamster, drawn):
    words = ["a hamster in space", PROMPT]
    file = tmp_path / "prompts.txt"
    file.write_bytes(b"\xef\xbb\xbf# scenes\r\n" + "\r\n\r\n".join(words).encode())
    result = draw(call, tmp_path / "out.png", hamster, f"@{file}", "-n", 2, "--json")
    told = json.loads(result.stdout)["pictures"]
    assert [(one["prompt"], one["seed"]) for one in told] == [
        (prompt, seed) for prompt in words for seed in (7, 8)
    ]
    assert [one["path"] for one in told] == [str(tmp_path / f"out-{i}.png") for i in (1, 2, 3, 4)]
    for one in told:
        assert read_metadata(one["path"])["prompt"] == one["prompt"]
    difference = pixels(tmp_path / "out-3.png").astype(int) - pixels(drawn)
    assert np.abs(difference).max() <= 1  # batched arithmetic may round otherwise


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "holds 0 prompts"),
        (b"# only\n \n", "holds 0 prompts"),
        (b"\xff\xfe\x00", "A text file in UTF-8"),
        (b"a dog\n" * 1001, "holds 1001 prompts"),
        (b"a" * (2 << 20), "at most 1048576 bytes"),
    ],
)
def test_a_file_without_prompts_is_refused(call, tmp_path, hamster, content, words):
    if content is not None:
        (tmp_path / "prompts.txt").write_bytes(content)
    prompts = f"@{tmp_path / 'prompts.txt'}"
    result = call("personalize", hamster, prompts, "-o", tmp_path / "out.png")
    assert result.exit_code == 2, result.output
    assert words in result.stderr


def test_a_scene_is_a_name_or_a_photograph_and_the_file_says_which(call, tmp_path, photo):
    for scene, origin in (("castle", "castle"), (photo, "a picture of your own")):
        out = tmp_path / "out.png"
        arguments = ("a hamster at night", "--scene", scene, "--size", "128x128", "--force")
        draw(call, out, *arguments)
        assert read_metadata(out)["scene"] == origin
        assert load_image(out).size == (128, 128)
    own = tmp_path / "own.png"
    draw(call, own, "a hamster at night", "--scene", photo)
    assert load_image(own).size == load_image(photo).size
    alone = call("personalize", "a lighthouse at night", "-o", tmp_path / "alone.png")
    assert alone.exit_code == 0, alone.output
    wrong = call("personalize", "a hamster", "--scene", "castel", "-o", tmp_path / "no.png")
    assert wrong.exit_code == 2
    assert "castle" in wrong.stderr
    assert not (tmp_path / "no.png").exists()
