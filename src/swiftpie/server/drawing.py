"""The threads that draw, which alone use the models; files of pictures."""

import asyncio
import json
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from swiftpie.engine.origin import origin_of_result
from swiftpie.engine.runner import LAYER
from swiftpie.engine.session import Session, draw_apart
from swiftpie.engine.warm_up import warm_up
from swiftpie.errors import SwiftPieError
from swiftpie.imageio.originals import OriginalPicture, composite
from swiftpie.imageio.writing import PictureData, encode_animation, encode_image, is_clear
from swiftpie.library import Named
from swiftpie.masks import Box
from swiftpie.notices import hearing
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.request import EditRequest, Request, Subject
from swiftpie.server.commands import begun
from swiftpie.server.errors import RequestError, all_of, free_frames
from swiftpie.server.jobs import Job
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Models
from swiftpie.types import EditResult, GenerationResult

TOGETHER = 4  # pictures in a pass of an accelerator
LANES = 2  # what is drawn at the same time on a processor, see `Scheduler`
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


class Stopped(Exception):  # noqa: N818 - a state; PyTorch cleans up after an Exception alone
    """Raised inside a drawing that was cancelled; only the thread may catch it."""


@dataclass(frozen=True, kw_only=True)
class DrawnPicture:
    """A picture with its facts: drawn, and then as a file."""

    seed: int
    size: tuple[int, int]  # width and height
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    box: Box | None  # where in a photograph a subject was put
    named: tuple[Named, ...]  # the subjects of the library in it
    origin: Mapping[str, str]  # that its file says
    is_random: bool  # another seed gives another picture
    result: GenerationResult | EditResult | None  # None once it is a file
    data: bytes = b""  # the file
    mask: bytes = b""  # PNG: where the subject is, or what an edit could change; if asked for
    model: str = ""
    milliseconds: float = 0.0  # from the call to the file
    is_clear: bool = False  # the file has transparency

    @property
    def chosen(self) -> dict[str, Any]:
        """Place and names as JSON, where the model chose them."""
        named = {"named": [each._asdict() for each in self.named]} if self.named else {}
        return named | ({} if self.box is None else {"box": list(self.box)})


def warnings_of(drawn: Iterable[DrawnPicture]) -> list[str]:
    """Return the warnings of pictures, each once."""
    return [*dict.fromkeys(warning for picture in drawn for warning in picture.warnings)]


