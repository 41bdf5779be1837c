"""Which technique draws a request, and what is doubtful about it: warnings before it is drawn.

Importing it loads no tensor library, as the command line shows the options of techniques.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, Any

from PIL import Image

from swiftpie.arguments import checked
from swiftpie.backbones.components import MAX_SIDE_PX, SAME_AREA, Components, Family
from swiftpie.backbones.presets import Preset
from swiftpie.config import options_of
from swiftpie.errors import HEARD, CapabilityError, InputError, short_reason
from swiftpie.pipelines.animation import AnimateRequest
from swiftpie.pipelines.request import PersonalizeRequest, Source, is_tensor, texts_of
from swiftpie.pipelines.settings import (
    METHODS,
    EditSettings,
    MaskSource,
    ResolvedScales,
    Scales,
    owners,
)
from swiftpie.pipelines.tasks import EditRequest, RepaintRequest, Request, RequestT, for_seeds
from swiftpie.registry import Registry, later
from swiftpie.types import REMEDY, Identity

if TYPE_CHECKING:
    from swiftpie.pipelines.denoise import Clock, Plan

logger = logging.getLogger(__name__)
check_comparable = later("swiftpie.pipelines.ranking:check_comparable")

UNTOUCHED = ResolvedScales()
NO_STYLE = (
    "A style picture cannot be combined with this change by preset {preset!r}: it keeps the style "
    "of its picture. Edit by `method=chord`, insert or replace with a U-Net of Stable Diffusion "
    "such as the recipe sd-turbo, or describe the style in the prompt of an edit."
)


@dataclass(frozen=True)
class Technique:
    """A way to draw some requests. Stateless; `Components` says what the networks can do.

    A technique for edits with a `name` is what users choose by `method`; no other is asked then.
    It is one file, of which importing loads no tensor library: `prepare` imports one, or is
    `later(...)` of another module.
    With `stage`, the other functions get what that returns in place of the request.
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
    # Returns what a request stands on, made once: what was read in its words, its size.
    stage: "Callable[[Components, Any], Any]" = lambda _components, request: request
    name: str = ""  # by which users choose it as the method of an edit; "": they do not
    about: str = ""  # what edits so, in a few words
    options: type | None = None  # Its own options.
    draws_style: bool = False  # of changes: whether what comes is drawn in the style of a picture
    # Yields warnings of words and options without effect; None: `usual_advice`.
    advice: "Callable[[Components, Any], Iterator[str]] | None" = None

    def __post_init__(self) -> None:
        if self.options is not None and not hasattr(vars(self.options)["__init__"], "__wrapped__"):
            checked(self.options)  # limits hold for those of other distributions as well

    def suits(self, components: "Components", request: Request, staged: Any = None) -> bool:  # noqa: ANN401 - what `stage` returns
        """Whether it draws a request of its kind: what it needs is given, and it claims it."""
        if self.claims is None or (self.needs and not getattr(request, self.needs)):
            return False
        return self.claims(components, staged or self.stage(components, request))


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
    request: Request  # with the guidance of its name, and all seeds of a new picture
    num_kept: int = 0  # pictures, the best of which are kept; 0: all
    # What is drawn, by the technique's `stage`: of a change, a request for each seed.
    tries: tuple[Any, ...] = ()

    @property
    def staged(self) -> Any:  # noqa: ANN401 - what the technique reads
        """What the request stands on; see `Technique.stage`."""
        return self.tries[0]

    @cached_property
    def follows_seed(self) -> bool:
        """Whether another seed gives another picture."""
        return self.technique.follows_seed(self.components, self.staged)

    @cached_property
    def drawn_size(self) -> tuple[int, int] | None:
        """Height and width of what a network draws; None: the preset's."""
        return self.technique.drawn_size(self.components, self.staged)


