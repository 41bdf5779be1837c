"""Requests of new pictures, what all requests share, and checks of both.

Requests are frozen values. Pictures may be files: `Session.resolved` opens them and encodes
subjects. Loads no tensor library, so that the command line reads the options without one.
"""

import math
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Self, Union

from swiftpie.arguments import checked
from swiftpie.backbones.components import FAMILIES, MAX_SIDE_PX, MIN_SIDE_PX
from swiftpie.backbones.presets import Preset
from swiftpie.config import OPTIONS, Option, OptionField, Surface, options_of
from swiftpie.errors import InputError, short_reason
from swiftpie.library import NAME, Named
from swiftpie.pipelines.layers import LayerScales, read_form
from swiftpie.pipelines.settings import (
    MAX_SCALE,
    NOT_COMFYUI,
    USUAL,
    IdentityGuidance,
    MaskSource,
    Scales,
)
from swiftpie.scenes import scene_library
from swiftpie.types import Identity, Picture, Prompts, TextCondition
from swiftpie.validation import DRAWN_SEEDS, MAX_IMAGES, MAX_SEED, Box, check_box, parse_size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor
    from typing_extensions import TypeIs

    from swiftpie.attention.manipulate import Shaping
    from swiftpie.guidance import Guidance
    from swiftpie.photo.search import Search

MAX_SUBJECTS = 4
MAX_VIEW = (60, 30)  # degrees of yaw and pitch
MAX_TILT = 180
MAX_BEST_OF = 16
WORDS_ALONE = "words"
"""Stands for no scene: the model draws the place of the prompt from its words."""

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


# Options that more than one request has. A mask on the command line or in a job file is the name
# of a file; over HTTP and in ComfyUI it is a picture of its own.
SEED = Option("Seed of everything random; by default a random one, which is reported.", least=0)
SIZE = OPTIONS["SIZE"]
IDENTITY_GUIDANCE = OPTIONS["IDENTITY_GUIDANCE"]
BEST_OF = OPTIONS["BEST_OF"]._replace(most=MAX_BEST_OF)
MASK_SOURCES = "none|inline|two-pass|layout-first|box|FILE"
TYPED = frozenset({Surface.CLI, Surface.BATCH})


@checked
@dataclass(frozen=True)
class Pictures:
    """Pictures of one subject, each a path, bytes or a PIL image; see `Session.encode_identity`."""

    images: "tuple[Picture, ...]"
    masks: "tuple[Picture | None, ...]" = ()  # one each, white = subject; (): it is found
    cutouts: "tuple[str | Search, ...]" = ("auto",)  # how it is found: for all, or one each


@checked
@dataclass(frozen=True)
class FacePicture:
    """A photograph of a person, who is encoded by the face; see `Session.encode_face`."""

    image: "Picture"
    number: int | None = None  # from the left, from 1; None: the largest or most central


@checked
@dataclass(frozen=True)
class IdentityRef:
    """An identity from elsewhere, a file or another process; a session checks that it fits."""

    identity: "Path | Identity"


Source = Union["Identity", Pictures, FacePicture, Named, IdentityRef]
"""What shows a subject; `Session.resolved` encodes it, through the cache."""

File = Path | bytes
Region = Union["Tensor", "Image.Image", File, bytearray, BinaryIO, "NDArray[np.uint8]"]
"""A mask (1, 1, H, W) in [0, 1], or a picture of one; `Session.resolved` opens it."""


