"""Which technique draws a request, and what its drawing needs.

Importing it loads no tensor library, as the command line shows the options of techniques.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Generic

from swiftpie.arguments import checked
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.presets import Preset
from swiftpie.config import options_of
from swiftpie.errors import CapabilityError, InputError
from swiftpie.pipelines.request import PersonalizeRequest, Source
from swiftpie.pipelines.settings import (
    METHODS,
    EditSettings,
    IdentityGuidance,
    ResolvedScales,
    Scales,
    owners,
    steering_of,
)
from swiftpie.pipelines.tasks import EditRequest, Request, RequestT, RetouchRequest, for_seeds
from swiftpie.registry import Registry, later

if TYPE_CHECKING:
    from swiftpie.faces import FaceEncoder
    from swiftpie.pipelines.denoise import OnStep, Plan
    from swiftpie.types import Identity

logger = logging.getLogger(__name__)
check_comparable = later("swiftpie.pipelines.ranking:check_comparable")

NO_STYLE = (
    "A style picture cannot be combined with this change by preset {preset!r}: it keeps the style "
    "of its picture. Edit by `method=chord`, insert or replace with a U-Net of Stable Diffusion "
    "such as the recipe sd-turbo, or describe the style in the prompt of an edit."
)


STEP = "step"  # One of several in the stage "denoise".
CHECK = "check"  # Within a stage, before each layer and after each part of a large picture.

OnStage = Callable[[str], object]
"""Takes the name of each stage when it has ended, `STEP`, or `CHECK`; may raise to stop."""
Split = Callable[[Hashable, int], Sequence[int]]
"""Takes a batch key and the number of its requests; returns how many share each pass."""


class Clock:
    """Milliseconds by stage, and the listeners that may stop a drawing."""

    def __init__(self, on_stage: OnStage | None = None, on_step: "OnStep | None" = None) -> None:
        self.on_stage, self.on_step = on_stage, on_step
        self.start()

    def start(self) -> None:
        """Begin the first stage."""
        self._started = self._last = time.perf_counter()
        self._stages: dict[str, float] = {}

    def end_stage(self, name: str) -> None:
        """Note the time of the stage `name`, and report its end."""
        now = time.perf_counter()
        self._stages[name] = self._stages.get(name, 0.0) + (now - self._last) * 1000
        self._last = now
        self.check(name)

    def check(self, name: str = CHECK) -> None:
        """Let the listener stop the drawing by an error."""
        if self.on_stage is not None:
            self.on_stage(name)

    def timings(self) -> dict[str, float]:
        """Return all stages and their total."""
        return {**self._stages, "total": (self._last - self._started) * 1000}


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
    prepare: "Callable[[Choice[Any]], Plan]"  # does what comes before the denoiser
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
    elsewhere={"scene": "swiftpie.places"},
)
"""The techniques that the library chooses itself, by name."""


def in_one_pass(_: Hashable, count: int) -> Sequence[int]:
    """Return that all requests share one pass: a `Split`."""
    return [count]


@dataclass(frozen=True, eq=False)
class Choice(Generic[RequestT]):
    """A request with what draws it: what advice, cost and drawing read.

    Those that are drawn together share the clock and the split.
    """

    components: Components
    technique: Technique
    request: RequestT  # with the guidance of its name, and all seeds of a new picture
    num_kept: int = 0  # pictures, the best of which are kept; 0: all
    tries: tuple[RequestT, ...] = ()  # what is drawn: of a change, a request for each seed
    staged: Any = None  # what the request stands on, by the technique's `stage`
    clock: Clock = field(default_factory=Clock)
    split: Split = in_one_pass
    faces: "FaceEncoder | None" = None  # compares people where the best pictures are kept
    warnings: list[str] = field(default_factory=list)  # for the result, before those of a try

    def attempts(self) -> "list[Choice[RequestT]]":
        """Return a choice of each try, with warnings of its own after these."""
        components, stage = self.components, self.technique.stage
        return [
            replace(
                self,
                request=request,
                staged=self.staged if request is self.request else stage(components, request),
                warnings=[*self.warnings],
            )
            for request in self.tries
        ]

    def prepared_by(self, technique: Technique, request: Request) -> "Plan":
        """Prepare another request in place of this one, or as a part of it."""
        staged = technique.stage(self.components, request)
        shared: Any = {"staged": staged, "clock": self.clock, "warnings": self.warnings}
        return technique.prepare(Choice(self.components, technique, request, **shared))

    def warn(self, sentence: str) -> None:
        """Log a sentence, and add it to the warnings of the result."""
        logger.warning("%s", sentence)
        self.warnings.append(sentence)

    @cached_property
    def follows_seed(self) -> bool:
        """Whether another seed gives another picture."""
        return self.technique.follows_seed(self.components, self.staged)

    @cached_property
    def drawn_size(self) -> tuple[int, int] | None:
        """Height and width of what a network draws; None: the preset's."""
        return self.technique.drawn_size(self.components, self.staged)


