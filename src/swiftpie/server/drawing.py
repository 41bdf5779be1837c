"""The thread that draws, which alone uses the models; files of pictures."""

import asyncio
import json
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
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
from swiftpie.pipelines.draw import follows_seed
from swiftpie.pipelines.request import EditRequest, Request, Subject
from swiftpie.server.commands import Command
from swiftpie.server.errors import RequestError, all_of, free_frames
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Models
from swiftpie.types import EditResult, GenerationResult

TOGETHER = 4  # pictures in a pass of an accelerator
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


class Stopped(Exception):  # noqa: N818 - a state; PyTorch cleans up after an Exception alone
    """Raised inside a drawing that was cancelled; only the thread may catch it."""


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """What a caller reads of a picture."""

    seed: int
    size: tuple[int, int]  # width and height
    timings_ms: Mapping[str, float]
    warnings: tuple[str, ...]
    box: Box | None  # where in a photograph a subject was put
    named: tuple[Named, ...]  # the subjects of the library in it

    @property
    def chosen(self) -> dict[str, Any]:
        """Place and names as JSON, where the model chose them."""
        named = {"named": [each._asdict() for each in self.named]} if self.named else {}
        return named | ({} if self.box is None else {"box": list(self.box)})


@dataclass(frozen=True, kw_only=True)
class RenderedPicture(PictureFacts):
    """A picture with its facts."""

    image: Image.Image
    mask: Image.Image  # where the subject is, or what an edit could change
    origin: Mapping[str, str]  # that its file says
    is_random: bool  # another seed gives another picture
    frames: tuple[Image.Image, ...] = ()  # of a drawing: the picture, or those of an animation
    edit: EditResult | None = None  # of a change: what goes over the original, and where


@dataclass(frozen=True, kw_only=True)
class PictureFile(PictureFacts):
    """A picture as a file, with its facts."""

    data: bytes
    mask: bytes  # PNG, as of `RenderedPicture`; empty where it was not asked for
    model: str
    milliseconds: float  # from the call to here
    is_clear: bool  # the file has transparency


