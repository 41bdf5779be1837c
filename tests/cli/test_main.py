"""Commands of other distributions."""

import pytest
import typer
from typer.testing import CliRunner

from swiftpie.cli import main
from swiftpie.errors import ConfigError, MissingExtra


class Points(list):
    """Entry points of a group, as `importlib.metadata` returns them."""

    @property
    def names(self):
        return {one.name for one in self}


class Broken:
    name, value, dist = "lab", "swiftpie_lab.cli.app", None

    def load(self):
        raise ImportError("No module named 'swiftpie_lab'")


def added(monkeypatch, *points):
    monkeypatch.setattr(main, "entry_points", lambda **_: Points(points))
    app = typer.Typer()
    app.command("draw")(lambda: None)
    for one in main.commands_of_others():
        app.add_typer(one)
    return app


@pytest.mark.parametrize("command", sorted(main.LAB_COMMANDS))
def test_without_the_lab_its_commands_say_how_to_install_it(monkeypatch, command):
    app = added(monkeypatch)
    for options in ([], ["world", "--cases", "5"], ["--help"]):
        result = CliRunner().invoke(app, [command, *options])
        assert isinstance(result.exception, MissingExtra)
        assert "pip install . ./lab" in str(result.exception)
    assert command in CliRunner().invoke(app, ["--help"]).output


def test_commands_that_cannot_be_imported_name_their_distribution(monkeypatch):
    with pytest.raises(ConfigError, match="swiftpie_lab"):
        added(monkeypatch, Broken())
