"""What routes ask for: requests made of what came in, drawn in turn, and turned into files."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from PIL import Image, ImageChops
from torch import Tensor

from swiftpie import __version__
from swiftpie.engine.prepare import prepare, stages_of
from swiftpie.engine.session import Session, draw_apart
from swiftpie.errors import SwiftPieError
from swiftpie.images import encode_image, mask_to_pil, to_pil
from swiftpie.masks import Box, load_mask
from swiftpie.models.cutout import CutOut, Search, cut_out
from swiftpie.noise import seeds_from
from swiftpie.pipelines.edit import EditResult, follows_seed
from swiftpie.pipelines.request import EditRequest, PersonalizeRequest, Request, Subject
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.serve.decoding import Decoders
from swiftpie.serve.jobs import Job, Scheduler, State
from swiftpie.serve.limits import Limits
from swiftpie.serve.metrics import Metrics
from swiftpie.serve.schemas import Drawing, RequestError, SubjectIn
from swiftpie.serve.store import SOURCE_PX, Known, Models, Picture, Shelf, Source
from swiftpie.types import Cutout, GenerationResult, Identity

logger = logging.getLogger(__name__)

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
OTHERS_VARIATION = 0.5  # of the second and further edits, which would all be one picture else
MAX_JOBS = 256  # that are remembered
TOGETHER = 4  # pictures in a pass of an accelerator


@dataclass(frozen=True)
class Ask:
    """Something for the thread that draws: a request, or what else is made of the models."""

    model: str
    make: Callable[[Session], Any]
    is_request: bool = True


class Caller(NamedTuple):
    """Who asks."""

    key: str  # whose share of the queue it takes
    owner: str  # whose identities, pictures and jobs are found


@dataclass(frozen=True)
class Work:
    """All pictures of one call."""

    key: str
    asks: tuple[Ask, ...]
    group: object
    body: Drawing
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Made:
    """A picture as the library made it."""

    result: GenerationResult | EditResult
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """One picture as a file, with what is told of it."""

    data: bytes
    mask: bytes  # PNG: where the subject is, or what an edit could change
    seed: int
    model: str
    size: tuple[int, int]  # width and height
    timings_ms: Mapping[str, float]
    milliseconds: float  # from the call to here
    warnings: tuple[str, ...]


@dataclass(eq=False)
class Task:
    """A job that somebody asks for later."""

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


def batch_sizes(most: int) -> tuple[int, ...]:
    """Return how many pictures are drawn together by networks of fixed sizes: powers of two."""
    return tuple(2**power for power in range(most.bit_length()))


class Worker:
    """Models, the queue before them, and what users left here. All belongs to one event loop."""

    def __init__(
        self,
        models: Models,
        *,
        limits: Limits,
        decoders: int = 1,
        tell: Callable[[str], None] = logger.info,  # how far it is with getting ready
    ) -> None:
        self.models = models
        self.limits = limits
        self._tell = tell
        self.metrics = Metrics()
        self.scheduler = Scheduler(
            self._draw,
            max_queued=limits.queue,
            max_per_key=limits.queue_per_key,
            max_batch=limits.batch or 1,
            on_batch=self.metrics.batch,
        )
        third = limits.cache_mib / 3
        self.identities: Shelf[Known] = Shelf(
            "identity",
            prefix="id",
            limit_mib=third,
            size=lambda one: one.num_bytes,
            remedy=" Send its pictures to POST /v1/identities.",
        )
        self.pictures: Shelf[Picture] = Shelf(
            "picture",
            prefix="pic",
            limit_mib=third,
            size=lambda one: one.num_bytes,
            remedy=" Send it to POST /v1/pictures again.",
        )
        self.jobs: Shelf[Task] = Shelf(
            "job", prefix="job", limit_mib=MAX_JOBS / (1 << 20), size=lambda _: 1
        )
        self.is_ready = False
        self._decoders = Decoders(decoders)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start everything; until `is_ready` the first model is loaded and made quick."""
        await self._stack.enter_async_context(self._decoders)
        self._loop = asyncio.ensure_future(self.scheduler.run())
        self.getting_ready = asyncio.ensure_future(self._get_ready())
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in (self._loop, self.getting_ready):
            task.cancel()
        self.scheduler.close()
        await self._stack.aclose()

    async def _get_ready(self) -> None:
        """Load the first model and draw what people may ask it for, so that nobody waits for that.

        Networks of fixed sizes need seconds for each new one, so it is told how far they are. What
        is asked for meanwhile is drawn in between.
        """
        name, call = self.models.names[0], self.scheduler.in_turn
        try:
            session: Session = await call(lambda: self.models.get(name))
            is_slow = session.components.has_fixed_sizes
            is_quick_together = session.components.device.type != "cpu"
            most = self.limits.batch or (TOGETHER if is_quick_together else 1)
            self.scheduler.max_batch = most
            sizes = batch_sizes(most) if is_slow else ()
            stages = prepare(session, together=sizes)
            names = stages_of(session, together=sizes)
            await call(lambda: next(stages))  # comes to the first, which the next call does
            for number, stage in enumerate(names, start=1):
                if is_slow:
                    self._tell(f"getting ready, {number} of {len(names)}: {stage}")
                await call(lambda: next(stages, None))
        except Exception as error:
            logger.exception("the model could not be made ready")
            self._tell(f"error: {error}")
            raise
        self.is_ready = True
        if is_slow:
            self._tell("ready")

    # What comes in

    async def decode(self, data: bytes, *, name: str) -> Image.Image:
        """Return a picture that somebody sent, decoded in a process of its own."""
        return (await self._decoders.decode(data, name=f"'{name}'")).image

    async def decode_all(self, given: Sequence[bytes], *, name: str) -> list[Image.Image]:
        """Return all pictures that somebody sent."""
        return [await self.decode(data, name=name) for data in given]

    def check_room(self, key: str) -> None:
        """Refuse a key that must not draw now; see `Scheduler.check_room`."""
        try:
            self.scheduler.check_room(key)
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
    ) -> Work:
        """Return what a call asks for, with everything checked that needs no network.

        Raises:
            RequestError: It asks for what is not there, or for things that do not go together.
        """
        own, model = body.swiftpie, self.model_named(body.model)
        subjects = self._known(own.subjects, model, owner=caller.owner)
        if not (images or subjects):
            raise RequestError(
                "No subject was given. Send its pictures to POST /v1/identities and name it in "
                "swiftpie.subjects, or send them to POST /v1/images/edits with swiftpie.task "
                "'personalize'.",
                param="swiftpie.subjects",
            )
        is_edit = bool(images) and own.task == "edit"
        size = None if is_edit else body.size_px
        group = (model, is_edit, size, len(subjects), len(images))
        warnings: tuple[str, ...] = ()
        seeds = seeds_from(body.seed, body.n)
        if is_edit:
            region = await asyncio.to_thread(_region, body, images[0], mask)
            makers = [
                _edit_maker(body, images, region, subjects, seed, is_first=number == 0)
                for number, seed in enumerate(seeds)
            ]
            if body.n > 1 and "variation" not in own.edit.model_dump(exclude_none=True):
                warnings = (
                    f"All but the first of {body.n} edits have {OTHERS_VARIATION} of new noise, as "
                    "they would be one picture else. Set swiftpie.edit.variation.",
                )
        else:
            makers = [_personalize_maker(body, images, subjects, seed) for seed in seeds]
        asks = tuple(Ask(model, make) for make in makers)
        return Work(caller.key, asks, group, body, warnings)

    def model_named(self, name: str | None) -> str:
        """Return the model to use.

        Raises:
            RequestError: There is no such model.
        """
        if not name:
            return self.models.names[0]
        if name not in self.models.names:
            raise self.no_such_model(name)
        return name

    def no_such_model(self, name: str) -> RequestError:
        """Return the error about a model that is not served."""
        return RequestError(
            f"The model {name[:100]!r} is not served here. One of {', '.join(self.models.names)} "
            "is. See GET /v1/models.",
            status=404,
            code="model_not_found",
            param="model",
        )

    def _known(
        self, subjects: Sequence[SubjectIn], model: str, *, owner: str
    ) -> tuple[Subject, ...]:
        """Return the subjects of a picture.

        Raises:
            RequestError: One is not known, or another model encoded it.
        """
        found = []
        for one in subjects:
            known = self.identities.find(one.identity_id, owner=owner)
            if known.model != model:
                raise RequestError(
                    f"The identity {one.identity_id} was encoded by {known.model!r}, and "
                    f"{model!r} shall draw it. Encode its pictures with that model.",
                    param="identity_id",
                )
            found.append(
                Subject(known.identity, box=one.box, view=one.view, name=one.name, scale=one.scale)
            )
        return tuple(found)

    # What goes out

    async def draw(self, work: Work) -> list[Drawn]:
        """Return all pictures of a call."""
        return [one async for one in self.draw_each(work)]

    async def draw_each(self, work: Work) -> AsyncIterator[Drawn]:
        """Yield the pictures of a call as they are done."""
        started = asyncio.get_running_loop().time()
        jobs = self._submit(work)
        try:
            for job in jobs:
                made = await self.scheduler.result(job)
                spent = (asyncio.get_running_loop().time() - started) * 1000
                yield await asyncio.to_thread(_as_files, made, work, spent)
        finally:
            for job in jobs:
                if not job.done.done():
                    self.metrics.cancelled.inc()
                self.scheduler.cancel(job)

    def start(self, work: Work, body: Drawing, *, owner: str) -> str:
        """Draw in the background; return the job's name."""
        task = Task(body, asyncio.ensure_future(self.draw(work)))
        return self.jobs.put(task, owner=owner)

    def _submit(self, work: Work) -> list[Job]:
        self.scheduler.check_room(work.key, len(work.asks))
        deadline = self.limits.deadline_s
        return [
            self.scheduler.submit(ask, group=work.group, key=work.key, deadline_s=deadline)
            for ask in work.asks
        ]

    async def _ask(self, model: str, make: Callable[[Session], Any], *, caller: Caller) -> Any:  # noqa: ANN401 - whatever is made
        job = self.scheduler.submit(
            Ask(model, make, is_request=False),
            group=object(),  # which no other has
            key=caller.key,
            deadline_s=self.limits.deadline_s,
        )
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
        """Encode a subject and keep it; return what is told of it."""
        chosen = self.model_named(model)
        identity: Identity = await self._ask(
            chosen,
            lambda session: session.encode_identity(list(images), masks=list(masks) or None),
            caller=caller,
        )
        shapes: Sequence[Image.Image | None] = masks or [None] * len(images)
        pairs = zip(images, shapes, strict=True)
        known = Known(
            identity,
            chosen,
            name,
            thumbnail=encode_image(to_pil(identity.pixels[:1].cpu())[0], ".png", metadata=None),
            sources=await asyncio.to_thread(lambda: tuple(_source(*pair) for pair in pairs)),
            warnings=tuple(_doubts(identity.cutouts)),
        )
        return self.describe_identity(self.identities.put(known, owner=caller.owner), known)

    def rename_identity(self, number: str, name: str, *, owner: str) -> dict[str, Any]:
        """Give an identity another name; return what is told of it."""
        known = replace(self.identities.find(number, owner=owner), name=name)
        self.identities.replace(number, known, owner=owner)
        return self.describe_identity(number, known)

    async def cut_out(
        self, image: Image.Image, search: Search, *, caller: Caller
    ) -> tuple[bytes, Cutout]:
        """Return a PNG as large as `image`, white where its subject is, and how that was found."""
        found: CutOut = await self._ask(
            self.models.latest, lambda _: cut_out(image, search), caller=caller
        )
        shape = await asyncio.to_thread(
            lambda: encode_image(mask_to_pil(found.mask)[0], ".png", metadata=None)
        )
        return shape, found.how

    def describe_identity(self, number: str, known: Known) -> dict[str, Any]:
        """Return what is told of a subject."""
        place = f"/v1/identities/{number}"
        return {
            "id": number,
            "object": "identity",
            "name": known.name,
            "model": known.model,
            "num_pictures": len(known.sources),
            "thumbnail": f"{place}/thumbnail",
            "pictures": [
                {
                    "source": f"{place}/pictures/{at}",
                    "mask": None if one.mask is None else f"{place}/masks/{at}",
                }
                for at, one in enumerate(known.sources)
            ],
            "warnings": list(known.warnings),
        }

    async def add_picture(self, data: bytes, *, owner: str) -> dict[str, Any]:
        """Keep a picture; return its name, its size and what made it."""
        image, origin = await self._decoders.decode(data, name="'image'")
        number = self.pictures.put(Picture(image, origin), owner=owner)
        return {"id": number, "width": image.width, "height": image.height, "origin": origin}

    def describe_models(self) -> list[dict[str, Any]]:
        """Return what is told of every model."""
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
        if name not in self.models.vocabularies:
            await self._ask(name, lambda _: None, caller=caller)  # loads it
        return self.models.vocabularies[name]

    # In the thread that draws

    def _draw(self, asks: Sequence[Ask], check: Callable[[str], None]) -> list[Any]:
        session = self.models.get(asks[0].model)
        made = []
        for ask in asks:
            made.append(_tried(ask, session))
            check("encode")
        at = [
            number
            for number, ask in enumerate(asks)
            if ask.is_request and not isinstance(made[number], Exception)
        ]
        drawn = draw_apart(session, [made[number] for number in at], on_stage=check)
        for number, one in zip(at, drawn, strict=True):
            if isinstance(one, Exception):
                made[number] = one
            else:
                made[number] = Made(one, tuple(session.advice_on(made[number])))
        return made


