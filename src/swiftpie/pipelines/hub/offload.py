"""Networks that rest in main memory and run elsewhere, one after the other."""

from typing import Any, Self

from accelerate.hooks import (  # type: ignore[import-untyped]  # accelerate is not annotated
    CpuOffload,
    add_hook_to_module,
)
from torch import nn


class KeepingOffload(CpuOffload):  # type: ignore[misc]  # accelerate is not annotated
    """Brings a network to where it runs and hands it its arguments, not copies of them.

    Layers write notes into a dict that they are given. accelerate's own hook copies dicts on
    their way to the device; our arguments are made there to begin with.
    """

    def pre_forward(
        self, module: nn.Module, *args: object, **kwargs: object
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Move `module` in, and the network before it out."""
        super().pre_forward(module)
        return args, kwargs

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a second network around the same weights moves with the first."""
        return self


def keep_arguments(module: nn.Module) -> None:
    """Exchange the hook that offloads `module` for one that does not copy arguments."""
    hook: Any = module._hf_hook  # noqa: SLF001 - accelerate has no other name for it
    add_hook_to_module(module, KeepingOffload(hook.execution_device, hook.prev_module_hook))


def wake(module: nn.Module) -> None:
    """Bring an offloaded module to where it runs, before it is used other than by a call."""
    hook = getattr(module, "_hf_hook", None)
    if hook is not None:
        hook.pre_forward(module)
