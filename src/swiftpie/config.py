"""Settings in frozen dataclasses: options that users set, of what type, and our folder.

A settings class may hold numbers, strings, `bool`, `Path`, `Literal`, `Enum`, `tuple`, unions of
those, and further settings classes. Its annotations are read at run time, so the types they name
must be imported at run time too.
"""

import dataclasses
import functools
import inspect
import math
import os
import re
import tomllib
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import Enum, StrEnum
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ForwardRef,
    Literal,
    NamedTuple,
    NoReturn,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from swiftpie.arguments import checked
from swiftpie.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]
"""What a denoiser's raw output means; of a flow it is clean latents minus noise."""
NoiseScale = Literal["unit", "sigma", "flow"]
"""The initial latents: plain noise, noise times sigma of the first step as Euler samplers hand it
over, or plain noise where signal and noise change linearly in time."""
BetaSchedule = Literal["scaled_linear", "linear"]
"""How betas rise from 0.00085 to 0.012 over the timesteps of training: linear in their square
roots, as Stable Diffusion, or themselves, as AnimateDiff."""
Renoise = Literal["ddim", "euler_ancestral", "lcm", "tcd"]
"""How the latents of the next step follow: DDIM (arXiv:2010.02502, equal to Euler's method), with
some or all noise fresh (LCM, arXiv:2310.04378), or a share `eta` of the way (TCD, 2402.19159)."""


class Surface(StrEnum):
    """A place where users give options."""

    CLI = "cli"
    BATCH = "batch"  # a line of a job file
    HTTP = "http"
    COMFYUI = "comfyui"


class Option(NamedTuple):
    """What users read about a field: `name: Annotated[int, Option("What it does.", least=1)]`.

    The command line, job files, the HTTP schema with the page behind it, and ComfyUI's nodes are
    made from these declarations. A field without one is for callers from Python alone.
    """

    help: str
    metavar: str | None = None
    flags: tuple[str, ...] = ()  # The command line's, if not the field's name with dashes.
    kind: object = None  # what users type, where it is not the field's own type
    default: object = None  # For fields whose class has none.
    least: float | None = None  # For a number, or each number of a tuple.
    most: float | None = None
    surfaces: frozenset[Surface] = frozenset(Surface)
    panel: str | None = None  # A section of the help page.


def _options() -> Mapping[str, Option]:
    text = Path(__file__).with_name("options.toml").read_text(encoding="utf-8")
    kinds = {"str": str, "int": int, "float": float, "bool": bool}
    options = {}
    for name, row in tomllib.loads(text).items():
        row["kind"] = kinds.get(row.get("kind"))
        row["flags"] = tuple(row.get("flags", ()))
        row["surfaces"] = frozenset(map(Surface, row.get("surfaces", Surface)))
        options[name] = Option(**row)
    return types.MappingProxyType(options)


OPTIONS = _options()
"""The options of requests and of loading, by class and field."""


class OptionField(NamedTuple):
    """A field that users set, with its declaration."""

    name: str  # of the field
    type: Any  # of the field; a string where it names a type that is not loaded
    default: Any  # `dataclasses.MISSING` where the class has none
    option: Option

    @property
    def key(self) -> str:
        """What users call it: its flag on the command line, else the name of the field."""
        flags = self.option.flags
        return flags[-1].removeprefix("--").replace("-", "_") if flags else self.name

    @property
    def typed(self) -> Any:  # noqa: ANN401 - a type, or a union of types
        """What users type: the field's own type unless the option names another."""
        return self.option.kind or self.type

    @property
    def repeated(self) -> Any:  # noqa: ANN401 - a type
        """The type of each value of a field that may have several; None of other fields."""
        kind, *more = get_args(self.type) or (None,)
        return kind if more == [Ellipsis] and self.option.kind is str else None


class Text(str):
    """A value as a user types it; what it stands for depends on the annotation of its field."""

    __slots__ = ()


def home_folder() -> Path:
    """Return where we keep what can be made or got again: $SWIFTPIE_HOME, or ~/.cache/swiftpie."""
    home = os.environ.get("SWIFTPIE_HOME")
    return Path(home) if home else Path.home() / ".cache" / "swiftpie"


