"""The bounds of a server, and its queue: with deadlines, fair to every key, in small batches."""

import asyncio
import itertools
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from swiftpie.server.errors import Expired, Overloaded

FIRST_GUESS_S = 0.5  # a job's time before any was measured
MEMORY = 0.2  # weight of the newest measurement
FADING_S = 10.0  # after which a second of drawing for a key counts half
FORGOTTEN_S = 20 * FADING_S  # after which it counts nothing
LEAST_S = 0.01  # that a job counts
MAX_REMEMBERED = 1_000  # keys, beyond which those are dropped that count nothing
LONG_S, QUICKER = 0.25, 2  # a job is drawn beside one that takes long, and so many times as long
HOPE, LEAST_HOPE = 0.9, 0.1  # by which, and how far, refusals lower what a job is guessed to take
CAUTION = 1.1  # times what a wait is guessed to be, so that what is accepted is there in time
LATE = (
    "The picture would be there after about {seconds:.0f} s, and is given {deadline_s:g} s. Ask "
    "for fewer frames or pixels, or again a little later."
)
LIVE = " live"  # ends the key of what a caller draws live, which has turns of its own


@dataclass(eq=False)
class Job:
    """Something to draw or to do for one caller, by one model."""

    work: Any
    key: str = ""  # Names the caller.
    model: str = ""  # empty: the first
    group: Hashable = None  # jobs of one group may be drawn together
    units: float = 1.0  # how many times a usual job it seems to be
    kind: Hashable = None  # what takes about as long
    finish: Callable[..., Any] | None = None  # makes the file of what was drawn
    stage: str = "queue"  # that ended last
    started: float = 0.0  # when it was begun to be drawn
    done: asyncio.Future[Any] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


Draw = Callable[[Sequence[Job]], Awaitable[Sequence[Any]]]
"""Returns a result or an exception for each of some jobs. Stops if cancelled."""