def _tried(ask: Ask, session: Session) -> Any:  # noqa: ANN401 - a request, an identity, an error
    try:
        return ask.make(session)
    except (SwiftPieError, RequestError) as error:
        return error


def _doubts(cutouts: Sequence[Cutout]) -> Iterator[str]:
    for number, one in enumerate(cutouts, start=1):
        if one.is_doubtful:
            yield (
                f"The subject of picture {number} may be cut out badly. Look at the thumbnail, and "
                "send a mask where it is wrong: POST /v1/cutouts gives one to start from."
            )


def _source(image: Image.Image, mask: Image.Image | None) -> Source:
    size = (SOURCE_PX, SOURCE_PX)
    picture = image.copy()
    shape = None if mask is None else mask_to_pil(load_mask(mask, image.size))[0]
    for one in (picture, *([] if shape is None else [shape])):
        one.thumbnail(size)
    return Source(
        encode_image(picture, ".webp", metadata=None),
        None if shape is None else encode_image(shape, ".png", metadata=None),
    )


def _region(body: Drawing, image: Image.Image, mask: Image.Image | None) -> Tensor | Box | None:
    """Return where an edit may change its picture, None where that shall be found.

    Raises:
        RequestError: Mask, box and size do not go together.
    """
    own = body.swiftpie
    if body.size != "auto":
        raise RequestError("An edit is as large as its picture. Leave `size` out.", param="size")
    if mask is None:
        return own.box
    if own.box is not None:
        raise RequestError("A mask and a box were given. Send one of the two.", param="mask")
    return load_mask(change_of(mask, mode=own.mask_mode), image.size)