@checked
def options_of(
    source: type, surface: Surface | str | None = None, *, without: Sequence[str] = ()
) -> dict[str, OptionField]:
    """Return the fields of a class that users set, by name, in the order of their declaration.

    Args:
        source: A dataclass or `TypedDict` with `Option` in the annotations of its fields; its
            `more_options()`, if it has any, stand behind them.
        surface: Leaves out what is not offered there.
        without: Names to leave out.
    """
    annotations: dict[str, Any] = {}
    for cls in reversed(source.__mro__):
        annotations |= inspect.get_annotations(cls)
    declared = getattr(source, "__dataclass_fields__", {})
    found = {}
    for name, annotation in annotations.items():
        options = [
            option
            for option in getattr(annotation, "__metadata__", ())
            if isinstance(option, Option)
        ]
        if name in without or not options:
            continue
        (option,) = options
        if surface is not None and surface not in option.surfaces:
            continue
        own = annotation.__origin__
        kind = own.__forward_arg__ if isinstance(own, ForwardRef) else own
        default = _default_of(declared[name]) if name in declared else None
        default = option.default if default is None else default
        found[name] = OptionField(name, kind, default, option)
    more: dict[str, OptionField] = getattr(source, "more_options", dict)()
    return found | {
        name: each
        for name, each in more.items()
        if name not in without and (surface is None or surface in each.option.surfaces)
    }


def read_options(
    fields: Mapping[str, OptionField], data: Mapping[str, object], *, is_text: bool = False
) -> dict[str, Any]:
    """Return those of `data` that are options of `options_of`, of the types that users type.

    `data` has the names that users know. An option whose default is None may be None. Of one that
    takes several values, `data` has a single one or a list; a text has them between semicolons, or
    one a line.

    With `is_text` they are given as a user types them, else as JSON has them.

    Raises:
        ConfigError: One has the wrong type.
    """
    found: dict[str, Any] = {}
    for name, field in fields.items():
        if field.key not in data:
            continue
        item, each = data[field.key], field.repeated
        if each is not None:
            found[name] = _decode_repeated(item, each, field.key, is_text=is_text)
            continue
        kind = field.typed if field.default is not None else field.typed | None
        found[name] = decode(Text(item) if is_text else item, kind, field.key)
    return found


def _default_of(field: dataclasses.Field[Any]) -> Any:  # noqa: ANN401 - of any type
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def read_fields(
    cls: "type[DataclassInstance]", data: Mapping[str, object], *, is_text: bool = False
) -> dict[str, Any]:
    """Return those of `data` that are fields of `cls`, each as its annotation says.

    With `is_text` they are given as a user types them, else as JSON has them.

    Raises:
        ConfigError: One has the wrong type.
    """
    kinds = field_types(cls)
    return {
        name: decode(Text(item) if is_text else item, kinds[name], name)
        for name, item in data.items()
        if name in kinds
    }


