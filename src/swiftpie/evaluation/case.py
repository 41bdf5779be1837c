"""One item of a benchmark."""

from dataclasses import dataclass
from enum import StrEnum


class CaseKind(StrEnum):
    """What a case asks for, which decides the metrics that apply to it."""

    PLAIN = "plain"  # a subject in a scene
    ATTRIBUTED = "attributed"  # and one attribute
    PAIR = "pair"  # two subjects in a scene


@dataclass(frozen=True)
class Case:
    """Subject, scene and the seed that together determine one right picture."""

    name: str  # unique in its benchmark; also the stem of its files
    code: str  # the subject in its pack; of two subjects, the left one
    subject: str  # its name in words
    scene: str  # name in `swiftpie.data.scenes.SCENES`
    prompt: str
    seed: int
    attribute: str = ""  # the only one that the prompt asks for, as judges spell it
    other_code: str = ""  # the right one of two subjects
    other_subject: str = ""

    @property
    def kind(self) -> CaseKind:
        """What the case asks for."""
        if self.other_code:
            return CaseKind.PAIR
        return CaseKind.ATTRIBUTED if self.attribute else CaseKind.PLAIN

    @property
    def codes(self) -> tuple[str, ...]:
        """The subjects, from left to right."""
        return (self.code, self.other_code) if self.other_code else (self.code,)
