"""The worker queues the pictures of calls, makes them files, and keeps what later calls name."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self, TypeVar

import prometheus_client as prometheus
from prometheus_client import Counter, Histogram
from starlette.responses import Response

from swiftpie.engine.session import Session
from swiftpie.pipelines.denoise import free_at_once, trim_heap
from swiftpie.server import Limits
from swiftpie.server.decoding import Decoder
from swiftpie.server.drawing import DrawingBackend, DrawnPicture
from swiftpie.server.errors import Overloaded, RequestError, answer_to
from swiftpie.server.jobs import Job, Scheduler
from swiftpie.server.requests import JobBuilder
from swiftpie.server.shared import LOOK_S, MEMORY, RedisStore, Stores, open_stores, reached
from swiftpie.server.store import Models, NotFound

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

LARGE_BYTES = 8 << 20  # more than networks ask for at once, less than Pillow does
LARGE = 4.0  # times a usual picture; what is larger leaves hundreds of MiB in the allocator
BEGUN = b"begun "  # before the facts of a call in place of its answer
LOST_S = 10.0  # after its deadline, by which an answer is kept
LOST = "The server that drew the pictures was lost. Ask for them again."
SENT_S = 1.0  # until an answer has mostly been sent, so that its pictures are gone


class State(StrEnum):
    """How far a call is that is answered later."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, eq=False)
class RunningCall:
    """A call whose pictures are fetched later, while this server draws them."""

    drawing: "asyncio.Task[bytes]"
    jobs: Sequence[Job]  # its pictures, each of which may be an animation

    @property
    def progress(self) -> dict[str, Any]:
        """How many of its pictures are drawn, and which stage of the next one ended last."""
        left = [job.stage for job in self.jobs if not job.done.done()]
        drawn, of = len(self.jobs) - len(left), len(self.jobs)
        return {"drawn": drawn, "of": of, "stage": left[0] if left else "all"}


