"""Settings of drawings and edits; loads no tensor library."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Self, TypedDict

from swiftpie.arguments import checked
from swiftpie.backbones.presets import Preset
from swiftpie.config import Option, Surface, options_of
from swiftpie.errors import InputError

if TYPE_CHECKING:
    from swiftpie.attention.manipulate import Shaping
    from swiftpie.guidance import Guidance
    from swiftpie.types import Picture, Prompts

BALANCE_OF_IDENTITY, BALANCE_OF_TEXT = 0.4, 0.3  # change of the scales at either end
MAX_SCALE = 4.0  # far above what keeps pictures natural; larger values only overflow
MAX_STEPS, MAX_SEED = 10_000, 2**31  # of tuning
NOT_COMFYUI = frozenset({Surface.CLI, Surface.BATCH, Surface.HTTP})
RARE = frozenset({Surface.BATCH, Surface.HTTP})


def check_numbers(settings: object, declared: type | None = None) -> None:
    """Refuse what is no number between the limits of its option; None is left to others.

    The options are those of the class, or of the class `declared`.

    Raises:
        InputError: There is such a field.
    """
    for name, least, most in _limits(declared or type(settings)):
        given = getattr(settings, name)
        is_number = isinstance(given, (int, float))
        if given is not None and not (is_number and least <= given <= most):
            raise InputError(
                f"`{name}={given!r}` is no number from {least} to {most}. Give one of these, or "
                "leave it out."
            )


@cache
def _limits(cls: type) -> list[tuple[str, float, float]]:
    found = [(name, field.typed, field.option) for name, field in options_of(cls).items()]
    return [
        (name, option.least, option.most)
        for name, kind, option in found
        if kind in (int, float) and option.least is not None and option.most is not None
    ]


class MaskSource(StrEnum):
    """Where the region for mask-guided rescaling comes from."""

    NONE = "none"  # the whole picture
    INLINE = "inline"  # found from attention during the one call of the denoiser
    BOX = "box"


class EditMode(StrEnum):
    """Whether attention is rescaled by SwiftEdit's paper or by its released code.

    The latents of a picture are their mean in the paper's mode, a draw in the released one.
    """

    PAPER = "paper"  # Eq. 9, one row
    RELEASED = "released"  # the published code, two rows; see swiftpie.attention.processors


class EditStart(StrEnum):
    """What an edit's denoiser starts from; the noise is what the inversion network finds."""

    MIXTURE = "mixture"  # alpha * latents + sigma * noise, as SwiftEdit's released code has it
    NOISE = "noise"  # the noise alone, as the generator of its paper takes it


class EditMethod(StrEnum):
    """How an edit finds its way from the picture to what the prompt says."""

    INVERSION = "inversion"  # SwiftEdit: a network finds the noise behind the picture
    REFERENCE = "reference"  # the model reads picture and prompt, and draws all of it
    CHORD = "chord"  # ChordEdit (arXiv:2602.19083): the model alone, by two prompts


class ChordForm(StrEnum):
    """Which drifts ChordEdit follows, and whether it refines what they give."""

    FAST = "fast"  # at one time, not refined
    CHORD = "chord"  # at two times, as published
    FAITHFUL = "faithful"  # at two times around the middle (arXiv:2606.14042)


class IdentityGuidance(StrEnum):
    """How prompt and identity share the picture: the methods of arXiv:2505.21144."""

    PLAIN = "plain"
    DCG = "dcg"  # a scale for each of text and identity: for styles
    AM1 = "am1"  # stronger attention to the identity: for realism
    AM2 = "am2"  # attention gathered where the identity is: for realism
    DCG_AM1 = "dcg+am1"
    DCG_AM2 = "dcg+am2"


class Steering(TypedDict, total=False):
    """Options that steer a drawing; missing ones and None change nothing."""

    identity_guidance: IdentityGuidance  # chooses guidance and shaping, so it excludes them
    guidance: "Guidance | None"
    shaping: "Shaping | None"
    negative_prompt: "Prompts"


