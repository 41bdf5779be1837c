"""The commands and options of `swiftpie`, one per line, as Typer understands them."""

from pathlib import Path

import typer
from typer.main import get_command

from swiftpie.cli.main import app

STORED = Path(__file__).with_name("cli_options.txt")


def describe_cli():
    return "\n".join(describe(get_command(app), "swiftpie")) + "\n"


def describe(command, path):
    lines = [path, *(f"{path} {spell(parameter)}" for parameter in command.params)]
    if not hasattr(command, "list_commands"):
        return lines
    context = typer.Context(command)
    for name in command.list_commands(context):
        lines += describe(command.get_command(context, name), f"{path} {name}")
    return lines


def spell(parameter):
    if parameter.param_type_name == "argument":
        return f"<{parameter.name}>"
    return " / ".join([*parameter.opts, *parameter.secondary_opts])