class DrawingThread:
    """Draws in a thread, which alone uses the models."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self.together = 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="swiftpie-draw")

    async def get_ready(self, batch: int, tell: Callable[[str], None]) -> int:
        """Make the first model ready, with `tell` of how far that is.

        Requests are drawn between its stages. Returns how many pictures are drawn together; a
        `batch` of 0 leaves that to the device.
        """
        stages = self.readying(batch)
        in_turn = asyncio.get_running_loop().run_in_executor
        while (stage := await in_turn(self._thread, lambda: next(stages, None))) is not None:
            tell(stage)
        return self.together

    def readying(self, batch: int) -> Iterator[str]:
        """Load the first model and draw typical requests, so that first requests do not wait.

        Yields how far it is before each stage.
        """
        session = self.models.get(self.models.names[0])
        self.together = batch or (1 if session.components.device.type == "cpu" else TOGETHER)
        sizes = batch_sizes(self.together) if session.components.has_fixed_sizes else ()
        stages = warm_up(session, together=sizes)
        for number, (name, draw) in enumerate(stages.items(), start=1):
            yield f"getting ready, {number} of {len(stages)}: {name}"
            draw()
        yield "ready"

    def draw(self, commands: Sequence[Command]) -> Awaitable[Sequence[Any]]:
        """Return what was made, or an error, for each of some commands of one model.

        Cancelling it stops the work before the next layer of a network. The thread gets its work
        at once; a busy loop would let it wait otherwise.
        """
        stop = threading.Event()

        def check(stage: str) -> None:
            if stop.is_set():
                raise Stopped
            for command in commands if stage != LAYER else ():
                command.stage = stage

        def answered(commands: Sequence[Command]) -> Sequence[Any]:
            try:
                check("turn")
                return self.answer(commands, check)
            except Exception as error:  # noqa: BLE001 - every waiting caller gets it
                return [error] * len(commands)

        work = [commands]  # taken out, so that no traceback of an error holds them

        def run() -> Sequence[Any]:
            return _without_locals(answered(work.pop()))

        running = asyncio.get_running_loop().run_in_executor(self._thread, run)
        drawing = asyncio.ensure_future(_unless_left(running, stop))
        drawing.add_done_callback(lambda _: stop.set())  # if its first step never ran
        return drawing

    def answer(self, commands: Sequence[Command], check: Callable[[str], None]) -> list[Any]:
        """Return what was made, or an error, for each; `check` may raise `Stopped`. Blocks."""
        session = self.models.get(commands[0].model or self.models.names[0])
        made: list[Any] = []
        for command in commands:
            try:
                made.append(command.begin(session))
            except (SwiftPieError, RequestError) as error:
                made.append(error)
            check("encode")
        at = [number for number, outcome in enumerate(made) if isinstance(outcome, Request)]
        drawn = draw_apart(session, [made[number] for number in at], on_stage=check)
        for number, outcome in zip(at, drawn, strict=True):
            made[number] = (
                outcome
                if isinstance(outcome, Exception)
                else _rendered(session, made[number], outcome)
            )
        return made

    def close(self) -> None:
        """End the thread after its current work."""
        self._thread.shutdown(wait=False, cancel_futures=True)


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


def _rendered(
    session: Session, request: Request, drawn: GenerationResult | EditResult
) -> RenderedPicture:
    frames: tuple[Image.Image, ...] = ()
    if isinstance(drawn, EditResult):
        image, mask, seed = drawn.image, drawn.region, drawn.seed
    else:
        image, mask, seed = drawn.images[0], drawn.subject_masks[0], drawn.seeds[0]
        frames = drawn.images
    return RenderedPicture(
        image=image,
        size=image.size,
        mask=mask,
        seed=seed,
        frames=frames,
        edit=drawn if isinstance(drawn, EditResult) else None,
        timings_ms={name: round(spent, 2) for name, spent in drawn.timings_ms.items()},
        origin=origin_of_result(session.components.preset, request, drawn),
        warnings=tuple(session.advice_on(request)),
        box=drawn.box if isinstance(drawn, EditResult) else None,
        named=drawn.named,
        is_random=not isinstance(request, EditRequest) or follows_seed(session.components, request),
    )


def as_file(
    made: RenderedPicture,
    body: Drawing,
    subjects: Sequence[Subject],
    *,
    model: str,
    milliseconds: float,
    original: OriginalPicture | None = None,
) -> PictureFile:
    """Return a picture in the format of its request; the file says places and task as well.

    A changed picture keeps the colour profile of its `original`, and the bits that do not change.
    """
    task, animate, box = body.swiftpie.task, body.swiftpie.animate, made.box
    places = [{"box": box or subject.box, "view": subject.view} for subject in subjects]
    facts = {**made.origin, "preset": model, "subjects": json.dumps(places)}
    facts |= {"task": task} if task in {"insert", "remove", "replace"} else {}
    suffix, quality = SUFFIXES[body.output_format], body.output_compression
    if animate is None:
        image: Image.Image | PictureData = made.image
        if original is not None and original.stored.profile and made.edit is not None:
            image = composite(original, made.edit.edited, made.edit.blend)
        data = encode_image(image, suffix, metadata=facts, quality=quality)
    else:
        data = encode_animation(
            made.frames, suffix, fps=animate.fps, metadata=facts, quality=quality
        )
    return PictureFile(
        **{each.name: getattr(made, each.name) for each in fields(PictureFacts)},
        data=data,
        mask=encode_image(made.mask, ".png", metadata=None) if body.swiftpie.return_mask else b"",
        model=model,
        milliseconds=milliseconds,
        is_clear=suffix != SUFFIXES["jpeg"] and is_clear(made.image),
    )
