"""Every way to go wrong ends with one red line, the promised exit code and no file."""

import errno
import io
import os
import pickle
import struct
import subprocess
import sys
import zlib

import pytest

from swiftpie.cli.console import complain, in_options
from swiftpie.cli.main import ExitCode, exit_code_of
from swiftpie.errors import (
    CapabilityError,
    ConfigError,
    ImageError,
    InputError,
    MissingExtra,
    WeightsError,
)

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


def assert_refused(result, code, words):
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def huge_png():
    """Return a PNG whose header claims 30,000 x 30,000 pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = [
        struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        for body in (header, end)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def cut_png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


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
    subject = f"{hamster}:{bad}" if kind == "mask" else bad
    before = sorted(tmp_path.iterdir())
    for command in (
        ("personalize", subject, PROMPT),
        ("identity", "save", subject),
        ("cutout", subject),
    ):
        assert_refused(call(*command, "-o", tmp_path / "out.png"), ExitCode.IMAGE, words)
    assert sorted(tmp_path.iterdir()) == before


def test_a_subject_that_cannot_be_found_gives_three(call, tmp_path, on_white):
    plain = tmp_path / "plain.png"
    on_white.point(lambda _: 128).save(plain)
    result = call("cutout", plain, "-o", tmp_path / "out.png")
    assert_refused(result, ExitCode.IMAGE, "Supply a mask")


@pytest.mark.parametrize(
    "words",
    [
        ("personalize", "a", "dog", "on", "a", "beach"),
        ("personalize", "PICTURE", "a", "dog", "on", "a", "beach"),
        ("edit", "PICTURE", "a", "dog", "made", "of", "gold"),
        ("edit", "PICTURE", "at", "night"),
        ("face", "PICTURE", "a", "person"),
    ],
)
def test_a_sentence_without_quotes_is_said_to_be_one(call, tmp_path, hamster, words):
    line = [hamster if word == "PICTURE" else word for word in words]
    result = call(*line, "-o", tmp_path / "out.png")
    assert_refused(result, ExitCode.USAGE, "into quotes")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["", "-o", "out.png"], "prompt is empty"),
        ([PROMPT, "-o", "out.png", "--preset", "minn"], "Did you mean mini?"),
        (
            [PROMPT, "-o", "out.png", "--identity-scale", "9"],
            "--identity-scale 9.0 is out of range",
        ),
        (
            [PROMPT, "-o", "out.png", "--background-scale", "nan"],
            "--background-scale nan is out of range",
        ),
        ([PROMPT, "-o", "out.png", "--box", "1,0,0,1"], "is not a box"),
        ([PROMPT, "-o", "out.png", "--mask", "box"], "--mask box came without --box"),
        ([PROMPT, "-o", "out.png", "--device", "warp"], "'warp' cannot be used"),
        ([PROMPT, "-o", "out.png", "-n", "65"], "65 pictures"),
        ([PROMPT, "-o", "out.png", "-n", "100000000"], "100000000 pictures"),
        ([PROMPT, "-o", "o.png", "--save-subject-mask", "a/../o.png"], "Two different files"),
        ([PROMPT, "-o", "out.gif"], "known suffix"),
        ([PROMPT, "-o", "missing/out.png"], "folder does not exist"),
        ([PROMPT, "-o", "there.png"], "replace it with --force"),
        ([PROMPT, "-o", "there.png/out.png"], "cannot be written"),
        ([PROMPT, "-o", "."], "known suffix"),
        ([PROMPT, "-o", "-", "--json"], "Standard output"),
        ([PROMPT, "-o", "-", "-n", "2"], "Standard output"),
        ([PROMPT, "-o", "out.png", "--save-subject-mask", "there.png"], "exists already"),
        ([PROMPT, "-o", "out.png", "--save-subject-mask", "out.png"], "Two different files"),
    ],
)
def test_bad_usage_gives_two_and_writes_nothing(
    call, tmp_path, monkeypatch, hamster, options, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.png").write_bytes(b"precious")
    (tmp_path / "a").mkdir()
    assert_refused(call("personalize", hamster, *options), ExitCode.USAGE, words)
    assert [path.read_bytes() for path in tmp_path.glob("**/*.*")] == [b"precious"]


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_demo_goes_into_a_folder(call, tmp_path, place):
    (tmp_path / "file").write_bytes(b"precious")
    result = call("demo", "--out", tmp_path / place)
    assert_refused(result, ExitCode.USAGE, "cannot be made a folder")
    assert (tmp_path / "file").read_bytes() == b"precious"


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


def test_readers_may_leave_and_nobody_has_to_listen(monkeypatch):
    assert in_a_shell("presets --json | head -c 1").stdout == "["
    monkeypatch.setattr(sys, "stderr", Full())
    complain("nobody hears this")


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, text)


def test_a_pipe_is_no_subject_and_nobody_waits_for_it(call, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for command in (("personalize", tmp_path / "pipe", PROMPT), ("cutout", tmp_path / "pipe")):
        result = call(*command, "-o", tmp_path / "out.png")
        assert_refused(result, ExitCode.IMAGE, "is not a file")


@pytest.mark.parametrize("command", ["personalize", "edit", "face"])
@pytest.mark.parametrize(
    "prompt", ["bear.png", "no/where.JPG", "me.spid", "notes", "a.png:b.webp "]
)
def test_a_file_in_place_of_a_prompt_is_told(call, tmp_path, monkeypatch, hamster, command, prompt):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").write_text("words")
    preset = ("--preset", "sd-turbo") if command == "face" else ()
    result = call(command, hamster, prompt, "-o", "out.png", *preset)
    assert_refused(result, ExitCode.USAGE, "A sentence is needed")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_file_in_place_of_what_a_picture_shows_now_is_told(call, tmp_path, hamster):
    options = ("-o", tmp_path / "out.png", "--source-prompt", hamster)
    assert_refused(call("edit", hamster, PROMPT, *options), ExitCode.USAGE, "A sentence is needed")


def test_messages_speak_of_options_where_python_has_arguments():
    said = {
        "Pass `adapter=` too.": "Pass --adapter too.",
        "Pass `allow_pickle=True` to": "Pass --allow-pickle to",
        'Use `device="cpu"`.': "Use --device cpu.",
        "Use (`mode=EditMode.PAPER`).": "Use (--mode paper).",
        "`text_scale=9.5` was given": "--text-scale 9.5 was given",
        "from 1 as `number=`": "from 1 as --face-number",
        "a `plain` word": "a `plain` word",
    }
    assert {text: in_options(text) for text in said} == said


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
    result = call("personalize", hamster, PROMPT, "-o", out, "--weights", weights)
    words = {"cut": "cut short", "pickled": "never unpickles", "gone": "reads only safetensors"}
    assert_refused(result, ExitCode.RUNTIME, words[damage])
    assert not out.exists()


def test_the_traceback_is_shown_on_request_only(call, monkeypatch, tmp_path):
    command = ("cutout", tmp_path / "missing.png", "-o", tmp_path / "out.png")
    assert "Traceback" not in call(*command).stderr
    monkeypatch.setenv("SWIFTPIE_DEBUG", "1")
    result = call(*command)
    assert result.exit_code == ExitCode.IMAGE
    assert "Traceback" in result.stderr


def test_a_file_name_cannot_control_the_terminal(call, tmp_path):
    result = call("cutout", "a\x1b[2J\nb.png", "-o", tmp_path / "out.png")
    assert_refused(result, ExitCode.IMAGE, "does not exist")
    assert "\x1b[2J" not in result.stderr