class DrawingSteering(Steering, total=False):
    """The same for a new picture, which may have a style."""

    style_reference: "Picture | None"
    style_scale: float
    flip: bool
    tilt: float  # degrees
    adds_named_subjects: bool  # those of the library that the prompt names as well


STRENGTH = partial(Option, kind=float, least=0, most=MAX_SCALE)


@checked
@dataclass(frozen=True)
class Scales:
    """Factors of mask-guided rescaling, each branch inside and outside of the region.

    None leaves one to preset and mode. In an edit (arXiv:2412.04301, Eq. 9 and supplement) identity
    is the picture's own appearance and the region is where it changes. There
    `text_background_scale` is 1, where the equation, read literally, has 0: that would leave the
    background without text.
    """

    identity_scale: Annotated[  # semantic branch
        float | None,
        STRENGTH(
            "Strength of what the subject is, or in an edit of the picture's own look, inside the "
            "region; 0 is off. By default what suits preset and mode.",
            default=1.0,
        ),
    ] = None
    detail_scale: Annotated[  # detail branch
        float | None,
        STRENGTH(
            "Strength of how the subject looks in detail; 0 is off. By default what suits preset "
            "and mode.",
            default=1.0,
        ),
    ] = None
    background_scale: Annotated[  # both identity branches
        float | None,
        STRENGTH(
            "Strength of the subject, or of the picture's own look, outside the region. By default "
            "0, in an edit 1.",
            default=0.0,
        ),
    ] = None
    text_scale: Annotated[
        float | None,
        STRENGTH(
            "Strength of the prompt inside the region. By default 1, in an edit what suits preset "
            "and mode.",
            default=1.0,
        ),
    ] = None
    text_background_scale: Annotated[
        float | None,
        STRENGTH(
            "Strength of the prompt outside the region; by default 1.", default=1.0, surfaces=RARE
        ),
    ] = None
    balance: Annotated[
        float | None,
        Option(
            "One slider for all scales: 1 favours the subject, -1 the prompt. By default 0.",
            kind=float,
            default=0.0,
            least=-1,
            most=1,
        ),
    ] = None

    def __post_init__(self) -> None:
        check_numbers(self, Scales)

    def __repr__(self) -> str:
        return f"Scales({', '.join(f'{name}={value}' for name, value in self.given.items())})"

    @property
    def given(self) -> dict[str, float]:
        """The factors that are not None, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def over(self, usual: "ResolvedScales") -> "ResolvedScales":
        """Return `usual` with the given factors in place of its own."""
        return replace(usual, **self.given)

    @classmethod
    def of(cls, preset: Preset) -> "ResolvedScales":
        """Return the preset's own scales."""
        defaults = preset.defaults
        return ResolvedScales(
            identity_scale=defaults["identity_scale"], detail_scale=defaults["detail_scale"]
        )

    @classmethod
    def for_edit(
        cls,
        preset: Preset | None = None,
        *,
        mode: EditMode | None = None,
        has_reference: bool = False,
    ) -> "ResolvedScales":
        """Return the scales of an edit: the paper's, the released code's, or the preset's own.

        Without a mode they are those of the preset's, or else of the paper's.
        With a reference of a new subject as appearance, the appearance acts inside the region only.
        A model with layout also sees what stays, so its scales are the usual ones.
        """
        if has_reference and not (preset is not None and preset.places_subjects):
            return ResolvedScales(detail_scale=0.0)
        if mode is None and preset is not None:
            mode = EditMode(preset.edit_mode)
        if mode is EditMode.RELEASED:
            return ResolvedScales(identity_scale=0.2, detail_scale=0.0, background_scale=1.0)
        text_scale = 2.0 if preset is None else preset.defaults.get("edit_text_scale", 2.0)
        return ResolvedScales(
            identity_scale=0.0, detail_scale=0.0, background_scale=1.0, text_scale=text_scale
        )