def choose(components: "Components", request: Request) -> Choice:
    """Return a request that is resolved, with the technique that draws it.

    A subclass of a request is a kind of its own: no technique of its base leaves out what it adds.

    Raises:
        CapabilityError: None draws such requests with these networks.
        InputError: Guidance is given by a name and by a method, or an option is of another method.
    """
    steered = request.steered(len(components.schedule.steps))
    settings = getattr(steered, "settings", None)
    num_kept, best_of = 0, steered.best_of
    tries: tuple[Request, ...] = (steered,)
    if best_of is not None:
        seeds, one = steered.candidates, replace(steered, best_of=None)
        if isinstance(one, PersonalizeRequest):
            num_kept, tries = len(one.seeds), (replace(one, seeds=seeds),)
        else:
            num_kept, tries = 1, for_seeds(one, seeds)
        steered = tries[0]
    is_change = hasattr(steered, "image")
    method = None if settings is None else settings.method
    staged_by = cache(lambda stage: stage(components, steered))  # some techniques share it
    for technique in _in_turn(components.family):
        if type(steered) is not technique.draws:
            continue
        staged = staged_by(technique.stage)
        is_chosen = technique.name == method
        if technique.suits(components, steered, staged) if method is None else is_chosen:
            if technique.name and settings is not None:
                _check_options(technique, settings)
            if is_change and steered.has_style and not technique.draws_style:
                raise CapabilityError(NO_STYLE.format(preset=components.preset.name))
            others = map(partial(technique.stage, components), tries[1:])
            choice = Choice(components, technique, steered, num_kept, (staged, *others))
            if best_of is not None and not choice.follows_seed:
                raise InputError(
                    f"`best_of={best_of}` has no effect: this drawing is deterministic, so all "
                    "candidates are equal. Leave it out."
                )
            if best_of is not None:
                check_comparable(components, steered, best_of)
            return choice
    raise CapabilityError(
        f"Preset {components.preset.name!r} has no technique that draws {type(request).__name__}. "
        "Load one that has, such as 'mini', or 'animatelcm' for animations at full size; "
        "`swiftpie presets` lists what each can."
    )


def _check_options(technique: Technique, settings: EditSettings) -> None:
    """Refuse options of other techniques than the one that edits."""
    known = () if technique.options is None else options_of(technique.options)
    for name, value in settings.own:
        if name not in known:
            owner = owners()[name]
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


def with_sources(request: RequestT, change: "Callable[[Source], Source]") -> RequestT:
    """Return the same request with the sources of its subjects changed."""
    if isinstance(request, PersonalizeRequest):
        sources = [change(each.source) for each in request.subjects]
        both = list(zip(request.subjects, sources, strict=True))
        if all(each.source is source for each, source in both):
            return request
        shown = (replace(each, source=source) for each, source in both)
        return replace(request, subjects=tuple(shown))
    return replace(request, source=request.source and change(request.source))


def resolved_scales(preset: Preset, request: Request) -> ResolvedScales:
    """Return the scales that a request is drawn with: the given ones, and else the usual ones."""
    match request:
        case EditRequest(settings=settings, source=source):
            has_reference = source is not None
            usual = Scales.for_edit(
                preset, mode=dict(settings.own).get("mode"), has_reference=has_reference
            )
            return settings.scales.over(usual)
        case RepaintRequest():
            return request.scales.over(Scales.for_edit(preset, has_reference=True))
        case _:
            return request.scales.over(Scales.of(preset))


def identities_in(request: Request) -> "tuple[Identity, ...]":
    """Return the subjects of a request that is resolved."""
    if isinstance(request, PersonalizeRequest):
        return tuple(subject.identity for subject in request.subjects)
    return () if request.identity is None else (request.identity,)


@contextmanager
def hearing() -> Iterator[list[str]]:
    """Yield the list of what is warned of in the block, in this thread."""
    heard, outer = list[str](), HEARD.get()
    token = HEARD.set(heard)
    try:
        yield heard
    finally:
        HEARD.reset(token)
        if outer is not None:
            outer += heard


def advice_on(choice: Choice, *, is_logged: bool = False) -> list[str]:
    """Return warnings about a request, before anything is drawn.

    They are of the family, of doubtful subjects, of words that are not read, of sizes without
    training, and of options without effect. Those of subjects were logged when these were encoded.
    """
    said = [*_advice(choice)]
    for sentence in said if is_logged else ():
        logger.warning(sentence)
    doubts = (doubt for identity in identities_in(choice.request) for doubt in doubts_of(identity))
    return [*said, *doubts]


def doubts_of(identity: Identity) -> Iterator[str]:
    """Yield warnings of pictures that show no subject, or one that may be cut out badly."""
    count = len(identity.cutouts) + len(identity.left_out)
    shown = (number for number in range(1, count + 1) if number not in identity.left_out)
    for number in identity.left_out:
        yield f"Picture {number} shows no subject that stands out, so it is left out. Give a mask."
    for number, cutout in zip(shown, identity.cutouts, strict=True):
        if cutout.is_doubtful:
            yield (
                f"The subject of picture {number} may be cut out badly. Look at it. If it is, "
                f"{REMEDY}."
            )


