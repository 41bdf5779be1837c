"""Overrides of settings in frozen dataclasses, as the command line of training takes them."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from swiftpie.config import Text, decode, field_types, refuse_key
from swiftpie.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

ConfigT = TypeVar("ConfigT", bound="DataclassInstance")


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
        config = _assign(config, path.strip().split("."), Text(text.strip()), path.strip())
    return config


def _assign(config: ConfigT, keys: list[str], text: Text, path: str) -> ConfigT:
    key, *rest = keys
    fields = field_types(type(config))
    if key not in fields:
        refuse_key(path, key, fields)
    current: object = getattr(config, key)
    if not rest:
        value = decode(text, fields[key], path)
    elif dataclasses.is_dataclass(current) and not isinstance(current, type):
        value = _assign(current, rest, text, path)
    else:
        raise ConfigError(
            f"The setting {path!r} goes below {key!r}, which is a plain value ({current!r}). "
            f"Set {path.removesuffix('.' + '.'.join(rest))!r} itself."
        )
    return dataclasses.replace(config, **{key: value})
