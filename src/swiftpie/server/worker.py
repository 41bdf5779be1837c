"""The worker: plans requests, queues their pictures, and keeps what later requests name."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from PIL import Image

from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie.imageio.writing import encode_image
from swiftpie.library import packaged as packaged_library
from swiftpie.masks import load_mask
from swiftpie.models.cutout import CutOut, Search
from swiftpie.pipelines.advice import equal_pictures
from swiftpie.pipelines.identity_file import read_identity
from swiftpie.pipelines.request import EditRequest, IdentityRef, Pictures, Request, Source, Subject
from swiftpie.server.commands import (
    Command,
    FoundPerson,
    encode_face,
    encode_kept,
    encode_pictures,
    find_cutout,
    find_region,
    find_subject,
    is_edit,
    requests_of,
    size_for,
    vocabulary_of,
)
from swiftpie.server.decoding import Decoders
from swiftpie.server.drawing import DrawingBackend, DrawingThread
from swiftpie.server.identities import THUMBNAIL, Identities, IdentityInfo, Known, OwnIdentities
from swiftpie.server.jobs import QueuedDrawing, Scheduler, State, take_error
from swiftpie.server.limits import Limits
from swiftpie.server.metrics import Metrics
from swiftpie.server.pictures import Drawn, as_file
from swiftpie.server.schemas import KEPT_PX, MAX_NUMBER, Drawing, RequestError, SubjectIn
from swiftpie.server.store import Models, OwnerStore
from swiftpie.types import Cutout, Identity

if TYPE_CHECKING:
    from swiftpie.pipelines.finding import Found

logger = logging.getLogger(__name__)

OPENAI_MODEL = re.compile(r"dall-e|(chat)?gpt-image")  # whose clients name nothing else
KEPT = "pic_"  # begins the names of pictures that were sent for later
MAX_JOBS = 256  # that are remembered
SOURCE_PX = 1024  # of a kept picture's longer side; encoders see less


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
    body: Drawing
    subjects: tuple[Subject, ...] = ()  # that the call names
    warnings: tuple[str, ...] = ()


@dataclass(eq=False)
class Task:
    """A job whose pictures are fetched later."""

    body: Drawing
    running: "asyncio.Task[list[Drawn]]"

    @property
    def state(self) -> State:
        """How far it is."""
        if not self.running.done():
            return State.RUNNING
        if self.running.cancelled():
            return State.CANCELLED
        return State.DONE if self.error is None else State.FAILED

    @property
    def error(self) -> Exception | None:
        """Why it failed."""
        failure = self.running.exception()
        return failure if isinstance(failure, Exception) else None

    @property
    def drawn(self) -> list[Drawn]:
        """Its pictures."""
        return self.running.result()

    def cancel(self) -> None:
        """Stop it."""
        self.running.cancel()


class Worker:
    """Models, the queue before them, and what users left here. All belongs to one event loop."""

    def __init__(
        self,
        models: Models,
        *,
        limits: Limits,
        backend: DrawingBackend | None = None,  # who draws; by default a thread of this process
        metrics: Metrics | None = None,
        decoders: int = 1,
        identities: Identities | None = None,  # None: this process keeps them itself
        aliases: Mapping[str, str] = MappingProxyType({}),  # other names of models
        tell: Callable[[str], None] = logger.info,  # how far it is with getting ready
    ) -> None:
        self.models = models
        self.aliases = {**{name: name for name in models.names}, **aliases}
        self.limits = limits
        self._tell = tell
        self.metrics = metrics or Metrics()
        self.backend = DrawingThread(models) if backend is None else backend
        self.scheduler = Scheduler(
            self.backend.draw,
            lanes=self.backend.lanes,
            max_queued=limits.queue,
            max_per_key=limits.queue_per_key,
            max_batch=limits.batch or 1,
            on_batch=self.metrics.batch,
        )
        third = limits.cache_mib / 3
        self.identities = identities or OwnIdentities(limit_mib=third)
        self.pictures: OwnerStore[Image.Image] = OwnerStore(
            "picture",
            prefix=KEPT.rstrip("_"),
            limit_mib=third,
            size=lambda image: image.width * image.height * len(image.getbands()),
            remedy=" Send it to POST /v1/pictures again.",
        )
        self.jobs: OwnerStore[Task] = OwnerStore(
            "job", prefix="job", limit_mib=MAX_JOBS / (1 << 20), size=lambda _: 1
        )
        self.is_ready = False
        self._decoders = Decoders(decoders)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; until `is_ready` the first model is loaded and made quick."""
        await self._stack.enter_async_context(self._decoders)
        self.getting_ready = asyncio.ensure_future(self._get_ready())
        return self

    async def __aexit__(self, *error: object) -> None:
        self.getting_ready.cancel()
        self.scheduler.close()
        await self.backend.close()
        await self._stack.aclose()

    async def _get_ready(self) -> None:
        try:
            most = await self.backend.get_ready(self.limits.batch, self._tell)
        except Exception as error:
            logger.exception("the model could not be made ready")
            self._tell(f"error: {error}")
            raise
        self.scheduler.max_batch = most
        self.is_ready = True

    # What comes in

    async def decode(
        self, data: bytes, *, name: str, key: str, most_px: int | None = None
    ) -> Image.Image:
        """Return an uploaded picture, decoded in a process of its own."""
        return (await self._decoders.decode(data, name=f"'{name}'", key=key, most_px=most_px)).image

    async def decode_references(
        self, given: Sequence[bytes], *, name: str, key: str
    ) -> list[Image.Image]:
        """Return pictures of subjects, or their masks, no larger than is of use."""
        return [await self.decode(data, name=name, key=key, most_px=KEPT_PX) for data in given]

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
    ) -> CallPlan:
        """Return what a call asks for, with everything checked that needs no network."""
        model = self.model_named(body.model)
        size = size_for(body, self.models.facts(model), images)
        warnings = list(_substitutes(body, model, size, images))
        body = body.model_copy(update={"size": size})
        own = body.swiftpie
        subjects = (*more, *await self._known(own.subjects, model, owner=caller.owner))
        changes = is_edit(body, images)
        place = None
        if own.scene.startswith(KEPT):
            place = self.pictures.find(own.scene, owner=caller.owner)
        style = None
        if own.style_reference:
            style = self.pictures.find(own.style_reference, owner=caller.owner)
        planning = partial(
            requests_of,
            body,
            subjects=subjects,
            images=images,
            mask=mask,
            place=place,
            style=style,
            where=await self.sought(own.where, model, owner=caller.owner) if own.where else None,
        )
        requests = planning() if mask is None else await asyncio.to_thread(planning)
        group = (model, changes and own.task, size, len(subjects), len(images))
        return CallPlan(caller.key, model, requests, group, body, subjects, tuple(warnings))

    def model_named(self, name: str | None) -> str:
        """Return the model to use: by its name, an alias, or any name of OpenAI's image models."""
        if not name or (name not in self.aliases and OPENAI_MODEL.match(name)):
            return self.models.names[0]
        found = self.aliases.get(name, name)
        if found not in self.models.names:
            raise self.no_such_model(name)
        return found

    def no_such_model(self, name: str) -> RequestError:
        """Return the error about a model that is not served."""
        return RequestError(
            f"The model {name[:100]!r} is not served here. One of {', '.join(self.models.names)} "
            "is. See GET /v1/models.",
            status=404,
            code="model_not_found",
            param="model",
        )

    async def _known(
        self, subjects: Sequence[SubjectIn], model: str, *, owner: str
    ) -> tuple[Subject, ...]:
        """Return the subjects of a picture."""
        found = []
        for one in subjects:
            placed: dict[str, Any] = one.model_dump(
                include={"box", "view", "name", "scale", "layers"}
            )
            if one.library:
                named = packaged_library().find(one.library)
                found.append(Subject(named, **placed | {"name": one.name or one.library}))
                continue
            info, identity = await self.identities.find(one.identity_id, owner=owner)
            if info.model != model:
                raise RequestError(
                    f"The identity {one.identity_id} was encoded by {info.model!r}, and "
                    f"{model!r} shall draw it. Encode its pictures with that model.",
                    param="identity_id",
                )
            found.append(Subject(IdentityRef(identity), **placed))
        return tuple(found)

    async def sought(self, where: str, model: str, *, owner: str) -> Source:
        """Return what shows the subject of an identity or of the library, to look for it."""
        (found,) = await self._known([subject_of(where)], model, owner=owner)
        return found.source

    # What goes out

    async def draw(self, work: CallPlan) -> list[Drawn]:
        """Return all pictures of a call."""
        return [one async for one in self.draw_each(work)]

    async def draw_each(self, work: CallPlan) -> AsyncIterator[Drawn]:
        """Yield the pictures of a call as they are done."""
        async for one in self._as_done(work, self._submit(work)):
            yield one

    async def _as_done(self, work: CallPlan, jobs: Sequence[QueuedDrawing]) -> AsyncIterator[Drawn]:
        started = asyncio.get_running_loop().time()
        try:
            for job in jobs:
                made = await self.scheduler.result(job)
                spent = (asyncio.get_running_loop().time() - started) * 1000
                own = (equal_pictures(len(jobs)),) * (len(jobs) > 1 and not made.is_random)
                info = replace(made, warnings=(*work.warnings, *made.warnings, *own))
                yield await asyncio.to_thread(
                    as_file, info, work.body, work.subjects, model=work.model, milliseconds=spent
                )
        finally:
            self._give_up(jobs)

    def _give_up(self, jobs: Sequence[QueuedDrawing]) -> None:
        for job in jobs:
            if not job.done.done():
                self.metrics.cancelled.inc()
            self.scheduler.cancel(job)

    def start(self, work: CallPlan, *, owner: str) -> str:
        """Draw in the background; return the job's name."""
        jobs = self._submit(work)

        async def drawn() -> list[Drawn]:
            return [one async for one in self._as_done(work, jobs)]

        running = asyncio.ensure_future(drawn())
        running.add_done_callback(take_error)
        running.add_done_callback(lambda _: self._give_up(jobs))  # if it never began
        return self.jobs.put(Task(work.body, running), owner=owner, key=work.key)

    def _submit(self, work: CallPlan) -> list[QueuedDrawing]:
        self.check_room(work.key, len(work.requests))
        commands = [Command(work.model, request) for request in work.requests]
        return [self._put(command, group=work.group, key=work.key) for command in commands]

    def _put(self, command: Command, *, group: object, key: str) -> QueuedDrawing:
        return self.scheduler.submit(
            command,
            group=group,
            key=key,
            deadline_s=self.limits.deadline_s,
            lane=self.backend.lane_of(command),
        )

    async def _carried_out(
        self, model: str, task: Callable[..., Any], *, key: str, **values: object
    ) -> Any:  # noqa: ANN401 - what the task gives
        command = Command(model, partial(task, **values))
        job = self._put(command, group=object(), key=key)  # a group of its own
        return await self.scheduler.result(job)

    async def add_identity(
        self,
        images: Sequence[Image.Image],
        masks: Sequence[Image.Image],
        *,
        name: str,
        model: str | None,
        caller: Caller,
    ) -> dict[str, Any]:
        """Encode a subject and keep it; return its facts."""
        chosen = self.model_named(model)
        pictures = Pictures(tuple(images), tuple(masks))
        identity: Identity = await self._carried_out(
            chosen, encode_pictures, key=caller.key, pictures=pictures
        )
        thumbnail = encode_image(to_pil(identity.pixels[:1].cpu())[0], ".png", metadata=None)
        files = {THUMBNAIL: thumbnail, **await asyncio.to_thread(_sources, images, masks)}
        info = IdentityInfo(name, chosen, tuple(files), tuple(_doubts(identity)))
        known = Known(info, identity, files)
        number = await self.identities.put(known, owner=caller.owner, key=caller.key)
        return describe_identity(number, info)

    async def add_file(
        self, data: bytes, *, name: str, model: str | None, caller: Caller
    ) -> dict[str, Any]:
        """Keep the subject of an identity file, tuned or not; return its facts."""
        chosen = self.model_named(model)
        identity = await asyncio.to_thread(read_identity, data, "identity")
        if identity.is_face:
            self._check_knows_faces(chosen, param="identity")
        source = IdentityRef(identity)
        kept: Identity = await self._carried_out(
            chosen, encode_kept, key=caller.key, source=source, param="identity"
        )
        thumbnail = encode_image(to_pil(kept.pixels[:1].cpu())[0], ".png", metadata=None)
        info = IdentityInfo(name, chosen, (THUMBNAIL,), tuple(_doubts(kept)), is_face=kept.is_face)
        known = Known(info, kept, {THUMBNAIL: thumbnail})
        number = await self.identities.put(known, owner=caller.owner, key=caller.key)
        return describe_identity(number, info)

    async def add_face(
        self, photo: bytes, *, face_number: int | None, name: str, model: str | None, caller: Caller
    ) -> dict[str, Any]:
        """Encode a person by the face and keep the identity, and no photograph; return its facts.

        Raises:
            RequestError: The model knows no faces.
        """
        chosen = self.model_named(model)
        self._check_knows_faces(chosen, param="face")
        image = await self.decode(photo, name="face", key=caller.key)
        found: FoundPerson = await self._carried_out(
            chosen, encode_face, key=caller.key, photo=image, face_number=face_number
        )
        crop = encode_image(to_pil(found.identity.pixels[:1].cpu())[0], ".png", metadata=None)
        info = IdentityInfo(name, chosen, (THUMBNAIL,), found.warnings, is_face=True)
        known = Known(info, found.identity, {THUMBNAIL: crop})
        number = await self.identities.put(known, owner=caller.owner, key=caller.key)
        return describe_identity(number, info)

    def _check_knows_faces(self, model: str, *, param: str) -> None:
        if not self.models.facts(model).get("knows_faces"):
            raise RequestError(
                f"The model {model!r} draws no faces here. A full-size model with an adapter and "
                "a face encoder is needed; GET /v1/models says which know faces.",
                code="faces_not_known",
                param=param,
            )

    async def identity_file(self, number: str, name: str, *, owner: str) -> bytes | None:
        """Return a file of an identity, None if it has none of this name.

        Files of a shared store are encoded anew, as uploads are, because others can write there.
        """
        data = await self.identities.file(number, name, owner=owner)
        if data is None or not self.identities.is_shared:
            return data
        image = await self.decode(data, name=name, key=owner)
        suffix = ".webp" if name.startswith("pictures/") else ".png"
        shown = image.convert("L") if name.startswith("masks/") else image
        return await asyncio.to_thread(encode_image, shown, suffix, metadata=None)

    async def cut_out(
        self, image: Image.Image, search: Search, *, caller: Caller
    ) -> tuple[bytes, Cutout]:
        """Return a PNG as large as `image`, white where its subject is, and how that was found."""
        found: CutOut = await self._carried_out(
            "", find_cutout, key=caller.key, image=image, search=search
        )
        shape = await asyncio.to_thread(
            lambda: encode_image(mask_to_pil(found.mask)[0], ".png", metadata=None)
        )
        return shape, found.how

    async def find_subject(
        self,
        image: Image.Image,
        source: Source,
        *,
        caller: Caller,
        model: str | None = None,
        is_there: bool = False,
    ) -> tuple[Image.Image, float]:
        """Return where a subject is in a picture, white in mode L, and how alike they look."""
        found: Found = await self._carried_out(
            self.model_named(model),
            find_subject,
            key=caller.key,
            image=image,
            source=source,
            is_there=is_there,
        )
        return mask_to_pil(found.mask)[0], found.likeness

    async def find_region(self, work: CallPlan) -> bytes:
        """Return what an edit may change as a PNG, as large as its picture and white there."""
        edit = work.requests[0]
        if not isinstance(edit, EditRequest):
            raise RequestError(
                "A region is found for edits by words. Leave swiftpie.task out, or let it be "
                "'edit'.",
                param="swiftpie.task",
            )
        found: Image.Image = await self._carried_out(
            work.model, find_region, key=work.key, edit=edit
        )
        return await asyncio.to_thread(encode_image, found, ".png", metadata=None)

    async def add_picture(self, data: bytes, *, caller: Caller) -> dict[str, Any]:
        """Keep a picture, shrunk if it is large; return its name, its size and what made it."""
        image, origin = await self._decoders.decode(
            data, name="'image'", key=caller.key, most_px=KEPT_PX
        )
        number = self.pictures.put(image.copy(), owner=caller.owner, key=caller.key)
        return {"id": number, "width": image.width, "height": image.height, "origin": origin}

    def describe_models(self) -> list[dict[str, Any]]:
        """Return the facts of every model."""
        loaded = self.backend.loaded
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
        known = self.backend.vocabularies
        if name in known:
            return known[name]
        return await self._carried_out(name, vocabulary_of, key=caller.key)


