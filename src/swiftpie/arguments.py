"""Checks what callers from Python pass, by the annotations of a function or a class.

Loads no tensor library.
"""

import collections.abc
import functools
import inspect
import reprlib
import textwrap
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import (
    Annotated,
    Any,
    BinaryIO,
    ForwardRef,
    Literal,
    NamedTuple,
    Self,
    TypeVar,
    Union,
    Unpack,
    cast,
    get_args,
    get_origin,
)

from swiftpie.errors import InputError, UnknownArgument, did_you_mean, short_reason

CallableT = TypeVar("CallableT", bound=Callable[..., Any])

# Classes that are not loaded here, by the names of annotations.
LAZY = {name: name for name in ("str", "Path", "Image", "Tensor", "Identity", "Recipe", "device")}
LAZY["NDArray"] = "ndarray"
NOTHING: Mapping[str, str] = MappingProxyType({})
UNIONS = (Union, types.UnionType)
_TEXTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NEEDS: Mapping[str, str] = _TEXTS["needs"]
"""What arguments take, by their names."""
ALIKE: Mapping[str, str] = _TEXTS["alike"]
"""Names of arguments that take the same as others."""

SHORT = reprlib.Repr()  # so that no message holds a whole picture
SHORT.maxother = SHORT.maxstring = 80
PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "True or False"}


class _Misfit(ValueError):  # noqa: N818 - caught here
    """A value does not fit an annotation."""


def checked(
    thing: CallableT,
    *,
    name: str = "",
    about: Mapping[str, str] = NOTHING,
    gone: Mapping[str, str] = NOTHING,
) -> CallableT:
    """Return a function, or a dataclass, that refuses in a sentence what its annotations forbid.

    An argument that is None stands for its default, a list for a tuple, and the value of an enum
    for its member. Options of a `TypedDict` are spelled out in the signature.

    Args:
        thing: What users call.
        name: What messages call it, if not by its own name.
        about: What its help says about arguments.
        gone: What is said about arguments that it does not have any more, or that others have.
    """
    function: Any = vars(thing)["__init__"] if isinstance(thing, type) else thing
    signature = _spelled_out(inspect.signature(function))
    form = _Form.of(signature)
    own_name = thing.__qualname__.removesuffix(".__init__").rpartition(".")[2]
    name = name or own_name

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - of the function
        return function(**_bound(name, form, args, kwargs, gone))

    # Help shows this one, in which annotations would hide the names.
    bare = [field.replace(annotation=field.empty) for field in signature.parameters.values()]
    call.__signature__ = inspect.Signature(bare)  # type: ignore[attr-defined]  # any may have one
    wrap = textwrap.TextWrapper(92, initial_indent="    ", subsequent_indent=" " * 8).fill
    takes_all = any(field.kind is field.VAR_KEYWORD for field in bare)
    described = about if takes_all else [key for key in signature.parameters if key in about]
    lines = [wrap(f"{key}: {about[key]}") for key in described]
    if lines:
        call.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines])
    if not isinstance(thing, type):
        return cast("CallableT", call)
    thing.__init__ = call  # type: ignore[misc]
    return thing


def unknown_argument(
    name: str, unknown: str, known: Iterable[str], gone: Mapping[str, str] = NOTHING
) -> UnknownArgument:
    names = [key for key in known if key not in {"self", "cls"}]
    listed = f"It takes {', '.join(names)}." if names else "It takes none."
    advice = gone.get(unknown) or did_you_mean(unknown, names, otherwise=listed)
    return UnknownArgument(f"{name}() takes no `{unknown}=`. {advice}")


def _spelled_out(signature: inspect.Signature) -> inspect.Signature:
    """Return a signature with the options of a `TypedDict` in place of their collection."""
    parameters = []
    for parameter in signature.parameters.values():
        if get_origin(parameter.annotation) is not Unpack:
            parameters.append(parameter)
            continue
        (options,) = get_args(parameter.annotation)
        parameters += [
            inspect.Parameter(name, parameter.KEYWORD_ONLY, default=None, annotation=kind)
            for name, kind in options.__annotations__.items()
            if name not in signature.parameters
        ]
    return signature.replace(parameters=parameters)


class _Form(NamedTuple):
    """A signature without parameters of positions alone, in the form that binds soonest."""

    signature: inspect.Signature
    by_place: Sequence[str]  # parameters that need no name
    needed: Set[str]
    kinds: Mapping[str, tuple[Any, Any]]  # default and annotation of each that is checked
    limits: Mapping[str, tuple[float, float]]  # of numbers whose `Option` has both
    takes_all: bool  # whether it takes arguments by any name

    @classmethod
    def of(cls, signature: inspect.Signature) -> Self:
        named = [
            each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD
        ]
        return cls(
            signature,
            [each.name for each in named if each.kind is each.POSITIONAL_OR_KEYWORD],
            {each.name for each in named if each.default is each.empty},
            {each.name: (each.default, each.annotation) for each in named if each.name != "self"},
            {each.name: found for each in named if (found := limits_of(each.annotation))},
            len(named) < len(signature.parameters),
        )


def _bound(
    name: str, form: _Form, args: Sequence[Any], kwargs: Mapping[str, Any], gone: Mapping[str, str]
) -> dict[str, Any]:
    """Return arguments by name, as their annotations have them."""
    parameters = form.signature.parameters
    for unknown in () if form.takes_all else kwargs.keys() - parameters.keys():
        raise unknown_argument(name, unknown, parameters, gone)
    bound = {**dict(zip(form.by_place, args, strict=False)), **kwargs}
    if len(bound) < len(args) + len(kwargs) or not form.needed <= bound.keys():
        _refuse(name, form.signature, args, kwargs)
    for key, value in [*bound.items()]:
        default, kind = form.kinds.get(key, (value, None))
        if value is default or type(value) is kind:
            continue
        try:
            bound[key] = _fitting(value, kind)
        except _Misfit:
            if value is None and default is not inspect.Parameter.empty:
                del bound[key]
                continue
            raise InputError(
                f"{name}() got {_shown(key, value)}. It takes {_needs(key, kind)}."
            ) from None
        if key in form.limits:
            check_limits(key, bound[key], form.limits[key])
    return bound


