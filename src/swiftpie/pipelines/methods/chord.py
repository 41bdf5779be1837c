"""ChordEdit, which needs no weights of its own (arXiv:2602.19083), as users choose it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from swiftpie.arguments import checked
from swiftpie.config import Option
from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.request import EditRequest
from swiftpie.registry import later

if TYPE_CHECKING:
    from swiftpie.backbones.components import Components


class ChordForm(StrEnum):
    """Which drifts ChordEdit follows, and whether it refines what they give."""

    FAST = "fast"  # at one time, not refined
    CHORD = "chord"  # at two times, as published
    FAITHFUL = "faithful"  # at two times around the middle (arXiv:2606.14042)


@checked
@dataclass(frozen=True, kw_only=True)
class ChordOptions:
    """Options of ChordEdit."""

    chord: Annotated[  # None: as its paper has it
        ChordForm | None,
        Option(
            "ChordEdit: fast, by one pass; chord, as its paper has it; or faithful, which keeps "
            "more of the photograph and changes less. By default chord."
        ),
    ] = None


def claims(components: "Components", _request: Any) -> bool:  # noqa: ANN401 - a request
    """Whether the networks edit so by default."""
    family = components.family
    reads = family.edits_by_reference
    return components.inversion is None and family.knows_all_times and not reads


TECHNIQUE = Technique(
    EditRequest,
    later("swiftpie.pipelines.chord:prepare_edit"),
    claims,
    name="chord",
    about="ChordEdit, which needs no weights of its own",
    options=ChordOptions,
)
