import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.cli.main import app
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie.library import CREDIT, subject_library
from swiftpie.pipelines.identity_file import read_identity_header
from swiftpie.scenes import scene_library
from tests.shapes import ellipse, photo, star

PROMPT = "a photo of a subject on a beach"
BOX = "0.2,0.05,0.8,0.95"
SMALL = ("--size", "128x128")


@pytest.fixture(scope="module")
def things(tmp_path_factory):
    folder = tmp_path_factory.mktemp("things")
    photo(star()).save(folder / "star.png")
    photo(ellipse()).save(folder / "ball.png")
    star().save(folder / "mask.png")
    return folder


def facts_of(call, *arguments):
    return json.loads(call(*arguments, "--json").stdout)


def test_a_cut_out_tells_which_way_was_taken_and_how_sure_it_is(call, things, tmp_path):
    ways = {"auto": "network", BOX: "network", "none": "none", things / "mask.png": "mask"}
    for number, (asked, way) in enumerate(ways.items()):
        out = tmp_path / f"{number}.png"
        facts = facts_of(call, "cutout", things / "star.png", "-o", out, "--cutout", asked)
        assert facts["cutout"]["way"] == way
        assert (facts["cutout"]["confidence"] is None) is (way == "none")
        assert facts["path"] == str(out)
    whole = np.asarray(load_image(tmp_path / "2.png"))
    assert np.abs(whole[64].astype(int) - 128).max(axis=-1).min() > 10  # no grey at its sides


def test_pictures_identities_and_json_tell_how_their_subject_was_cut_out(call, things, tmp_path):
    out, saved = tmp_path / "out.png", tmp_path / "star.spid"
    sources = (things / "star.png", things / "star.png")
    chosen = ("--cutout", BOX, "--cutout", things / "mask.png", *SMALL)
    facts = facts_of(call, "personalize", *sources, PROMPT, "-o", out, *chosen)
    ((first, second),) = facts["cutouts"]
    assert first["way"] == "network"
    assert second == {"way": "mask", "confidence": 1.0, "is_cut": False, "cut_at": ""}
    assert facts["branches"] == ["semantic", "detail", "aligned detail"]
    stored = read_metadata(out)
    assert stored["cutouts"] == f"network {first['confidence']:.2f}, mask 1.00"
    assert stored["branches"] == "semantic, detail, aligned detail"
    result = call("identity", "save", things / "star.png", "-o", saved, "--cutout", "none")
    assert "cut out by none" in result.stderr
    assert facts_of(call, "show", saved)["cutouts"] == "none"
    again = facts_of(call, "personalize", saved, PROMPT, "-o", out, "--force", *SMALL)
    ((whole,),) = again["cutouts"]
    assert (whole["way"], whole["confidence"]) == ("none", None)


def cut(call, source, out, form, cutout="auto"):
    call("cutout", source, "-o", out, "--to", form, "--cutout", cutout)
    assert read_metadata(out) == {}
    return load_image(out)


def test_a_cut_out_is_written_at_full_size_and_can_be_given_back(call, on_white, tmp_path):
    source, on_white = tmp_path / "dog.png", on_white.resize((384, 384))
    on_white.save(source)
    whole = cut(call, source, tmp_path / "rgba.png", "rgba")
    mask = cut(call, source, tmp_path / "mask.png", "mask").convert("L")
    assert whole.size == mask.size == on_white.size
    solid = np.asarray(mask) == 255  # soft edges have the subject's own colours
    assert np.array_equal(np.asarray(whole)[solid, :3], np.asarray(on_white)[solid])
    assert np.array_equal(np.asarray(whole)[..., 3], np.asarray(mask))
    assert 0.02 < np.asarray(mask).mean() / 255 < 0.95
    frames = [
        cut(call, one, tmp_path / f"{number}.png", "frame", how).tobytes()
        for number, (one, how) in enumerate(
            [(source, "auto"), (source, tmp_path / "mask.png"), (tmp_path / "rgba.png", "auto")]
        )
    ]
    first, second, third = (np.frombuffer(frame, np.uint8).astype(int) for frame in frames)
    for other in (second, third):  # masks and colours of soft edges have 8 bits in files
        assert np.abs(first - other).mean() < 1


def test_the_library_is_listed_and_searched(call):
    everyone = call("library")
    assert everyone.stdout.splitlines() == list(subject_library().names())
    assert CREDIT in everyone.stderr
    found = json.loads(call("library", "kitten", "--json").stdout)
    assert [entry["name"] for entry in found] == ["cat", "cat face"]
    assert "kitten" in found[0]["words"]
    assert call("library", "car").stdout.splitlines()[1].startswith("automobile  ")
    table = call("library", "kitten").stdout.splitlines()
    rows = [line for line in table[1:] if not line.startswith(" ")]  # others go on
    assert [line.split("  ")[0] for line in rows] == ["cat", "cat face"]
    call("library", "xqzw", code=2, says="has no subject called 'xqzw'")


def test_scenes_are_listed_by_name(call):
    assert "castle" in call("library", "--scenes").stdout.splitlines()
    one = call("library", "castle", "--scenes", "--json")
    (castle,) = json.loads(one.stdout)
    assert castle["name"] == "castle"
    assert castle["pictures"] == len(castle["credits"]) == 2
    call("library", "castel", "--scenes", code=2, says="castle")


@pytest.mark.thorough
def test_the_command_writes_an_identity_and_refuses_to_replace_it(sprite, tmp_path):
    picture, out = tmp_path / "one.png", tmp_path / "one.spid"
    sprite.save(picture)
    words = ["tune", str(picture), "-o", str(out), "--steps", "1", "--num-scenes", "1", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["psnr"] >= facts["first_psnr"]
    assert read_identity_header(out).tuned == facts["tuned"]
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "one.spid"}  # no state is left
    assert CliRunner().invoke(app, words).exit_code == 2


@pytest.fixture(scope="module")
def two_photos(samples, tmp_path_factory):
    """A sprite on the left and one on the right of a photographed place."""
    path = tmp_path_factory.mktemp("two") / "two.png"
    place = scene_library().image("beach").resize((512, 448))
    for number, name in enumerate(("1f439", "1f916")):
        with Image.open(samples / f"{name}.webp") as opened:
            sprite = opened.convert("RGBA").resize((200, 200))
        place.paste(sprite, (30 + 250 * number, 200), sprite)
    place.save(path)
    return path


def test_each_subject_of_a_picture_becomes_a_file(call, two_photos, tmp_path):
    folder = tmp_path / "found"
    call("identity", "save", two_photos, "--all", "-o", folder)
    assert {path.name for path in folder.iterdir()} == {"1.png", "1.spid", "2.png", "2.spid"}
    for number, middle in ((1, 130), (2, 380)):
        with Image.open(folder / f"{number}.png") as opened:
            left, _, right, _ = opened.getchannel("A").getbbox()
        assert abs((left + right) / 2 - middle) < 25
        assert read_identity_header(folder / f"{number}.spid").preset == "mini"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cutout", "auto"], "leave --cutout out"),
        (["--to", "mask"], "Leave --to mask out"),
        (["--to", "frame"], "Leave --to frame out"),
    ],
)
def test_all_subjects_come_without_hints(call, two_photos, tmp_path, words, message):
    call("cutout", two_photos, "--all", "-o", tmp_path / "found", *words, code=2, says=message)