def _personalize_maker(
    body: Drawing, images: Sequence[Image.Image], subjects: tuple[Subject, ...], seed: int
) -> Callable[[Session], Request]:
    def make(session: Session) -> Request:
        return PersonalizeRequest(
            subjects=_with_pictured(session, subjects, images, body),
            prompt=body.prompt,
            seeds=(seed,),
            scales=_scales(body, Scales.of(session.components.preset)),
            mask=body.swiftpie.mask,
            size_px=body.size_px,
            negative_prompt=body.negative_prompt,
        )

    return make


def _edit_maker(
    body: Drawing,
    images: Sequence[Image.Image],
    region: Tensor | Box | None,
    subjects: tuple[Subject, ...],
    seed: int,
    *,
    is_first: bool,
) -> Callable[[Session], Request]:
    own, (image, *references) = body.swiftpie, images
    given = own.edit.model_dump(exclude_none=True)

    def make(session: Session) -> Request:
        settings = EditSettings(**given)
        if not is_first and not follows_seed(session.components, settings):
            settings = replace(settings, variation=OTHERS_VARIATION)
        new, *_ = (*_with_pictured(session, subjects, references, body), None)
        identity = None if new is None else new.identity
        if own.scales.model_dump(exclude_none=True):
            usual = Scales.for_edit(
                session.components.preset, mode=settings.mode, has_reference=identity is not None
            )
            settings = replace(settings, scales=_scales(body, usual))
        return EditRequest(
            image=image,
            prompt=body.prompt,
            seed=seed,
            source_prompt=own.source_prompt,
            keyword=own.keyword,
            mask=region,
            identity=identity,
            settings=settings,
            negative_prompt=body.negative_prompt,
        )

    return make


