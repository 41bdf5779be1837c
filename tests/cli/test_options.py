"""Options come from the fields of values, and mean the same everywhere."""

import inspect
from collections import defaultdict
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from swiftpie.cli.main import app
from swiftpie.cli.options import Fields, with_fields
from swiftpie.config import Option

OWN_WORDS = {"--out", "-o/--out"}  # a picture, a pack, a folder of runs


@dataclass(frozen=True)
class Cake:
    """A value with one field that is no option."""

    layers: Annotated[int, Option("How many.", "N", least=1)]
    icing: Annotated[str | None, Option("Which.", flags=("-i", "--icing"))] = None
    is_sweet: Annotated[bool, Option("With sugar.", flags=("--sweet",))] = False
    baker: str = "nobody"


def run(command, *arguments):
    """What a command was given, or its exit code and error."""
    given = {}
    one = typer.Typer()

    @one.command()
    @with_fields
    def bake(*, oven: str = "gas", cake: command) -> None:
        given.update(oven=oven, cake=cake)

    result = CliRunner().invoke(one, [*arguments])
    return given if result.exit_code == 0 else (result.exit_code, result.stderr)


WHOLE = Annotated[Cake, Fields(Cake, ("layers", "icing", "is_sweet"))]
CHANGES = Annotated[dict[str, object], Fields(Cake, ("layers", "icing"))]


def test_a_value_is_made_of_its_options_and_its_own_defaults():
    assert run(WHOLE, "--layers", "2")["cake"] == Cake(2)
    found = run(WHOLE, "--layers", "3", "-i", "lemon", "--sweet", "--oven", "wood")
    assert found == {"oven": "wood", "cake": Cake(3, icing="lemon", is_sweet=True)}


def test_changes_hold_only_what_was_given():
    assert run(CHANGES)["cake"] == {}
    assert run(CHANGES, "--icing", "lemon")["cake"] == {"icing": "lemon"}


@pytest.mark.parametrize("arguments", [[], ["--layers", "0"], ["--layers", "2", "--baker", "me"]])
def test_what_a_field_does_not_allow_is_refused(arguments):
    code, message = run(WHOLE, *arguments)
    assert code == 2
    assert "--layers" in message or "--baker" in message


def test_a_field_with_a_default_may_be_required():
    required = Annotated[Cake, Fields(Cake, ("layers", "icing"), required=("icing",))]
    code, message = run(required, "--layers", "2")
    assert (code, "--icing" in message) == (2, True)


def test_other_parameters_stay_as_they_are():
    @with_fields
    def bake(*, oven: str = "gas", cake: WHOLE) -> None:
        """Bake."""

    names = ["oven", "layers", "icing", "is_sweet"]
    assert [*inspect.signature(bake).parameters] == names
    assert inspect.getdoc(bake) == "Bake."


def options(command, path):
    if not hasattr(command, "commands"):
        return [(path, one) for one in command.params if one.param_type_name == "option"]
    below = [options(one, (*path, name)) for name, one in command.commands.items()]
    return [found for one in below for found in one]


def test_an_option_says_the_same_wherever_it_is():
    said = defaultdict(set)
    for path, option in options(get_command(app), ()):
        if path[0] != "evaluate":
            said["/".join(option.opts)].add(option.help)
    assert len(said["--preset"]) == 1
    assert {name for name, words in said.items() if len(words) > 1} <= OWN_WORDS