def _cut_prompts(components: Components, request: Request) -> Iterator[str]:
    """Yield a warning of each prompt whose end is not read."""
    given = [*texts_of(request.prompt), *texts_of(request.negative_prompt)]
    given += request.to if isinstance(request, AnimateRequest) else ()
    given += [request.source_prompt] if isinstance(request, EditRequest) else []
    for prompt in filter(None, dict.fromkeys(given)):
        if dropped := components.text.dropped(prompt):
            yield (
                "A prompt was cut, because it is longer than what this model reads. Left out is "
                f"{short_reason(dropped)!r}. Shorten it."
            )


def _advice(choice: Choice) -> Iterator[str]:
    components, request = choice.components, choice.request
    preset, own_advice = components.preset, components.family.advice
    if own_advice is not None:
        yield from own_advice(components, choice.staged)
    side = preset.image_size_px
    height, width = _size_of(choice) or (side, side)
    is_other = height != width or height not in {side, *preset.more_sizes_px}
    if components.family.knows_shapes:
        is_other = abs(math.log(max(1, height * width) / side**2)) > math.log(SAME_AREA)
    if is_other:
        yield (
            f"The size is {width}x{height} px, and preset {preset.name!r} was trained on pictures "
            f"of {side}x{side} px. Subject and scene may be doubled, cut or blurred. Leave the "
            "size out for the best pictures."
        )
    if isinstance(request, PersonalizeRequest):
        yield from _shrunk_scene(request)
        masks = (request.mask, *(subject.mask for subject in request.subjects))
        if any(mask is not None and is_tensor(mask) and not mask.any() for mask in masks):
            yield (
                "The region of a subject has no pixel, so the subject acts nowhere. Mark where it "
                "is, or leave `mask=` out."
            )
    if isinstance(request, AnimateRequest) and _stands_still(request):
        yield (
            "Nothing changes in this animation, so all of its frames are the same, and some "
            "formats hold one. Give another last prompt, box or view, as in `to=`, `to_box=` or "
            "`to_view=`."
        )
    if choice.technique.advice is None:
        yield from usual_advice(components, request)
    else:
        yield from choice.technique.advice(components, choice.staged)
    yield from _idle_steering(components, request)


def usual_advice(components: Components, request: Request) -> Iterator[str]:
    """Yield warnings of words that a denoiser does not read, and of what has no effect on it."""
    yield from _cut_prompts(components, request)
    if isinstance(request, RepaintRequest):
        yield from _idle_repainting(components, request)
    elif isinstance(request, EditRequest):
        if request.mask is not None and request.keyword:
            yield f'`keyword="{request.keyword}"` has no effect, because the region was given.'
    else:
        yield from _idle_drawing(components, request)


