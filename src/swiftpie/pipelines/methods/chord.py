"""ChordEdit, which needs no weights of its own (arXiv:2602.19083), as users choose it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from swiftpie.config import Option
from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.registry import later


class ChordForm(StrEnum):
    """Which drifts ChordEdit follows, and whether it refines what they give."""

    FAST = "fast"  # at one time, not refined
    CHORD = "chord"  # at two times, as published
    FAITHFUL = "faithful"  # at two times around the middle (arXiv:2606.14042)


@dataclass(frozen=True, kw_only=True)
class ChordOptions:
    """Options of ChordEdit."""

    chord: Annotated[  # None: as its paper has it
        ChordForm | None,
        Option(
            "Form of ChordEdit.\n\n"
            "fast: one pass.\n\n"
            "chord: as published, the default.\n\n"
            "faithful: keeps more of the photograph."
        ),
    ] = None


TECHNIQUE = Technique(
    EditRequest,
    later("swiftpie.pipelines.chord:prepare_edit"),
    lambda components, _request: (
        components.inversion is None
        and components.family.knows_all_times
        and not components.family.edits_by_reference
    ),
    name="chord",
    about="ChordEdit, which needs no weights of its own",
    options=ChordOptions,
    draws_style=True,
)
