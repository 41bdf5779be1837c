import importlib
import os
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from swiftpie import __version__
from swiftpie.cli import main
from swiftpie.cli.main import WAITING, wait_briefly
from swiftpie.errors import ConfigError
from tests.processes import printed_by


@pytest.mark.parametrize("command", main.LAB_COMMANDS)
def test_without_the_lab_its_commands_say_how_to_install_it(command):
    app = typer.Typer(cls=main.GuardedGroup)
    app.callback()(lambda: None)
    app.command("draw")(lambda: None)
    for options in ([], ["world", "--cases", "5"], ["--help"]):
        result = CliRunner().invoke(app, [command, *options])
        assert result.exit_code == 1
        assert "pip install . ./lab" in result.stderr
    within = typer.Typer()
    within.command("one")(lambda: None)
    within.command("two")(lambda: None)
    app.add_typer(within, name="group")
    assert "lab" not in CliRunner().invoke(app, ["group", command]).stderr


@pytest.mark.parametrize("module", main.MODULES)
def test_each_module_has_the_commands_that_are_listed(module):
    found = typer.main.get_group(importlib.import_module(f"swiftpie.cli.{module}").app)
    assert [*found.commands] == main.MODULES[module].split()
    alone = typer.main.get_group(main.app_for(main.MODULES[module].split()[0]))
    assert [*alone.commands] == [*found.commands]


class Broken:
    name, value, dist = "lab", "swiftpie_lab.cli.app", None

    def load(self):
        raise ImportError("No module named 'swiftpie_lab'")


def test_commands_that_cannot_be_imported_name_their_distribution(monkeypatch):
    monkeypatch.setattr(main, "offered_as", lambda _: [Broken()])
    with pytest.raises(ConfigError, match="swiftpie_lab"):
        main.app_for.__wrapped__("a word")


@pytest.mark.parametrize(
    ("fail", "said"),
    [
        (Path("/nothing/here").read_bytes, "here' cannot be read or written (No such file"),
        (lambda: os.fsync(9999), "OSError: [Errno 9]"),  # an error without the name of a file
    ],
)
def test_files_that_fail_are_not_taken_for_standard_output(fail, said):
    app = typer.Typer(cls=main.GuardedGroup)
    app.callback()(lambda: None)
    app.command("read")(lambda: fail())  # noqa: PLW0108 - Typer reads its signature
    result = CliRunner().invoke(app, ["read"])
    assert result.exit_code in {main.ExitCode.USAGE, main.ExitCode.RUNTIME}
    assert said in result.stderr


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


def lines_of(code, **environment):
    clean = {k: v for k, v in os.environ.items() if k not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    return printed_by(code, env=clean | environment).splitlines()


def test_the_command_line_bounds_spinning_before_pytorch_is_loaded():
    version, environment = lines_of(MAIN)
    assert __version__ in version
    assert environment == f"False {WAITING['GOMP_SPINCOUNT']} None"


def test_importing_swiftpie_leaves_it_to_the_owner_of_the_process():
    assert lines_of("import swiftpie, os; print(os.environ.get('GOMP_SPINCOUNT'))") == ["None"]


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_a_choice_of_the_user_stays(name, monkeypatch):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv(name, "7")
    wait_briefly()
    found = {k: os.environ.get(k) for k in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    assert found == {"GOMP_SPINCOUNT": None, "OMP_WAIT_POLICY": None, name: "7"}
