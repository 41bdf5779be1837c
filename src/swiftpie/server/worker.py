"""The worker queues the pictures of calls, makes them files, and keeps what later calls name."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeVar

from swiftpie.engine.session import Session
from swiftpie.pipelines.denoise import trim_heap
from swiftpie.server import Limits
from swiftpie.server.decoding import Decoder
from swiftpie.server.drawing import DrawingBackend, DrawnPicture
from swiftpie.server.errors import Overloaded, RequestError, answer_to
from swiftpie.server.jobs import Job, Scheduler
from swiftpie.server.metrics import Metrics
from swiftpie.server.requests import JobBuilder
from swiftpie.server.store import KEPT, Models, NotFound, OwnerStore, StoredIdentity

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

LARGE = 4.0  # times a usual picture; what is larger leaves hundreds of MiB in the allocator
SENT_S = 1.0  # until an answer has mostly been sent, so that its pictures are gone


class State(StrEnum):
    """How far a call is that is answered later."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, eq=False)
class KeptCall:
    """A call whose pictures are fetched later; once it has ended, its answer alone."""

    running: "asyncio.Task[bytes] | None" = None
    jobs: Sequence[Job] = ()  # its pictures, each of which may be an animation
    answer: bytes = b""

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
        third = limits.cache_mib / 3
        self.identities: OwnerStore[StoredIdentity] = OwnerStore(
            "identity",
            prefix="id",
            limit_mib=third,
            size=lambda known: known.num_bytes,
            remedy=" Send its pictures to POST /v1/identities, or its file with the request, as "
            "'identity_file'.",
        )
        self.pictures: OwnerStore[Image.Image] = OwnerStore(
            "picture",
            prefix=KEPT.rstrip("_"),
            limit_mib=third,
            size=lambda image: image.width * image.height * len(image.getbands()),
            remedy=" Send it to POST /v1/pictures again.",
        )
        self.calls: OwnerStore[KeptCall] = OwnerStore(
            "job", prefix="job", limit_mib=third, size=lambda known: len(known.answer)
        )
        self.builder = JobBuilder(models, identities=self.identities, pictures=self.pictures)
        self.decoder = Decoder()
        self.is_ready = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; until `is_ready` the first model is loaded and made quick."""
        await self._stack.enter_async_context(self.decoder)
        self.getting_ready = asyncio.ensure_future(self._get_ready())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.getting_ready.cancel()
        self.scheduler.close()
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

    def start(
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

        async def drawn() -> bytes:
            return await asyncio.to_thread(as_answer, [picture async for picture in drawing], name)

        def ended(running: "asyncio.Task[bytes]") -> None:
            self._give_up(jobs)  # if it never began
            ending = {"id": name, "status": State.CANCELLED, "progress": kept.progress}
            error = None if running.cancelled() else running.exception()
            if isinstance(error, Exception):
                ending |= {"status": State.FAILED, **answer_to(error, "a job").body}
            is_whole = not running.cancelled() and error is None
            answer = running.result() if is_whole else json.dumps(ending).encode()
            with suppress(NotFound):  # it was deleted
                self.calls.replace(name, KeptCall(answer=answer), owner=owner)

        running = asyncio.ensure_future(drawn())
        kept = KeptCall(running, jobs)
        name = self.calls.put(kept, owner=owner, key=jobs[0].key)
        running.add_done_callback(ended)
        return name

    async def carry_out(self, model: str, task: Callable[[Session], Result], *, key: str) -> Result:
        """Return what a task gives, in turn with the drawings."""
        job = Job(task, key, model, group=object())
        self.scheduler.submit(job, deadline_s=self.limits.deadline_s)
        result: Result = await self.scheduler.result(job)
        return result
