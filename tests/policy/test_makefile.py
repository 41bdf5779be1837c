import os
import shutil
import subprocess

import pytest

from tests.policy.project import ROOT
from tests.processes import printed

NOTES = """#!/bin/sh
echo "$@" >> calls.txt
case "$*" in *--dry-run*) exit $HAS_NO_TORCH;; esac
"""


@pytest.fixture
def made(tmp_path):
    """Runs a target's installation in a folder of its own; returns what was said and called."""
    (tmp_path / "lab").mkdir()
    for name in ("Makefile", "pyproject.toml", "lab/pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    folder = tmp_path / ".venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "swiftpie"):
        (folder / name).write_text(NOTES)
        (folder / name).chmod(0o755)

    def run(*arguments, has_torch):
        environment = os.environ | {"HAS_NO_TORCH": "0" if has_torch else "1"}
        command = ["make", "HAS_NVIDIA=false", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        calls = tmp_path / "calls.txt"
        return done, calls.read_text() if calls.exists() else ""

    return run


@pytest.mark.parametrize("target", ["demo", "setup"])
def test_without_cuda_pytorch_comes_first_and_from_its_own_index(made, target):
    done, calls = made(target, "TORCH=cpu", has_torch=False)
    assert done.returncode == 0, done.stderr
    first, second = [line for line in calls.splitlines() if " install " in line]
    assert first.endswith("--index-url https://download.pytorch.org/whl/cpu torch>=2.10")
    assert "--upgrade" not in first  # so pip keeps what fits
    assert "download.pytorch.org" not in second


def test_another_build_is_refused_before_anything_is_called(made):
    done, calls = made("demo", "TORCH=gpu", has_torch=False)
    assert done.returncode != 0
    assert "Choose TORCH=cpu" in done.stderr
    assert calls == ""


def test_help_lists_every_target_that_is_described():
    command = ["make", "--no-print-directory", "help"]  # a make above would have it print folders
    listed = printed(*command, cwd=ROOT)
    described = [
        line.partition(":")[0]
        for line in (ROOT / "Makefile").read_text().splitlines()
        if "  ## " in line
    ]
    assert [line.split()[0] for line in listed.splitlines()] == described
