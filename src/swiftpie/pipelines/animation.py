"""Requests for animations: one subject in one place, from one state to others.

Loads no tensor library, so that the command line reads the options without one.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Annotated

from swiftpie.arguments import checked
from swiftpie.config import OPTIONS, Option
from swiftpie.errors import InputError
from swiftpie.pipelines.request import (
    WORDS_ALONE,
    Output,
    PersonalizeRequest,
    View,
    check_prompts,
    check_view,
)
from swiftpie.validation import MAX_FPS, MAX_IMAGES, MIN_FPS, USUAL_FPS, Box, check_box

USUAL_FRAMES = 16


class FilmFormat(StrEnum):
    """What the frames are written as."""

    WEBP = "webp"
    GIF = "gif"
    MP4 = "mp4"
    FRAMES = "frames"  # a folder of PNG files

    @property
    def suffix(self) -> str:
        """That of the file; none of a folder."""
        return "" if self is FilmFormat.FRAMES else f".{self}"


@dataclass(frozen=True, kw_only=True)
class Film:
    """How the frames of an animation are written."""

    fps: Annotated[float, Option("Frames a second.", least=MIN_FPS, most=MAX_FPS)] = USUAL_FPS
    format: Annotated[FilmFormat, OPTIONS["Film.format"]] = FilmFormat.WEBP


@checked
@dataclass(frozen=True, eq=False, kw_only=True)
class AnimateRequest(PersonalizeRequest):
    """Subjects in motion: the frames from the state of the request to later ones, of one seed.

    Boxes and views move in a straight line from those of the subjects. What the states may differ
    in is up to the technique.
    """

    to: Annotated[
        tuple[str, ...],  # evenly spaced in time; none: the prompt of the first frame holds
        OPTIONS["AnimateRequest.to"],
    ] = ()
    to_boxes: Annotated[
        tuple[Box, ...],  # One for each of the first subjects; others stay.
        OPTIONS["AnimateRequest.to_boxes"],
    ] = ()
    to_views: Annotated[
        tuple[View, ...],  # likewise
        OPTIONS["AnimateRequest.to_views"],
    ] = ()
    best_of: int | None = None  # no option of animations
    num_frames: Annotated[
        int, Option("Frames, the first and the last among them.", least=2, most=MAX_IMAGES)
    ] = USUAL_FRAMES

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompts(*self.to)
        if self.best_of is not None:
            raise InputError(
                f"`best_of={self.best_of}` cannot be combined with an animation: all frames have "
                "one seed. Leave it out, or draw pictures."
            )
        if len(self.seeds) != 1 or not isinstance(self.prompt, str):
            raise InputError(
                f"An animation takes one seed and one first prompt, as text, not {len(self.seeds)} "
                "seeds. Give one of each."
            )
        if self.output is not Output.PIL or self.noise is not None:
            raise InputError(
                "An animation cannot be combined with noise or another output than pictures: its "
                "seed draws it as pictures. Leave these out."
            )
        if self.scene == WORDS_ALONE:
            raise InputError(
                f"scene={WORDS_ALONE!r} draws the place anew in each frame, so it would flicker. "
                "Leave it out, or give a photograph or the name of a scene."
            )
        self._check_ends()

    def _check_ends(self) -> None:
        """Refuse ends that are out of range, or more than there are subjects."""
        for name, ends in (("to_box", self.to_boxes), ("to_view", self.to_views)):
            if len(ends) > len(self.subjects) and not self.adds_named_subjects:
                raise InputError(
                    f"{len(ends)} `{name}=` cannot be combined with {len(self.subjects)} subjects. "
                    "Give at most one for each."
                )
        for box in self.to_boxes:
            check_box(box)
        for view in self.to_views:
            check_view(view)

    @property
    def states(self) -> tuple[PersonalizeRequest, ...]:
        """The pictures between which the frames are, all with the first boxes and views."""
        own = {each.name: getattr(self, each.name) for each in fields(PersonalizeRequest)}
        first = PersonalizeRequest(**own)
        return (first, *(replace(first, prompt=prompt) for prompt in self.to))

    def path(self, number: int, start: Box) -> list[Box]:
        """Return the box of a subject in each frame, on a straight line to its last one."""
        last = self.num_frames - 1
        end = self.to_boxes[number] if number < len(self.to_boxes) else start
        ways = [
            [(1 - index / last) * a + index / last * b for a, b in zip(start, end, strict=True)]
            for index in range(self.num_frames)
        ]
        return [(left, top, right, bottom) for left, top, right, bottom in ways]

    def shares(self) -> list[tuple[int, float]]:
        """Return of each frame the state before it, and the share of the way to the next one."""
        last, count = len(self.to), self.num_frames - 1
        ways = [divmod(index * last, count) for index in range(self.num_frames)]
        return [(state, rest / count) for state, rest in ways]
