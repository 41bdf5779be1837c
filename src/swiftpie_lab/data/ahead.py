"""Draws of training data, made in other processes before they are needed."""

import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

T = TypeVar("T")

AHEAD = 2  # draws that each process may have ready or in work


class Ahead(Generic[T]):
    """Makes draw n, n + k, n + 2 k ... in other processes, k being the last difference of two.

    What a draw is follows from its number alone, so runs repeat bit for bit with any number of
    processes. The processes end at once, in the middle of a draw, when this object or the program
    ends: a pool would first make every draw that it was given.
    """

    def __init__(self, build: Callable[[], Callable[[int], T]], num_processes: int) -> None:
        """Start processes, which each make draws with what `build`, which is pickled, returns."""
        watched, held = multiprocessing.Pipe(duplex=False)
        end = weakref.finalize(self, held.close)  # a killed program closes it, too
        threading.Thread(target=_end_with_program, args=(end,), daemon=True).start()
        self._pool = ProcessPoolExecutor(
            num_processes,
            mp_context=multiprocessing.get_context("spawn"),  # a fork would share locks of threads
            initializer=_begin,
            initargs=(build, watched),
        )
        self._count = num_processes * AHEAD
        self._futures: dict[int, Future[T]] = {}
        self._last: int | None = None

    def __call__(self, draw: int) -> T:
        """Return the draw with this number."""
        step = 1 if self._last is None else max(1, draw - self._last)
        wanted = range(draw, draw + step * self._count, step)
        self._futures = {
            number: self._futures.get(number) or self._pool.submit(_draw, number)
            for number in wanted
        }
        self._last = draw
        return self._futures.pop(draw).result()


_make: Callable[[int], Any]  # of this process, once it has begun


def _begin(build: Callable[[], Callable[[int], object]], watched: Connection) -> None:
    global _make  # noqa: PLW0603  # a pool has no other place for what a process keeps
    threading.Thread(target=_end_when_closed, args=(watched,), daemon=True).start()
    _make = build()


def _draw(number: int) -> Any:  # noqa: ANN401
    return _make(number)


def _end_when_closed(watched: Connection) -> None:
    watched.poll(None)
    os._exit(1)


def _end_with_program(end: Callable[[], object]) -> None:
    threading.main_thread().join()  # before the interpreter waits for the pool
    end()
