import errno
import io
import os
import pickle
import shlex
import struct
import subprocess
import sys

import pytest
from PIL import Image

from swiftpie.cli.console import complain
from swiftpie.cli.main import ExitCode, exit_code_of
from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    ImageError,
    InputError,
    MissingExtra,
    WeightsError,
)
from swiftpie.remedies import Tongue, spelled
from tests.fuzz.pictures import chunk, encoded
from tests.parity.edit import photograph

PROMPT = "a hamster on a beach"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (WeightsError, 1),
        (CapabilityError, 1),
        (MissingExtra, 1),
        (RuntimeError, 1),
        (ConfigError, 2),
        (InputError, 2),
        (ImageError, 3),
    ],
)
def test_exit_codes_are_the_promised_ones(kind, code):
    assert exit_code_of(kind("it happened")) == code


def assert_refused(result, words):
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def huge_png():
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


def cut_png(image):
    data = encoded(image)
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text", "not a readable picture"),
        ("cut", "cut off"),
        ("empty", "0 bytes"),
        ("huge", "is too large"),
        ("missing", "does not exist"),
        ("mask", "not a readable picture"),
    ],
)
def test_a_bad_picture_gives_three_and_writes_nothing(
    call, tmp_path, on_white, hamster, kind, words
):
    bad = tmp_path / "bad.png"
    contents = {"text": b"no picture", "cut": cut_png(on_white), "empty": b"", "huge": huge_png()}
    if kind != "missing":
        bad.write_bytes(contents.get(kind, b"no mask"))
    subject = [hamster, "--cutout", bad] if kind == "mask" else [bad]
    before = sorted(tmp_path.iterdir())
    for command in (
        ("personalize", subject[0], PROMPT, *subject[1:]),
        ("identity", "save", *subject),
        ("cutout", *subject),
    ):
        assert_refused(call(*command, "-o", tmp_path / "out.png", code=ExitCode.IMAGE), words)
    assert sorted(tmp_path.iterdir()) == before


