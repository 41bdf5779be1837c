"""Requests: one frozen value for each operation, and the values inside of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from PIL import Image
from torch import Tensor

from swiftpie.attention.manipulate import Shaping
from swiftpie.errors import InputError
from swiftpie.guidance import Guidance
from swiftpie.masks import Box, check_box, check_mask
from swiftpie.models.cutout import Search
from swiftpie.noise import check_count, check_seeds
from swiftpie.pipelines.drawing.settings import (
    EditMode,
    EditSettings,
    MaskSource,
    Scales,
    Style,
    steering_of,
)
from swiftpie.types import Identity, Prompts, TextCondition
from swiftpie.validation import check_prompts, check_text

MAX_SUBJECTS = 4
MAX_VIEW = (60, 30)  # degrees of yaw and pitch

View = tuple[float, float]
"""Yaw and pitch in degrees: at a positive yaw the subject faces right, at a positive pitch it is
seen from above; at 0, 0 it is seen as in its reference."""


class Output(StrEnum):
    """In which form pictures are returned."""

    PIL = "pil"
    PIXELS = "pixels"  # a tensor (B, 3, H, W) in [-1, 1]
    LATENTS = "latents"  # a tensor (B, C, h, w), not decoded


class ConditionPart(StrEnum):
    """A part of the condition that can be left out, to see what it is worth."""

    ALIGNED = "aligned"  # the subject in its place, as input of the denoiser
    PLACE = "place"  # the geometric prior, and position codes in the reference frame


@dataclass(frozen=True)
class Subject:
    """One subject of a picture: its identity, place and strength."""

    identity: Identity
    box: Box | None = None  # left, top, right, bottom in [0, 1]; None lets the model decide
    view: View | None = None  # from where it is seen; None lets the model decide, 0, 0 with a box
    mask: Tensor | None = None  # region for rescaling (1, 1, H, W) in [0, 1]
    detail_mask: Tensor | None = None  # the same, of the detail branch within the region
    name: str = ""  # the words of the prompt that name it; sharpens inline masks
    scale: float = 1.0  # factor on the call's identity and detail scales

    def __post_init__(self) -> None:
        if self.view is not None:
            check_view(self.view)
        if self.box is not None:
            check_box(self.box)
        for mask in (self.mask, self.detail_mask):
            if mask is not None:
                check_mask(mask)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Steered:
    """What any drawing may be steered by."""

    guidance: Guidance | None = None  # how several predictions of a step become one
    shaping: Shaping | None = None  # how identity maps are reshaped
    negative_prompt: Prompts = ""  # what guidance leads away from

    def __post_init__(self) -> None:
        if not isinstance(self.negative_prompt, TextCondition):
            check_text(*_as_rows(self.negative_prompt))


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalizeRequest(_Steered):
    """Subjects in a new scene, a picture a seed. From arXiv:2605.01510."""

    subjects: tuple[Subject, ...]
    prompt: Prompts
    seeds: tuple[int, ...] = ()  # one picture each, independent of the others in the batch
    noise: Tensor | None = None  # (n, B, C, h, w) in place of what the seeds and the size give
    size_px: tuple[int, int] | None = None  # height and width; None: the preset's
    scales: Scales | None = None  # None: the preset's
    mask: MaskSource = MaskSource.NONE  # where regions of subjects without a mask come from
    detail_mask: MaskSource | None = (
        None  # the same of the detail branch; None: see `detail_source`
    )
    without: frozenset[ConditionPart] = frozenset()
    output: Output = Output.PIL

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.seeds) if self.noise is None else self.noise.shape[1]
        check_count(count)
        if not 1 <= len(self.subjects) <= MAX_SUBJECTS:
            raise InputError(
                f"{len(self.subjects)} subjects were given; a picture can hold 1 to {MAX_SUBJECTS}."
            )
        check_seeds(self.seeds)
        _check_prompts(self.prompt)
        check_text(*(subject.name for subject in self.subjects))
        for given in (self.prompt, self.negative_prompt):
            rows = len(given.pooled if isinstance(given, TextCondition) else _as_rows(given))
            if rows not in {1, count}:
                raise InputError(
                    f"{rows} prompts came with {count} pictures. Give one for all, or one each."
                )


@dataclass(frozen=True, eq=False, kw_only=True)
class FaceRequest:
    """A person in a new scene, a picture a seed. From arXiv:2505.21144."""

    identity: Identity  # from `swiftpie.pipelines.identity.face_identity`
    prompt: str
    seeds: tuple[int, ...]
    style: Style = Style.PLAIN  # how prompt and face share the picture
    scales: Scales | None = None  # None: the preset's
    detail_mask: MaskSource | None = None  # as of `PersonalizeRequest`
    size_px: tuple[int, int] | None = None  # height and width; None: the preset's

    def as_personalize(self, num_steps: int) -> PersonalizeRequest:
        """Return the same drawing as one of a subject, steered as its style is in so many steps."""
        return PersonalizeRequest(
            subjects=(Subject(self.identity),),
            prompt=self.prompt,
            seeds=self.seeds,
            scales=self.scales,
            detail_mask=self.detail_mask,
            size_px=self.size_px,
            **steering_of(self.style, num_steps),
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class EditRequest(_Steered):
    """A picture changed so that it fits a prompt. From arXiv:2412.04301."""

    image: Image.Image  # any shape; transparency is ignored
    prompt: str  # what the picture shall show
    seed: int  # of all randomness: the released mode's latents, schedules with fresh noise
    source_prompt: str = ""  # what it shows now
    keyword: str = ""  # what in it shall change; compared with no words then
    mask: Tensor | Box | None = None  # (1, 1, H, W) in [0, 1], or a box; None: found
    identity: Identity | None = None  # a subject that replaces the picture as image condition
    newcomer: Identity | None = None  # the same if the picture's own subject does not stay
    settings: EditSettings = field(default_factory=EditSettings)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds([self.seed])
        _check_prompts(self.prompt)
        check_text(self.source_prompt, self.keyword)
        if isinstance(self.mask, Tensor):
            check_mask(self.mask)
        elif self.mask is not None:
            check_box(self.mask)
        is_steered = self.guidance is not None or self.shaping is not None
        if is_steered and self.settings.mode is EditMode.RELEASED:
            raise InputError(
                "Guidance and shaping do not work in the released mode, whose attention reads two "
                "rows by their order. Use `mode=EditMode.PAPER`, or leave them out."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class RepaintRequest(_Steered):
    """A photograph into which a subject comes, from which something goes, or both."""

    image: Image.Image  # any shape; transparency is ignored
    seed: int
    identity: Identity | None = None  # who comes; None: nobody
    prompt: str = ""  # what it is; may be empty
    box: Box | None = None  # where it comes; None: where something goes, or proposed
    view: View | None = None  # yaw and pitch in degrees; None is as the reference shows it
    # What goes: (1, 1, H, W) in [0, 1], all of a box, or a thing that is looked for; None: nothing
    mask: Tensor | Box | Search | None = None
    scales: Scales | None = None  # None: those of an edit with a reference

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seeds([self.seed])
        check_text(self.prompt)
        if self.identity is None and self.mask is None:
            raise InputError(
                "Nothing is to be inserted or removed. Give an identity to insert, or a mask of "
                "what to remove."
            )
        for place in (self.box, self.mask):
            if isinstance(place, Tensor):
                check_mask(place)
            elif place is not None and not isinstance(place, Search):
                check_box(place)
        if self.view is not None:
            check_view(self.view)


Request = PersonalizeRequest | FaceRequest | EditRequest | RepaintRequest


def check_view(view: View) -> None:
    """Refuse to turn subjects further than a picture of one side allows.

    Raises:
        InputError: A number is out of range.
    """
    for name, limit, degrees in zip(("yaw", "pitch"), MAX_VIEW, view, strict=True):
        if not -limit <= degrees <= limit:
            raise InputError(
                f"The {name} is {degrees} degrees; it must lie between {-limit} and {limit}. "
                "What a picture of one side hides cannot be drawn."
            )


def as_subjects(
    subjects: Identity | Sequence[Subject],
    *,
    mask: Tensor | MaskSource | str = MaskSource.NONE,
    detail_mask: Tensor | MaskSource | str | None = None,
    box: Box | None = None,
    view: View | None = None,
) -> tuple[Subject, ...]:
    """Return the subjects of a picture, the only one with its masks, box and view.

    Raises:
        InputError: One of these comes with several subjects, the view is out of range, or what is
            given is no subject.
    """
    region = mask if isinstance(mask, Tensor) else None
    detail = detail_mask if isinstance(detail_mask, Tensor) else None
    if isinstance(subjects, Identity):
        return (Subject(subjects, box=box, view=view, mask=region, detail_mask=detail),)
    if any(one is not None for one in (region, detail, box, view)):
        raise InputError(
            "`mask`, `detail_mask`, `box` and `view` belong to a single identity. With several "
            "subjects, give each its own: Subject(identity, box=…, view=…, mask=…)."
        )
    strange = [one for one in subjects if not isinstance(one, Subject)]
    if isinstance(subjects, str) or strange:
        given = "Text" if isinstance(subjects, str) else type(strange[0]).__name__
        raise InputError(
            f"{given} was given where subjects come first, and then the prompt. Give an identity "
            "of session.encode_identity(picture) or session.named(word), or a list of "
            "Subject(identity, …)."
        )
    return tuple(subjects)


def source_of(mask: Tensor | MaskSource | str) -> MaskSource:
    """Return where regions come from; a mask that is given itself leaves nothing to find.

    Raises:
        InputError: There is no such source.
    """
    if isinstance(mask, Tensor):
        return MaskSource.NONE
    try:
        return MaskSource(mask)
    except ValueError as error:
        known = ", ".join(repr(source.value) for source in MaskSource)
        raise InputError(
            f"mask={mask!r} names no source of masks; there are {known}. Pass one of them, or a "
            "tensor (1, 1, H, W) in [0, 1]."
        ) from error


def detail_source_of(mask: Tensor | MaskSource | str | None) -> MaskSource | None:
    """Return what `source_of` does; nothing said leaves it to request and preset.

    Raises:
        InputError: There is no such source.
    """
    return None if mask is None else source_of(mask)


def _as_rows(prompts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (prompts,) if isinstance(prompts, str) else prompts


def _check_prompts(prompts: Prompts) -> None:
    if not isinstance(prompts, TextCondition):
        check_prompts(*_as_rows(prompts))
