"""Arguments of a network as flat tensors, and back: an exported graph takes nothing else."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Slot(NamedTuple):
    """Where a tensor goes in an outline."""

    shape: tuple[int, ...]
    dtype: torch.dtype


def flatten(arguments: Any) -> list[Tensor]:  # noqa: ANN401 - any nesting of tensors
    """Return the tensors of nested tuples and dicts; dicts in the order of their keys.

    Tensors without elements are left out: their shape says it all.
    """
    if isinstance(arguments, Tensor):
        return [arguments] if arguments.numel() else []
    if isinstance(arguments, dict):
        return [one for key in sorted(arguments) for one in flatten(arguments[key])]
    if isinstance(arguments, tuple):
        return [one for part in arguments for one in flatten(part)]
    return []


def outline(arguments: Any) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Return `arguments` with a `Slot` for each tensor; what is no tensor stays as it is.

    Calls with equal outlines share a graph. The text of an outline tells it from all others.
    """
    if isinstance(arguments, Tensor):
        return Slot(tuple(arguments.shape), arguments.dtype)
    if isinstance(arguments, dict):
        return {key: outline(arguments[key]) for key in sorted(arguments)}
    if isinstance(arguments, tuple):
        return _like(arguments, [outline(part) for part in arguments])
    return arguments


def shapes(form: Any) -> Any:  # noqa: ANN401 - any nesting of slots
    """Return the outline `form` with shapes alone, as precision is lost when tensors cross over."""
    if isinstance(form, Slot):
        return form.shape
    if isinstance(form, dict):
        return {key: shapes(part) for key, part in form.items()}
    if isinstance(form, tuple):
        return tuple(shapes(part) for part in form)
    return form


def rebuild(form: Any, tensors: Iterator[Tensor]) -> Any:  # noqa: ANN401 - any nesting of tensors
    """Return the arguments of which `form` is the outline, in the types that it notes."""
    if isinstance(form, Slot):
        if 0 in form.shape:
            return torch.zeros(form.shape, dtype=form.dtype)
        return next(tensors).to(form.dtype)
    if isinstance(form, dict):
        return {key: rebuild(part, tensors) for key, part in form.items()}
    if isinstance(form, tuple):
        return _like(form, [rebuild(part, tensors) for part in form])
    return form


def plain(tensor: Tensor) -> Tensor:
    """Return `tensor` in one of the two types that cross the border, float32 and int64."""
    kind = torch.float32 if tensor.is_floating_point() else torch.int64
    return tensor.detach().to(kind).contiguous()


def _like(sample: tuple[Any, ...], parts: list[Any]) -> tuple[Any, ...]:
    made: tuple[Any, ...] = type(sample)(*parts) if hasattr(sample, "_fields") else tuple(parts)
    return made
