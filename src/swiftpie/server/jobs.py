"""Who is drawn next: a bounded queue with deadlines, fair to every key, drawn in small batches."""

import asyncio
import itertools
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

FIRST_GUESS_S = 0.5  # a job's time before any was measured
MEMORY = 0.2  # weight of the newest measurement
FADING_S = 1.0  # after which a picture that a key was given counts half
FORGOTTEN_S = 20 * FADING_S  # after which it counts nothing
MOST_REMEMBERED = 1_000  # keys, beyond which those are dropped that count nothing


class State(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


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
    lane: str  # which holds so many batches at once; a group has one
    key: str  # whose it is
    done: asyncio.Future[Any]
    state: State = State.QUEUED
    gave_way: bool = False  # its drawing was stopped for another key's


Draw = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Takes the work of some jobs; returns a result or an exception for each. Stops if cancelled."""


class Scheduler:
    """Those who wait to be drawn. All methods belong to one event loop.

    The key with the least recent use comes first, so that equal keys take turns. A key
    with a long queue delays one that has nothing here by a stage of its drawing, which is broken
    off and begun again later, each job once at most. A batch takes jobs of the first one's group,
    of as many keys as there are.
    """

    def __init__(
        self,
        draw: Draw,
        *,
        lanes: Mapping[str, int] | None = None,  # how many batches at once; by default one
        max_queued: int = 64,
        max_per_key: int = 8,
        max_batch: int = 4,
        on_batch: Callable[[int, float], object] | None = None,  # its size and seconds
    ) -> None:
        self.draw = draw
        self.lanes = {"": 1} if lanes is None else lanes
        self.on_batch = on_batch
        self.max_queued, self.max_per_key, self.max_batch = max_queued, max_per_key, max_batch
        self.job_s = FIRST_GUESS_S  # a job's share of its batch, smoothed
        self.batches = 0  # that ended
        self._queues: dict[str, deque[QueuedDrawing]] = {}
        self._given: dict[str, float] = {}  # recent use of each key, see `_remember`
        self._running: dict[
            QueuedDrawing, asyncio.Future[Sequence[Any]]
        ] = {}  # with what draws their batch
        self._giving_way: set[asyncio.Future[Sequence[Any]]] = set()
        self._busy: Counter[str] = Counter()  # batches by lane

    @property
    def num_queued(self) -> int:
        """Jobs that wait; the one thing that other threads may ask."""
        return sum(map(len, list(self._queues.values())))

    def retry_after_s(self) -> float:
        """Return in how many seconds what is here now will have been drawn."""
        return max(0.05, (self.num_queued + len(self._running)) * self._turn_s)

    @property
    def _turn_s(self) -> float:
        return self.job_s / max(self.lanes.values())

    def check_room(self, key: str, count: int = 1) -> None:
        """Refuse what would not fit."""
        if self.num_queued + count > self.max_queued:
            raise Overloaded(self.retry_after_s(), of_key=False)
        own = len(self._queues.get(key, ()))
        if own + count > self.max_per_key:
            raise Overloaded(own * self._turn_s, of_key=True)

    def submit(
        self, work: object, *, group: Hashable, key: str, deadline_s: float, lane: str = ""
    ) -> QueuedDrawing:
        """Put something into the queue."""
        self.check_room(key)
        loop = asyncio.get_running_loop()
        job = QueuedDrawing(work, group, lane, key, loop.create_future())
        timer = loop.call_later(deadline_s, self._expire, job)
        job.done.add_done_callback(lambda _: timer.cancel())
        self._queues.setdefault(key, deque()).append(job)
        if self._has_room(lane):
            loop.call_soon(self._fill)  # when others of its call are here, too
        else:
            self._make_way(job)
        return job

    def cancel(self, job: QueuedDrawing) -> None:
        """Forget a job: out of the queue at once, out of a drawing by its next stage."""
        if not job.done.done():
            job.done.cancel()
            self._give_up(job, State.CANCELLED)

    async def result(self, job: QueuedDrawing) -> Any:  # noqa: ANN401 - whatever was drawn
        """Wait for a job; a caller that is cancelled while waiting cancels it."""
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            self.cancel(job)
            raise

    def close(self) -> None:
        """Let go of what is left."""
        for job in [*itertools.chain(*self._queues.values()), *self._running]:
            self.cancel(job)

    def _expire(self, job: QueuedDrawing) -> None:
        if not job.done.done():
            job.done.set_exception(Expired())
            job.done.exception()  # retrieved, so that asyncio does not log it
            self._give_up(job, State.FAILED)

    def _give_up(self, job: QueuedDrawing, state: State) -> None:
        job.state = state
        with suppress(KeyError, ValueError):
            self._take(job)
        drawing = self._running.get(job)
        if drawing is not None and all(
            one.done.done() for one, its in self._running.items() if its is drawing
        ):
            drawing.cancel()

    def _fill(self) -> None:
        while batch := self._next_batch():
            self._begin(batch)

    def _next_batch(self) -> list[QueuedDrawing]:
        batch: list[QueuedDrawing] = []
        for job in self._in_turns():
            if job.group != batch[0].group if batch else not self._has_room(job.lane):
                continue
            self._take(job)
            batch.append(job)
            if len(batch) == self.max_batch:
                break
        for job in batch:
            self._remember(job.key)
        return batch

    def _remember(self, key: str) -> None:
        """Count one more picture of a key.

        It is worth twice as much as one of a second ago, so that what was given fades, and numbers
        of all keys compare, with no need to go through them as time passes: the logarithm is kept.
        """
        now = time.monotonic() / FADING_S
        known = self._given.get(key, -math.inf)
        self._given[key] = now + math.log2(1 + 2.0 ** (known - now))
        if len(self._given) > MOST_REMEMBERED:
            least = now - FORGOTTEN_S / FADING_S
            self._given = {one: given for one, given in self._given.items() if given > least}

    def _make_way(self, newcomer: QueuedDrawing) -> None:
        """Break off a batch of keys with long queues, for a key of which there is nothing else."""
        key, running = newcomer.key, list(self._running.items())
        if len(self._queues[key]) > 1 or any(job.key == key for job, _ in running):
            return
        for drawing in dict.fromkeys(self._running.values()):
            batch = [job for job, its in running if its is drawing]
            if all(job.lane == newcomer.lane and self._can_wait(job) for job in batch):
                for job in batch:
                    job.gave_way = True
                self._giving_way.add(drawing)
                drawing.cancel()
                return

    def _can_wait(self, job: QueuedDrawing) -> bool:
        return not job.gave_way and 2 * len(self._queues.get(job.key, ())) >= self.max_per_key

    def _has_room(self, lane: str) -> bool:
        return self._busy[lane] < self.lanes[lane]

    def _in_turns(self) -> Iterator[QueuedDrawing]:
        """Yield the first of every key, then the second, and so on."""
        keys = sorted(self._queues, key=lambda key: self._given.get(key, -math.inf))
        waiting = [list(self._queues[key]) for key in keys]
        for row in itertools.zip_longest(*waiting):
            yield from (job for job in row if job is not None)

    def _take(self, job: QueuedDrawing) -> None:
        self._queues[job.key].remove(job)
        self._drop_empty(job.key)

    def _drop_empty(self, key: str) -> None:
        if not self._queues[key]:
            del self._queues[key]

    def _begin(self, batch: list[QueuedDrawing]) -> None:
        drawing = asyncio.ensure_future(self.draw([job.work for job in batch]))
        for job in batch:
            job.state = State.RUNNING
            self._running[job] = drawing
        self._busy[batch[0].lane] += 1
        drawing.add_done_callback(partial(self._finish, batch, time.monotonic()))

    def _finish(
        self, batch: list[QueuedDrawing], started: float, drawing: asyncio.Future[Sequence[Any]]
    ) -> None:
        for job in batch:
            del self._running[job]
        self._busy[batch[0].lane] -= 1
        gave_way = drawing in self._giving_way and drawing.cancelled()
        self._giving_way.discard(drawing)
        if gave_way:
            self._queue_again(batch)
            self._fill()
            return
        self._fill()  # before callers are notified, so that the drawing thread never waits
        self.batches += 1
        seconds = time.monotonic() - started
        self.job_s += MEMORY * (seconds / len(batch) - self.job_s)
        if self.on_batch is not None:
            self.on_batch(len(batch), seconds)
        error = Expired() if drawing.cancelled() else drawing.exception()
        drawn = drawing.result() if error is None else [error] * len(batch)
        for job, one in zip(batch, drawn, strict=True):
            if job.done.done():
                continue
            if isinstance(one, BaseException):
                job.state = State.FAILED
                job.done.set_exception(one)
                job.done.exception()  # retrieved, so that asyncio does not log it
            else:
                job.state = State.DONE
                job.done.set_result(one)

    def _queue_again(self, batch: list[QueuedDrawing]) -> None:
        for job in reversed(batch):
            if not job.done.done():
                job.state = State.QUEUED
                self._queues.setdefault(job.key, deque()).appendleft(job)


def whole_seconds(seconds: float) -> int:
    """Return what `Retry-After` can say, which knows no fractions."""
    return max(1, math.ceil(seconds))


def take_error(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future without a waiter, as asyncio would log its message."""
    if not future.cancelled():
        future.exception()
