"""Numbered work that other processes do ahead of time."""

from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import multiprocessing

SHARED_BY = "file_system"  # one open file for each tensor is more than systems allow


T = TypeVar("T")


class Ahead(Generic[T]):
    """Results by their number; those of the next numbers are made in the meantime.

    Every process computes with one thread. Tensors come back in shared memory.
    """

    def __init__(self, work: Callable[[int], T], *, processes: int) -> None:
        """Start no process yet.

        Args:
            work: Makes a result; it is pickled, and may keep what it needs in its module.
            processes: How many work; twice as many results are waiting at most.
        """
        self._work, self._processes = work, processes
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: dict[int, Future[T]] = {}

    def __call__(self, number: int) -> T:
        """Return the result of `number`, and have the next ones made."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, initializer=_prepare)
        for one in range(number, number + 2 * self._processes + 1):
            if one not in self._waiting:
                self._waiting[one] = self._pool.submit(self._work, one)
        for passed in [one for one in self._waiting if one < number]:
            self._waiting.pop(passed).cancel()
        return self._waiting.pop(number).result()


def _prepare() -> None:
    torch.set_num_threads(1)
    multiprocessing.set_sharing_strategy(SHARED_BY)
