import re
from itertools import chain

import typer
from typer.main import get_command

from swiftpie.cli.main import app
from tests.policy.cli_options import STORED, describe_cli

HOW = "If the change is wanted, run: python -m tests.policy.update_cli_options"


def test_commands_and_options_are_the_recorded_ones():
    recorded, found = STORED.read_text().splitlines(), describe_cli().splitlines()
    assert len(found) > 1
    assert [line for line in recorded if line not in found] == [], f"Gone. {HOW}"
    assert [line for line in found if line not in recorded] == [], f"New. {HOW}"


def test_examples_of_help_have_options_that_exist():
    root = get_command(app)
    examples = {*examples_of(root)}
    assert len(examples) > 50
    for text in examples:
        _, *words = text.split()
        command = root
        while hasattr(command, "list_commands") and words and words[0] in names_of(command):
            command = command.get_command(typer.Context(command), words.pop(0))
        flags = [(*each.opts, *each.secondary_opts) for each in command.params]
        known = {"--help", *chain.from_iterable(flags)}
        for flag in re.findall(r"(?<=\s)--?[a-z][\w-]*", " " + " ".join(words)):
            assert flag in known, text


def names_of(command):
    return command.list_commands(typer.Context(command))


def examples_of(command):
    """Yield the lines of epilogs that call a command."""
    lines = map(str.strip, (command.epilog or "").splitlines())
    yield from (line for line in lines if line.startswith("swiftpie"))
    if hasattr(command, "list_commands"):
        for name in names_of(command):
            yield from examples_of(command.get_command(typer.Context(command), name))
