"""Commands that other distributions add to `swiftpie`, as the lab does."""

from collections.abc import Iterator
from importlib.metadata import entry_points

import typer

from swiftpie.errors import ConfigError, MissingExtra

GROUP = "swiftpie.commands"
LAB = "lab"
LAB_COMMANDS = {
    "train": "Train a model, in one stage or several.",
    "evaluate": "Measure how good a preset is.",
    "data": "Prepare the pictures that training reads.",
}
INSTALL_LAB = "From a copy of the repository, `pip install . ./lab` installs it."


def commands_of_others() -> Iterator[typer.Typer]:
    """Yield the commands of every installed distribution that adds some.

    Without the lab, its commands are listed all the same and say how to install it.

    Raises:
        ConfigError: A distribution offers commands that cannot be imported.
    """
    found = entry_points(group=GROUP)
    for point in found:
        try:
            yield point.load()
        except ImportError as error:
            owner = point.dist.name if point.dist else "an installed distribution"
            raise ConfigError(
                f"{owner} adds commands as {point.value!r}, which cannot be imported ({error}). "
                f"Repair or uninstall {owner}."
            ) from error
    if LAB not in found.names:
        yield _without_lab()


def _without_lab() -> typer.Typer:
    app = typer.Typer()
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    for name, summary in LAB_COMMANDS.items():

        def refuse(name: str = name) -> None:
            raise MissingExtra(f"`swiftpie {name}` is part of swiftpie-lab. {INSTALL_LAB}")

        app.command(
            name,
            help=f"{summary} Needs swiftpie-lab.",
            context_settings={**anything, "help_option_names": []},
        )(lambda refuse=refuse: refuse())
    return app
