"""The bounds of a server, and its queue: with deadlines, fair to every key, in small batches."""

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from swiftpie.server.errors import Expired, Overloaded

FIRST_GUESS_S = 0.5  # a job's time before any was measured
MEMORY = 0.2  # weight of the newest measurement
FADING_S = 1.0  # after which a drawn picture of a key counts half
FORGOTTEN_S = 20 * FADING_S  # after which it counts nothing
MAX_REMEMBERED = 1_000  # keys, beyond which those are dropped that count nothing


@dataclass(eq=False)
class QueuedDrawing:
    """Something to draw for one caller."""

    work: Any
    group: Hashable  # jobs of one group may be drawn together
    key: str  # of the caller
    done: asyncio.Future[Any]


Draw = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Takes the work of some jobs; returns a result or an exception for each. Stops if cancelled."""


class Scheduler:
    """Decides what is drawn next. All methods run in one event loop.

    The key with the least recent use comes first, so that equal keys take turns. A batch takes jobs
    of the first one's group, of as many keys as there are.
    """

    def __init__(
        self,
        draw: Draw,
        *,
        max_queued: int = 64,
        max_per_key: int = 8,
        max_batch: int = 4,
        on_batch: Callable[[int, float], object] | None = None,  # its size and seconds
    ) -> None:
        self.draw = draw
        self.on_batch = on_batch
        self.max_queued, self.max_per_key, self.max_batch = max_queued, max_per_key, max_batch
        self.job_s = FIRST_GUESS_S  # a job's share of its batch, smoothed
        self.batches = 0  # that ended
        self._queues: dict[str, deque[QueuedDrawing]] = {}
        self._given: dict[str, float] = {}  # recent use of each key, see `_remember`
        self._batch: list[QueuedDrawing] = []  # that is drawn now
        self._drawing: asyncio.Future[Sequence[Any]] | None = None  # of this batch

    @property
    def num_queued(self) -> int:
        """Jobs that wait. Other threads may read this alone."""
        return sum(map(len, list(self._queues.values())))

    def retry_after_s(self) -> float:
        """Return the seconds until all present jobs are drawn."""
        return max(0.05, (self.num_queued + len(self._batch)) * self.job_s)

    def check_room(self, key: str, count: int = 1) -> None:
        """Raise `Overloaded` if so many more jobs do not fit."""
        if self.num_queued + count > self.max_queued:
            raise Overloaded(self.retry_after_s(), of_key=False)
        own = len(self._queues.get(key, ()))
        if own + count > self.max_per_key:
            raise Overloaded(own * self.job_s, of_key=True)

    def submit(
        self, work: object, *, group: Hashable, key: str, deadline_s: float
    ) -> QueuedDrawing:
        """Queue a job."""
        self.check_room(key)
        loop = asyncio.get_running_loop()
        job = QueuedDrawing(work, group, key, loop.create_future())
        timer = loop.call_later(deadline_s, self._expire, job)
        job.done.add_done_callback(lambda _: timer.cancel())
        self._queues.setdefault(key, deque()).append(job)
        loop.call_soon(self._fill)  # when others of its call are here, too
        return job

    def cancel(self, job: QueuedDrawing) -> None:
        """Forget a job: out of the queue at once, out of a drawing by its next stage."""
        if not job.done.done():
            job.done.cancel()
            self._give_up(job)

    async def result(self, job: QueuedDrawing) -> Any:  # noqa: ANN401 - whatever was drawn
        """Wait for a job; a caller that is cancelled while waiting cancels it."""
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            self.cancel(job)
            raise

    def close(self) -> None:
        """Cancel what is left."""
        for job in [*itertools.chain(*self._queues.values()), *self._batch]:
            self.cancel(job)

    def _expire(self, job: QueuedDrawing) -> None:
        if not job.done.done():
            _fail(job, Expired())
            self._give_up(job)

    def _give_up(self, job: QueuedDrawing) -> None:
        with suppress(KeyError, ValueError):
            self._take(job)
        if job in self._batch and all(job.done.done() for job in self._batch):
            assert self._drawing is not None, "a batch is drawn"
            self._drawing.cancel()

    def _fill(self) -> None:
        if self._drawing is not None or not (batch := self._next_batch()):
            return
        self._batch = batch
        self._drawing = asyncio.ensure_future(self.draw([job.work for job in batch]))
        self._drawing.add_done_callback(partial(self._finish, batch, time.monotonic()))

    def _next_batch(self) -> list[QueuedDrawing]:
        waiting = self._in_turns()
        alike = (job for job in waiting if job.group == waiting[0].group)
        batch = list(itertools.islice(alike, self.max_batch))
        for job in batch:
            self._take(job)
            self._remember(job.key)
        return batch

    def _remember(self, key: str) -> None:
        """Count one more picture of a key.

        It is worth twice as much as one of a second ago, so that use fades, and numbers of all keys
        compare, with no need to go through them as time passes: the logarithm is kept.
        """
        now = time.monotonic() / FADING_S
        known = self._given.get(key, -math.inf)
        self._given[key] = now + math.log2(1 + 2.0 ** (known - now))
        if len(self._given) > MAX_REMEMBERED:
            least = now - FORGOTTEN_S / FADING_S
            self._given = {user: given for user, given in self._given.items() if given > least}

    def _in_turns(self) -> list[QueuedDrawing]:
        """Return the first of every key, then the second, and so on."""
        keys = sorted(self._queues, key=lambda key: self._given.get(key, -math.inf))
        rows = itertools.zip_longest(*(self._queues[key] for key in keys))
        return [job for row in rows for job in row if job is not None]

    def _take(self, job: QueuedDrawing) -> None:
        self._queues[job.key].remove(job)
        if not self._queues[job.key]:
            del self._queues[job.key]

    def _finish(
        self, batch: list[QueuedDrawing], started: float, drawing: asyncio.Future[Sequence[Any]]
    ) -> None:
        self._batch, self._drawing = [], None
        self._fill()  # before callers are notified, so that the drawing thread never waits
        self.batches += 1
        seconds = time.monotonic() - started
        self.job_s += MEMORY * (seconds / len(batch) - self.job_s)
        if self.on_batch is not None:
            self.on_batch(len(batch), seconds)
        error = Expired() if drawing.cancelled() else drawing.exception()
        drawn = drawing.result() if error is None else [error] * len(batch)
        for job, outcome in zip(batch, drawn, strict=True):
            if job.done.done():
                continue
            if isinstance(outcome, BaseException):
                _fail(job, outcome)
            else:
                job.done.set_result(outcome)


def _fail(job: QueuedDrawing, error: BaseException) -> None:
    job.done.set_exception(error)
    take_error(job.done)


def take_error(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future without a waiter, as asyncio would log its message."""
    if not future.cancelled():
        future.exception()
