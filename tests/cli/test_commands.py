import json
import os
import subprocess
import sys

import pytest

from swiftpie.cli.console import complain, print_json, print_text, write_table
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import read_metadata
from swiftpie_lab.cli.train import parse_duration


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "swiftpie", *map(str, arguments)],
        capture_output=True,
        check=False,
        **options,
    )


def test_the_module_runs_without_colours_where_none_are_wanted():
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm"}
    wanted, unwanted = (
        run("presets", "minni", env=os.environ | terminal | setting, text=True)
        for setting in ({}, {"NO_COLOR": "1"})
    )
    assert wanted.returncode == unwanted.returncode == 2
    assert wanted.stderr.startswith("\x1b[31merror: ")
    assert unwanted.stderr.startswith("error: The preset 'minni' does not exist")
    assert "\x1b" not in unwanted.stderr


@pytest.mark.thorough
def test_a_picture_travels_through_a_real_pipe(tmp_path, hamster):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    arguments = ("personalize", "-", "a hamster in space", "-o", "-", "--seed", 3)
    result = run(*arguments, input=hamster.read_bytes(), env=environment)
    assert result.returncode == 0, result.stderr
    (tmp_path / "out").write_bytes(result.stdout)
    assert read_metadata(tmp_path / "out")["seed"] == "3"
    assert b"seed 3" in result.stderr


def test_an_identity_file_tells_what_it_is(call, tmp_path, samples):
    path = tmp_path / "two.spid"
    call("identity", "save", samples / "1f439.webp", samples / "1f916.webp", "-o", path)
    facts = json.loads(call("show", path, "--json").stdout)
    assert (facts["preset"], facts["references"]) == ("mini", 2)
    assert facts["size_kib"] == pytest.approx(path.stat().st_size / 1024, abs=0.1)
    call("identity", "save", samples / "1f439.webp", "-o", path, code=2)


def test_nothing_that_a_file_says_controls_the_terminal(capsys):
    text = "\x1b[2J \x9b2J \x07 \u202ebackwards \ud800 \x7f"
    write_table([("name", text)])
    print_text(f"{text}\n")
    complain(text)
    print_json({text: text})
    written = capsys.readouterr()
    assert json.loads(written.out.split("\n", 2)[2]) == {text: text}
    assert not set(written.out + written.err) & set("\x1b\x9b\x07\u202e\ud800\x7f")


def test_preparing_from_a_wrong_archive_is_refused(call, tmp_path):
    (tmp_path / "x.tgz").write_bytes(b"x")
    archives = ("--archive", tmp_path / "x.tgz", "--names-archive", tmp_path / "x.tgz")
    call("data", "prepare", *archives, "--out", tmp_path / "pack.zip", code=2, says="checksum")
    assert not (tmp_path / "pack.zip").exists()


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("9m", 540), ("1.5h", 5400)])
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


def test_samples_are_written_as_subjects_and_a_photograph_that_commands_take(call, tmp_path):
    call("samples", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"hamster.png", "robot.png", "dahlia.jpg", "dog.jpg"} <= names
    assert load_image(tmp_path / "hamster.png").mode == "RGBA"
    call("samples", tmp_path, code=2)  # what is there stays
    call("samples", tmp_path, "--force")
