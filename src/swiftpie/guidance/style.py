"""Names for how prompt and face, or any identity, share the picture, and what they stand for."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swiftpie.guidance.base import Steering


class Style(StrEnum):
    """How prompt and face share the picture (arXiv:2505.21144)."""

    PLAIN = "plain"
    DCG = "dcg"  # a scale for each of text and face: for styles
    AM1 = "am1"  # stronger attention to the face: for realism
    AM2 = "am2"  # attention gathered where the face is: for realism
    DCG_AM1 = "dcg+am1"
    DCG_AM2 = "dcg+am2"


def steering_of(style: Style, num_steps: int) -> "Steering":
    """Return guidance and reshaping of attention for so many steps."""
    # Here, because the command line names styles without loading PyTorch.
    from swiftpie.attention.manipulate import AM1, AM2, STABLE_AM2
    from swiftpie.guidance.methods.dcg import for_steps

    shapings = {Style.AM1: AM1, Style.AM2: AM2, Style.DCG_AM1: AM1, Style.DCG_AM2: STABLE_AM2}
    has_dcg = style in {Style.DCG, Style.DCG_AM1, Style.DCG_AM2}
    return {"guidance": for_steps(num_steps) if has_dcg else None, "shaping": shapings.get(style)}