@dataclass(frozen=True)
class ResolvedScales(Scales):
    """The factors that a picture is drawn with."""

    identity_scale: float = 1.0
    detail_scale: float = 1.0
    background_scale: float = 0.0
    text_scale: float = 1.0
    text_background_scale: float = 1.0
    balance: float = 0.0


USUAL = Scales()  # leaves all to preset and mode


@checked
@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Settings of an edit, independent of its picture and prompt.

    A technique of another distribution that has options of its own reads them from a subclass.
    """

    method: Annotated[  # None: by inversion where the model has a network for it
        EditMethod | None,
        Option(
            "Edit by an inversion network; by reference, with a model that reads pictures besides "
            "the prompt; or by ChordEdit, which needs no weights of its own. By default the first "
            "of them that the model can.",
            surfaces=NOT_COMFYUI,
        ),
    ] = None
    chord: Annotated[  # None: as its paper has it, where ChordEdit (arXiv:2602.19083) edits
        ChordForm | None,
        Option(
            "ChordEdit: fast, by one pass; chord, as its paper has it; or faithful, which keeps "
            "more of the photograph and changes less. By default chord."
        ),
    ] = None
    mode: Annotated[  # None: the preset's
        EditMode | None,
        Option(
            "Rescale attention by SwiftEdit's paper, or as the code released with it. By default "
            "by the paper, with the recipe swiftedit as released.",
            surfaces=NOT_COMFYUI,
        ),
    ] = None
    start: Annotated[
        EditStart,
        Option(
            "What an edit is drawn from: a mixture of picture and noise, as SwiftEdit's code does, "
            "or the noise alone, as in its paper.",
            surfaces=NOT_COMFYUI,
        ),
    ] = EditStart.MIXTURE
    scales: Scales = USUAL  # by default what belongs to the mode
    size_px: Annotated[
        int | None,
        Option("Side in pixels of the square in which the edit is computed.", surfaces=RARE),
    ] = None
    variation: Annotated[
        float,
        Option(
            "Share of the noise that is new by the seed where the picture changes: 0, the default, "
            "is none, 1 is all of it.",
            least=0,
            most=1,
        ),
    ] = 0.0

    def in_mode_of(self, preset: Preset) -> Self:
        """Return these settings with the preset's mode if they have none."""
        return self if self.mode is not None else replace(self, mode=EditMode(preset.edit_mode))

    def __post_init__(self) -> None:
        check_numbers(self)


def steering_of(identity_guidance: IdentityGuidance, num_steps: int) -> Steering:
    """Return guidance and reshaping of attention for so many steps."""
    # Here, because the command line names styles without loading PyTorch.
    from swiftpie.attention.manipulate import AM1, AM2, STABLE_AM2
    from swiftpie.guidance import decoupled_for_steps

    shapings = {
        IdentityGuidance.AM1: AM1,
        IdentityGuidance.AM2: AM2,
        IdentityGuidance.DCG_AM1: AM1,
        IdentityGuidance.DCG_AM2: STABLE_AM2,
    }
    has_dcg = identity_guidance in {
        IdentityGuidance.DCG,
        IdentityGuidance.DCG_AM1,
        IdentityGuidance.DCG_AM2,
    }
    return {
        "guidance": decoupled_for_steps(num_steps) if has_dcg else None,
        "shaping": shapings.get(identity_guidance),
    }


@checked
@dataclass(frozen=True)
class TuneSettings:
    """How a subject is tuned; equal settings and pictures give an equal result on the CPU."""

    steps: Annotated[
        int, Option("Steps of training, a third to half a second each.", least=1, most=MAX_STEPS)
    ] = 100
    learning_rate: Annotated[float, Option("Size of a step.", least=1e-6, most=1)] = 0.01
    num_scenes: Annotated[
        int, Option("Scenes that the subject is trained in.", least=1, most=64)
    ] = 8
    seed: Annotated[int, Option("Seed of everything random.", least=0, most=MAX_SEED)] = 0

    def __post_init__(self) -> None:
        check_numbers(self)
