"""The queue of drawings: bounded, with deadlines, fair to every key, drawn in small batches."""

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

FIRST_GUESS_S = 0.5  # a job's time before any was measured
MEMORY = 0.2  # weight of the newest measurement
FADING_S = 1.0  # after which a drawn picture of a key counts half
FORGOTTEN_S = 20 * FADING_S  # after which it counts nothing
MAX_REMEMBERED = 1_000  # keys, beyond which those are dropped that count nothing


class Overloaded(Exception):  # noqa: N818 - a state, whose remedy is to wait
    """The queue is full, or full of this key's own."""

    def __init__(self, retry_after_s: float, *, of_key: bool) -> None:
        super().__init__(
            "Too many of your pictures wait already. Ask again when some are done."
            if of_key
            else "Too many pictures wait already. Ask again a little later."
        )
        self.retry_after_s = retry_after_s
        self.of_key = of_key


class Expired(Exception):  # noqa: N818 - a state, no fault
    """The deadline passed before the picture was there."""


@dataclass(eq=False)
class QueuedDrawing:
    """Something to draw for one caller."""

    work: Any
    group: Hashable  # jobs of one group may be drawn together
    key: str  # of the caller
    done: asyncio.Future[Any]
    gave_way: bool = False  # its drawing was stopped for another key's


Draw = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Takes the work of some jobs; returns a result or an exception for each. Stops if cancelled."""


class Scheduler:
    """Decides what is drawn next. All methods run in one event loop.

    The key with the least recent use comes first, so that equal keys take turns. A key
    with a long queue delays one that has nothing here by a stage of its drawing, which is broken
    off and begun again later, each job once at most. A batch takes jobs of the first one's group,
    of as many keys as there are.
    """

    def __init__(
        self,
        draw: Draw,
        *,
        at_once: int = 1,  # batches
        max_queued: int = 64,
        max_per_key: int = 8,
        max_batch: int = 4,
        on_batch: Callable[[int, float], object] | None = None,  # its size and seconds
    ) -> None:
        self.draw = draw
        self.at_once = at_once
        self.on_batch = on_batch
        self.max_queued, self.max_per_key, self.max_batch = max_queued, max_per_key, max_batch
        self.job_s = FIRST_GUESS_S  # a job's share of its batch, smoothed
        self.batches = 0  # that ended
        self._queues: dict[str, deque[QueuedDrawing]] = {}
        self._given: dict[str, float] = {}  # recent use of each key, see `_remember`
        # Jobs that are drawn, with the future of their batch.
        self._running: dict[QueuedDrawing, asyncio.Future[Sequence[Any]]] = {}
        self._giving_way: set[asyncio.Future[Sequence[Any]]] = set()

    @property
    def num_queued(self) -> int:
        """Jobs that wait. Other threads may read this alone."""
        return sum(map(len, list(self._queues.values())))

    def retry_after_s(self) -> float:
        """Return the seconds until all present jobs are drawn."""
        return max(0.05, (self.num_queued + len(self._running)) * self.job_s / self.at_once)

    def check_room(self, key: str, count: int = 1) -> None:
        """Raise `Overloaded` if so many more jobs do not fit."""
        if self.num_queued + count > self.max_queued:
            raise Overloaded(self.retry_after_s(), of_key=False)
        own = len(self._queues.get(key, ()))
        if own + count > self.max_per_key:
            raise Overloaded(own * self.job_s / self.at_once, of_key=True)

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
        if self._has_room():
            loop.call_soon(self._fill)  # when others of its call are here, too
        else:
            self._make_way(key)
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
        for job in [*itertools.chain(*self._queues.values()), *self._running]:
            self.cancel(job)

    def _expire(self, job: QueuedDrawing) -> None:
        if not job.done.done():
            _fail(job, Expired())
            self._give_up(job)

    def _give_up(self, job: QueuedDrawing) -> None:
        with suppress(KeyError, ValueError):
            self._take(job)
        drawing = self._running.get(job)
        if drawing is not None and all(job.done.done() for job in self._batch_of(drawing)):
            drawing.cancel()

    def _batch_of(self, drawing: asyncio.Future[Sequence[Any]]) -> list[QueuedDrawing]:
        return [job for job, its in self._running.items() if its is drawing]

    def _has_room(self) -> bool:
        return len(set(self._running.values())) < self.at_once

    def _fill(self) -> None:
        while self._has_room() and (batch := self._next_batch()):
            self._begin(batch)

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

    def _make_way(self, key: str) -> None:
        """Stop a batch of keys with long queues for a key that has no other job."""
        if len(self._queues[key]) > 1 or any(job.key == key for job in self._running):
            return
        for drawing in dict.fromkeys(self._running.values()):
            batch = self._batch_of(drawing)
            if all(map(self._can_wait, batch)):
                for job in batch:
                    job.gave_way = True
                self._giving_way.add(drawing)
                drawing.cancel()
                return

    def _can_wait(self, job: QueuedDrawing) -> bool:
        return not job.gave_way and 2 * len(self._queues.get(job.key, ())) >= self.max_per_key

    def _in_turns(self) -> list[QueuedDrawing]:
        """Return the first of every key, then the second, and so on."""
        keys = sorted(self._queues, key=lambda key: self._given.get(key, -math.inf))
        rows = itertools.zip_longest(*(self._queues[key] for key in keys))
        return [job for row in rows for job in row if job is not None]

    def _take(self, job: QueuedDrawing) -> None:
        self._queues[job.key].remove(job)
        if not self._queues[job.key]:
            del self._queues[job.key]

    def _begin(self, batch: list[QueuedDrawing]) -> None:
        drawing = asyncio.ensure_future(self.draw([job.work for job in batch]))
        self._running.update(dict.fromkeys(batch, drawing))
        drawing.add_done_callback(partial(self._finish, batch, time.monotonic()))

    def _finish(
        self, batch: list[QueuedDrawing], started: float, drawing: asyncio.Future[Sequence[Any]]
    ) -> None:
        for job in batch:
            del self._running[job]
        gave_way = drawing in self._giving_way and drawing.cancelled()
        self._giving_way.discard(drawing)
        if gave_way:
            for job in reversed(batch):
                if not job.done.done():
                    self._queues.setdefault(job.key, deque()).appendleft(job)
        self._fill()  # before callers are notified, so that the drawing thread never waits
        if gave_way:
            return
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
