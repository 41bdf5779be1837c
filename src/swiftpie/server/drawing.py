"""The threads that draw, which alone use the models; files of pictures."""

import asyncio
import json
import threading
import traceback
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swiftpie.engine.session import Session, draw_isolated
from swiftpie.engine.warm_up import made_ready, make_apart, stages_of
from swiftpie.errors import InputError, SwiftPieError, WeightsError
from swiftpie.imageio.images import bounding_box, plane
from swiftpie.imageio.originals import OriginalPicture, composite
from swiftpie.imageio.writing import PictureData, encode_animation, encode_image, is_clear
from swiftpie.library import Named
from swiftpie.masks import Box
from swiftpie.pipelines.choose import CHECK, Choice, with_sources
from swiftpie.pipelines.request import IdentityRef, Source, Subject
from swiftpie.pipelines.tasks import EditRequest, Request, equal_pictures
from swiftpie.remedies import Tongue, spelled
from swiftpie.server.errors import RequestError, all_of, free_frames
from swiftpie.server.jobs import Job
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Models
from swiftpie.types import EditResult, GenerationResult, Identity

if TYPE_CHECKING:
    from PIL import Image

TOGETHER = 4  # pictures in a pass of an accelerator
LANES = 2  # what is drawn at the same time on a processor, see `Scheduler`
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


class Stopped(Exception):  # noqa: N818 - a state; PyTorch cleans up after an Exception alone
    """Raised inside a drawing that was cancelled; only the thread may catch it."""


@dataclass(frozen=True, kw_only=True)
class DrawnPicture:
    """A picture as a file, with its facts."""

    data: bytes
    mask: bytes  # PNG: where the subject is, or what an edit could change; empty if not asked for
    model: str
    seed: int
    size: tuple[int, int]  # width and height
    milliseconds: float  # from the call to the file
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    box: Box | None  # where in a photograph a subject was put
    subjects_at: Box | None  # what is just around the subjects of a new picture
    named: tuple[Named, ...]  # the subjects of the library in it
    is_random: bool  # another seed gives another picture
    is_clear: bool  # it has transparency
    scores: Mapping[str, float]  # if it is among the best of several

    @property
    def chosen(self) -> dict[str, Any]:
        """Place and names as JSON, where the model chose them."""
        named = {"named": [each._asdict() for each in self.named]} if self.named else {}
        return named | ({} if self.box is None else {"box": list(self.box)})


def warnings_of(drawn: Iterable[DrawnPicture], tongue: Tongue = Tongue.HTTP) -> list[str]:
    said = dict.fromkeys(warning for picture in drawn for warning in picture.warnings)
    return [spelled(warning, tongue) for warning in said]


class DrawingBackend:
    """Draws in a thread, or in one a lane once it is ready; these alone use the models."""

    is_ready = True  # may become false, where others draw

    def __init__(self, models: Models) -> None:
        self.models = models
        self.together, self.lanes, self.replicas = 1, 1, 1
        self.loaded: Collection[str] = models.loaded.keys()  # names
        self._is_closed = False
        self._thread = _pool(1)

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        """Make the first model ready, with `tell` of how far that is.

        Requests are drawn between its stages. Returns how many pictures are drawn together; a
        `batch` of 0 leaves that to the device.
        """
        in_turn = asyncio.get_running_loop().run_in_executor
        stages = await in_turn(self._thread, self._stages, batch)
        for number, (name, draw) in enumerate(stages.items(), start=1):
            tell(f"getting ready, {number} of {len(stages)}: {name}")
            await in_turn(self._thread, draw)
        tell("ready")
        if self.lanes > 1:
            self._thread.shutdown(wait=False)  # what it has is still drawn
            self._thread = _pool(self.lanes)
        return self.together

    async def change_to_quick(self, tell: Callable[[str], None]) -> None:
        """Exchange what stands in for the first model, if something does, once that is ready.

        Another process makes what has to be made and kept, so that drawings are not held up.
        """
        name = self.models.names[0]
        served = self.models.served(name)
        if served.stand_in is None:
            return
        tell("quicker networks are made ready meanwhile")
        await make_apart(served.load, self.together)
        work = (served.load, self.together, lambda: self._is_closed)
        self.models.loaded[name] = await asyncio.to_thread(made_ready, *work)
        tell("quicker networks are ready")

    def _stages(self, batch: int) -> Mapping[str, Callable[[], object]]:
        """Load the first model; return what is drawn once, so that first requests do not wait."""
        session = self.models.get(self.models.names[0])
        is_processor = session.components.device.type == "cpu"
        self.together = batch or (1 if is_processor else TOGETHER)
        # An accelerator has memory for one batch, and none waits there for long.
        self.lanes = LANES if is_processor else 1
        return stages_of(session, self.together)

    def draw(self, jobs: Sequence[Job]) -> Awaitable[Sequence[Any]]:
        """Return what was made, or an error, for each of some jobs of one model.

        Cancelling it stops the work before the next layer of a network. The thread gets its work
        at once; a busy loop would let it wait otherwise.
        """
        stop = threading.Event()

        def check(stage: str) -> None:
            if stop.is_set():
                raise Stopped
            for job in jobs if stage != CHECK else ():
                job.stage = stage

        def answered(jobs: Sequence[Job]) -> Sequence[Any]:
            try:
                check("turn")
                return self.answer(jobs, check)
            except Exception as error:  # noqa: BLE001 - every waiting caller gets it
                return [error] * len(jobs)

        work = [jobs]  # taken out, so that no traceback of an error holds them

        def run() -> Sequence[Any]:
            return _without_locals(answered(work.pop()))

        running = asyncio.get_running_loop().run_in_executor(self._thread, run)
        drawing = asyncio.ensure_future(_unless_left(running, stop))
        drawing.add_done_callback(lambda _: stop.set())  # if its first step never ran
        return drawing

    def answer(self, jobs: Sequence[Job], check: Callable[[str], None]) -> list[Any]:
        """Return what was made, or an error, for each; `check` may raise `Stopped`. Blocks."""
        session = self.models.get(jobs[0].model or self.models.names[0])
        failures = (SwiftPieError, RequestError)
        works = [job.work for job in jobs]
        if isinstance(works[0], Request):
            request_of = partial(with_kept, session)
            return draw_isolated(session, works, request_of, failures=failures, on_stage=check)
        (task,) = works  # a group of its own
        try:
            return [task(session)]
        except failures as error:
            return [error]

    def close(self) -> None:
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)


