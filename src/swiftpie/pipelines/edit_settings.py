"""The choices of an edit: whose account of SwiftEdit, how strongly, and at what size."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from swiftpie.backbones.preset import Capability, Preset
from swiftpie.errors import InputError
from swiftpie.masks import MaskRule
from swiftpie.pipelines.condition import MAX_SCALE, Strength

MAX_SEED = 2**63 - 1


class EditMode(StrEnum):
    """Which account of SwiftEdit's attention rescaling is followed."""

    PAPER = "paper"  # Eq. 9, one row
    RELEASED = "released"  # the published code, two rows; see swiftpie.attention.released


@dataclass(frozen=True)
class EditStrength:
    """The factors of attention rescaling (arXiv:2412.04301, Eq. 9 and supplement).

    `text_outside` is 1, where the equation, read literally, has 0: that would leave the
    background without text. The released mode scales text everywhere by `text`.
    """

    edit: float = 0.0  # the picture's own appearance inside the mask
    background: float = 1.0  # and outside
    text: float = 2.0  # the prompt inside the mask
    text_outside: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 <= value <= MAX_SCALE:
                raise InputError(
                    f"The {name} strength is {value}; it must lie between 0 (off) and {MAX_SCALE}."
                )

    @classmethod
    def of(cls, mode: EditMode, preset: Preset, *, has_reference: bool = False) -> Self:
        """Return the strengths of the paper, unless the preset has its own, or of the release.

        With the picture of a new subject as appearance, it belongs inside of the mask only. A
        model that knows places is shown what stays besides, so nothing differs for it.
        """
        if has_reference and Capability.LAYOUT not in preset.capabilities:
            return cls(edit=1.0, background=0.0, text=1.0)
        match mode:
            case EditMode.PAPER:
                return cls(text=preset.defaults.get("edit_text_scale", cls.text))
            case EditMode.RELEASED:
                return cls(edit=0.2, background=1.0, text=1.0)

    def as_rescaling(self) -> Strength:
        """Return the same as factors of mask-guided rescaling, the detail branch off."""
        return Strength(
            identity=self.edit,
            detail=0.0,
            leak=self.background,
            text=self.text,
            context=self.text_outside,
        )


@dataclass(frozen=True)
class EditSettings:
    """How a picture is edited, whatever is asked for."""

    mode: EditMode = EditMode.PAPER
    rule: MaskRule | None = None  # of a mask that has to be found; None: the network's best
    strength: EditStrength | None = None  # None: what belongs to the mode
    seed: int = 0  # of all randomness: the released mode's latents, schedules with fresh noise
    size_px: int | None = None  # side of a square as large as the working picture
    keeps_outside: bool = True  # pixels outside the mask are the given picture's own

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise InputError(f"The seed is {self.seed}; it must lie between 0 and {MAX_SEED}.")
