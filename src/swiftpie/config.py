"""Tools for settings kept in frozen dataclasses: overrides, JSON and fingerprints.

A settings class may hold numbers, strings, `bool`, `Path`, `Literal`, `Enum`, `tuple`,
`frozenset`, `Mapping[str, ...]`, unions of those, and further settings classes. Its annotations
are read at run time, so the types they name must be imported at run time too.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import types
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as read_annotations

from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")

BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def override(config: ConfigT, assignments: Sequence[str]) -> ConfigT:
    """Return a copy of `config` in which every `"path.to.field=value"` holds.

    Tuples are written with commas (`sizes=64,128`), an absent value as `none`, an enum by its
    name or value. Later assignments win.

    Raises:
        ConfigError: An assignment has no `=`, names no field, or its value has the wrong type.
    """
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ConfigError(
                f"The override {assignment!r} has no '='; an override reads path=value. "
                "Write for example optimizer.learning_rate=1e-4."
            )
        config = _assign(config, path.strip().split("."), text.strip(), path.strip())
    return config


def to_json(config: "DataclassInstance") -> str:
    """Write `config` as indented JSON in field order, with a final newline."""
    return json.dumps(_encode(config), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def from_json(cls: type[ConfigT], text: str) -> ConfigT:
    """Read what `to_json` wrote; fields that are absent take their defaults.

    Raises:
        ConfigError: `text` is not JSON, or a field is unknown, missing or of the wrong type.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"The text for {cls.__name__} is not JSON ({error}); a JSON object is needed. "
            "Write it with to_json()."
        ) from error
    decoded = _decode_config(data, cls, cls.__name__)
    assert isinstance(decoded, cls)
    return decoded