MISTAKES = """
2 | empty | personalize dog.png ""
2 | mini | personalize dog.png x --preset minn
2 | --identity-scale | personalize dog.png x --identity-scale 9
2 | --background-scale | personalize dog.png x --background-scale nan
2 | abc | personalize dog.png x --tilt abc
2 | box | personalize dog.png x --box 1,0,0,1
2 | --box | personalize dog.png x --mask box
2 | warp | personalize dog.png x --device warp
2 | 65 | personalize dog.png x -n 65
2 | 100000000 | personalize dog.png x -n 100000000
2 | different | personalize dog.png x --save-subject-mask a/../out.png
2 | suffix | personalize dog.png x -o out.gif
2 | folder | personalize dog.png x -o missing/out.png
2 | --force | personalize dog.png x -o there.png
2 | written | personalize dog.png x -o there.png/out.png
2 | suffix | personalize dog.png x -o .
2 | output | personalize dog.png x -o - --json
2 | output | personalize dog.png x -o - -n 2
2 | exists | personalize dog.png x --save-subject-mask there.png
2 | quotes | personalize a dog on a beach
2 | quotes | personalize dog.png a dog on a beach
2 | quotes | edit dog.png a dog made of gold
2 | remove --help | remove dog.png "the dog"
2 | sentence | personalize dog.png bear.png
2 | sentence | personalize dog.png no/where.JPG
2 | sentence | edit dog.png me.spid
2 | sentence | edit dog.png prompts.txt
2 | sentence | personalize "a.png:b.webp "
2 | sentence | edit dog.png x --source-prompt dog.png
2 | --box | personalize dog.png --also dog.png x --box 0,0,1,1 --box 0,0,1,1 --box 0,0,1,1
2 | --box | personalize dog.png --also dog.png x --mask box --box 0,0,1,1
2 | --view | personalize dog.png --also dog.png x --view 1,2 --view 3,4 --view 5,6
2 | 2 numbers | personalize dog.png x --view left
2 | yaw | personalize dog.png x --view 80,0
2 | separate | personalize dog.png --also dog.png x --mask mask.png
2 | castle | personalize dog.png x --scene castel
2 | batch | personalize dog.png @prompts.txt
3 | file | cutout pipe.png
3 | file | personalize pipe.png x
3 | mask | cutout plain.png
2 | transparency | cutout photo.png -o out.jpg --to rgba
2 | place | personalize dog.png photo.png x --cutout 0.2,0.1,0.8,0.9
2 | --cutout | personalize dog.png x --cutout auto --cutout none
2 | beyond | personalize dog.png x --cutout "auto 3,4"
3 | missing.png | personalize dog.png x --cutout missing.png
2 | --cutout | edit photo.png "a dog" --cutout none
2 | elephant | personalize "an elefant at sea"
2 | subject | personalize "a photo"
2 | elefant | personalize elefant "an elefant at sea"
2 | --also | personalize cat dog "a cat at sea"
2 | pictures | personalize cat "a cat at sea" --cutout none
2 | --mask | edit photo.png x --mask photo.png --box 0,0,1,1
2 | box | edit photo.png x --box 1,0,0,1
3 | nowhere.png | edit photo.png x --mask nowhere.png
2 | --save-region | edit photo.png x --save-region out.png
2 | --text-scale | edit photo.png x --text-scale 9
2 | output | edit photo.png x -o - --json
1 | swiftedit | edit photo.png "a sleeping dog"
1 | swiftedit | edit photo.png "a dog and a lion"
2 | remove | remove photo.png
2 | remove | replace dog.png photo.png
2 | exclude | remove photo.png --mask mask.png --box 0,0,1,1
2 | exclude | remove photo.png --mask mask.png --point 0.5,0.5
2 | --mask | remove photo.png --point 0.5,0.5 --mask mask.png
2 | --mask | replace cat photo.png --mask mask.png --box 0,0,1,1
2 | point | remove photo.png --point here
2 | box | insert dog.png photo.png --box 0.5,0,0.4,1
2 | between | insert dog.png photo.png --view 90,0
2 | 2 numbers | insert dog.png photo.png --view left
3 | nowhere.jpg | insert dog.png nowhere.jpg
2 | --preset | personalize dog.png x --recipe sdxl-turbo --preset mini
2 | sdxl-turbo | personalize dog.png x --recipe sdxl-turb
1 | sd-turbo | personalize dog.png x --recipe sd-turbo --save-subject-mask m.png
2 | face-plus | personalize --face dog.png x
2 | exclude | personalize --face dog.png photo.png x --recipe face-plus
2 | --adapter | personalize dog.png x --adapter dog.png
1 | --weights | personalize dog.png x --weights nowhere
2 | folded-upsampling | personalize dog.png x --engine folded-upsample
2 | folded-upsampling | edit photo.png x --engine folded-upsample
2 | exists | export page -o a
2 | sdxl-turbo | licenses sdxl-turba
2 | sdxl-turbo | fetch sdxl-turba
2 | folder | demo --out there.png
2 | folder | demo --out there.png/below
2 | world-autoencoder | train world-autoencodr --out runs
2 | steps | train world-autoencoder --set loop.step=3 --out runs
2 | 1.5h | train world-autoencoder --time-limit "9 parsecs" --out runs
2 | subjects | train world-autoencoder --data missing.zip --out runs
"""
NAMES_NO_OUTPUT = {"demo", "engine", "fetch", "licenses", "train"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, hamster):
    folder = tmp_path_factory.mktemp("mistakes")
    with Image.open(hamster) as opened:
        sprite = opened.convert("RGBA")
    sprite.save(folder / "dog.png")
    photograph(160, 96).save(folder / "photo.png")
    Image.new("RGB", (64, 64), "grey").save(folder / "plain.png")
    Image.new("L", sprite.size, 255).save(folder / "mask.png")
    (folder / "there.png").write_bytes(b"precious")
    (folder / "a").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "prompts.txt").write_bytes(b"x")
    return folder