def _pool(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="swiftpie-draw")


async def _unless_left(
    running: asyncio.Future[Sequence[Any]], stop: threading.Event
) -> Sequence[Any]:
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])  # so that the next batch finds the thread free
        raise


def _without_locals(made: Sequence[Any]) -> Sequence[Any]:
    """Return results, and free the locals of the functions that raised errors among them.

    The traceback of an unexpected error stays, for the log.
    """
    for outcome in made:
        for error in all_of(outcome if isinstance(outcome, Exception) else None):
            traceback.clear_frames(error.__traceback__)
        if isinstance(outcome, Stopped | SwiftPieError | RequestError):
            free_frames(outcome)
    return made


def with_kept(session: Session, request: Request) -> Request:
    """Return a request with its stored identities on the device of the networks."""

    def encode(source: Source) -> Source:
        return encode_kept(session, source) if isinstance(source, IdentityRef) else source

    return with_sources(request, encode)


def encode_kept(session: Session, source: Source, *, param: str = "identity_id") -> Identity:
    """Return a stored identity on the device of the networks."""
    try:
        return session.identity_of(source)
    except (InputError, WeightsError) as error:
        raise RequestError(str(error), code="identity_of_others", param=param) from error


def as_files(
    choice: Choice[Any],
    drawn: GenerationResult | EditResult,
    *,
    body: Drawing,
    **facts: Any,  # noqa: ANN401 - of `as_file`
) -> list[DrawnPicture]:
    """Return each picture of a request, of which an animation is one."""
    rows = 1
    if isinstance(drawn, GenerationResult) and body.swiftpie.animate is None:
        rows = len(drawn.images)
    return [as_file(choice, drawn, body=body, row=row, **facts) for row in range(rows)]


def as_file(
    choice: Choice[Any],
    drawn: GenerationResult | EditResult,
    *,
    body: Drawing,
    row: int,
    subjects: Sequence[Subject],
    model: str,
    warnings: Sequence[str],
    original: OriginalPicture | None,
    sign: Path | None,
    milliseconds: float,
) -> DrawnPicture:
    """Return a picture in the format of its request; the file says places and task as well.

    A changed picture keeps the colour profile of its `original`, and the bits that do not change.
    """
    frames: tuple[Image.Image, ...]
    task, animate, scores = body.swiftpie.task, body.swiftpie.animate, drawn.scores[row:]
    if isinstance(drawn, EditResult):
        frames, shape, seed, box = (drawn.image,), drawn.region, drawn.seed, drawn.box
    else:
        frames = drawn.images if animate else drawn.images[row : row + 1]
        shape, seed, box = drawn.subject_masks[row], drawn.seeds[row], None
    places = [{"box": box or subject.box, "view": subject.view} for subject in subjects]
    facts = {
        **getattr(frames[0], "record", drawn.record),
        "preset": model,
        "subjects": json.dumps(places),
    }
    facts |= {"task": task} if task in {"insert", "remove", "replace"} else {}
    suffix, quality = SUFFIXES[body.output_format], body.output_compression
    whole: Image.Image | PictureData = frames[0]
    if isinstance(drawn, EditResult) and original is not None:
        whole = original.stored._replace(pixels=frames[0])
        if original.stored.profile:
            whole = composite(original, drawn.edited, drawn.blend)
    more: Any = {"metadata": facts, "quality": quality, "sign": sign}
    if animate is None:
        data = encode_image(whole, suffix, source=original and original.data, **more)
    else:
        data = encode_animation(frames, suffix, fps=animate.fps, **more)
    is_random = not isinstance(choice.request, EditRequest) or choice.follows_seed
    own = () if body.n == 1 or is_random else (equal_pictures(body.n),)
    return DrawnPicture(
        data=data,
        mask=encode_image(shape, ".png", metadata=None) if body.swiftpie.return_mask else b"",
        model=model,
        seed=seed,
        size=frames[0].size,
        milliseconds=milliseconds,
        timings_ms={name: round(spent, 2) for name, spent in drawn.timings_ms.items()},
        warnings=(*warnings, *drawn.warnings, *own),
        box=box,
        subjects_at=bounding_box(plane(shape)) if isinstance(drawn, GenerationResult) else None,
        named=drawn.named,
        is_random=is_random,
        is_clear=suffix != SUFFIXES["jpeg"] and is_clear(frames[0]),
        scores=scores[0] if scores else {},
    )