@functools.cache
def field_types(cls: "type[DataclassInstance]") -> dict[str, object]:
    """Return the annotations of the fields that a call sets, by name."""
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def decode(data: object, wanted: object, path: str) -> Any:  # noqa: ANN401 - as `wanted` says
    """Build a setting from JSON or `Text`, as its annotation says, or raise ConfigError."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return _decode_union(data, wanted, path)
    if origin is Literal:
        return _choose(data, arguments, wanted, path)
    if origin is tuple:
        return _decode_items(data, arguments, wanted, path)
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return _decode_config(data, wanted, path)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _choose(data, tuple(wanted), wanted, path)
    return _decode_plain(data, wanted, path)


def _decode_config(data: object, cls: type[ConfigT], path: str) -> ConfigT:
    if not isinstance(data, dict):
        _refuse(path, data, cls)
    fields = field_types(cls)
    for key in data:
        if key not in fields:
            refuse_key(f"{path}.{key}", key, fields)
    values = {key: decode(item, fields[key], f"{path}.{key}") for key, item in data.items()}
    for field in dataclasses.fields(cls):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.init and not has_default and field.name not in values:
            raise ConfigError(
                f"The settings {path!r} lack {field.name!r}, which has no default. "
                f"Add {field.name!r}, {_spell(fields[field.name])}."
            )
    return cls(**values)


def _decode_union(data: object, wanted: object, path: str) -> object:
    """Build the first member of a union that accepts `data`: `none` or the same kind first."""
    best = types.NoneType if isinstance(data, Text) else type(data)
    for member in sorted(get_args(wanted), key=lambda member: member is not best):
        with suppress(ConfigError):
            return decode(data, member, path)
    return _refuse(path, data, wanted)


def _decode_items(
    data: object, kinds: tuple[object, ...], wanted: object, path: str
) -> tuple[object, ...]:
    if isinstance(data, Text):
        data = [Text(part.strip()) for part in data.split(",")] if data else []
    if not isinstance(data, list):
        _refuse(path, data, wanted)
    if kinds[1:] == (Ellipsis,):
        kinds = kinds[:1] * len(data)
    if len(kinds) != len(data):
        raise ConfigError(
            f"The setting {path!r} got {len(data)} values; it needs {len(kinds)}. "
            "Separate them with commas."
        )
    return tuple(decode(item, kind, path) for item, kind in zip(data, kinds, strict=True))


def _decode_repeated(data: object, each: object, path: str, *, is_text: bool) -> tuple[object, ...]:
    """Build the values of a setting that has one or several."""
    if is_text:
        texts = re.split("[;\n]", data) if isinstance(data, str) else data
        assert isinstance(texts, list), "texts are typed"
        return tuple(decode(Text(text.strip()), each, path) for text in texts if text.strip())
    with suppress(ConfigError):
        return (decode(data, each, path),)
    return _decode_items(data, (each, ...), tuple.__class_getitem__((each, ...)), path)


def _choose(data: object, choices: tuple[object, ...], wanted: object, path: str) -> object:
    """Return the choice that `data` spells; text may also be the name of an enum's member."""
    for choice in choices:
        value = choice.value if isinstance(choice, Enum) else choice
        if isinstance(data, Text):
            if data == str(value) or (isinstance(choice, Enum) and data == choice.name):
                return choice
        elif data == value and type(data) is type(value):
            return choice
    return _refuse(path, data, wanted)


def _decode_plain(data: object, wanted: object, path: str) -> object:
    value = _parse(data, wanted) if isinstance(data, Text) else data
    if wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else _refuse(path, data, wanted)
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if wanted in (int, bool, str, types.NoneType) and type(value) is wanted:
        return value
    return _refuse(path, data, wanted)


def _parse(text: Text, wanted: object) -> object:
    """Read numbers, booleans and `none`; what does not fit stays a string, to be refused."""
    if wanted in (int, float):
        with suppress(ValueError):
            return int(text) if wanted is int else float(text)
    if wanted is bool:
        return BOOLEANS.get(text.lower())
    return None if wanted is types.NoneType and text.lower() == "none" else str(text)


def _spell(wanted: object) -> str:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_spell(member) for member in arguments)
    if origin is tuple and {*arguments} <= {int, float}:
        return f"{len(arguments)} numbers"
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        arguments = tuple(member.value for member in wanted)
    if origin is Literal or (arguments and origin is None):
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if wanted is types.NoneType:
        return "none"
    return wanted.__name__ if isinstance(wanted, type) and not arguments else str(wanted)


def _refuse(path: str, value: object, wanted: object) -> NoReturn:
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        advice = "Set one of its fields: " + ", ".join(field_types(wanted)) + "."
    else:
        advice = f"Give {path!r} a value of that kind."
    raise ConfigError(f"The setting {path!r} got {value!r}; it needs {_spell(wanted)}. {advice}")


def refuse_key(path: str, key: str, known: Mapping[str, object]) -> NoReturn:
    """Refuse a field that there is not, with the nearest name."""
    advice = did_you_mean(key, known, otherwise=f"Choose from {', '.join(known)}.")
    raise ConfigError(f"The setting {path!r} does not exist: there is no {key!r}. {advice}")