@pytest.mark.parametrize("mistake", MISTAKES.strip().splitlines())
def test_a_mistake_ends_with_one_line_its_code_and_no_file(
    call, folder, tmp_path, monkeypatch, mistake
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    code, word, line = mistake.split(" | ")
    words = shlex.split(line)
    if "-o" not in words and words[0] not in NAMES_NO_OUTPUT:
        words += ["-o", "out.png"]
    before = sorted(folder.rglob("*"))
    assert_refused(call(*words, code=int(code)), word)
    assert sorted(folder.rglob("*")) == before
    assert (folder / "there.png").read_bytes() == b"precious"


def in_a_shell(command):
    """Run a command line as users do; what it prints, and how it ends."""
    code = f"exec {sys.executable} -m swiftpie {command}"
    return subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", ["presets --json", "--help"])
@pytest.mark.parametrize("place", [">/dev/full", ">&-"])
def test_standard_output_that_takes_nothing_is_an_error(command, place):
    result = in_a_shell(f"{command} {place}")
    assert result.returncode == ExitCode.USAGE, result.stderr
    assert result.stderr.startswith("error: Standard output cannot be written")
    assert len(result.stderr.splitlines()) == 1


def test_a_closed_pipe_is_no_error(monkeypatch):
    assert in_a_shell("presets --json | head -c 1").stdout == "["
    monkeypatch.setattr(sys, "stderr", Full())
    complain("to a full disk")


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, text)


def test_messages_speak_of_options_where_python_has_arguments():
    said = {
        "Pass `adapter=` too.": "Pass --adapter too.",
        "Pass `allow_pickle=True` to": "Pass --allow-pickle to",
        'Use `device="cpu"`.': "Use --device cpu.",
        "Use (`mode=EditMode.PAPER`).": "Use (--mode paper).",
        "`text_scale=9.5` was given": "--text-scale 9.5 was given",
        "from 1 as `number=`": "from 1 as --face-number",
        "a `plain` word": "a `plain` word",
        "as in `box=(0.3, 0.5, 0.6, 0.9)`.": "as in --box 0.3,0.5,0.6,0.9.",
        "Give both: `size=(512, 256)`.": "Give both: --size 512x256.",
        "as the recipe swiftedit.": "as --recipe swiftedit.",
    }
    assert {text: spelled(text, Tongue.COMMANDS) for text in said} == said


@pytest.mark.parametrize("damage", ["cut", "pickled", "gone"])
def test_bad_weights_give_one(call, tmp_path, hamster, weights, damage):
    path = weights / "denoiser" / "diffusion_pytorch_model.safetensors"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "pickled":
        path.write_bytes(pickle.dumps({"weight": [1.0]}))
    else:
        path.unlink()
    out = tmp_path / "out.png"
    result = call("personalize", hamster, PROMPT, "-o", out, "--weights", weights, code=1)
    words = {"cut": "cut short", "pickled": "never unpickles", "gone": "reads only safetensors"}
    assert_refused(result, words[damage])
    assert not out.exists()


def test_the_traceback_is_shown_on_request_only(call, monkeypatch, tmp_path):
    command = ("cutout", tmp_path / "missing.png", "-o", tmp_path / "out.png")
    assert "Traceback" not in call(*command, code=ExitCode.IMAGE).stderr
    monkeypatch.setenv("SWIFTPIE_DEBUG", "1")
    call(*command, code=ExitCode.IMAGE, says="Traceback")


def test_a_file_name_cannot_control_the_terminal(call, tmp_path):
    result = call("cutout", "a\x1b[2J\nb.png", "-o", tmp_path / "out.png", code=ExitCode.IMAGE)
    assert_refused(result, "does not exist")
    assert "\x1b[2J" not in result.stderr
