"""OpenVINO, NNCF and ONNX as SwiftPie uses them: imported late, unreported, on their own cores."""

import ctypes
import importlib.metadata
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch

from swiftpie.errors import require

logger = logging.getLogger(__name__)

TELEMETRY = "openvino_telemetry"  # the package that reports to Google Analytics
DEVICE = "CPU"
BUILDER = "torch.utils.cpp_extension"  # NNCF imports it, and it misses a CUDA of no use here
OPENMP = "openmp"  # what torch spreads its work with, as threadpoolctl calls it

Untyped = Any
"""An object of OpenVINO, NNCF or ONNX, none of which has complete types."""


class Precision(StrEnum):
    """What numbers are computed in, spelled as OpenVINO does."""

    HALF = "bf16"
    SINGLE = "f32"


@contextmanager
def quietly() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting their use, and PyTorch from missing CUDA.

    Both packages report every import and conversion over the network by another package, unless a
    file in the user's home forbids it. They do without where that package is missing, and remember
    that it was. PyTorch warns where it finds CUDA's compiler and no card.
    """
    builder = logging.getLogger(BUILDER)
    was_disabled, builder.disabled = builder.disabled, True
    is_late = sys.modules.get(TELEMETRY) is not None
    if is_late:
        logger.warning(
            "OpenVINO was imported before SwiftPie and reports its use to its makers. Run "
            "`opt_in_out --opt_out` to forbid it."
        )
    else:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # how Python marks what is missing
    try:
        yield
    finally:
        builder.disabled = was_disabled
        if not is_late:
            sys.modules.pop(TELEMETRY, None)


def load(package: str, *, extra: str = "openvino") -> Untyped:
    """Import an optional package, or a part of one.

    Raises:
        MissingExtra: It is not installed.
    """
    with quietly():
        return require(package, extra=extra, use="A graph")


def preferred_precision(core: Untyped) -> Precision:
    """Return bfloat16 where the processor computes in it, else float32."""
    has_half = "BF16" in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
    return Precision.HALF if has_half else Precision.SINGLE


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of installed packages by name."""
    return {name: importlib.metadata.version(name) for name in packages}


class Threads:
    """As many threads as torch has at first; within a scope of this class, for OpenVINO alone.

    Torch's threads spin for milliseconds after each piece of work, on the cores that OpenVINO's
    need. What torch still does around OpenVINO's graphs is quick enough on one. Only the calling
    thread is concerned.
    """

    def __init__(self) -> None:
        self.count = torch.get_num_threads()
        self._pools = load("threadpoolctl").ThreadpoolController()
        self._set_mkl = _setter_of_mkl()

    def for_openvino(self) -> AbstractContextManager[object]:
        """Let torch compute on one thread inside of the block."""
        return self._limited_to(1)

    def for_torch(self) -> AbstractContextManager[object]:
        """Let torch compute on all threads inside of the block, in another scope or not."""
        return self._limited_to(self.count)

    @contextmanager
    def _limited_to(self, count: int) -> Iterator[None]:
        torch.get_num_threads()  # the first call in a thread sets torch's number once more
        with self._pools.limit(limits=count, user_api=OPENMP):
            before = self._set_mkl(count)
            try:
                yield
            finally:
                self._set_mkl(before)


def _setter_of_mkl() -> Callable[[int], int]:
    """Return what sets the threads of MKL for the calling thread and returns how many it had.

    Torch has MKL inside, where threadpoolctl does not find it. It follows OpenMP only until
    `torch.set_num_threads` is called. Where torch has none, nothing is set.
    """
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"):
        setter = getattr(ctypes.CDLL(str(path)), "MKL_Set_Num_Threads_Local", None)
        if setter is not None:
            set_threads: Callable[[int], int] = setter  # takes and returns an int, C's default
            return set_threads
    return lambda count: count
