"""Who computes on the processor's cores: torch or OpenVINO."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from swiftpie.engine.openvino.runtime import load

OPENMP = "openmp"  # what torch spreads its work with, as threadpoolctl calls it


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
        torch.get_num_threads()  # what a thread asks first gives it torch's number once more
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