def limits_of(kind: Any) -> tuple[float, float] | None:  # noqa: ANN401 - any annotation
    """Return the least and the most of a number that is annotated with an `Option`, if it has both.

    Those of each number of a tuple are checked with the tuple.
    """
    plain, option = get_args(kind)[:2] if get_origin(kind) is Annotated else (kind, None)
    least, most = getattr(option, "least", None), getattr(option, "most", None)
    if least is None or most is None or (option.kind or plain) not in (int, float):
        return None
    return least, most


def check_limits(name: str, value: float | None, limits: tuple[float, float]) -> None:
    """Raise InputError for what is no number between limits; None is left to others."""
    least, most = limits
    if value is not None and not least <= value <= most:
        raise InputError(
            f"`{name}={value!r}` is no number from {least} to {most}. Give one of these, or "
            "leave it out."
        )


def _refuse(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Raise the error of arguments that are too many, or too few."""
    parameters = signature.parameters
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        lacking = next((key for key in parameters if f"'{key}'" in str(error)), "")
        needed = f" Give {_needs(lacking, parameters[lacking].annotation)}." if lacking else ""
        raise UnknownArgument(f"{name}(): {error}.{needed}") from None


def _fitting(value: Any, kind: Any) -> Any:  # noqa: ANN401 - of any type
    """Return a value as an annotation has it, or raise `_Misfit` if it is of another type."""
    if isinstance(kind, TypeVar):
        kind = kind.__bound__ or Any
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fitting(value, arguments[0])
    if origin in UNIONS:
        return _fitting_one(value, arguments)
    if origin is tuple or origin is collections.abc.Sequence:
        return _fitting_items(value, origin, arguments)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(value, kind)
    if not _is_of(value, kind, origin):
        raise _Misfit
    return value


def _is_of(value: Any, kind: Any, origin: Any) -> bool:  # noqa: ANN401 - of any type
    """Whether a value is of a kind that has no parts."""
    if isinstance(kind, str | ForwardRef):
        return _is_lazily(value, kind if isinstance(kind, str) else kind.__forward_arg__)
    if origin is Literal:
        return value in get_args(kind)
    if kind is BinaryIO:
        return hasattr(value, "read")
    if origin is frozenset:
        return isinstance(value, collections.abc.Set)
    if kind is bool:
        return type(value).__name__ in {"bool", "bool_"}
    if kind in (int, float):
        number = Integral if kind is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    if origin is not None or not isinstance(kind, type) or kind is inspect.Parameter.empty:
        return not isinstance(origin, type) or isinstance(value, origin)
    if getattr(kind, "_is_protocol", False):
        return all(hasattr(value, attribute) for attribute in vars(kind) if attribute[0] != "_")
    return isinstance(value, kind)


def _is_lazily(value: object, kind: str) -> bool:
    """Whether a value is of classes by their names; others than those of `LAZY` may be anything."""
    names = {part.partition("[")[0].rpartition(".")[2].strip() for part in kind.split("|")}
    if value is None:
        return "None" in names
    mro = {ancestor.__name__ for ancestor in type(value).__mro__}
    return not names <= {*LAZY, "None"} or any(LAZY.get(name) in mro for name in names)


def _fitting_one(value: Any, kinds: Sequence[Any]) -> Any:  # noqa: ANN401 - of any type
    for kind in kinds:
        with suppress(_Misfit):
            return _fitting(value, kind)
    raise _Misfit


def _fitting_items(value: Any, origin: type, kinds: Sequence[Any]) -> Any:  # noqa: ANN401 - of any type
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Sequence):
        raise _Misfit
    if origin is not tuple or kinds[1:] == (Ellipsis,):
        kinds = [kinds[0]] * len(value)
    if len(kinds) != len(value):
        raise _Misfit
    items = tuple(_fitting(item, kind) for item, kind in zip(value, kinds, strict=True))
    return items if origin is tuple else value


def _member(value: Any, kind: type[Enum]) -> Enum:  # noqa: ANN401 - of any type
    try:
        return kind(value)
    except ValueError:
        raise _Misfit from None


def _needs(name: str, kind: Any) -> str:  # noqa: ANN401 - any annotation
    """Return what an argument takes, in words."""
    return NEEDS.get(ALIKE.get(name, name)) or _spelled(kind)


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - of any type
    if value is None:
        return f"`{name}=None`"
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if shape is not None:
        return f"`{name}=`, of type {kind} and shape {tuple(shape)}"
    return f"`{name}={short_reason(SHORT.repr(value))}`, of type {kind}"


def _spelled(kind: Any) -> str:  # noqa: ANN401 - any annotation
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(repr(part.value) for part in kind)}"
    if origin is Annotated:
        return _spelled(arguments[0])
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in UNIONS:
        if any("Image" in str(part) for part in arguments):
            return NEEDS["image"]
        return " or ".join(_spelled(part) for part in arguments if part is not types.NoneType)
    if origin in (tuple, list, collections.abc.Sequence):
        return f"a list of: {_spelled(arguments[0])}"
    if getattr(kind, "__name__", "") == "Image":
        return NEEDS["image"]
    if isinstance(kind, ForwardRef):
        return kind.__forward_arg__
    return PLAIN.get(kind) or str(getattr(kind, "__name__", kind))