class DrawingThread:
    """Draws in a thread, or in one a lane once it is ready; these alone use the models."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.together, self.lanes = 1, 1
        self._thread = _pool(1)

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        """Make the first model ready, with `tell` of how far that is.

        Requests are drawn between its stages. Returns how many pictures are drawn together; a
        `batch` of 0 leaves that to the device.
        """
        stages = self.readying(batch)
        in_turn = asyncio.get_running_loop().run_in_executor
        while (stage := await in_turn(self._thread, lambda: next(stages, None))) is not None:
            tell(stage)
        if self.lanes > 1:
            self._thread.shutdown(wait=False)  # what it has is still drawn
            self._thread = _pool(self.lanes)
        return self.together

    def readying(self, batch: int) -> Iterator[str]:
        """Load the first model and draw typical requests, so that first requests do not wait.

        Yields how far it is before each stage.
        """
        session = self.models.get(self.models.names[0])
        is_processor = session.components.device.type == "cpu"
        self.together = batch or (1 if is_processor else TOGETHER)
        # An accelerator has memory for one batch, and none waits there for long.
        self.lanes = LANES if is_processor else 1
        sizes = batch_sizes(self.together) if session.components.has_fixed_sizes else ()
        stages = warm_up(session, together=sizes)
        for number, (name, draw) in enumerate(stages.items(), start=1):
            yield f"getting ready, {number} of {len(stages)}: {name}"
            draw()
        yield "ready"

    def draw(self, jobs: Sequence[Job]) -> Awaitable[Sequence[Any]]:
        """Return what was made, or an error, for each of some jobs of one model.

        Cancelling it stops the work before the next layer of a network. The thread gets its work
        at once; a busy loop would let it wait otherwise.
        """
        stop = threading.Event()

        def check(stage: str) -> None:
            if stop.is_set():
                raise Stopped
            for job in jobs if stage != LAYER else ():
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
        made: list[Any] = []
        said: list[list[str]] = []
        for job in jobs:
            with hearing() as heard:
                try:
                    made.append(begun(session, job.work))
                except (SwiftPieError, RequestError) as error:
                    made.append(error)
            said.append(heard)
            check("encode")
        at = [number for number, outcome in enumerate(made) if isinstance(outcome, Request)]
        drawn = draw_apart(session, [made[number] for number in at], on_stage=check)
        for number, outcome in zip(at, drawn, strict=True):
            made[number] = (
                outcome
                if isinstance(outcome, Exception)
                else _with_facts(session, made[number], outcome, said[number])
            )
        return made

    def close(self) -> None:
        """End the thread after its current work."""
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


def batch_sizes(most: int) -> tuple[int, ...]:
    """Return how many pictures are drawn together by networks of fixed sizes: powers of two."""
    return tuple(2**power for power in range(most.bit_length()))


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


def _with_facts(
    session: Session, request: Request, drawn: GenerationResult | EditResult, heard: Sequence[str]
) -> DrawnPicture:
    return DrawnPicture(
        result=drawn,
        size=pictures_of(drawn)[0].size,
        seed=drawn.seed if isinstance(drawn, EditResult) else drawn.seeds[0],
        timings_ms={name: round(spent, 2) for name, spent in drawn.timings_ms.items()},
        origin=origin_of_result(session.components.preset, request, drawn),
        warnings=(*heard, *drawn.warnings),
        box=drawn.box if isinstance(drawn, EditResult) else None,
        named=drawn.named,
        is_random=not isinstance(request, EditRequest)
        or choose(session.components, request).follows_seed,
    )


def pictures_of(drawn: GenerationResult | EditResult) -> tuple[Image.Image, ...]:
    """Return the picture of a result, or those of an animation."""
    return (drawn.image,) if isinstance(drawn, EditResult) else drawn.images


def as_file(
    made: DrawnPicture,
    body: Drawing,
    subjects: Sequence[Subject],
    *,
    model: str,
    milliseconds: float,
    original: OriginalPicture | None = None,
) -> DrawnPicture:
    """Return a picture in the format of its request; the file says places and task as well.

    A changed picture keeps the colour profile of its `original`, and the bits that do not change.
    """
    task, animate, box = body.swiftpie.task, body.swiftpie.animate, made.box
    places = [{"box": box or subject.box, "view": subject.view} for subject in subjects]
    facts = {**made.origin, "preset": model, "subjects": json.dumps(places)}
    facts |= {"task": task} if task in {"insert", "remove", "replace"} else {}
    suffix, quality = SUFFIXES[body.output_format], body.output_compression
    drawn = made.result
    assert drawn is not None, "it is no file yet"
    frames = pictures_of(drawn)
    shape = drawn.region if isinstance(drawn, EditResult) else drawn.subject_masks[0]
    whole: Image.Image | PictureData = frames[0]
    if isinstance(drawn, EditResult) and original is not None and original.stored.profile:
        whole = composite(original, drawn.edited, drawn.blend)
    if animate is None:
        data = encode_image(whole, suffix, metadata=facts, quality=quality)
    else:
        data = encode_animation(frames, suffix, fps=animate.fps, metadata=facts, quality=quality)
    return replace(
        made,
        result=None,
        data=data,
        mask=encode_image(shape, ".png", metadata=None) if body.swiftpie.return_mask else b"",
        model=model,
        milliseconds=milliseconds,
        is_clear=suffix != SUFFIXES["jpeg"] and is_clear(frames[0]),
    )
