"""Who is drawn next: a bounded queue with deadlines, fair to every key, drawn in small batches."""

import asyncio
import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

FIRST_GUESS_S = 0.5  # a job's time before any was measured
MEMORY = 0.2  # weight of the newest measurement


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


class Expired(Exception):  # noqa: N818 - not a fault of anybody
    """The deadline passed before the picture was there."""


class Stopped(BaseException):
    """Raised inside of a drawing that nobody waits for any more; nothing else may catch it."""


@dataclass(eq=False)
class Job:
    """Something to draw for one caller."""

    work: Any
    group: Hashable  # jobs of one group may be drawn together
    key: str  # whose it is
    deadline: float  # by time.monotonic()
    done: asyncio.Future[Any]
    submitted: float = field(default_factory=time.monotonic)
    state: State = State.QUEUED
    is_cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_wanted(self) -> bool:
        """Whether anybody still waits for it."""
        return not self.is_cancelled.is_set() and time.monotonic() < self.deadline


Draw = Callable[[Sequence[Any], Callable[[str], None]], Sequence[Any]]
"""Takes the work of some jobs and what to call after each stage, which may raise `Stopped`;
returns a result or an exception for each. Runs in a thread."""


class Scheduler:
    """One thread that draws, and those who wait for it. All methods belong to one event loop.

    Keys take turns, so that one with a long queue delays the others by no more than a batch: who
    comes while another is drawn goes before that one's next. A batch takes jobs of the first one's
    group, of as many keys as there are.
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
        self.batches = 0
        self._queues: dict[str, deque[Job]] = {}
        self._turns: dict[str, int] = {}  # the batch that each key waits for, the least comes first
        self._running: list[Job] = []
        self._came = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="swiftpie-draw")

    @property
    def num_queued(self) -> int:
        """Jobs that wait."""
        return sum(map(len, self._queues.values()))

    def retry_after_s(self) -> float:
        """Return in how many seconds what is here now will have been drawn."""
        return max(0.05, (self.num_queued + len(self._running)) * self.job_s)

    def check_room(self, key: str, count: int = 1) -> None:
        """Refuse what would not fit.

        Raises:
            Overloaded: The queue is full.
        """
        if self.num_queued + count > self.max_queued:
            raise Overloaded(self.retry_after_s(), of_key=False)
        own = len(self._queues.get(key, ()))
        if own + count > self.max_per_key:
            raise Overloaded(own * self.job_s, of_key=True)

    def submit(self, work: object, *, group: Hashable, key: str, deadline_s: float) -> Job:
        """Put something into the queue.

        Raises:
            Overloaded: It does not fit.
        """
        self.check_room(key)
        done = asyncio.get_running_loop().create_future()
        job = Job(work, group, key, deadline=time.monotonic() + deadline_s, done=done)
        self._queues.setdefault(key, deque()).append(job)
        is_drawn = any(one.key == key for one in self._running)
        self._turns.setdefault(key, self.batches + is_drawn)
        self._idle.clear()
        self._came.set()
        return job

    def cancel(self, job: Job) -> None:
        """Forget a job: out of the queue at once, out of a drawing by its next stage."""
        if job.done.done():
            return
        job.is_cancelled.set()
        with suppress(KeyError, ValueError):
            self._queues[job.key].remove(job)
            self._drop_empty(job.key)
        job.state = State.CANCELLED
        job.done.cancel()

    async def result(self, job: Job) -> Any:  # noqa: ANN401 - whatever was drawn
        """Wait for a job; whoever is cancelled while waiting cancels it.

        Raises:
            CancelledError: The job was cancelled, or whoever waits.
            Expired: Its deadline passed.
        """
        try:
            async with asyncio.timeout_at(
                asyncio.get_running_loop().time() + job.deadline - time.monotonic()
            ):
                return await asyncio.shield(job.done)
        except TimeoutError:
            self.cancel(job)
            raise Expired from None
        except asyncio.CancelledError:
            self.cancel(job)
            raise

    async def run(self) -> None:
        """Draw for ever."""
        while True:
            await self._came.wait()
            batch = self._next_batch()
            if not batch:
                self._came.clear()
                self._idle.set()
                continue
            await self._finish(batch)

    async def drain(self, seconds: float) -> None:
        """Wait until all is drawn that was accepted, but no longer than `seconds`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    def close(self) -> None:
        """Let go of what is left."""
        for job in [*itertools.chain(*self._queues.values()), *self._running]:
            self.cancel(job)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def in_turn(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Call something between two batches, in the thread that draws."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _next_batch(self) -> list[Job]:
        batch: list[Job] = []
        for job in self._in_turns():
            if not job.is_wanted:
                self._take(job)
                continue  # its own deadline tells whoever waits
            if batch and job.group != batch[0].group:
                continue
            self._take(job)
            batch.append(job)
            if len(batch) == self.max_batch:
                break
        for job in batch:  # those who were served come after whoever comes meanwhile
            if job.key in self._queues:
                self._turns[job.key] = self.batches + 1
                self._queues[job.key] = self._queues.pop(job.key)
        return batch

    def _in_turns(self) -> Iterator[Job]:
        """Yield the first of every key, then the second, and so on."""
        keys = sorted(self._queues, key=self._turns.__getitem__)
        waiting = [list(self._queues[key]) for key in keys]
        for row in itertools.zip_longest(*waiting):
            yield from (job for job in row if job is not None)

    def _take(self, job: Job) -> None:
        self._queues[job.key].remove(job)
        self._drop_empty(job.key)

    def _drop_empty(self, key: str) -> None:
        if not self._queues[key]:
            del self._queues[key], self._turns[key]

    async def _finish(self, batch: list[Job]) -> None:
        def check(_: str) -> None:
            if not any(job.is_wanted for job in batch):
                raise Stopped

        for job in batch:
            job.state = State.RUNNING
        self._running = batch
        started = time.monotonic()
        try:
            drawn = await self.in_turn(lambda: _caught(self.draw, [j.work for j in batch], check))
        finally:
            self._running = []
        seconds = time.monotonic() - started
        self.job_s += MEMORY * (seconds / len(batch) - self.job_s)
        self.batches += 1
        if self.on_batch is not None:
            self.on_batch(len(batch), seconds)
        for job, one in zip(batch, drawn, strict=True):
            if job.done.done():
                continue
            if isinstance(one, BaseException):
                job.state = State.FAILED
                job.done.set_exception(Expired() if isinstance(one, Stopped) else one)
                job.done.exception()  # heard, whether anybody waits or not
            else:
                job.state = State.DONE
                job.done.set_result(one)


def _caught(draw: Draw, work: list[Any], check: Callable[[str], None]) -> Sequence[Any]:
    try:
        return draw(work, check)
    except (Exception, Stopped) as error:  # noqa: BLE001 - everyone who waits is told
        return [error] * len(work)


def whole_seconds(seconds: float) -> int:
    """Return what `Retry-After` can say, which knows no fractions."""
    return max(1, math.ceil(seconds))
