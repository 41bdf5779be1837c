"""Techniques: ways to draw a request, one in each other file here.

A file binds `TECHNIQUE`. The first technique that claims a request draws it: those that other
distributions offer, those of the family of networks, and then those of this folder, of which only
one claims any request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from PIL import Image

from swiftpie.backbones.components import Components, Family
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.drawing.denoise import Clock, Prepared
from swiftpie.pipelines.drawing.request import Request
from swiftpie.registry import Registry
from swiftpie.types import EditResult, GenerationResult

Result = GenerationResult | EditResult


class Plan(NamedTuple):
    """How a request is drawn, when all that comes before the denoiser is done."""

    request: Request  # as it is drawn; words and settings may differ from those that were given
    # Takes what was denoised and decoded; without a `start`, the results of `parts`.
    finish: "Callable[..., Result | Plan]"
    start: Prepared | None = None  # None: the denoiser has no part in this
    parts: "tuple[Plan, ...]" = ()  # are drawn first
    region: Callable[[], Image.Image] | None = None  # what an edit may change, white in mode L
    reads_rows: bool = False  # rows of a pass read each other, so it is neither shared nor split


@dataclass(frozen=True)
class Technique:
    """A way to draw some requests. Stateless; `Components` says what the networks can do."""

    draws: type[Request]  # the kind of its requests
    prepare: Callable[[Components, Any, Clock], Plan]  # does what comes before the denoiser
    # Whether it draws a request of that kind.
    claims: Callable[[Components, Any], bool] = lambda _components, _request: True
    # Whether another seed gives another picture.
    follows_seed: Callable[[Components, Any], bool] = lambda _components, _request: True
    is_by_formula: bool = False  # whether no network draws, so that strengths have no effect
    draws_by_seed: bool = False  # alone, so that it takes no noise in its place
    # Height and width of what a network draws, which the rest of the picture may be around.
    drawn_size: Callable[[Components, Any], tuple[int, int] | None] = lambda _components, request: (
        request.size_px
    )


TECHNIQUES: Registry[Technique] = Registry(
    package="swiftpie.pipelines.techniques",
    attribute="TECHNIQUE",
    elsewhere={"scene": "swiftpie.mini.insertions"},
    entry_point_group="swiftpie.techniques",
)
"""The techniques by name."""


def technique_for(components: Components, request: Request) -> Technique:
    """Return the technique that draws a request.

    Raises:
        CapabilityError: None does.
    """
    for technique in _in_turn(components.family):
        if isinstance(request, technique.draws) and technique.claims(components, request):
            return technique
    raise CapabilityError(
        f"Preset {components.preset.name!r} has no technique for such a {type(request).__name__}; "
        f"there are {', '.join(TECHNIQUES.names())}. Install the distribution that offers one."
    )


@cache  # metadata of distributions takes milliseconds to read
def _in_turn(family: Family) -> tuple[Technique, ...]:
    """Return all techniques in the order in which they are tried."""
    offered = TECHNIQUES.offered()
    names = (*offered, *(name for name in TECHNIQUES.names() if name not in offered))
    known = [TECHNIQUES.get(name) for name in names]
    return (*known[: len(offered)], *family.techniques(), *known[len(offered) :])
