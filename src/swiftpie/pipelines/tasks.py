"""The tasks that every surface offers, and the requests of those that change a picture.

Loads no tensor library, so that the command line reads the options without one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from PIL import Image

from swiftpie.arguments import checked
from swiftpie.config import OPTIONS, Option
from swiftpie.errors import InputError
from swiftpie.pipelines.animation import AnimateRequest, Film
from swiftpie.pipelines.request import (
    BEST_OF,
    MAX_SUBJECTS,
    SEED,
    Drawable,
    PersonalizeRequest,
    Region,
    Source,
    Task,
    View,
    check_encoded,
    check_mask_given,
    check_prompts,
    check_region,
    check_seeds,
    check_text,
    check_view,
    is_tensor,
    opened_region,
    pop_options,
    seeds_of_best,
    texts_of,
)
from swiftpie.pipelines.settings import USUAL, EditSettings, Scales
from swiftpie.validation import Box, check_box

if TYPE_CHECKING:
    from swiftpie.photo.search import Point, Search
    from swiftpie.types import Identity, Picture

STYLE = ("style_reference", "style_scale")
LEAST_BOX_PX = 0.5  # shortest side of a box that covers a pixel; a smaller one rounds to none


@dataclass(frozen=True, eq=False, kw_only=True)
class _Changing(Drawable):
    """A picture that changes, and the subject that comes into it, if any."""

    image: "Picture"  # any shape; a hole is what changes if nothing else says that
    source: Source | None = None
    seed: Annotated[int, SEED]
    best_of: Annotated[int | None, BEST_OF] = None  # None: the picture of the seed

    @property
    def candidates(self) -> tuple[int, ...]:
        """The seeds of all pictures that are drawn, of which the best is kept."""
        return seeds_of_best((self.seed,), self.best_of)

    @property
    def picture(self) -> "Image.Image":
        """The picture, once `Session.resolved` has opened it."""
        assert isinstance(self.image, Image.Image), (
            "`Session.resolved` opens files before they are drawn"
        )
        return self.image

    @property
    def identity(self) -> "Identity | None":
        """The encoded subject, if there is one."""
        return None if self.source is None else check_encoded(self.source)


@checked
@dataclass(frozen=True, eq=False, kw_only=True)
class EditRequest(_Changing):
    """A picture changed so that it fits a prompt, or that shows `source` in place of its own look.

    From arXiv:2412.04301.
    """

    prompt: Annotated[str, Option("What the picture should show, as in 'a dog on a beach'.")]
    source_prompt: Annotated[
        str, Option("What the picture shows now, as in 'a dog on a beach'.")
    ] = ""
    keyword: Annotated[  # compared with no words, in place of the two prompts
        str,
        Option("The object that changes, as in 'cat'; by default found from the prompts.", "WORDS"),
    ] = ""
    mask: Annotated[  # (1, 1, H, W) in [0, 1], a file, or a box; None: found
        "Region | Box | None", OPTIONS["EditRequest.mask"]
    ] = None
    settings: EditSettings = field(default_factory=EditSettings)
    finds_face: bool = False  # Finds the picture's own face, where no place is given.

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds(self.candidates)
        check_prompts(*texts_of(self.prompt))
        check_text(self.source_prompt, self.keyword)
        _check_place(self.mask, self.image)


@checked
@dataclass(frozen=True, eq=False, kw_only=True)
class RetouchRequest(_Changing):
    """A photograph with a subject to insert, something to remove, or both."""

    prompt: Annotated[str, Option("What the subject is, as in 'a photo of a dog'.")] = ""
    box: Box | None = None  # its place; None: that of the removed thing, or on the ground
    view: View | None = None  # yaw and pitch in degrees; None is as the reference shows it
    mask: Annotated[  # what to remove: as of an edit, or a search; None: nothing
        "Region | Box | Search | None", OPTIONS["RetouchRequest.mask"]
    ] = None
    keep_pose: Annotated[  # instead of a place of its own; see `techniques.garment`
        bool | None, OPTIONS["RetouchRequest.keep_pose"]
    ] = None
    scales: Scales = USUAL  # by default those of an edit with a reference
    adds_named_subjects: bool = False  # if none is given, the one that the prompt names

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds(self.candidates)
        check_text(self.prompt)
        brings = self.source is not None or self.adds_named_subjects
        if not brings and self.mask is None and isinstance(self.image, Image.Image):
            from swiftpie.masks import hole_of

            if hole_of(self.image) is None:
                raise InputError(
                    "There is nothing to insert or remove. Give an identity, or a mask of what to "
                    "remove."
                )
        for place in (self.box, self.mask):
            _check_place(place, self.image)
        if self.view is not None:
            check_view(self.view)
        if self.keep_pose and not brings:
            raise InputError("`keep_pose` needs a subject, which takes the pose. Give one.")
        if self.keep_pose and not (self.box is None and self.view is None):
            raise InputError(
                "`keep_pose` cannot be combined with a box or a view of the subject: the subject "
                "takes the pose of what it replaces. Leave them out, and mark that by a mask."
            )


Request = PersonalizeRequest | EditRequest | RetouchRequest
RequestT = TypeVar("RequestT", bound=Request)
ChangingT = TypeVar("ChangingT", bound=EditRequest | RetouchRequest)


@dataclass(frozen=True)
class Removal:
    """Where something that goes is looked for, as text or as x and y."""

    points: Annotated[tuple[tuple[float, float] | str, ...], OPTIONS["Removal.points"]] = ()


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
        "or subject. A box or a mask limits the change; by default the region is found.",
        parts=(Scales, EditSettings),
    ),
    "insert": Task(
        request=RetouchRequest,
        about="Put a subject into a photograph, in its light and at its size. Without a box of "
        "the subject, it stands on the ground at its usual height; the answer names the place.",
        without=("mask", "keep_pose"),
        placed=("box", "view"),
    ),
    "remove": Task(
        request=RetouchRequest,
        about="Remove from a photograph what a mask or a box covers, or the thing at given points.",
        most_subjects=0,
        without=(
            *("prompt", "negative_prompt", "identity_guidance", "keep_pose", "best_of"),
            *STYLE,
        ),
        parts=(Removal,),
    ),
    "replace": Task(
        request=RetouchRequest,
        about="Put a subject into a photograph in place of what a mask or a box covers, or of the "
        "thing at given points.",
        parts=(Scales, Removal),
        placed=("box", "view"),
    ),
}


@checked
def change_of(
    task: Task,
    options: Mapping[str, Any],
    *,
    image: "Picture",
    source: Source | None,
    seed: int,
    file: Callable[[Any], Region] = lambda region: region,
) -> EditRequest | RetouchRequest:
    """Return the request of a task that changes `image`, of options by their fields.

    Args:
        task: What is done.
        options: What users give, as they type it or as requests have it; an edit has
            `settings` that they change.
        image: The picture.
        source: What shows the subject that comes into it.
        seed: Of everything random.
        file: Returns the picture of a name, such as the region in a mask.

    Raises:
        ConfigError: Options exclude each other.
        InputError: Nothing says what goes, or a number is out of range.
    """
    fields = {name: value for name, value in options.items() if value is not None}
    if "style_reference" in fields:
        fields["style_reference"] = file(fields["style_reference"])
    mask = fields.pop("mask", None)
    if mask is not None and not task.takes_mask:
        raise InputError(
            "`mask=` says what is removed, and here nothing is. Say where the subject comes by "
            "`box=`, or replace what is there."
        )
    scales, removal = Scales(**pop_options(Scales, fields)), Removal(**pop_options(Removal, fields))
    settings = replace(fields.pop("settings", EditSettings()), **pop_options(EditSettings, fields))
    if task.takes_mask:
        by_words = fields.get("keep_pose") and fields.get("prompt")
        fields["mask"] = place_of(
            image,
            mask=None if mask is None else file(mask),
            box=fields.pop("box", None),
            points=removal.points,
            is_needed=task.request is RetouchRequest and not by_words,
        )
    if EditSettings in task.parts:
        fields["settings"] = settings if scales == USUAL else replace(settings, scales=scales)
    else:
        fields["scales"] = scales
    if task.request is EditRequest:
        fields["finds_face"] = True
    else:
        fields.setdefault("adds_named_subjects", task.most_subjects > 0)
    make: Callable[..., EditRequest | RetouchRequest] = task.request  # type: ignore[assignment]
    return make(image=image, source=source, seed=seed, **fields)


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
        InputError: A mask is combined with a box or points, or a needed place is missing.
    """
    if isinstance(mask, tuple):
        box, mask = mask, box
    if mask is not None and (box is not None or points):
        other = "points" if points else "box"
        raise InputError(f"`mask=` and `{other}=` exclude each other. Give one of them.")
    if points:
        from swiftpie.photo.search import search_at

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