def _substitutes(
    body: Drawing, model: str, size: str, images: Sequence[Image.Image]
) -> Iterator[str]:
    """Yield what a client is told of model and size that are not those it named."""
    if body.model and body.model != model:
        yield f"The model {body.model!r} stands for {model!r} here."
    if is_edit(body, images):
        own = "{}x{}".format(*images[0].size)
        if body.size not in {"auto", own}:
            yield f"The size {body.size} has no effect. An edit is as large as its picture, {own}."
    elif body.size != size:
        yield f"The size is {size}. The model {model!r} does not draw {body.size} well."


def subject_of(where: str) -> SubjectIn:
    """Return the subject that a name of the library or the number of an identity means."""
    meant = packaged_library().meant_by(where)
    if meant is not None:
        return SubjectIn(library=meant.name)
    if len(where) > MAX_NUMBER:
        raise RequestError(
            f"'where' has {len(where)} letters. The id of an identity, of at most {MAX_NUMBER}, or "
            "a name of the library is needed. See GET /v1/identities and GET /v1/library.",
            param="where",
        )
    return SubjectIn(identity_id=where)


def _doubts(identity: Identity) -> Iterator[str]:
    for number in identity.left_out:
        yield f"Picture {number} shows no subject that stands out, so it is left out. Send a mask."
    count = len(identity.cutouts) + len(identity.left_out)
    shown = (number for number in range(1, count + 1) if number not in identity.left_out)
    for number, one in zip(shown, identity.cutouts, strict=True):
        if one.is_doubtful:
            yield (
                f"The subject of picture {number} may be cut out badly. Look at the thumbnail, and "
                "send a mask where it is wrong: POST /v1/cutouts gives one to start from."
            )


