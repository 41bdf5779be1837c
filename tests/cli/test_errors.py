import errno
import io
import os
import pickle
import shlex
import struct
import subprocess
import sys
from pathlib import Path

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


# Exit codes, what the error has to name, and the command.
MISTAKES = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
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