def _with_pictured(
    session: Session, subjects: tuple[Subject, ...], images: Sequence[Image.Image], body: Drawing
) -> tuple[Subject, ...]:
    """Return the subjects, that of `images` first if they were sent with the request."""
    if not images:
        return subjects
    pictured = session.encode_identity(list(images))
    return (Subject(pictured, box=body.swiftpie.box), *subjects)


def _scales(body: Drawing, usual: Scales) -> Scales:
    return replace(usual, **body.swiftpie.scales.model_dump(exclude_none=True))


def change_of(mask: Image.Image, *, mode: str) -> Image.Image:
    """Return a mask, mode L, that is white where a picture shall change.

    Raises:
        RequestError: It has no transparency, by which OpenAI's masks mark what changes.
    """
    if mode == "white":
        return mask.convert("RGB").convert("L")
    if mask.mode != "RGBA":
        raise RequestError(
            "The mask has no transparency, which marks what shall change. Send one that is "
            "transparent there, or say swiftpie.mask_mode 'white'.",
            param="mask",
        )
    return ImageChops.invert(mask.getchannel("A"))


def _as_files(made: Made, work: Work, milliseconds: float) -> Drawn:
    body, ask, drawn = work.body, work.asks[0], made.result
    if isinstance(drawn, EditResult):
        image, mask, seed = drawn.image, drawn.region, drawn.seed
    else:
        image, mask, seed = drawn.images[0], drawn.subject_masks[0], drawn.seeds[0]
    facts = _origin(body, ask.model) | {**drawn.origin, "seed": str(seed)}
    suffix = SUFFIXES[body.output_format]
    return Drawn(
        data=encode_image(image, suffix, metadata=facts, quality=body.output_compression),
        mask=encode_image(mask, ".png", metadata=None) if body.swiftpie.return_mask else b"",
        seed=seed,
        model=ask.model,
        size=image.size,
        timings_ms={name: round(spent, 2) for name, spent in drawn.timings_ms.items()},
        milliseconds=milliseconds,
        warnings=(*work.warnings, *made.warnings),
    )


def _origin(body: Drawing, model: str) -> dict[str, str]:
    """Return what a file says of its making, as the command line's files do, and places besides."""
    own = body.swiftpie
    places = [one.model_dump(include={"box", "view"}) for one in own.subjects]
    return {
        "prompt": body.prompt,
        **({"source_prompt": own.source_prompt} if own.source_prompt else {}),
        "preset": model,
        "swiftpie": __version__,
        **{name: str(value) for name, value in own.scales.model_dump(exclude_none=True).items()},
        "subjects": json.dumps(places),
    }
