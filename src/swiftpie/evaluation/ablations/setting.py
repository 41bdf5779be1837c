"""One way to draw the cases of an ablation: which parts work, where, how strongly."""

import hashlib
from dataclasses import dataclass, replace
from enum import StrEnum

from swiftpie.guidance.style import Style
from swiftpie.pipelines.request import Scales


class Region(StrEnum):
    """Where mask-guided rescaling gets the subject's mask from."""

    NONE = "none"  # the whole picture
    INLINE = "inline"
    TWO_PASS = "two-pass"
    PREDICTED = "predicted"  # what the network itself says after a first call
    TRUE = "true"  # the renderer's own mask, which nobody has in use


@dataclass(frozen=True)
class Setting:
    """One row: what is switched, and how."""

    group: str
    title: str
    scales: Scales
    region: Region = Region.NONE
    has_detail: bool = True  # reference features in self-attention
    has_skip: bool = True  # the aligned subject as input and through the output gate
    knows_place: bool = True  # the geometric prior, and position codes in the reference frame
    num_references: int = 1
    is_cut_out: bool = True  # references show the subject alone; else all that is around it too
    num_steps: int | None = None  # None: those the weights were loaded with
    style: Style = Style.PLAIN  # guidance and reshaping of the semantic branch's attention
    weights: str = ""  # folder to compare with; empty: the weights under test

    @property
    def key(self) -> str:
        """A name of what is switched; networks and their schedule are named beside it."""
        switched = replace(self, group="", title="", num_steps=None, weights="")
        return hashlib.sha256(repr(switched).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Untried:
    """A row that cannot be measured with one set of weights, and why."""

    group: str
    title: str
    reason: str