def fingerprint(config: "DataclassInstance") -> str:
    """Return 64 hex digits (SHA-256) that depend on the values, not on the order of fields."""
    compact = json.dumps(
        _encode(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(compact.encode()).hexdigest()


def _assign(config: ConfigT, keys: list[str], text: str, path: str) -> ConfigT:
    """Return `config` with the field at the end of `keys` read from `text`.

    Raises:
        ConfigError: `keys` lead nowhere, or `text` does not fit the field.
    """
    key, *rest = keys
    fields = _field_types(type(config))
    if key not in fields:
        _refuse_key(path, key, list(fields))
    current: object = getattr(config, key)
    value: object
    if not rest:
        value = _decode(_parse(text, fields[key], path), fields[key], path)
    elif dataclasses.is_dataclass(current) and not isinstance(current, type):
        value = _assign(current, rest, text, path)
    else:
        raise ConfigError(
            f"The setting {path!r} goes below {key!r}, which is a plain value ({current!r}). "
            f"Set {path.removesuffix('.' + '.'.join(rest))!r} itself."
        )
    return dataclasses.replace(config, **{key: value})


def _field_types(cls: "type[DataclassInstance]") -> dict[str, object]:
    """Map each settable field of `cls` to its resolved annotation."""
    hints = read_annotations(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _parse(text: str, wanted: object, path: str) -> object:
    """Turn command-line `text` into the JSON value that `to_json` would write for `wanted`."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return _first_fitting(text, wanted, path)
    if origin is tuple:
        parts = [part.strip() for part in text.split(",")] if text else []
        return [
            _parse(part, kind, path)
            for part, kind in zip(parts, _item_types(arguments, parts, path), strict=True)
        ]
    if origin is Literal:
        return next((choice for choice in arguments if str(choice) == text), text)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return next((member.value for member in wanted if _names(member, text)), text)
    return _parse_plain(text, wanted)


def _parse_plain(text: str, wanted: object) -> object:
    """Read numbers, booleans and `none`; text that does not fit stays text, to be refused."""
    try:
        if wanted is bool:
            return BOOLEANS.get(text.lower(), text)
        if wanted is int:
            return int(text)
        if wanted is float:
            return float(text)
    except ValueError:
        return text
    return None if wanted is types.NoneType and text.lower() == "none" else text


def _first_fitting(text: str, wanted: object, path: str) -> object:
    """Parse `text` as the first member of a union that accepts it; `none` is tried first."""
    members = sorted(get_args(wanted), key=lambda member: member is not types.NoneType)
    for member in members:
        try:
            parsed = _parse(text, member, path)
            _decode(parsed, member, path)
        except ConfigError:
            continue
        return parsed
    return _refuse(path, text, wanted)


def _names(member: Enum, text: str) -> bool:
    return text in (str(member.value), member.name)


def _encode(value: object) -> object:
    """Turn a setting into what JSON can hold; equal settings give equal results."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: _encode(getattr(value, key)) for key in _field_types(type(value))}
    if isinstance(value, Enum):
        return _encode(value.value)
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {key: _encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_encode(item) for item in value), key=json.dumps)
    return int(value) if isinstance(value, float) and _is_whole(value) else value


def _is_whole(value: float) -> bool:
    """Whether writing `value` without a point loses nothing, so that 1 and 1.0 agree."""
    return value.is_integer() and abs(value) < 2**53


def _decode_config(data: object, cls: "type[DataclassInstance]", path: str) -> object:
    """Build `cls` from a JSON object.

    Raises:
        ConfigError: A field is unknown, missing or of the wrong type.
    """
    if not isinstance(data, dict):
        _refuse(path, data, cls)
    fields = _field_types(cls)
    for key in data:
        if key not in fields:
            _refuse_key(f"{path}.{key}", key, list(fields))
    values = {key: _decode(item, fields[key], f"{path}.{key}") for key, item in data.items()}
    for field in dataclasses.fields(cls):
        has_default = (field.default, field.default_factory) != (dataclasses.MISSING,) * 2
        if field.init and not has_default and field.name not in values:
            raise ConfigError(
                f"The settings {path!r} lack {field.name!r}, which has no default. "
                f"Add {field.name!r}, {_spell(fields[field.name])}."
            )
    return cls(**values)


def _decode(data: object, wanted: object, path: str) -> object:
    """Check a JSON value against an annotation and build the setting from it."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return _decode_union(data, wanted, path)
    if origin is Literal:
        is_choice = any(data == choice and type(data) is type(choice) for choice in arguments)
        return data if is_choice else _refuse(path, data, wanted)
    if origin in (tuple, frozenset) and isinstance(data, list):
        kinds = _item_types(arguments if origin is tuple else (*arguments, ...), data, path)
        items = (_decode(item, kind, path) for item, kind in zip(data, kinds, strict=True))
        return tuple(items) if origin is tuple else frozenset(items)
    if origin in (dict, Mapping) and isinstance(data, dict):
        return {key: _decode(item, arguments[1], f"{path}.{key}") for key, item in data.items()}
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        return _decode_config(data, wanted, path)
    return _decode_plain(data, wanted, path)


def _decode_plain(data: object, wanted: object, path: str) -> object:
    """Check a value that has no parts."""
    if wanted is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        number = float(data)
        return number if math.isfinite(number) else _refuse(path, data, wanted)
    if wanted is Path and isinstance(data, str):
        return Path(data)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        members = [member for member in wanted if _encode(member) == data]
        return members[0] if members else _refuse(path, data, wanted)
    if wanted in (int, bool, str, types.NoneType) and type(data) is wanted:
        return data
    return _refuse(path, data, wanted)


def _decode_union(data: object, wanted: object, path: str) -> object:
    """Build the first member of a union that accepts `data`, the closest kind of number first."""
    members = sorted(get_args(wanted), key=lambda member: member is not type(data))
    for member in members:
        try:
            return _decode(data, member, path)
        except ConfigError:
            continue
    return _refuse(path, data, wanted)


def _item_types(kinds: tuple[object, ...], items: Sequence[object], path: str) -> list[object]:
    """Return one annotation per item of a tuple.

    Raises:
        ConfigError: The tuple has a fixed length and `items` another.
    """
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return [kinds[0]] * len(items)
    if len(kinds) != len(items):
        raise ConfigError(
            f"The setting {path!r} got {len(items)} values; it needs {len(kinds)}. "
            "Separate them with commas."
        )
    return list(kinds)


def _spell(wanted: object) -> str:
    """Name a type the way a user would write a value for it."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return " or ".join(_spell(member) for member in arguments)
    if origin is Literal:
        return "one of " + ", ".join(str(choice) for choice in arguments)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return "one of " + ", ".join(str(member.value) for member in wanted)
    if wanted is types.NoneType:
        return "none"
    return wanted.__name__ if isinstance(wanted, type) and not arguments else str(wanted)


def _refuse(path: str, value: object, wanted: object) -> NoReturn:
    if isinstance(wanted, type) and dataclasses.is_dataclass(wanted):
        advice = "Set one of its fields: " + ", ".join(_field_types(wanted)) + "."
    else:
        advice = f"Give {path!r} a value of that kind."
    raise ConfigError(f"The setting {path!r} got {value!r}; it needs {_spell(wanted)}. {advice}")


def _refuse_key(path: str, key: str, known: list[str]) -> NoReturn:
    near = difflib.get_close_matches(key, known, n=3)
    advice = f"Did you mean {' or '.join(near)}?" if near else f"Choose from {', '.join(known)}."
    raise ConfigError(f"The setting {path!r} does not exist: there is no {key!r}. {advice}")
