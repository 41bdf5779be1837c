"""Calls with many arguments as frozen values, seen from outside as ordinary signatures."""

import functools
import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

P = ParamSpec("P")
Arguments = TypeVar("Arguments")
Owner = TypeVar("Owner")
Result = TypeVar("Result")


def spelled_as(
    arguments: Callable[P, Arguments],
) -> Callable[[Callable[[Owner, Arguments], Result]], Callable[Concatenate[Owner, P], Result]]:
    """Let a method be called with the fields of the dataclass `arguments`, in their order.

    diffusers reads signatures to know a pipeline's modules and options, and so do people; the
    method itself gets one value.
    """

    def decorate(
        method: Callable[[Owner, Arguments], Result],
    ) -> Callable[Concatenate[Owner, P], Result]:
        def spelled(self: Owner, /, *args: P.args, **kwargs: P.kwargs) -> Result:
            return method(self, arguments(*args, **kwargs))

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        named = inspect.signature(arguments).parameters.values()
        functools.update_wrapper(spelled, method)
        spelled.__signature__ = inspect.Signature([own, *named])  # type: ignore[attr-defined]  # any function may have one
        spelled.__annotations__ = {one.name: one.annotation for one in named}
        return spelled

    return decorate
