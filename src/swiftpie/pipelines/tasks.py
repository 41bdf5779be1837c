"""What users ask for, one entry each: every surface takes its fields from this table.

Loads no tensor library, so that the command line reads the options without one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from swiftpie.arguments import checked
from swiftpie.config import Option, OptionField, Surface, options_of
from swiftpie.errors import InputError
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.pipelines.request import (
    MAX_SUBJECTS,
    EditRequest,
    PersonalizeRequest,
    Region,
    RepaintRequest,
    Request,
    Source,
    Subject,
    read_scene,
    region_of,
)
from swiftpie.pipelines.settings import USUAL, EditSettings, MaskSource, Scales
from swiftpie.validation import Box, parse_size

if TYPE_CHECKING:
    from swiftpie.models.search import Point, Search
    from swiftpie.types import Picture

Part = TypeVar("Part")
STYLE = ("style_reference", "style_scale")


@dataclass(frozen=True)
class Removal:
    """Where something that goes is looked for, as text or as x and y."""

    points: Annotated[
        tuple[tuple[float, float] | str, ...],
        Option(
            "A point on what goes: its outline and its shadow are found, inside of the box if "
            "there is one. Several say more; not:X,Y marks what stays. A box alone goes as a "
            "whole.",
            "X,Y",
            flags=("--point",),
            kind=str,
            least=0,
            most=1,
        ),
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of request as surfaces offer it."""

    request: type[Request]
    about: str  # in a sentence or two
    most_subjects: int = 1
    without: tuple[str, ...] = ()  # options of the request
    parts: tuple[type, ...] = (Scales,)  # whose options are set as well
    placed: tuple[str, ...] = ("box",)  # options of `Subject`

    @property
    def is_change(self) -> bool:
        """Whether a picture is changed, and none is made anew."""
        return not issubclass(self.request, PersonalizeRequest)

    @property
    def takes_mask(self) -> bool:
        """Whether a mask or a box says what of a picture changes."""
        return self.is_change and "mask" not in self.without

    def options(
        self, surface: Surface | str | None = None, *, without: Sequence[str] = ()
    ) -> dict[str, OptionField]:
        """Return all that a surface offers, or Python, by field."""
        left_out = (*self.without, *without)
        sources = (self.request, *self.parts)
        found = {
            name: field
            for source in sources
            for name, field in options_of(source, surface, without=left_out).items()
        }
        placed = options_of(Subject, surface, without=left_out)
        return found | {name: placed[name] for name in self.placed if name in placed}


TASKS: Mapping[str, Task] = {
    "personalize": Task(
        request=PersonalizeRequest,
        about="Draw a picture of a sentence in one denoising step. Subjects are shown by the "
        "user's pictures, or named: the prompt alone draws subjects of the library.",
        most_subjects=MAX_SUBJECTS,
        placed=("box", "view", "layers"),
    ),
    "animate": Task(
        request=AnimateRequest,
        about="Draw an animated WebP: a place from one time, weather or season to others, or a "
        "subject that moves or turns. The place stays.",
        most_subjects=MAX_SUBJECTS,
        parts=(Scales, Film),
        placed=("box", "view", "layers"),
    ),
    "edit": Task(
        request=EditRequest,
        about="Change a picture so that it fits a sentence, such as another time of day, colour "
        "or subject. What may change is found, or is given by a box or a mask.",
        parts=(Scales, EditSettings),
    ),
    "insert": Task(
        request=RepaintRequest,
        about="Put a subject into a photograph, in its light and at its size. Without a box of "
        "the subject, it stands on the ground at its usual height; the answer names the place.",
        without=("mask", "keep_pose"),
        placed=("box", "view"),
    ),
    "remove": Task(
        request=RepaintRequest,
        about="Remove from a photograph what a mask or a box covers, or the thing at given points.",
        most_subjects=0,
        without=("prompt", "negative_prompt", "identity_guidance", "keep_pose", *STYLE),
        parts=(Removal,),
    ),
    "replace": Task(
        request=RepaintRequest,
        about="Put a subject into a photograph in place of what a mask or a box covers, or of the "
        "thing at given points.",
        parts=(Scales, Removal),
        placed=("box", "view"),
    ),
}


