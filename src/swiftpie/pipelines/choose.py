"""Techniques, and which of them draws a request; loads no tensor library."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from swiftpie.errors import CapabilityError
from swiftpie.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from swiftpie.backbones.components import Components, Family
    from swiftpie.pipelines.denoise import Clock, Plan
    from swiftpie.pipelines.request import Request


@dataclass(frozen=True)
class Technique:
    """A way to draw some requests. Stateless; `Components` says what the networks can do."""

    draws: "type[Request]"  # the kind of its requests
    prepare: "Callable[[Components, Any, Clock], Plan]"  # does what comes before the denoiser
    # Whether it draws a request of that kind.
    claims: "Callable[[Components, Any], bool]" = lambda _components, _request: True
    # Whether another seed gives another picture.
    follows_seed: "Callable[[Components, Any], bool]" = lambda _components, _request: True
    instead_of: str = ""  # the technique whose requests it takes over, so it is tried before that
    is_by_formula: bool = False  # whether no network draws, so that strengths have no effect
    draws_by_seed: bool = False  # alone, so that it takes no noise in its place
    # Height and width of what a network draws, which the rest of the picture may be around.
    drawn_size: "Callable[[Components, Any], tuple[int, int] | None]" = (
        lambda _components, request: request.size_px
    )


TECHNIQUES: Registry[Technique] = Registry(
    package="swiftpie.pipelines.techniques",
    attribute="TECHNIQUE",
    entry_point_group="swiftpie.techniques",
)
"""The techniques by name."""


@dataclass(frozen=True, eq=False)
class Choice:
    """A request with the technique that draws it: what advice, cost and drawing read."""

    components: "Components"
    technique: Technique
    request: "Request"  # with the guidance of its name

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
        InputError: Guidance is given by a name and by a method.
    """
    steered = request.steered(len(components.schedule.steps))
    for technique in _in_turn(components.family):
        if type(steered) is technique.draws and technique.claims(components, steered):
            return Choice(components, technique, steered)
    raise CapabilityError(
        f"Preset {components.preset.name!r} has no technique that draws {type(request).__name__}. "
        "Load one that has, such as 'mini', or 'animatelcm' for animations at full size; "
        "`swiftpie presets` lists what each can."
    )


@cache  # metadata of distributions takes milliseconds to read
def _in_turn(family: "Family") -> tuple[Technique, ...]:
    """Return all techniques in the order in which they are tried."""
    offered = TECHNIQUES.offered()
    names = (*offered, *(name for name in TECHNIQUES.names() if name not in offered))
    known = [TECHNIQUES.get(name) for name in names]
    ours = sorted(known[len(offered) :], key=lambda technique: not technique.instead_of)
    return (*known[: len(offered)], *family.techniques(), *ours)
