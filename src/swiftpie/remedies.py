"""How surfaces spell what messages say in words of Python: options, commands, and what to do.

A message is written once, with options as `name=value` and recipes as "the recipe NAME".
"""

import re
import tomllib
from collections.abc import Mapping
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

from swiftpie.errors import Remedied

ARGUMENT = re.compile(r"`(?P<name>\w+)=(?P<value>[^`]*)`")  # how messages spell Python's arguments
RECIPE = re.compile(r"\bthe recipe ([\w-]+(?:\|[\w-]+)*)")
TUPLE = re.compile(r"\([^()]*,[^()]*\)")
NUMBER, NUMBERS = re.compile(r"-?[\d.]+"), re.compile(r"[\d.]+(?:, ?[\d.]+)+")
ENUM = re.compile(r"[A-Z]\w+\.[A-Z_]+")
OPTION_NAMES = {"number": "face-number", "points": "point", "size_px": "size"}  # where they differ


class Tongue(StrEnum):
    """Whose words a message has, if not those of Python."""

    COMMANDS = "commands"
    HTTP = "http"
    TOOLS = "tools"  # of assistants, over MCP


TEXTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
SHAPES: dict[str, str] = TEXTS["shapes"]
"""What a field of JSON takes."""
SHAPES_OF_TOOLS: dict[str, str] = TEXTS["shapes_of_tools"]
REMEDIES: dict[str, dict[str, str]] = TEXTS["remedies"]
"""What stands in place of an error's own remedy, by its class and surface."""
PHRASES = tuple((row["written"], row["http"], row["tools"]) for row in TEXTS["phrases"])
"""Patterns in messages of Python and commands, and what is said over HTTP and to an assistant."""


def spelled(text: str, tongue: Tongue) -> str:
    """Return a message of Python in the words of a surface."""
    if tongue is Tongue.COMMANDS:
        return RECIPE.sub(r"--recipe \1", ARGUMENT.sub(_as_option, text))
    for written, *said in PHRASES:
        text = re.sub(written, said[tongue is Tongue.TOOLS], text)
    text = RECIPE.sub(r"that of a server with the recipe \1", text).strip()
    return ARGUMENT.sub(partial(_as_field, "" if tongue is Tongue.TOOLS else "swiftpie."), text)


def said_of(error: Exception, tongue: Tongue) -> str:
    """Return what an error says, with the remedy of a surface."""
    if isinstance(error, Remedied) and (
        remedy := REMEDIES.get(type(error).__name__, {}).get(tongue)
    ):
        return f"{error.found} {remedy}"
    return spelled(str(error), tongue)


def _as_option(argument: re.Match[str]) -> str:
    name, value = argument["name"], argument["value"].strip("\"'")
    if TUPLE.fullmatch(value):  # users write numbers without brackets
        value = ("x" if name.startswith("size") else ",").join(re.findall(r"[^(), ]+", value))
    if value.partition(".")[0].isidentifier():  # users write an enum in lower case
        value = value.rpartition(".")[2].lower()
    option = f"--{OPTION_NAMES.get(name, name).replace('_', '-')}"
    return option if value in {"", "true"} else f"{option} {value}"


def _as_field(before: str, argument: re.Match[str]) -> str:
    """Return an argument as the field of a request, or as an option of the one who serves."""
    name, value = argument["name"], argument["value"].strip("\"'")
    if name not in _fields():
        return f"{_as_option(argument)} of the server"
    field = _fields()[name].replace("swiftpie.", before)
    if TUPLE.fullmatch(value) or NUMBERS.fullmatch(value):
        value = f"[{value.strip('()')}]"
    elif value and not NUMBER.fullmatch(value):
        plain = value.rpartition(".")[2].lower() if ENUM.fullmatch(value) else value
        value = plain.lower() if plain in {"True", "False"} else f"'{plain}'"
    return f"{field} {value}" if value else field


@cache
def _fields() -> dict[str, str]:
    """Return where a request over HTTP has an argument of Python."""
    from swiftpie.config import Surface, options_of
    from swiftpie.pipelines.animation import AnimateRequest, Film
    from swiftpie.pipelines.request import PersonalizeRequest, Subject
    from swiftpie.pipelines.settings import EditSettings, Scales
    from swiftpie.pipelines.tasks import TASKS

    new = options_of(PersonalizeRequest)
    fields = {name: name for task in TASKS.values() for name in task.options(Surface.HTTP)}
    parts = {
        "scales": options_of(Scales),
        "edit": options_of(EditSettings),
        "animate": options_of(Film) | options_of(AnimateRequest, without=[*new]),
        "subjects": options_of(Subject, without=("box",)),
    }
    fields |= {name: f"{part}.{name}" for part, names in parts.items() for name in names}
    fields |= {"to_box": "animate.to_boxes", "to_view": "animate.to_views"}
    plain = {name: name for name in ("prompt", "negative_prompt", "seed", "size", "mask", "n")}
    own = {name: f"swiftpie.{field}" for name, field in fields.items()}
    return own | plain | {"num_images": "n", "seeds": "seed"}