def describe_identity(number: str, info: IdentityInfo) -> dict[str, Any]:
    """Return the facts of a subject, as HTTP has them."""
    place = f"/v1/identities/{number}"
    masks = (f"masks/{at}" for at in range(info.num_pictures))
    return {
        "id": number,
        "object": "identity",
        "name": info.name,
        "model": info.model,
        "is_face": info.is_face,
        "num_pictures": info.num_pictures,
        "thumbnail": f"{place}/{THUMBNAIL}",
        "pictures": [
            {
                "source": f"{place}/pictures/{at}",
                "mask": f"{place}/{mask}" if mask in info.files else None,
            }
            for at, mask in enumerate(masks)
        ],
        "warnings": list(info.warnings),
    }


def _sources(images: Sequence[Image.Image], masks: Sequence[Image.Image]) -> dict[str, bytes]:
    """Return pictures of a subject, with their masks if they came, to be cut out again."""
    files = {}
    for at, image in enumerate(images):
        picture = image.copy()
        picture.thumbnail((SOURCE_PX, SOURCE_PX))
        files[f"pictures/{at}"] = encode_image(picture, ".webp", metadata=None)
        if masks:
            shape = mask_to_pil(load_mask(masks[at], image.size, of_subject=True))[0]
            shape.thumbnail((SOURCE_PX, SOURCE_PX))
            files[f"masks/{at}"] = encode_image(shape, ".png", metadata=None)
    return files