def choose(
    components: Components,
    request: RequestT,
    *,
    clock: Clock | None = None,
    faces: "FaceEncoder | None" = None,
) -> Choice[RequestT]:
    """Return a request that is resolved, with the technique that draws it.

    A subclass of a request is a kind of its own: no technique of its base leaves out what it adds.

    Raises:
        CapabilityError: None draws such requests with these networks.
        InputError: Guidance is given by a name and by a method, or an option is of another method.
    """
    num_kept, tries = _tries(_steered(request, len(components.schedule.steps)))
    steered, best_of = tries[0], request.best_of
    settings = getattr(steered, "settings", None)
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
            choice = Choice(
                *(components, technique, tries[0], num_kept, tries, staged),
                *(clock or Clock(), in_one_pass, faces),
            )
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


def _steered(request: RequestT, num_steps: int) -> RequestT:
    """Return the same request with the guidance and shaping of its name in so many steps."""
    if request.identity_guidance is IdentityGuidance.PLAIN:
        return request
    if request.guidance is not None or request.shaping is not None:
        raise InputError(
            f"`identity_guidance={request.identity_guidance.value}` cannot be combined with "
            "guidance or shaping: it chooses both. Leave one of them out."
        )
    steering = steering_of(request.identity_guidance, num_steps)
    return replace(request, guidance=steering["guidance"], shaping=steering["shaping"])


def _tries(request: RequestT) -> tuple[int, tuple[RequestT, ...]]:
    """Return how many pictures are kept, 0 for all, and what is drawn."""
    if request.best_of is None:
        return 0, (request,)
    seeds, plain = request.candidates, replace(request, best_of=None)
    if isinstance(plain, PersonalizeRequest):
        return len(plain.seeds), (replace(plain, seeds=seeds),)
    return 1, for_seeds(plain, seeds)


def _check_options(technique: Technique, settings: EditSettings) -> None:
    """Refuse options of other techniques than the one that edits."""
    names = () if technique.options is None else options_of(technique.options)
    for name, value in settings.own:
        if name not in names:
            owner = owners()[name]
            raise InputError(
                f"`{name}={value}` belongs to edits by {owner.about}, and this one is by "
                f"{technique.about}. Leave it out, or edit with `method={owner.name}`."
            )


@cache  # metadata of distributions takes milliseconds to read
def _in_turn(family: "Family") -> tuple[Technique, ...]:
    """Return all techniques in the order in which they are tried."""
    offered = METHODS.offered()
    methods = [METHODS.get(name) for name in METHODS.names() if name not in offered]
    techniques = sorted(TECHNIQUES.all().values(), key=lambda technique: not technique.instead_of)
    return (*map(METHODS.get, offered), *family.techniques(), *methods, *techniques)


def with_sources(request: RequestT, change: "Callable[[Source], Source]") -> RequestT:
    """Return the same request with the sources of its subjects changed."""
    if isinstance(request, PersonalizeRequest):
        sources = [change(subject.source) for subject in request.subjects]
        pairs = list(zip(request.subjects, sources, strict=True))
        if all(subject.source is source for subject, source in pairs):
            return request
        subjects = (replace(subject, source=source) for subject, source in pairs)
        return replace(request, subjects=tuple(subjects))
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
        case RetouchRequest():
            return request.scales.over(Scales.for_edit(preset, has_reference=True))
        case _:
            return request.scales.over(Scales.of(preset))


def identities_in(request: Request) -> "tuple[Identity, ...]":
    """Return the subjects of a request that is resolved."""
    if isinstance(request, PersonalizeRequest):
        return tuple(subject.identity for subject in request.subjects)
    return () if request.identity is None else (request.identity,)
