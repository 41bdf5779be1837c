"""The worker plans requests, queues their pictures, and stores what later requests name."""

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, Self, TypeVar

from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.imageio.images import to_pil
from swiftpie.imageio.originals import OriginalPicture, losses_in
from swiftpie.imageio.writing import encode_image
from swiftpie.library import subject_library
from swiftpie.pipelines.advice import doubts_of, equal_pictures
from swiftpie.pipelines.draw import trim_heap
from swiftpie.pipelines.identity_file import read_identity
from swiftpie.pipelines.request import IdentityRef, Pictures, Request, Subject
from swiftpie.server import Limits
from swiftpie.server.commands import encode_face, encode_kept, is_edit, requests_of, size_for
from swiftpie.server.decoding import Decoder
from swiftpie.server.drawing import SUFFIXES, DrawingThread, DrawnPicture, as_file
from swiftpie.server.errors import Overloaded, RequestError, answer_to
from swiftpie.server.jobs import Job, Scheduler
from swiftpie.server.metrics import Metrics
from swiftpie.server.schemas import KEPT_PX, Drawing, SubjectIn
from swiftpie.server.store import (
    THUMBNAIL,
    IdentityInfo,
    Models,
    NotFound,
    OwnerStore,
    StoredIdentity,
    describe_identity,
    source_files,
)
from swiftpie.types import Identity

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

OPENAI_MODEL = re.compile(r"dall-e|(chat)?gpt-image")  # whose clients name nothing else
LARGE = 4.0  # times a usual picture; what is larger leaves hundreds of MiB in the allocator
SENT_S = 1.0  # until an answer has mostly been sent, so that its pictures are gone
KEPT = "pic_"  # begins the names of pictures that were sent for later


class Caller(NamedTuple):
    """The caller of a request."""

    key: str  # whose share of the queue it takes
    owner: str  # whose identities, pictures and jobs are found


@dataclass(frozen=True)
class CallPlan:
    """All pictures of one call."""

    key: str
    model: str
    requests: tuple[Request, ...]
    group: object
    units: float  # how many times a usual picture each seems to take
    kind: object  # what takes about as long
    body: Drawing
    subjects: tuple[Subject, ...]  # that the call names
    warnings: tuple[str, ...]
    original: OriginalPicture | None = None  # of a picture that is changed


AsAnswer = Callable[..., bytes]
"""Takes the body of a call, its pictures and `job`, a name; returns JSON."""


