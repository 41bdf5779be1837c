import logging
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from swiftpie.cli.console import logs_on_stderr
from swiftpie.cli.main import app
from swiftpie.cli.options import PANELS, FieldOptions, with_fields
from swiftpie.config import Option


@dataclass(frozen=True)
class Cake:
    layers: Annotated[int, Option("How many.", "N", least=1)]
    icing: Annotated[str | None, Option("Which.", flags=("-i", "--icing"))] = None
    is_sweet: Annotated[bool, Option("With sugar.", flags=("--sweet",))] = False
    baker: str = "Anna"


def run(command, *arguments):
    given = {}
    one = typer.Typer()

    @one.command()
    @with_fields
    def bake(*, oven: str = "gas", cake: command) -> None:
        given.update(oven=oven, cake=cake)

    result = CliRunner().invoke(one, [*arguments])
    return given if result.exit_code == 0 else (result.exit_code, result.stderr)


WHOLE = Annotated[Cake, FieldOptions(Cake, ("layers", "icing", "is_sweet"))]


def test_a_value_is_made_of_its_options_and_its_own_defaults():
    assert run(WHOLE, "--layers", "2")["cake"] == Cake(2)
    found = run(WHOLE, "--layers", "3", "-i", "lemon", "--sweet", "--oven", "wood")
    assert found == {"oven": "wood", "cake": Cake(3, icing="lemon", is_sweet=True)}


@pytest.mark.parametrize("arguments", [[], ["--layers", "0"], ["--layers", "2", "--baker", "me"]])
def test_what_a_field_does_not_allow_is_refused(arguments):
    code, message = run(WHOLE, *arguments)
    assert code == 2
    assert "--layers" in message or "--baker" in message


def test_what_takes_long_is_reported_plainly_and_warnings_as_such(capsys):
    logger = logging.getLogger("swiftpie.engine.graphs.cache")
    with logs_on_stderr():
        logger.info("The denoiser is exported.")
        logger.warning("The folder is full.")
    logger.info("Not shown.")
    message = capsys.readouterr().err.splitlines()
    assert message == ["The denoiser is exported.", "warning: The folder is full."]


def commands_of(command, path=()):
    yield path, command
    for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
        yield from commands_of(command.get_command(None, name), (*path, name))


def test_every_group_holds_options_that_there_are():
    known = {param.name for _, command in commands_of(get_command(app)) for param in command.params}
    assert [name for names in PANELS.values() for name in names.split() if name not in known] == []