def with_seed(request: RequestT, seed: int) -> RequestT:
    """Return the same request for one picture of another seed."""
    if isinstance(request, PersonalizeRequest):
        return replace(request, seeds=(seed,))
    return replace(request, seed=seed)


def for_seeds(change: ChangingT, seeds: Sequence[int]) -> tuple[ChangingT, ...]:
    """Return the same change for one picture of each seed.

    Raises:
        InputError: Several are to be the best of several.
    """
    if change.best_of is not None and len(seeds) > 1:
        raise InputError(
            f"`best_of={change.best_of}` cannot be combined with {len(seeds)} pictures: it keeps "
            "one of a change. Ask for one, or leave it out."
        )
    return tuple(with_seed(change, seed) for seed in seeds)


def with_files_opened(request: ChangingT) -> ChangingT:
    """Return a change of a picture with its picture and its mask as they are drawn.

    A mask that is the picture itself is its hole.
    """
    from swiftpie.imageio.decoding import as_plain
    from swiftpie.masks import hole_of

    image, mask = as_plain(request.image), request.mask
    mask = Path(mask) if isinstance(mask, str) else mask
    hole = hole_of(image) if mask is request.image else None
    region = opened_region(mask, lambda: image.size) if hole is None else hole
    changes: Any = {"image": image, "mask": mask if region is None else region}
    if request.style_reference is not None:
        changes["style_reference"] = as_plain(request.style_reference)
    return replace(request, **changes)


def _check_place(place: object, image: "Picture") -> None:
    """Refuse a mask or box that cannot be used; searches check themselves, files are not open."""
    if isinstance(place, tuple):
        left, top, right, bottom = check_box(place)
        if not isinstance(image, Image.Image):
            return
        wide, tall = (right - left) * image.width, (bottom - top) * image.height
        if min(wide, tall) < LEAST_BOX_PX:
            raise InputError(
                f"The box is {wide:.2g} x {tall:.2g} px of a picture of {image.width}x"
                f"{image.height} px. At least half a pixel is needed. Give a larger box."
            )
    elif is_tensor(place):
        check_mask_given(place, needs_change=True)
    else:
        check_region("mask", place)


def equal_pictures(count: int) -> str:
    """Return the warning about several pictures of an edit in which nothing is random."""
    return (
        f"All {count} pictures are the same, because nothing of this edit is random. Edits that "
        "networks draw differ with a variation, as 0.8."
    )