class State(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, eq=False)
class KeptJob:
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
        tell: Callable[[str], None] = logger.info,  # how far it is with getting ready
    ) -> None:
        self.models = models
        self.limits = limits
        self._tell = tell
        self.metrics = Metrics()
        self.thread = DrawingThread(models)
        self.scheduler = Scheduler(
            self.thread.draw,
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
            remedy=" Send its pictures to POST /v1/identities.",
        )
        self.pictures: OwnerStore[Image.Image] = OwnerStore(
            "picture",
            prefix=KEPT.rstrip("_"),
            limit_mib=third,
            size=lambda image: image.width * image.height * len(image.getbands()),
            remedy=" Send it to POST /v1/pictures again.",
        )
        self.jobs: OwnerStore[KeptJob] = OwnerStore(
            "job", prefix="job", limit_mib=third, size=lambda known: len(known.answer)
        )
        self.is_ready = False
        self._decoder = Decoder()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; until `is_ready` the first model is loaded and made quick."""
        await self._stack.enter_async_context(self._decoder)
        self.getting_ready = asyncio.ensure_future(self._get_ready())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.getting_ready.cancel()
        self.scheduler.close()
        self.thread.close()
        await self._stack.aclose()

    async def _get_ready(self) -> None:
        try:
            most = await self.thread.get_ready(self.limits.batch, self._tell)
        except Exception as error:
            logger.exception("the model could not be made ready")
            self._tell(f"error: {error}")
            raise
        self.scheduler.max_batch, self.scheduler.lanes = most, self.thread.lanes
        self.is_ready = True

    # Requests

    async def decode(
        self, data: bytes, *, name: str, key: str, most_px: int | None = None
    ) -> Image.Image:
        """Return an uploaded picture, decoded in a process of its own."""
        image, _ = await self._decoder.decode(data, name=f"'{name}'", key=key, most_px=most_px)
        return image

    async def decode_changed(
        self, data: bytes, *, name: str, key: str
    ) -> tuple[Image.Image, OriginalPicture]:
        """Return an uploaded picture that is changed, and in the colours of its file."""
        return await self._decoder.decode_original(data, name=f"'{name}'", key=key)

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

    async def plan(
        self,
        body: Drawing,
        *,
        caller: Caller,
        images: Sequence[Image.Image] = (),
        mask: Image.Image | None = None,
        more: Sequence[Subject] = (),
        original: OriginalPicture | None = None,
    ) -> CallPlan:
        """Return the pictures of a call, with everything checked that needs no network."""
        model = self.model_named(body.model)
        is_substitute = bool(body.model) and body.model != model
        size = size_for(body, self.models.facts(model), images, is_substitute=is_substitute)
        self._check_names_subject(body, model, images)
        warnings = (*_substitutes(body, model, size, images), *_losses(body, original))
        own, owner = body.swiftpie, caller.owner
        subjects = (*more, *self._known(own.subjects, model, owner=owner))
        planning = partial(
            requests_of,
            body.model_copy(update={"size": size}),
            subjects=subjects,
            images=images,
            mask=mask,
            place=self._kept(own.scene, owner) if own.scene.startswith(KEPT) else None,
            style=self._kept(own.style_reference, owner) if own.style_reference else None,
        )
        requests = planning() if mask is None else await asyncio.to_thread(planning)
        task = is_edit(body, images) and own.task
        group = (model, task, size, len(subjects), len(images))
        frames = own.animate.num_frames if own.animate else 1
        megapixels = max(1.0, math.prod(images[0].size) / 2**20) if images else 1.0
        kind = (*group, frames, round(math.log2(megapixels)))
        return CallPlan(
            # Frames share what is prepared.
            *(caller.key, model, requests, group, (1 + frames) / 2 * megapixels, kind),
            *(body, subjects, warnings, original),
        )

    def _check_names_subject(self, body: Drawing, model: str, images: Sequence[object]) -> None:
        """Refuse a prompt without a subject before it waits for its turn.

        Raises:
            UnknownSubjectError: The model needs a subject, and none is given or named.
        """
        session = self.models.loaded.get(model)
        if session is not None and not images and not body.swiftpie.subjects:
            components = session.components
            components.family.named_besides(body.prompt, components)

    def _kept(self, name: str, owner: str) -> Image.Image:
        return self.pictures.find(name, owner=owner)

    def model_named(self, name: str | None) -> str:
        """Return the model to use: by its name, or any name of OpenAI's image models."""
        if not name or (name not in self.models.names and OPENAI_MODEL.match(name)):
            return self.models.names[0]
        if name not in self.models.names:
            raise RequestError(
                f"The model {name[:100]!r} is not served here. One of "
                f"{', '.join(self.models.names)} is. See GET /v1/models.",
                status=404,
                code="model_not_found",
                param="model",
            )
        return name

    def _known(
        self, subjects: Sequence[SubjectIn], model: str, *, owner: str
    ) -> tuple[Subject, ...]:
        found = []
        for subject in subjects:
            placed: dict[str, Any] = subject.model_dump(exclude={"identity_id", "library"})
            if subject.library:
                named = subject_library().find(subject.library)
                found.append(Subject(named, **placed | {"name": subject.name or subject.library}))
                continue
            known = self.identities.find(subject.identity_id, owner=owner)
            if known.info.model != model:
                raise RequestError(
                    f"The identity {subject.identity_id} was encoded by {known.info.model!r}, and "
                    f"{model!r} shall draw it. Encode its pictures with that model.",
                    param="identity_id",
                )
            found.append(Subject(IdentityRef(known.identity), **placed))
        return tuple(found)

    # Answers

    async def draw(self, work: CallPlan) -> list[DrawnPicture]:
        """Return all pictures of a call."""
        return [picture async for picture in self.draw_each(work)]

    async def draw_each(self, work: CallPlan) -> AsyncIterator[DrawnPicture]:
        """Yield the pictures of a call as they are done."""
        async for picture in self._as_done(work, self._submit(work)):
            yield picture

    async def _as_done(self, work: CallPlan, jobs: Sequence[Job]) -> AsyncIterator[DrawnPicture]:
        started = asyncio.get_running_loop().time()
        try:
            for job in jobs:
                made = await self.scheduler.result(job)
                spent = (asyncio.get_running_loop().time() - started) * 1000
                own = (equal_pictures(len(jobs)),) * (len(jobs) > 1 and not made.is_random)
                info = replace(made, warnings=(*work.warnings, *made.warnings, *own))
                facts: Any = {"model": work.model, "milliseconds": spent, "original": work.original}
                yield await asyncio.to_thread(as_file, info, work.body, work.subjects, **facts)
        finally:
            self._give_up(jobs)
            if work.units > LARGE:
                loop = asyncio.get_running_loop()
                loop.call_later(SENT_S, loop.run_in_executor, None, trim_heap)

    def _give_up(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if not job.done.done():
                self.metrics.cancelled.inc()
            self.scheduler.cancel(job)

    def start(self, work: CallPlan, *, owner: str, as_answer: AsAnswer) -> str:
        """Draw in the background; return the job's name, by which its answer is found."""
        jobs = self._submit(work)

        async def drawn() -> bytes:
            pictures = [picture async for picture in self._as_done(work, jobs)]
            return await asyncio.to_thread(as_answer, work.body, pictures, job=name)

        def ended(running: "asyncio.Task[bytes]") -> None:
            self._give_up(jobs)  # if it never began
            ending = {"id": name, "status": State.CANCELLED, "progress": kept.progress}
            error = None if running.cancelled() else running.exception()
            if isinstance(error, Exception):
                ending |= {"status": State.FAILED, **answer_to(error, "a job").body}
            is_whole = not running.cancelled() and error is None
            answer = running.result() if is_whole else json.dumps(ending).encode()
            with suppress(NotFound):  # it was deleted
                self.jobs.replace(name, KeptJob(answer=answer), owner=owner)

        running = asyncio.ensure_future(drawn())
        kept = KeptJob(running, jobs)
        name = self.jobs.put(kept, owner=owner, key=work.key)
        running.add_done_callback(ended)
        return name

    def _submit(self, work: CallPlan) -> list[Job]:
        self.check_room(work.key, len(work.requests))
        jobs: list[Job] = []
        facts: Any = {"key": work.key, "units": work.units, "kind": work.kind}
        try:
            for request in work.requests:
                jobs += [self._put(work.model, request, group=work.group, **facts)]
        except Overloaded:
            self.metrics.rejected.inc()
            self._give_up(jobs)
            raise
        return jobs

    def _put(self, model: str, work: object, **facts: Any) -> Job:  # noqa: ANN401 - of `submit`
        return self.scheduler.submit(work, model=model, deadline_s=self.limits.deadline_s, **facts)

    async def carry_out(self, model: str, task: Callable[[Session], Result], *, key: str) -> Result:
        """Return what a task gives, in turn with the drawings."""
        queued = self._put(model, task, group=object(), key=key)
        result: Result = await self.scheduler.result(queued)
        return result

    async def add_identity(
        self,
        pictures: Sequence[bytes],
        shapes: Sequence[bytes],
        *,
        name: str,
        model: str | None,
        caller: Caller,
    ) -> dict[str, Any]:
        """Encode a subject, with a mask of each picture or none; keep it and return its facts."""
        chosen, key = self.model_named(model), caller.key
        images, masks = [
            [await self.decode(data, name=kind, key=key, most_px=KEPT_PX) for data in given]
            for kind, given in (("image", pictures), ("mask", shapes))
        ]
        shown = Pictures(tuple(images), tuple(masks))
        identity = await self.carry_out(chosen, lambda session: session.identity_of(shown), key=key)
        files = await asyncio.to_thread(source_files, images, masks)
        return self._keep(
            identity, [*doubts_of(identity)], name=name, model=chosen, caller=caller, files=files
        )

    async def add_file(
        self, data: bytes, *, name: str, model: str | None, caller: Caller
    ) -> dict[str, Any]:
        """Keep the subject of an identity file, tuned or not; return its facts."""
        chosen = self.model_named(model)
        identity = await asyncio.to_thread(read_identity, data, "identity")
        if identity.is_face:
            self._check_knows_faces(chosen, param="identity")
        encode = partial(encode_kept, source=IdentityRef(identity), param="identity")
        kept = await self.carry_out(chosen, encode, key=caller.key)
        return self._keep(kept, [*doubts_of(kept)], name=name, model=chosen, caller=caller)

    async def add_face(
        self, photo: bytes, *, face_number: int | None, name: str, model: str | None, caller: Caller
    ) -> dict[str, Any]:
        """Encode a person by the face; keep the identity, no photograph, and return its facts."""
        chosen = self.model_named(model)
        self._check_knows_faces(chosen, param="face")
        image = await self.decode(photo, name="face", key=caller.key)
        encode = partial(encode_face, photo=image, face_number=face_number)
        identity, warnings = await self.carry_out(chosen, encode, key=caller.key)
        return self._keep(identity, warnings, name=name, model=chosen, caller=caller)

    def _check_knows_faces(self, model: str, *, param: str) -> None:
        if not self.models.facts(model).get("knows_faces"):
            raise RequestError(
                f"The model {model!r} draws no faces here. A full-size model with an adapter and "
                "a face encoder is needed; GET /v1/models says which know faces.",
                code="faces_not_known",
                param=param,
            )

    def _keep(
        self,
        identity: Identity,
        warnings: Sequence[str],
        *,
        name: str,
        model: str,
        caller: Caller,
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> dict[str, Any]:
        thumbnail = encode_image(to_pil(identity.pixels[:1].cpu())[0], ".png", metadata=None)
        files = {THUMBNAIL: thumbnail, **files}
        info = IdentityInfo(name, model, tuple(files), tuple(warnings), is_face=identity.is_face)
        known = StoredIdentity(info, identity, files)
        number = self.identities.put(known, owner=caller.owner, key=caller.key)
        return describe_identity(number, info)

    async def add_picture(self, data: bytes, *, caller: Caller) -> dict[str, Any]:
        """Keep a picture, shrunk if it is large; return its name, its size and what made it."""
        image, origin = await self._decoder.decode(
            data, name="'image'", key=caller.key, most_px=KEPT_PX
        )
        number = self.pictures.put(image.copy(), owner=caller.owner, key=caller.key)
        return {"id": number, "width": image.width, "height": image.height, "origin": origin}

    def describe_models(self) -> list[dict[str, Any]]:
        """Return the facts of every model."""
        loaded = self.models.loaded
        return [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "swiftpie",
                "swiftpie": {"is_loaded": name in loaded, **self.models.facts(name)},
            }
            for name in self.models.names
        ]

    async def vocabulary(self, model: str, *, caller: Caller) -> Mapping[str, Sequence[str]] | None:
        """Return the words that a model was taught, None for one that reads anything."""
        name = self.model_named(model)
        session = self.models.loaded.get(name)
        if session is None:
            session = await self.carry_out(name, lambda loaded: loaded, key=caller.key)
        words = session.components.vocabulary
        return None if words is None else words.to_json()


def _substitutes(
    body: Drawing, model: str, size: str, images: Sequence[Image.Image]
) -> Iterator[str]:
    """Yield a warning where another model or size is used than the request names."""
    if body.model and body.model != model:
        yield f"The model {body.model!r} stands for {model!r} here."
    if is_edit(body, images):
        own = "{}x{}".format(*images[0].size)
        if body.size not in {"auto", own}:
            yield f"The size {body.size} has no effect. An edit is as large as its picture, {own}."
    elif body.size != size:
        yield f"The size is {size}. The model {model!r} does not draw {body.size} well."


def _losses(body: Drawing, original: OriginalPicture | None) -> Iterator[str]:
    """Yield a warning where the file of an edit does not keep all of its picture."""
    if original and (losses := losses_in(original, SUFFIXES[body.output_format])):
        yield f"The edited picture does not keep {', '.join(losses)}."
