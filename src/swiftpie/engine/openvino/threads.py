"""Who computes on the processor's cores: torch or OpenVINO."""

from contextlib import AbstractContextManager

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

    def for_openvino(self) -> AbstractContextManager[object]:
        """Let torch compute on one thread inside of the block."""
        return self._limited_to(1)

    def for_torch(self) -> AbstractContextManager[object]:
        """Let torch compute on all threads inside of the block, in another scope or not."""
        return self._limited_to(self.count)

    def _limited_to(self, count: int) -> AbstractContextManager[object]:
        scope: AbstractContextManager[object] = self._pools.limit(limits=count, user_api=OPENMP)
        return scope