class Scheduler:
    """Decides what is drawn next. All methods run in one event loop.

    The key for which least was drawn recently comes first, counted in seconds, so that equal keys
    take turns. A batch takes jobs of the first one's group, of as many keys as there are. With two
    `lanes`, what is quick for another caller is drawn beside a batch that takes long; with several
    `replicas`, as many batches are drawn at once.
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
        self.lanes, self.replicas = 1, 1
        self.job_s = FIRST_GUESS_S  # what a unit of a job takes of its batch, smoothed
        self.batches = 0  # that ended
        self._taken: dict[Hashable, float] = {}  # seconds of a unit, by kind, smoothed
        self._hopes: dict[tuple[str, Hashable], tuple[float, int]] = {}  # see `_hope`
        self._queues: dict[str, deque[Job]] = {}
        self._given: dict[str, float] = {}  # recent use of each key, see `_remember`
        self._drawn: dict[asyncio.Future[Sequence[Any]], list[Job]] = {}  # now

    @property
    def num_queued(self) -> int:
        """Jobs that wait. Other threads may read this alone."""
        return sum(map(len, list(self._queues.values())))

    @property
    def being_drawn(self) -> list[Job]:
        return [*itertools.chain(*list(self._drawn.values()))]

    def guess_s(self, jobs: Iterable[Job]) -> float:
        """Return the seconds that jobs take, one after another."""
        return sum(self._taken.get(job.kind, self.job_s) * job.units for job in jobs)

    def retry_after_s(self) -> float:
        """Return the seconds until all present jobs are drawn."""
        left = (*itertools.chain(*self._queues.values()), *self.being_drawn)
        return max(0.05, self.guess_s(left) / self.replicas)

    def check_room(self, key: str, count: int = 1) -> None:
        """Raise `Overloaded` if so many more jobs do not fit."""
        if self.num_queued + count > self.max_queued:
            raise Overloaded(self.retry_after_s(), of_key=False)
        own = self._queues.get(key, ())
        if len(own) + count > self.max_per_key:
            raise Overloaded(self.guess_s(own), of_key=True)

    def submit(self, job: Job, *, deadline_s: float) -> Job:
        """Queue a job, unless it would be late by all that is known."""
        self.check_room(job.key)
        self._queues.setdefault(job.key, deque()).append(job)
        own_s = self.guess_s([job]) * self._hopes.get((job.key, job.kind), (1.0, 0))[0]
        seconds = own_s + self._wait_s(job, own_s)
        if seconds > deadline_s:
            self._take(job)
            if own_s > deadline_s and job.kind is not None:
                self._hope(job)
            late_s = seconds - deadline_s
            raise Overloaded(late_s, why=LATE.format(seconds=seconds, deadline_s=deadline_s))
        timer = asyncio.get_running_loop().call_later(deadline_s, self._expire, job)
        job.done.add_done_callback(lambda _: timer.cancel())
        self._fill_soon()  # when others of its call are here, too
        return job

    def _hope(self, job: Job) -> None:
        """Lower what one caller's jobs of a kind are guessed to take, which is late on its own.

        A drawing that was slow by accident would keep its kind out for ever. What others wait for
        is guessed as before. One drawing of any kind allows for one step, as long as any is drawn.
        """
        share, batches = self._hopes.pop((job.key, job.kind), (1.0, -1))
        if self.batches > batches or not self._drawn:
            share, batches = max(LEAST_HOPE, HOPE * share), self.batches
        self._hopes[job.key, job.kind] = share, batches
        if len(self._hopes) > MAX_REMEMBERED:
            del self._hopes[next(iter(self._hopes))]

    def _wait_s(self, job: Job, own_s: float) -> float:
        """Return the seconds until a job of the queue is begun, if no other one comes."""
        now = time.monotonic()
        # With two lanes it overtakes what takes long.
        most_s = QUICKER * own_s + LONG_S if self.lanes > 1 else math.inf
        rest = [self.guess_s(batch) + batch[0].started - now for batch in self._drawn.values()]
        before = itertools.takewhile(lambda other: other is not job, self._in_turns())
        ahead = [*map(max, rest, [0.0] * len(rest)), *(self.guess_s([one]) for one in before)]
        return CAUTION * sum(seconds for seconds in ahead if seconds <= most_s) / self.replicas

    def cancel(self, job: Job) -> None:
        """Forget a job: out of the queue at once, out of a drawing by its next stage."""
        if not job.done.done():
            job.done.cancel()
            self._give_up(job)

    async def result(self, job: Job) -> Any:  # noqa: ANN401 - whatever was drawn
        """Wait for a job; a caller that is cancelled while waiting cancels it."""
        try:
            return await asyncio.shield(job.done)
        except asyncio.CancelledError:
            self.cancel(job)
            raise

    def close(self) -> None:
        for job in [*itertools.chain(*self._queues.values()), *self.being_drawn]:
            self.cancel(job)

    def _expire(self, job: Job) -> None:
        if not job.done.done():
            _fail(job, Expired())
            self._give_up(job)

    def _give_up(self, job: Job) -> None:
        with suppress(KeyError, ValueError):
            self._take(job)
        for drawing, batch in self._drawn.items():
            if job in batch and all(one.done.done() for one in batch):
                drawing.cancel()

    def _fill_soon(self, seconds: float = 0.0) -> None:
        asyncio.get_running_loop().call_later(seconds, self._fill)

    def _fill(self) -> None:
        while batch := self._next_batch():
            drawing = asyncio.ensure_future(self.draw(batch))
            self._drawn[drawing] = batch
            drawing.add_done_callback(self._finish)
            if self.lanes > 1:
                self._fill_soon(LONG_S)

    def _next_batch(self) -> list[Job]:
        if len(self._drawn) >= max(self.lanes, self.replicas) or not self._queues:
            return []
        waiting = self._in_turns()
        for beside in self._drawn.values() if self.lanes > 1 else ():  # there is one at most
            long_s = max(self.guess_s(beside), time.monotonic() - beside[0].started)
            callers = {job.key.removesuffix(LIVE) for job in beside}
            waiting = [
                job
                for job in waiting
                if job.key.removesuffix(LIVE) not in callers
                and long_s >= max(LONG_S, QUICKER * self.guess_s([job]))
            ]
        alike = (job for job in waiting if job.group == waiting[0].group)
        batch = list(itertools.islice(alike, self.max_batch))
        for job in batch:
            self._take(job)
            job.started = time.monotonic()
        return batch

    def _remember(self, key: str, seconds: float) -> None:
        """Count what was drawn for a key.

        It is worth twice as much as the same of `FADING_S` ago, so that use fades, and numbers of
        all keys compare, with no need to go through them as time passes: the logarithm is kept.
        """
        now = time.monotonic() / FADING_S
        known = self._given.get(key, -math.inf)
        self._given[key] = now + math.log2(max(LEAST_S, seconds) + 2.0 ** (known - now))
        if len(self._given) > MAX_REMEMBERED:
            least = now - FORGOTTEN_S / FADING_S
            self._given = {user: given for user, given in self._given.items() if given > least}

    def _in_turns(self) -> list[Job]:
        """Return the first of every key, then the second, and so on."""
        keys = sorted(self._queues, key=lambda key: self._given.get(key, -math.inf))
        rows = itertools.zip_longest(*(self._queues[key] for key in keys))
        return [job for row in rows for job in row if job is not None]

    def _take(self, job: Job) -> None:
        self._queues[job.key].remove(job)
        if not self._queues[job.key]:
            del self._queues[job.key]

    def _finish(self, drawing: asyncio.Future[Sequence[Any]]) -> None:
        batch = self._drawn.pop(drawing)
        seconds = time.monotonic() - batch[0].started
        self._measure(batch, seconds, is_whole=not drawing.cancelled())
        self._fill()  # before callers are notified, so that the drawing thread never waits
        self.batches += 1
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

    def _measure(self, batch: Sequence[Job], seconds: float, *, is_whole: bool) -> None:
        """Charge keys for a batch, and learn what its jobs take: what was left, at least that."""
        unit_s = seconds / sum(job.units for job in batch)
        for job in batch:
            self._remember(job.key, unit_s * job.units)
            self._hopes.pop((job.key, job.kind), None)
        if is_whole:
            weight = max(MEMORY, 1 / (2 + self.batches))  # a guess counts as one measurement
            self.job_s += weight * (unit_s - self.job_s)
        kind = batch[0].kind
        known = self._taken.get(kind, self.job_s)
        if kind is not None and (is_whole or unit_s > known):
            is_first = self._taken.pop(kind, None) is None or not is_whole
            self._taken[kind] = unit_s if is_first else known + MEMORY * (unit_s - known)
            if len(self._taken) > MAX_REMEMBERED:
                del self._taken[next(iter(self._taken))]


def _fail(job: Job, error: BaseException) -> None:
    job.done.set_exception(error)
    take_error(job.done)


def take_error(future: asyncio.Future[Any]) -> None:
    """Retrieve the error of a future without a waiter, as asyncio would log its message."""
    if not future.cancelled():
        future.exception()