@checked
@dataclass(frozen=True)
class Subject:
    """One subject of a picture: what shows it, its place and its strength."""

    source: Source
    box: Annotated[
        Box | None,  # None lets the model decide
        OPTIONS["Subject.box"],
    ] = None
    view: Annotated[
        View | None,  # None lets the model decide; with a box it is 0, 0
        OPTIONS["Subject.view"],
    ] = None
    mask: "Tensor | None" = None  # region for rescaling (1, 1, H, W) in [0, 1]
    detail_mask: "Tensor | None" = None  # the same, of the detail branch within the region
    samples_mask: bool = False  # the semantic branch takes points of `mask`, and adds what overlaps
    name: Annotated[str, OPTIONS["Subject.name"]] = ""  # sharpens inline masks
    scale: Annotated[float, OPTIONS["Subject.scale"]._replace(most=MAX_SCALE)] = 1.0
    layers: Annotated[
        LayerScales | str,  # "" is 1 in all
        OPTIONS["Subject.layers"],
    ] = ""

    @property
    def identity(self) -> "Identity":
        """The encoded subject, once `Session.resolved` has encoded its source."""
        return check_encoded(self.source)

    def __post_init__(self) -> None:
        if self.layers:
            read_form(self.layers)
        if self.view is not None:
            check_view(self.view)
        if self.box is not None:
            check_box(self.box)
        for mask in (self.mask, self.detail_mask):
            if mask is not None:
                check_mask_given(mask)


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawable:
    """What becomes a result: guidance and attention shaping, which every drawing may use."""

    guidance: "Guidance | None" = None  # how several predictions of a step become one
    shaping: "Shaping | None" = None  # how identity maps are reshaped
    # Chooses the two above.
    identity_guidance: Annotated[IdentityGuidance, IDENTITY_GUIDANCE] = IdentityGuidance.PLAIN
    negative_prompt: Annotated[
        "Prompts",
        Option("What the picture should not show; needs guidance.", kind=str, surfaces=NOT_COMFYUI),
    ] = ""
    style_reference: Annotated["Picture | None", OPTIONS["Drawable.style_reference"]] = None
    style_scale: Annotated[
        float, Option("Strength of that picture's style; 0 is off.", least=0, most=MAX_SCALE)
    ] = 1.0

    @property
    def has_style(self) -> bool:
        """Whether a style picture acts: there is one, and its scale is not 0."""
        return self.style_reference is not None and self.style_scale > 0

    def __post_init__(self) -> None:
        check_text(*texts_of(self.negative_prompt))
        for name, part in (("guidance", "check"), ("shaping", "at")):
            if (method := getattr(self, name)) is not None and not hasattr(method, part):
                raise InputError(
                    f"`{name}={method!r}` is no method. Give an object of swiftpie.guidance or "
                    "swiftpie.attention.manipulate, or a name as `identity_guidance=`, such as "
                    f"{IdentityGuidance.DCG.value!r}."
                )


