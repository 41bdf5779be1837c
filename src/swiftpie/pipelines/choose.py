"""Techniques, and which of them draws a request; loads no tensor library."""

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from swiftpie.config import options_of
from swiftpie.errors import CapabilityError, InputError
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import METHODS, methods
from swiftpie.registry import Registry, later

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from swiftpie.backbones.components import Components, Family
    from swiftpie.pipelines.denoise import Clock, Plan
    from swiftpie.pipelines.request import Request
    from swiftpie.pipelines.settings import EditSettings


USUAL_ADVICE = later("swiftpie.pipelines.advice:usual_advice")


NO_STYLE = (
    "A style picture came to preset {preset!r}, which changes this picture in its own style. Edit "
    "with `method=chord`, insert or replace, by a U-Net of Stable Diffusion such as the recipe "
    "sd-turbo; or leave it out, and say the style in the prompt of an edit."
)


@dataclass(frozen=True)
class Technique:
    """A way to draw some requests. Stateless; `Components` says what the networks can do.

    A technique for edits with a `name` is what users choose by `method`. It is one file, of which
    importing loads no tensor library: `prepare` imports one, or is `later(...)` of another module.
    With `options`, a frozen dataclass whose fields are annotated with `Option`, every surface
    offers these; `request.settings.of(options)` holds what was given.
    """

    draws: "type[Request]"  # the kind of its requests
    prepare: "Callable[[Components, Any, Clock], Plan]"  # does what comes before the denoiser
    # Whether it draws a request of that kind; not asked where the user chose it.
    claims: "Callable[[Components, Any], bool]" = lambda _components, _request: True
    # Whether another seed gives another picture.
    follows_seed: "Callable[[Components, Any], bool]" = lambda _components, _request: True
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
    request: "Request"  # with the guidance of its name, and all seeds that are drawn
    num_kept: int = 0  # pictures, the best of which are kept; 0: all

    @cached_property
    def follows_seed(self) -> bool:
        """Whether another seed gives another picture."""
        return self.technique.follows_seed(self.components, self.request)

    @cached_property
    def drawn_size(self) -> tuple[int, int] | None:
        """Height and width of what a network draws; None: the preset's."""
        return self.technique.drawn_size(self.components, self.request)


def choose(components: "Components", request: "Request") -> Choice:
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
        if technique.name == method if is_named else technique.claims(components, steered):
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


def _check_options(technique: Technique, settings: "EditSettings") -> None:
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