def scene_advice(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    """Yield warnings of words that are not read, and of what insertions into a scene ignore."""
    yield from _cut_prompts(components, request)
    given, why = request.scales.given, "subjects are inserted into boxes of the scene."
    for name in ("detail_scale", "background_scale", "text_background_scale"):
        if name in given and (name == "detail_scale" or given[name] != getattr(UNTOUCHED, name)):
            yield f"`{name}={given[name]}` has no effect, because {why}"
    for name in ("mask", "detail_mask"):
        sources = (getattr(request, name), *(getattr(each, name) for each in request.subjects))
        if not all(source is None or source is MaskSource.NONE for source in sources):
            yield f"`{name}=` has no effect, because {why}"


def _stands_still(request: AnimateRequest) -> bool:
    first, shown = request.prompt, request.subjects
    moves = zip(shown, request.to_boxes, strict=False), zip(shown, request.to_views, strict=False)
    return (
        all(prompt == first for prompt in request.to)
        and all(box == subject.box for subject, box in moves[0])
        and all(tuple(view) == tuple(subject.view or (0, 0)) for subject, view in moves[1])
    )


def _shrunk_scene(request: PersonalizeRequest) -> Iterator[str]:
    scene = request.scene
    if not isinstance(scene, Image.Image) or request.size_px is not None:
        return
    if (shrunk := MAX_SIDE_PX / max(scene.size)) < 1:
        width, height = (round(shrunk * side) for side in scene.size)
        yield (
            f"The scene is {scene.width}x{scene.height} px, and pictures have at most "
            f"{MAX_SIDE_PX} px a side. This one has {width}x{height} px. `insert` keeps all pixels."
        )


def _size_of(choice: Choice) -> tuple[int, int] | None:
    """Return height and width that the user chose and the model draws, None without such a choice.

    A drawing that is put before a larger scene has a size of the model's own.
    """
    request = choice.request
    if isinstance(request, EditRequest):
        side = request.settings.size_px
        return None if side is None else (side, side)
    if isinstance(request, RepaintRequest) or request.size_px is None:
        return None
    return request.size_px if choice.drawn_size == request.size_px else None


def _idle_drawing(components: Components, request: PersonalizeRequest) -> Iterator[str]:
    subjects, preset = request.subjects, components.preset
    given, scales = request.scales.given, resolved_scales(preset, request)
    if not subjects:
        for name in sorted(given.keys() & {"identity_scale", "detail_scale", "energy_cap"}):
            yield f"`{name}={given[name]}` has no effect, because no subject is shown."
        return
    if "energy_cap" in given and not components.denoiser.installation.adds:
        yield (
            f"`energy_cap={scales.energy_cap}` has no effect, because preset {preset.name!r} has "
            "no branches whose sizes it could limit."
        )
    places = preset.predicts_layout
    has_detail = components.family.shows_own_pixels or any(
        subject.identity.keys for subject in subjects
    )
    if "detail_scale" in given and not has_detail:
        yield f"`detail_scale={scales.detail_scale}` has no effect: {why_no_detail(components)}"
    limits = (request.detail_mask, *(subject.detail_mask for subject in subjects))
    is_silent = not has_detail or scales.detail_scale == 0
    if is_silent and any(limit is not None for limit in limits):
        yield "`detail_mask=` has no effect, because the detail branch is off."
    has_box = any(subject.box is not None for subject in subjects)
    is_region = isinstance(request, AnimateRequest) and not places  # the box, which moves
    has_region = (is_region and has_box) or any(subject.mask is not None for subject in subjects)
    if request.mask is MaskSource.NONE and not has_region:
        for name in sorted(given.keys() & {"background_scale", "text_background_scale"}):
            if given[name] != getattr(UNTOUCHED, name):
                yield (
                    f"`{name}={given[name]}` has no effect, because the region is the whole "
                    "picture. Set the region with `mask=`."
                )
    acts = places or is_region or request.mask is MaskSource.BOX
    if has_box and not acts:
        yield (
            f"`box=` has no effect: preset {preset.name!r} does not place subjects. With "
            '`mask="box"` subjects act inside of the box.'
        )


def why_no_detail(components: Components) -> str:
    """Return why the detail branch is off when no subject has features for it."""
    if components.denoiser.installation.detail:
        return "the subject has no features that the detail branch could read."
    return (
        'the adapter has no detail branch. Load the preset with `detail="joint"`, a branch that '
        "needs no training."
    )


def _idle_repainting(components: Components, request: RepaintRequest) -> Iterator[str]:
    identity, given = request.identity, request.scales.given
    if identity is None or "detail_scale" not in given:
        return
    why = "" if identity.keys else why_no_detail(components)
    if components.family.shows_own_pixels:
        why = "a model that places subjects shows the inserted one's own pixels."
    if why:
        yield f"`detail_scale={given['detail_scale']}` has no effect: {why}"


def _idle_steering(
    components: Components, request: PersonalizeRequest | EditRequest | RepaintRequest
) -> Iterator[str]:
    if request.guidance is None and request.negative_prompt == "":
        return
    from swiftpie.guidance import Branch, Plain, branches_of

    num_steps = len(components.schedule.steps)
    guidance = request.guidance or Plain()
    used = branches_of(guidance, num_steps)
    if used == {Branch.BOTH} and not isinstance(guidance, Plain):
        yield (
            f"Guidance has no effect in {num_steps} steps, because all of its scales are 1. "
            "Choose a preset with more `steps=`."
        )
        return
    negative = texts_of(request.negative_prompt)  # none: they are encoded
    if all(branch.has_text for branch in used) and (any(negative) or not negative):
        yield "`negative_prompt=` has no effect without guidance."
