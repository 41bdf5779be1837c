"""What routes ask for: requests made of what came in, drawn in turn, and turned into files."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

from PIL import Image, ImageChops

from swiftpie import __version__
from swiftpie.engine.prepare import prepare, stages_of
from swiftpie.engine.session import Session
from swiftpie.errors import SwiftPieError
from swiftpie.images import encode_image, mask_to_pil, to_pil
from swiftpie.masks import load_mask
from swiftpie.models.cutout import DOUBTFUL, Search, Way, cut_out
from swiftpie.noise import seeds_from
from swiftpie.pipelines.edit import EditResult, follows_seed
from swiftpie.pipelines.request import EditRequest, PersonalizeRequest, Request, Subject
from swiftpie.pipelines.settings import EditSettings, Scales
from swiftpie.serve.decoding import Decoders
from swiftpie.serve.jobs import Job, Scheduler, State
from swiftpie.serve.limits import Limits
from swiftpie.serve.metrics import Metrics
from swiftpie.serve.schemas import Drawing, RequestError, SubjectIn
from swiftpie.serve.store import Known, Models, Picture, Shelf
from swiftpie.types import Cutout, GenerationResult

logger = logging.getLogger(__name__)

SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
OTHERS_VARIATION = 0.5  # of the second and further edits, which would all be one picture else
MAX_JOBS = 256  # that are remembered


@dataclass(frozen=True)
class Ask:
    """Something for the thread that draws: a request, or what becomes of a session otherwise."""

    model: str
    make: Callable[[Session], Any]
    is_request: bool = True


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
            max_batch=limits.batch,
            on_batch=self.metrics.batch,
        )
        third = limits.cache_mib / 3
        self.identities: Shelf[Known] = Shelf("id", limit_mib=third, size=lambda one: one.num_bytes)
        self.pictures: Shelf[Picture] = Shelf("pic", limit_mib=third, size=lambda o: o.num_bytes)
        self.jobs: Shelf[Task] = Shelf("job", limit_mib=MAX_JOBS / (1 << 20), size=lambda _: 1)
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
            sizes = batch_sizes(self.limits.batch) if is_slow else ()
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
        key: str,
        images: Sequence[Image.Image] = (),
        mask: Image.Image | None = None,
    ) -> Work:
        """Return what a call asks for, with everything checked that needs no network.

        Raises:
            RequestError: It asks for what is not there, or for things that do not go together.
        """
        own, model = body.swiftpie, self.model_named(body.model)
        self._check_known(own.subjects, model)
        seeds = seeds_from(body.seed, body.n)
        is_edit = bool(images) and own.task == "edit"
        if not (images or own.subjects):
            raise RequestError(
                "No subject was given. Send its pictures to POST /v1/identities and name it in "
                "swiftpie.subjects, or send them to POST /v1/images/edits with swiftpie.task "
                "'personalize'.",
                param="swiftpie.subjects",
            )
        size = None if is_edit else body.size_px
        group = (model, is_edit, size, len(own.subjects), len(images))
        warnings: list[str] = []
        makers = []
        for number, seed in enumerate(seeds):
            if is_edit:
                makers.append(self._edit_maker(body, images, mask, seed, is_first=number == 0))
            else:
                makers.append(self._personalize_maker(body, images, seed))
        if is_edit and body.n > 1 and "variation" not in own.edit.model_dump(exclude_none=True):
            warnings.append(
                f"All but the first of {body.n} edits have {OTHERS_VARIATION} of new noise, as "
                "they would be one picture else. Set swiftpie.edit.variation."
            )
        asks = tuple(Ask(model, make) for make in makers)
        return Work(key, asks, group, body, tuple(warnings))

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

    def identity(self, name: str) -> Known:
        """Return a known subject.

        Raises:
            RequestError: It is not known.
        """
        known = self.identities.get(name)
        if known is None:
            raise RequestError(
                f"The identity {name[:64]!r} is not known here, or not any more. Send its pictures "
                "to POST /v1/identities.",
                status=404,
                code="identity_not_found",
                param="identity_id",
            )
        return known

    def job(self, name: str) -> Task:
        """Return a job.

        Raises:
            RequestError: It is not known.
        """
        task = self.jobs.get(name)
        if task is None:
            raise RequestError(f"The job {name[:64]!r} is not known here.", status=404)
        return task

    def _check_known(self, subjects: Sequence[SubjectIn], model: str) -> None:
        for one in subjects:
            known = self.identity(one.identity_id)
            if known.model != model:
                raise RequestError(
                    f"The identity {one.identity_id} was encoded by {known.model!r}, and "
                    f"{model!r} shall draw it. Encode its pictures with that model.",
                    param="identity_id",
                )

    def _subjects(
        self, session: Session, body: Drawing, images: Sequence[Image.Image]
    ) -> tuple[Subject, ...]:
        own = body.swiftpie
        found = [
            Subject(
                self.identity(one.identity_id).identity,
                box=one.box,
                view=one.view,
                name=one.name,
                scale=one.scale,
            )
            for one in own.subjects
        ]
        if images:
            found.insert(0, Subject(session.encode_identity(list(images)), box=own.box))
        return tuple(found)

    def _personalize_maker(
        self, body: Drawing, images: Sequence[Image.Image], seed: int
    ) -> Callable[[Session], Request]:
        def make(session: Session) -> Request:
            return PersonalizeRequest(
                subjects=self._subjects(session, body, images),
                prompt=body.prompt,
                seeds=(seed,),
                scales=_scales(body, Scales.of(session.components.preset)),
                mask=body.swiftpie.mask,
                size_px=body.size_px,
                negative_prompt=body.negative_prompt,
            )

        return make

    def _edit_maker(
        self,
        body: Drawing,
        images: Sequence[Image.Image],
        mask: Image.Image | None,
        seed: int,
        *,
        is_first: bool,
    ) -> Callable[[Session], Request]:
        own, (image, *references) = body.swiftpie, images
        given = own.edit.model_dump(exclude_none=True)
        shape = None if mask is None else change_of(mask, mode=own.mask_mode)
        if shape is not None and own.box is not None:
            raise RequestError("A mask and a box were given. Send one of the two.", param="mask")
        if body.size != "auto":
            raise RequestError(
                "An edit is as large as its picture. Leave `size` out.", param="size"
            )

        def make(session: Session) -> Request:
            settings = EditSettings(**given)
            if not is_first and not follows_seed(session.components, settings):
                settings = replace(settings, variation=OTHERS_VARIATION)
            identity = None
            if references or own.subjects:
                identity = self._subjects(session, body, references)[0].identity
            has_scales = bool(own.scales.model_dump(exclude_none=True))
            if has_scales:
                usual = Scales.for_edit(
                    session.components.preset,
                    mode=settings.mode,
                    has_reference=identity is not None,
                )
                settings = replace(settings, scales=_scales(body, usual))
            return EditRequest(
                image=image,
                prompt=body.prompt,
                seed=seed,
                source_prompt=own.source_prompt,
                keyword=own.keyword,
                mask=own.box if shape is None else load_mask(shape, image.size),
                identity=identity,
                settings=settings,
                negative_prompt=body.negative_prompt,
            )

        return make

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

    def start(self, work: Work, body: Drawing) -> str:
        """Draw in the background; return the job's name."""
        return self.jobs.put(Task(body, asyncio.ensure_future(self.draw(work))))

    def _submit(self, work: Work) -> list[Job]:
        self.scheduler.check_room(work.key, len(work.asks))
        deadline = self.limits.deadline_s
        return [
            self.scheduler.submit(ask, group=work.group, key=work.key, deadline_s=deadline)
            for ask in work.asks
        ]

    async def add_identity(
        self,
        images: Sequence[Image.Image],
        masks: Sequence[Image.Image],
        *,
        name: str,
        model: str | None,
        key: str,
    ) -> dict[str, Any]:
        """Encode a subject and keep it; return what is told of it."""
        chosen = self.model_named(model)
        ask = Ask(
            chosen,
            lambda session: session.encode_identity(list(images), masks=list(masks) or None),
            is_request=False,
        )
        job = self.scheduler.submit(ask, group=object(), key=key, deadline_s=self.limits.deadline_s)
        identity = await self.scheduler.result(job)
        seen = to_pil(identity.pixels[:1].cpu())[0]
        known = Known(
            identity,
            chosen,
            name,
            thumbnail=encode_image(seen, ".png", metadata=None),
            num_pictures=len(images),
            warnings=tuple(_doubts(identity.cutouts)),
        )
        number = self.identities.put(known)
        return self.describe_identity(number, known)

    async def cut_out(self, image: Image.Image, search: Search) -> tuple[bytes, Cutout]:
        """Return a PNG as large as `image`, white where its subject is, and how that was found."""
        found = await self.scheduler.in_turn(lambda: cut_out(image, search))
        return encode_image(mask_to_pil(found.mask)[0], ".png", metadata=None), found.how

    def describe_identity(self, number: str, known: Known) -> dict[str, Any]:
        """Return what is told of a subject."""
        return {
            "id": number,
            "object": "identity",
            "name": known.name,
            "model": known.model,
            "num_pictures": known.num_pictures,
            "thumbnail": f"/v1/identities/{number}/thumbnail",
            "warnings": list(known.warnings),
        }

    async def add_picture(self, data: bytes) -> dict[str, Any]:
        """Keep a picture; return its name, its size and what made it."""
        image, origin = await self._decoders.decode(data, name="'image'")
        number = self.pictures.put(Picture(image, origin))
        return {"id": number, "width": image.width, "height": image.height, "origin": origin}

    def picture(self, name: str) -> Image.Image:
        """Return a picture that was kept.

        Raises:
            RequestError: It is not known.
        """
        kept = self.pictures.get(name)
        if kept is None:
            raise RequestError(
                f"The picture {name[:64]!r} is not known here, or not any more. Send it to POST "
                "/v1/pictures again.",
                status=404,
                param="picture_id",
            )
        return kept.image

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

    async def vocabulary(self, model: str) -> dict[str, list[str]] | None:
        """Return the words that a model was taught, None for one that reads anything."""
        name = self.model_named(model)
        session: Session = await self.scheduler.in_turn(lambda: self.models.get(name))
        words = session.components.text.vocabulary
        return None if words is None else words.to_json()

    # In the thread that draws

    def _draw(self, asks: Sequence[Ask], check: Callable[[str], None]) -> list[Any]:
        session = self.models.get(asks[0].model)
        made = [_tried(ask, session) for ask in asks]
        at = [
            number
            for number, ask in enumerate(asks)
            if ask.is_request and not isinstance(made[number], Exception)
        ]
        if at:
            drawn = _drawn(session, [made[number] for number in at], check)
            for number, one in zip(at, drawn, strict=True):
                made[number] = one
        return made


def _drawn(
    session: Session, requests: Sequence[Request], check: Callable[[str], None]
) -> Sequence[Any]:
    """Draw together; where that fails, draw one by one, so that nobody pays for another's."""
    try:
        drawn = session.draw_together(requests, on_stage=check)
        return [
            Made(one, tuple(session.advice_on(asked)))
            for one, asked in zip(drawn, requests, strict=True)
        ]
    except SwiftPieError as error:
        if len(requests) == 1:
            return [error]
        return [_drawn(session, [one], check)[0] for one in requests]


def _tried(ask: Ask, session: Session) -> Any:  # noqa: ANN401 - a request, an identity, an error
    try:
        return ask.make(session)
    except (SwiftPieError, RequestError) as error:
        return error


def _doubts(cutouts: Sequence[Cutout]) -> Iterator[str]:
    for number, (way, sure) in enumerate(cutouts, start=1):
        if way == Way.COLOUR or (sure is not None and sure < DOUBTFUL):
            yield (
                f"The subject of picture {number} may be cut out badly. Look at the thumbnail, and "
                "send a mask where it is wrong: POST /v1/cutouts gives one to start from."
            )


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
    facts = _origin(body, ask.model) | {"seed": str(seed)}
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
