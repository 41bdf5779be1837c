"""What users ask for, how requests are built of it, and which technique draws them.

Every surface takes its fields from the table of tasks. Loads no tensor library, so that the command
line reads the options without one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from swiftpie.arguments import checked
from swiftpie.config import Option, OptionField, Surface, options_of
from swiftpie.errors import CapabilityError, InputError
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
from swiftpie.pipelines.settings import METHODS, USUAL, EditSettings, MaskSource, Scales, methods
from swiftpie.registry import Registry, later
from swiftpie.validation import Box, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from swiftpie.backbones.components import Components, Family
    from swiftpie.models.search import Point, Search
    from swiftpie.pipelines.denoise import Clock, Plan
    from swiftpie.types import Picture

Part = TypeVar("Part")
STYLE = ("style_reference", "style_scale")
USUAL_ADVICE = later("swiftpie.pipelines.advice:usual_advice")
NO_STYLE = (
    "A style picture came to preset {preset!r}, which changes this picture in its own style. Edit "
    "with `method=chord`, insert or replace, by a U-Net of Stable Diffusion such as the recipe "
    "sd-turbo; or leave it out, and say the style in the prompt of an edit."
)


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
        own.setdefault("adds_named_subjects", task.most_subjects > 0)
    make: Callable[..., EditRequest | RepaintRequest] = task.request  # type: ignore[assignment]
    return make(image=image, source=source, seed=seed, **own)


def _part(source: type[Part], own: dict[str, Any]) -> Part:
    """Take the options of `source` out of `own`."""
    return source(**_said(source, own))


def _said(source: type, own: dict[str, Any]) -> dict[str, Any]:
    return {name: own.pop(name) for name in _names_of(source) if name in own}


@cache
def _names_of(source: type) -> tuple[str, ...]:
    return tuple(options_of(source))


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


@dataclass(frozen=True)
class Technique:
    """A way to draw some requests. Stateless; `Components` says what the networks can do.

    A technique for edits with a `name` is what users choose by `method`. It is one file, of which
    importing loads no tensor library: `prepare` imports one, or is `later(...)` of another module.
    With `options`, a frozen dataclass whose fields are annotated with `Option`, every surface
    offers these; `request.settings.of(options)` holds what was given.
    """

    draws: type[Request]  # the kind of its requests
    prepare: "Callable[[Components, Any, Clock], Plan]"  # does what comes before the denoiser
    # Whether it draws a request of that kind; None: only where the user chose it.
    claims: "Callable[[Components, Any], bool] | None" = lambda _components, _request: True
    # Whether another seed gives another picture.
    follows_seed: "Callable[[Components, Any], bool]" = lambda _components, _request: True
    needs: str = ""  # an option of its requests, without which it draws none of them
    instead_of: str = ""  # the technique whose requests it takes over, so it is tried before that
    draws_by_seed: bool = False  # alone, so that it takes no noise in its place
    # Height and width of what a network draws, which the rest of the picture may be around.
    drawn_size: "Callable[[Components, Any], tuple[int, int] | None]" = (
        lambda _components, request: request.size_px
    )
    name: str = ""  # by which users choose it as the method of an edit; "": they do not
    about: str = ""  # what edits so, in a few words
    options: type | None = None  # Its own options.
    draws_style: bool = False  # of changes: whether what comes is drawn in the style of a picture
    # Yields warnings of words and options without effect.
    advice: "Callable[[Components, Any], Iterator[str]]" = USUAL_ADVICE

    def suits(self, components: "Components", request: Request) -> bool:
        """Whether it draws a request of its kind: what it needs is given, and it claims it."""
        if self.claims is None or (self.needs and not getattr(request, self.needs)):
            return False
        return self.claims(components, request)


TECHNIQUES: Registry[Technique] = Registry(
    package="swiftpie.pipelines.techniques",
    attribute="TECHNIQUE",
    entry_point_group="",  # see `METHODS`
)
"""The techniques that the library chooses itself, by name."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A request with the technique that draws it: what advice, cost and drawing read."""

    components: "Components"
    technique: Technique
    request: Request  # with the guidance of its name, and all seeds that are drawn
    num_kept: int = 0  # pictures, the best of which are kept; 0: all

    @cached_property
    def follows_seed(self) -> bool:
        """Whether another seed gives another picture."""
        return self.technique.follows_seed(self.components, self.request)

    @cached_property
    def drawn_size(self) -> tuple[int, int] | None:
        """Height and width of what a network draws; None: the preset's."""
        return self.technique.drawn_size(self.components, self.request)


def choose(components: "Components", request: Request) -> Choice:
    """Return a request that is resolved, with the technique that draws it.

    A subclass of a request is a kind of its own: no technique of its base leaves out what it adds.

    Raises:
        CapabilityError: None draws such requests with these networks.
        InputError: Guidance is given by a name and by a method, or an option is of another method.
    """
    steered = request.steered(len(components.schedule.steps))
    settings = getattr(steered, "settings", None)
    num_kept = 0
    if isinstance(steered, PersonalizeRequest) and steered.best_of is not None:
        num_kept = len(steered.seeds)
        steered = replace(steered, seeds=steered.candidates, best_of=None)
    is_change = hasattr(steered, "image")
    method = None if settings is None else settings.method
    for technique in _in_turn(components.family):
        if type(steered) is not technique.draws:
            continue
        is_named = bool(technique.name and method)
        if technique.name == method if is_named else technique.suits(components, steered):
            if technique.name and settings is not None:
                _check_options(technique, settings)
            if is_change and steered.has_style and not technique.draws_style:
                raise CapabilityError(NO_STYLE.format(preset=components.preset.name))
            return Choice(components, technique, steered, num_kept)
    raise CapabilityError(
        f"Preset {components.preset.name!r} has no technique that draws {type(request).__name__}. "
        "Load one that has, such as 'mini', or 'animatelcm' for animations at full size; "
        "`swiftpie presets` lists what each can."
    )


def _check_options(technique: Technique, settings: EditSettings) -> None:
    """Refuse options of other techniques than the one that edits."""
    known = () if technique.options is None else options_of(technique.options)
    for name, value in settings.own:
        if name in known:
            continue
        others = [other for other in methods().values() if other.options is not None]
        owner = next(other for other in others if name in options_of(other.options))
        raise InputError(
            f"`{name}={value}` belongs to edits by {owner.about}, and this one is by "
            f"{technique.about}. Leave it out, or edit with `method={owner.name}`."
        )


@cache  # metadata of distributions takes milliseconds to read
def _in_turn(family: "Family") -> tuple[Technique, ...]:
    """Return all techniques in the order in which they are tried."""
    offered = METHODS.offered()
    own = [METHODS.get(name) for name in METHODS.names() if name not in offered]
    others = sorted(TECHNIQUES.all().values(), key=lambda technique: not technique.instead_of)
    return (*map(METHODS.get, offered), *family.techniques(), *own, *others)
