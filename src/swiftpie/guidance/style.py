"""Names for how prompt and face, or any identity, share the picture."""

from enum import StrEnum


class Style(StrEnum):
    """How prompt and face share the picture (arXiv:2505.21144)."""

    PLAIN = "plain"
    DCG = "dcg"  # a scale for each of text and face: for styles
    AM1 = "am1"  # stronger attention to the face: for realism
    AM2 = "am2"  # attention gathered where the face is: for realism
    DCG_AM1 = "dcg+am1"
    DCG_AM2 = "dcg+am2"