@checked
@dataclass(frozen=True, eq=False, kw_only=True)
class PersonalizeRequest(Drawable):
    """Subjects in a new scene, a picture a seed; after the abstract of arXiv:2605.01510."""

    subjects: tuple[Subject, ...]  # none: the prompt alone, for presets with `Capability.TEXT`
    prompt: Annotated["Prompts", Option("What the picture shows.", kind=str)]
    # One picture each, independent of the others in the batch.
    seeds: Annotated[tuple[int, ...], SEED._replace(flags=("--seed",), kind=int)] = ()
    best_of: Annotated[int | None, BEST_OF] = None  # None: pictures of all seeds
    noise: "Tensor | None" = None  # (n, B, C, h, w) in place of what the seeds and the size give
    # Height and width; None: as `SIZE` says.
    size_px: Annotated[tuple[int, int] | None, SIZE] = None
    scene: Annotated[
        "Image.Image | File | str",  # text is the name of a scene, never a file
        OPTIONS["PersonalizeRequest.scene"],
    ] = ""  # the model draws the place of the prompt
    flip: Annotated[bool, Option("Mirror the subjects left to right.")] = False
    tilt: Annotated[
        float, OPTIONS["PersonalizeRequest.tilt"]._replace(least=-MAX_TILT, most=MAX_TILT)
    ] = 0.0
    scales: Scales = USUAL  # by default the preset's
    mask: Annotated[  # the region of a subject without its own, or where regions come from
        "MaskSource | Region", OPTIONS["PersonalizeRequest.mask"]._replace(metavar=MASK_SOURCES)
    ] = MaskSource.NONE
    detail_mask: Annotated[  # None: see `source_of_detail`
        "MaskSource | Region | None",
        OPTIONS["PersonalizeRequest.detail_mask"]._replace(metavar=MASK_SOURCES),
    ] = None
    without: frozenset[ConditionPart] = frozenset()
    in_one_piece: bool = False  # also where windows would draw a wide or tall picture
    output: Output = Output.PIL
    adds_named_subjects: bool = False  # those of the library that the prompt names as well

    def __post_init__(self) -> None:
        super().__post_init__()
        count = len(self.seeds) if self.noise is None else self.noise.shape[1]
        check_count(count)
        if len(self.subjects) > MAX_SUBJECTS:
            raise InputError(
                f"{len(self.subjects)} subjects were given; a picture can hold {MAX_SUBJECTS}. "
                "Leave some out."
            )
        if not self.subjects and not self.adds_named_subjects:
            self._check_no_place()
        self._check_one_region()
        check_seeds(self.seeds)
        check_prompts(*self.texts)
        check_text(*(subject.name for subject in self.subjects))
        for prompts in (self.prompt, self.negative_prompt):
            rows = len(prompts.pooled if isinstance(prompts, TextCondition) else texts_of(prompts))
            if rows not in {1, count}:
                raise InputError(
                    f"{rows} prompts cannot be combined with {count} pictures. Give one prompt for "
                    "all pictures, or one for each."
                )
            if rows > 1 and self.best_of is not None:
                raise InputError(
                    f"`best_of={self.best_of}` cannot be combined with {rows} prompts: it compares "
                    "pictures of one. Give one prompt."
                )
        if self.best_of is not None:
            self._check_best_of(self.best_of)
        if self.size_px is not None and min(self.size_px) < 1:
            height, width = self.size_px
            raise InputError(
                f"The size {width}x{height} px has no pixels. Sides from {MIN_SIDE_PX} to "
                f"{MAX_SIDE_PX} px are needed. Leave the size out for the usual one."
            )

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The prompts; none if they are encoded."""
        return texts_of(self.prompt)

    @property
    def candidates(self) -> tuple[int, ...]:
        """The seeds of all pictures that are drawn, of which as many are kept as were asked for."""
        return seeds_of_best(self.seeds, self.best_of)

    def with_files_opened(self, size_of: Callable[[Self], tuple[int, int]]) -> Self:
        """Return the same drawing with its pictures as they are drawn.

        A region that is given itself becomes that of each subject without its own. `size_of` says
        height and width of the pictures.

        Raises:
            InputError: A picture cannot be read.
        """
        scene, style = self.scene, self.style_reference
        drawn = self if isinstance(scene, str) else replace(self, scene=load_picture(scene))
        region, detail = (
            opened_region(source, lambda: size_of(drawn)[::-1])
            for source in (self.mask, self.detail_mask)
        )
        if drawn.scene is scene and style is None and region is None and detail is None:
            return self
        subjects = (
            replace(
                subject,
                mask=region if subject.mask is None else subject.mask,
                detail_mask=detail if subject.detail_mask is None else subject.detail_mask,
            )
            for subject in self.subjects
        )
        return replace(
            drawn,
            style_reference=None if style is None else load_picture(style),
            subjects=tuple(subjects),
            mask=self.mask if region is None else MaskSource.NONE,
            detail_mask=self.detail_mask if detail is None else MaskSource.NONE,
        )

    def _check_no_place(self) -> None:
        """Refuse what says where and how subjects stand if there is none."""
        sources = {"mask": self.mask, "detail_mask": self.detail_mask}
        unmarked = (None, MaskSource.NONE)
        idle = [
            name for name, source in sources.items() if not any(source is no for no in unmarked)
        ]
        idle += [name for name in ("flip", "tilt") if getattr(self, name)]
        if idle:
            raise InputError(
                f"`{idle[0]}=` needs a subject: it says where or how subjects stand. Leave it out, "
                "or give a subject."
            )

    def _check_best_of(self, count: int) -> None:
        """Refuse to compare what has no seeds, no pixels or no subject, or to keep more."""
        if self.noise is not None or self.output is Output.LATENTS:
            conflict = "latents as output" if self.noise is None else "noise"
            raise InputError(
                f"`best_of={count}` cannot be combined with {conflict}: it compares pictures of "
                "seeds. Leave one of them out."
            )
        if len(self.seeds) > count:
            raise InputError(
                f"`best_of={count}` cannot keep {len(self.seeds)} pictures: it draws {count}. "
                "Raise `best_of`, or keep fewer."
            )
        if not self.subjects and not self.adds_named_subjects:
            raise InputError(
                f"`best_of={count}` needs a subject: pictures are compared with it. Give a "
                "subject, or leave it out."
            )
        check_seeds(self.candidates)

    def _check_one_region(self) -> None:
        """Refuse one region for several subjects."""
        for name, mask in (("mask", self.mask), ("detail_mask", self.detail_mask)):
            if mask is None or isinstance(mask, MaskSource):
                continue
            check_region(name, mask)
            if len(self.subjects) > 1:
                raise InputError(
                    f"One file as `{name}` cannot be combined with {len(self.subjects)} subjects: "
                    "it does not separate them. Give each subject a box and use the mask 'box' or "
                    "'inline', or give each its own mask: Subject(identity, mask=…)."
                )
            if is_tensor(mask):
                check_mask_given(mask)


def seeds_of_best(seeds: tuple[int, ...], best_of: int | None) -> tuple[int, ...]:
    """Return seeds, and those that count up from the last, `best_of` in all."""
    more = 0 if best_of is None else best_of - len(seeds)
    return (*seeds, *(seeds[-1] + number for number in range(1, more + 1)))


@dataclass(frozen=True, kw_only=True)
class Task:
    """A kind of request as surfaces offer it."""

    request: type[Drawable]
    about: str  # in a sentence or two
    most_subjects: int = 1
    without: tuple[str, ...] = ()  # options of the request
    parts: tuple[type, ...] = (Scales,)  # whose options are set as well
    placed: tuple[str, ...] = ("box",)  # options of `Subject`

    @cached_property
    def is_change(self) -> bool:
        """Whether a picture is changed, and none is made anew."""
        return not issubclass(self.request, PersonalizeRequest)

    @cached_property
    def takes_mask(self) -> bool:
        """Whether a mask or a box says what of a picture changes."""
        return self.is_change and "mask" not in self.without

    def options(
        self, surface: Surface | str | None = None, *, without: Sequence[str] = ()
    ) -> dict[str, OptionField]:
        """Return all that a surface offers, or Python, by field."""
        left_out = (*self.without, *without)
        sources = (self.request, *self.parts)
        options = {
            name: field
            for source in sources
            for name, field in options_of(source, surface, without=left_out).items()
        }
        placed = options_of(Subject, surface, without=left_out)
        return options | {name: placed[name] for name in self.placed if name in placed}


@checked
def drawing_of(
    task: Task,
    options: Mapping[str, Any],
    *,
    subjects: Sequence[Subject] = (),
    seeds: Sequence[int],
    file: Callable[[Any], Any] | None = None,
    folder: Path | None = Path(),
) -> PersonalizeRequest:
    """Return the request of a task that draws new pictures, of options by their fields.

    Args:
        task: What is drawn.
        options: What users give, as they type it or as requests have it.
        subjects: What is shown; those that the prompt names join them, unless `options` forbid it.
        seeds: One a picture.
        file: Returns the picture of a name; by default texts are words, and no file but a scene.
        folder: Where names of scenes may be files; None: nowhere.

    Raises:
        ConfigError: The size is none.
        InputError: There is no such scene or region, or a number is out of range.
    """
    fields = {name: value for name, value in options.items() if value is not None}
    fields = {"adds_named_subjects": True, **fields}
    if "scales" not in fields:
        fields["scales"] = Scales(**pop_options(Scales, fields))
    if isinstance(size := fields.get("size_px"), str):
        fields["size_px"] = parse_size(size)
    for name in {"mask", "detail_mask"} & fields.keys():
        mask = fields[name]
        is_file = file is not None and isinstance(mask, str) and mask not in {*MaskSource}
        fields[name] = file(mask) if file is not None and is_file else region_of(mask)
    if "scene" in fields:
        fields["scene"] = read_scene(fields["scene"], file, folder)
    if file is not None and "style_reference" in fields:
        fields["style_reference"] = file(fields["style_reference"])
    make: Callable[..., PersonalizeRequest] = task.request  # type: ignore[assignment]
    return make(subjects=tuple(subjects), seeds=tuple(seeds), **fields)


def pop_options(source: type, fields: dict[str, Any]) -> dict[str, Any]:
    """Take the options of `source` out of `fields`, and return them."""
    return {name: fields.pop(name) for name in _names_of(source) if name in fields}


@cache
def _names_of(source: type) -> tuple[str, ...]:
    return tuple(options_of(source))


def read_scene(
    scene: "Picture", file: "Callable[[Any], Any] | None" = None, folder: Path | None = Path()
) -> Any:  # noqa: ANN401 - as `file` returns it
    """Return the name of a scene of the library, or what `file`, by default a picture, holds.

    Nothing and `WORDS_ALONE` stay what they are. A text that is no file in `folder` is a name;
    without a folder all texts are.

    Raises:
        ImageError: The picture cannot be read.
        InputError: The text is no file, and names no scene.
    """
    if isinstance(scene, str):
        if scene in {"", WORDS_ALONE}:
            return scene
        if folder is None or (NAME.fullmatch(scene) and not (folder / scene).is_file()):
            return scene_library().find(scene)
    return (file or load_picture)(scene)


def cells_of(preset: Preset, size_px: tuple[int, int] | None) -> tuple[int, int]:
    """Return latent rows and columns of a picture of (height, width); None = the preset's.

    Raises:
        InputError: The size is out of range or no multiple of what a latent cell needs.
    """
    side, cell_px = preset.image_size_px, preset.latent_cell_px
    height, width = size_px or (side, side)
    unit = cell_px * _cells_in_unit(preset.family)
    if any(side % unit or not MIN_SIDE_PX <= side <= MAX_SIDE_PX for side in (height, width)):
        shrunk = min(1.0, MAX_SIDE_PX / max(1, height, width))
        nearest = (max(MIN_SIDE_PX, unit * round(shrunk * side / unit)) for side in (width, height))
        raise InputError(
            f"The size {width}x{height} px cannot be drawn. Sides must be multiples of {unit} px "
            f"from {MIN_SIDE_PX} to {MAX_SIDE_PX} px. The nearest is {'x'.join(map(str, nearest))}."
        )
    return height // cell_px, width // cell_px


@cache  # a registry looks into its folder
def _cells_in_unit(family: str) -> int:
    return 2 if FAMILIES.get(family).needs_even_grid else 1


def near_size(size_px: tuple[int, int], *, side_px: int, unit_px: int) -> tuple[int, int]:
    """Return (height, width) of about the pixels of a square of `side_px`, shaped as `size_px`."""
    factor = side_px / math.prod(size_px) ** 0.5
    height, width = (max(MIN_SIDE_PX, round(side * factor / unit_px) * unit_px) for side in size_px)
    return height, width


def check_view(view: View) -> None:
    """Refuse to turn subjects further than a picture of one side allows."""
    if not (isinstance(view, tuple | list) and len(view) == 2):
        raise InputError(f"The view is {view!r}; yaw and pitch in degrees are needed, as (20, 0).")
    for name, limit, degrees in zip(("yaw", "pitch"), MAX_VIEW, view, strict=True):
        if not -limit <= degrees <= limit:
            raise InputError(
                f"The {name} is {degrees} degrees; it must lie between {-limit} and {limit}. "
                "What a picture of one side hides cannot be drawn."
            )


def as_subjects(
    subjects: "Identity | Sequence[Identity | Subject]",
    *,
    box: Box | None = None,
    view: View | None = None,
    layers: LayerScales | str = "",
) -> tuple[Subject, ...]:
    """Return the subjects of a picture, the only one with its box, view and layers."""
    if isinstance(subjects, Identity):
        return (Subject(subjects, box=box, view=view, layers=layers),)
    if box is not None or view is not None or layers:
        raise InputError(
            "`box`, `view` and `layers` belong to a single identity. With several subjects, give "
            "each its own: Subject(identity, box=…, view=…, layers=…)."
        )
    return tuple(Subject(entry) if isinstance(entry, Identity) else entry for entry in subjects)


def region_of(mask: "MaskSource | Region | str") -> "MaskSource | Region":
    """Return a region unchanged, and a word as the source of regions that it names."""
    if not isinstance(mask, str):
        return mask
    try:
        return MaskSource(mask)
    except ValueError as error:
        names = ", ".join(repr(source.value) for source in MaskSource)
        raise InputError(
            f"mask={mask!r} names no source of masks; there are {names}. Pass one of them, a "
            "picture, or a tensor (1, 1, H, W) in [0, 1]."
        ) from error


def texts_of(prompts: "Prompts") -> tuple[str, ...]:
    """Return prompts as text; none if they are encoded."""
    if isinstance(prompts, TextCondition):
        return ()
    texts = (prompts,) if isinstance(prompts, str) else prompts
    if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
        raise InputError(
            f"The prompt is {short_reason(repr(prompts))}, and text is needed, or one text for "
            "each picture. Describe the picture: 'a dog at sunset'."
        )
    return tuple(texts)


def check_mask_given(mask: "Tensor", *, needs_change: bool = False) -> None:
    from swiftpie.masks import HALF, check_mask

    check_mask(mask)
    if needs_change and not (mask >= HALF).any():
        raise InputError(
            "The mask is below half everywhere, so nothing may change. Half or more is needed "
            "where the picture changes. Mark that, or leave the mask out."
        )


def check_region(name: str, region: object) -> None:
    """Refuse what is no region, and names no source of one."""
    from swiftpie.imageio.decoding import is_picture
    from swiftpie.photo.search import Search

    is_region = region is None or isinstance(region, Search) or is_tensor(region)
    if not is_region and not is_picture(region):
        raise InputError(
            f"`{name}=` is of type {type(region).__name__}, and no mask. Give a picture, an array "
            "(H, W) of bytes, or a tensor (1, 1, H, W) in [0, 1]."
        )


def check_encoded(source: Source) -> "Identity":
    assert isinstance(source, Identity), "`Session.resolved` encodes sources before they are drawn"
    return source


def load_picture(picture: "Picture") -> "Image.Image":
    """Return a picture as it is drawn, whether it is given as a file or as an object."""
    from swiftpie.imageio.decoding import as_plain

    return as_plain(picture)


def opened_region(region: Any, size: Callable[[], tuple[int, int]]) -> "Tensor | None":  # noqa: ANN401 - or a source of regions
    """Return a region that is given itself, for a picture of that width and height; else None."""
    if region is None or isinstance(region, str):
        return None
    from swiftpie.imageio.decoding import is_picture
    from swiftpie.masks import load_mask

    if is_picture(region):
        return load_mask(region, size())
    return region if is_tensor(region) else None


def is_tensor(mask: object) -> "TypeIs[Tensor]":
    from torch import Tensor

    return isinstance(mask, Tensor)


def seeds_from(seed: int | None, num_images: int) -> tuple[int, ...]:
    """Return the seeds of pictures: they count up from `seed`, or from a random one."""
    check_count(num_images)
    first = secrets.randbelow(DRAWN_SEEDS) if seed is None else seed
    check_seeds([first])
    seeds = tuple(range(first, first + num_images))
    check_seeds(seeds)
    return seeds


def check_count(num_images: int) -> None:
    """Refuse a number of pictures before anything of that size is allocated."""
    if not (isinstance(num_images, Integral) and 1 <= num_images <= MAX_IMAGES):
        raise InputError(f"{num_images!r} pictures were requested; 1 to {MAX_IMAGES} are possible.")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds outside the range of generators."""
    for seed in seeds:
        if not (isinstance(seed, Integral) and 0 <= seed <= MAX_SEED):
            raise InputError(
                f"The seed is {seed!r}; it must be a whole number from 0 to {MAX_SEED}. "
                "Several pictures of one call count up from one seed."
            )


def check_text(*texts: str) -> None:
    """Refuse text with lone surrogates, which file names in other encodings may have."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"The text {short_reason(text)!r} has half of a surrogate pair, so it is not "
                "valid Unicode. Type it again, or save its file as UTF-8."
            ) from error


def check_prompts(*prompts: str) -> None:
    """Refuse prompts that are empty, or no valid text."""
    check_text(*prompts)
    for prompt in prompts:
        if not prompt.strip():
            raise InputError("A prompt is empty. Describe the picture: 'a dog at sunset'.")
