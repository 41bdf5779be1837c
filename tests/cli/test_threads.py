"""Threads of our own processes wait briefly, and only there."""

import os
import subprocess
import sys

import pytest

from swiftpie.cli.main import WAITING, wait_briefly

# What `swiftpie --version` does to a process before anything loads PyTorch.
MAIN = """
import os, sys
from swiftpie.cli import main
sys.argv = ["swiftpie", "--version"]
try:
    main.main()
except SystemExit:
    pass
print("torch" in sys.modules, os.environ.get("GOMP_SPINCOUNT"), os.environ.get("OMP_WAIT_POLICY"))
"""


def told_by(code, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_the_command_line_bounds_spinning_before_pytorch_is_loaded():
    assert told_by(MAIN) == f"False {WAITING['GOMP_SPINCOUNT']} None"


def test_importing_swiftpie_leaves_it_to_the_owner_of_the_process():
    assert told_by("import swiftpie, os; print(os.environ.get('GOMP_SPINCOUNT'))") == "None"


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_whoever_decided_already_is_followed(name, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, "7")
    wait_briefly()
    assert {k: os.environ.get(k) for k in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} == {
        "GOMP_SPINCOUNT": None,
        "OMP_WAIT_POLICY": None,
        name: "7",
    }