class Worker:
    """Models, their queue, and what users store. All methods run in one event loop."""

    def __init__(
        self,
        models: Models,
        *,
        limits: Limits,
        backend: DrawingBackend | None = None,  # by default threads of this process
        stores: Stores | None = None,  # by default in memory
        tell: Callable[[str], None] = logger.info,  # how far it is with getting ready
    ) -> None:
        self.models = models
        self.limits = limits
        self._tell = tell
        self.metrics = Metrics()
        self.backend = backend or DrawingBackend(models)
        self.scheduler = Scheduler(
            self.backend.draw,
            max_queued=limits.queue,
            max_per_key=limits.queue_per_key,
            max_batch=limits.batch or 1,
            on_batch=self.metrics.batch,
        )
        kept = stores or open_stores(MEMORY, limit_mib=limits.cache_mib)
        self.identities, self.pictures = kept.identities, kept.pictures
        self.answers, self.has_store = kept.answers, True
        self.running: dict[str, RunningCall] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self.builder = JobBuilder(models, identities=self.identities, pictures=self.pictures)
        self.decoder = Decoder(signs=models.sign is not None)
        self.is_ready = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; until `is_ready` the first model is loaded and made quick."""
        free_at_once(LARGE_BYTES)
        await self._stack.enter_async_context(self.decoder)
        self.getting_ready = asyncio.ensure_future(self._get_ready())
        if isinstance(self.answers, RedisStore):
            watching = asyncio.ensure_future(self._watch(self.answers))
            self._stack.callback(watching.cancel)
        return self

    async def _watch(self, store: RedisStore[bytes]) -> None:
        """Keep `has_store`: whether the store that servers share answers."""
        while True:
            try:
                await reached(store.check)
                self.has_store = True
            except RequestError:
                if self.has_store:
                    logger.warning("the store does not answer")
                self.has_store = False
            await asyncio.sleep(LOOK_S)

    async def __aexit__(self, *error: object) -> None:
        self.getting_ready.cancel()
        calls = [call.drawing for call in self.running.values()]
        if calls and isinstance(self.answers, RedisStore):  # other servers can tell their answers
            await asyncio.wait(calls, timeout=self.limits.deadline_s)
        self.scheduler.close()
        if calls:
            await asyncio.wait(calls)
        await asyncio.gather(*self._ending)
        self.backend.close()
        await self._stack.aclose()

    async def _get_ready(self) -> None:
        try:
            most = await self.backend.get_ready(self.limits.batch, self._tell)
            self.scheduler.max_batch, self.scheduler.lanes = most, self.backend.lanes
            self.scheduler.replicas = self.backend.replicas
            self.is_ready = True
            await self.backend.change_to_quick(self._tell)
        except Exception as error:
            logger.exception("the model could not be made ready")
            self._tell(f"error: {error}")
            raise

    def check_room(self, key: str, count: int = 1) -> None:
        """Refuse a key that must not draw as many pictures now; see `Scheduler.check_room`."""
        most = self.scheduler.max_per_key
        if count > most:
            raise RequestError(
                f"n is {count}; no more than {most} pictures of one caller wait at a time here. "
                "Ask for fewer.",
                param="n",
            )
        try:
            self.scheduler.check_room(key, count)
        except Exception:
            self.metrics.rejected.inc()
            raise

    def draw(self, jobs: Sequence[Job]) -> AsyncIterator[DrawnPicture]:
        """Queue the pictures of a call now; return what yields each as it is done."""
        self.check_room(jobs[0].key, len(jobs))
        try:
            for job in jobs:
                self.scheduler.submit(job, deadline_s=self.limits.deadline_s)
        except Overloaded:
            self.metrics.rejected.inc()
            self._give_up(jobs)
            raise
        return self._as_done(jobs)

    async def _as_done(self, jobs: Sequence[Job]) -> AsyncIterator[DrawnPicture]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            for job in jobs:
                made = await self.scheduler.result(job)
                spent = (loop.time() - started) * 1000
                assert job.finish is not None, "it is a picture"
                for picture in await asyncio.to_thread(job.finish, *made, milliseconds=spent):
                    yield picture
        finally:
            self._give_up(jobs)
            if jobs[0].units > LARGE:
                loop.call_later(SENT_S, loop.run_in_executor, None, trim_heap)

    def _give_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if not job.done.done():
                self.metrics.cancelled.inc()
            self.scheduler.cancel(job)

    async def start(
        self,
        jobs: Sequence[Job],
        *,
        owner: str,
        as_answer: Callable[[Sequence[DrawnPicture], str], bytes],
    ) -> str:
        """Draw in the background; return the call's name, by which its answer is found.

        `as_answer` takes the pictures and that name, and returns JSON.
        """
        drawing = self.draw(jobs)
        begun = {"of": len(jobs), "until": time.time() + self.limits.deadline_s}
        try:
            name = await reached(
                self.answers.put, BEGUN + json.dumps(begun).encode(), owner=owner, key=jobs[0].key
            )
        except BaseException:
            self._give_up(jobs)
            raise

        async def drawn() -> bytes:
            pictures = []
            async for picture in drawing:
                pictures.append(picture)
                await reached(self.answers.find, name, owner=owner)  # else it was deleted
            return await asyncio.to_thread(as_answer, pictures, name)

        def ended(_: "asyncio.Task[bytes]") -> None:
            self._give_up(jobs)  # if it never began
            ending = asyncio.ensure_future(self._keep_answer(name, call, owner))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

        call = self.running[name] = RunningCall(asyncio.ensure_future(drawn()), jobs)
        call.drawing.add_done_callback(ended)
        return name

    async def _keep_answer(self, name: str, call: RunningCall, owner: str) -> None:
        """Keep what a call ended with in place of it."""
        ending = {"id": name, "status": State.CANCELLED, "progress": call.progress}
        error = None if call.drawing.cancelled() else call.drawing.exception()
        if isinstance(error, Exception):
            ending |= {"status": State.FAILED, **answer_to(error, "a job").body}
        is_whole = not call.drawing.cancelled() and error is None
        answer = call.drawing.result() if is_whole else json.dumps(ending).encode()
        try:
            await reached(self.answers.replace, name, answer, owner=owner)
        except NotFound:  # it was deleted
            pass
        except RequestError as error:  # the store has gone
            logger.warning("the answer of a job was lost: %s", error)
        finally:
            del self.running[name]

    async def answer(self, name: str, *, owner: str) -> bytes:
        """Return how far a call is, its pictures once they are there, as JSON."""
        # Both are looked up in this order: a call may end while the store is asked.
        call, answer = self.running.get(name), await reached(self.answers.find, name, owner=owner)
        if call is not None:
            progress: dict[str, Any] = call.progress
        elif answer.startswith(BEGUN):  # by another server
            begun = json.loads(answer.removeprefix(BEGUN))
            if time.time() > begun["until"] + LOST_S:
                lost = {"id": name, "status": State.FAILED, **RequestError(LOST, status=503).body}
                return json.dumps(lost).encode()
            progress = {"drawn": 0, "of": begun["of"], "stage": "elsewhere"}
        else:
            return answer
        state = {"id": name, "status": State.RUNNING, "progress": progress}
        return json.dumps(state).encode()

    async def cancel(self, name: str, *, owner: str) -> None:
        """Delete a call, and stop it, even while it is drawn."""
        await reached(self.answers.drop, name, owner=owner)
        if (call := self.running.get(name)) is not None:
            call.drawing.cancel()

    async def carry_out(self, model: str, task: Callable[[Session], Result], *, key: str) -> Result:
        """Return what a task gives, in turn with the drawings."""
        job = Job(task, key, model, group=object())
        self.scheduler.submit(job, deadline_s=self.limits.deadline_s)
        result: Result = await self.scheduler.result(job)
        return result


SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters of one server; none of them holds a prompt, a name or a token."""

    def __init__(self) -> None:
        self._registry = prometheus.CollectorRegistry()
        named: Any = {"registry": self._registry, "namespace": "swiftpie"}
        self._requests = Counter(
            "requests", "Requests answered, by route and status.", ["route", "code"], **named
        )
        self._batch_size = Histogram(
            "batch_size", "Requests drawn together.", buckets=(1, 2, 3, 4, 6, 8, 16), **named
        )
        self._batch_seconds = Histogram(
            "batch_seconds", "Time that a batch took to draw.", buckets=SECONDS, **named
        )
        self.cancelled = Counter("cancelled", "Pictures given up before they were drawn.", **named)
        self.rejected = Counter("rejected", "Requests refused because the queue was full.", **named)

    def count(self, route: str, status: int) -> None:
        self._requests.labels(route, str(status)).inc()

    def batch(self, size: int, seconds: float) -> None:
        self._batch_size.observe(size)
        self._batch_seconds.observe(seconds)

    def response(self) -> Response:
        text = prometheus.generate_latest(self._registry)
        return Response(text, media_type=prometheus.CONTENT_TYPE_LATEST)