@checked
def drawing_of(
    task: Task,
    said: Mapping[str, Any],
    *,
    subjects: Sequence[Subject] = (),
    seeds: Sequence[int],
    file: Callable[[Any], Any] | None = None,
    folder: Path | None = Path(),
) -> PersonalizeRequest:
    """Return the request of a task that draws new pictures, of options by their fields.

    Args:
        task: What is drawn.
        said: What users give of its options, as they type it or as requests have it.
        subjects: What is shown; those that the prompt names join them, unless `said` forbids it.
        seeds: One a picture.
        file: Returns the picture of a name; by default texts are words, and no file but a scene.
        folder: Where names of scenes may be files; None: nowhere.

    Raises:
        ConfigError: The size is none.
        InputError: There is no such scene or region, or a number is out of range.
    """
    own = {name: value for name, value in said.items() if value is not None}
    own = {"adds_named_subjects": True, **own}
    if "scales" not in own:
        own["scales"] = _part(Scales, own)
    if isinstance(size := own.get("size_px"), str):
        own["size_px"] = parse_size(size)
    for name in {"mask", "detail_mask"} & own.keys():
        mask = own[name]
        is_file = file is not None and isinstance(mask, str) and mask not in {*MaskSource}
        own[name] = file(mask) if file is not None and is_file else region_of(mask)
    if "scene" in own:
        own["scene"] = read_scene(own["scene"], file, folder)
    if file is not None and "style_reference" in own:
        own["style_reference"] = file(own["style_reference"])
    make: Callable[..., PersonalizeRequest] = task.request  # type: ignore[assignment]
    return make(subjects=tuple(subjects), seeds=tuple(seeds), **own)


@checked
def change_of(
    task: Task,
    said: Mapping[str, Any],
    *,
    image: "Picture",
    source: Source | None,
    seed: int,
    file: Callable[[Any], Region] = lambda region: region,
) -> EditRequest | RepaintRequest:
    """Return the request of a task that changes `image`, of options by their fields.

    Args:
        task: What is done.
        said: What users give of its options, as they type it or as requests have it; an edit has
            `settings` that they change.
        image: The picture.
        source: What shows the subject that comes into it.
        seed: Of everything random.
        file: Returns the picture of a name, such as the region in a mask.

    Raises:
        ConfigError: Options exclude each other.
        InputError: Nothing says what goes, or a number is out of range.
    """
    own = {name: value for name, value in said.items() if value is not None}
    if "style_reference" in own:
        own["style_reference"] = file(own["style_reference"])
    mask = own.pop("mask", None)
    if mask is not None and not task.takes_mask:
        raise InputError(
            "`mask=` says what is removed, and here nothing is. Say where the subject comes by "
            "`box=`, or replace what is there."
        )
    scales, removal = _part(Scales, own), _part(Removal, own)
    settings = replace(own.pop("settings", EditSettings()), **_said(EditSettings, own))
    if task.takes_mask:
        by_words = own.get("keep_pose") and own.get("prompt")
        own["mask"] = place_of(
            image,
            mask=None if mask is None else file(mask),
            box=own.pop("box", None),
            points=removal.points,
            is_needed=task.request is RepaintRequest and not by_words,
        )
    if EditSettings in task.parts:
        own["settings"] = settings if scales == USUAL else replace(settings, scales=scales)
    else:
        own["scales"] = scales
    if task.request is EditRequest:
        own["finds_face"] = True
    else:
        own["adds_named_subjects"] = task.most_subjects > 0
    make: Callable[..., EditRequest | RepaintRequest] = task.request  # type: ignore[assignment]
    return make(image=image, source=source, seed=seed, **own)


def _part(source: type[Part], own: dict[str, Any]) -> Part:
    """Take the options of `source` out of `own`."""
    return source(**_said(source, own))


def _said(source: type, own: dict[str, Any]) -> dict[str, Any]:
    return {name: own.pop(name) for name in options_of(source) if name in own}


def place_of(
    image: "Picture",
    *,
    mask: "Region | Box | Search | str | None" = None,
    box: Box | None = None,
    points: "Sequence[Point | str]" = (),
    is_needed: bool = True,
) -> "Region | Box | Search | None":
    """Return what of a picture changes or goes; the picture itself stands for its hole.

    Raises:
        InputError: A mask came with a box or points, or nothing of what is needed is given.
    """
    if isinstance(mask, tuple):
        box, mask = mask, box
    if mask is not None and (box is not None or points):
        other = "points" if points else "box"
        raise InputError(f"`mask=` and `{other}=` exclude each other. Give one of them.")
    if points:
        from swiftpie.models.search import search_at

        return search_at(points, box=box)
    place = box if mask is None else Path(mask) if isinstance(mask, str) else mask
    if place is not None or not is_needed:
        return place
    from swiftpie.imageio.decoding import load_image
    from swiftpie.masks import hole_of

    if hole_of(load_image(image)) is None:
        raise InputError(
            "Nothing says what to remove, and the picture has no hole. Give a mask, a box, or "
            "points on it."
        )
    return Path(image) if isinstance(image, str) else image
