"""SwiftEdit, by an inversion network (arXiv:2412.04301), as users choose it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from swiftpie.backbones.presets import Preset
from swiftpie.config import OPTIONS
from swiftpie.pipelines.choose import Technique
from swiftpie.pipelines.settings import EditMode, EditSettings
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.registry import later

if TYPE_CHECKING:
    from swiftpie.backbones.components import Components


class EditStart(StrEnum):
    """What an edit's denoiser starts from; the noise is what the inversion network finds."""

    MIXTURE = "mixture"  # alpha * latents + sigma * noise, as SwiftEdit's released code has it
    NOISE = "noise"  # the noise alone, as the generator of its paper takes it


class SelfMask(StrEnum):
    """How SwiftEdit's self-guided mask follows from the noise that two prompts disagree about."""

    BINARY = "binary"  # by a threshold, as the released code has it
    SOFT = "soft"  # scaled to [0, 1], as in the paper


@dataclass(frozen=True, kw_only=True)
class InversionOptions:
    """Options of edits by inversion."""

    mode: Annotated[  # None: the preset's
        EditMode | None, OPTIONS["InversionOptions.mode"]
    ] = None
    start: Annotated[EditStart, OPTIONS["InversionOptions.start"]] = EditStart.MIXTURE
    variation: Annotated[float, OPTIONS["InversionOptions.variation"]] = 0.0
    self_mask: Annotated[  # None: what the network was trained to find, or else BINARY
        SelfMask | None, OPTIONS["InversionOptions.self_mask"]
    ] = None
    accept_smear: Annotated[bool, OPTIONS["InversionOptions.accept_smear"]] = False


def mode_of(settings: EditSettings, preset: Preset) -> EditMode:
    """Return the mode of an edit, by default the preset's."""
    return settings.of(InversionOptions).mode or EditMode(preset.edit_mode)


def follows_seed(components: "Components", request: EditRequest) -> bool:
    """Whether an edit is random, so that another seed gives another picture."""
    schedule, settings = components.schedule, request.settings
    has_fresh = schedule.needs_noise and len(schedule.steps) > 1
    is_released = mode_of(settings, components.preset) is EditMode.RELEASED
    return settings.of(InversionOptions).variation > 0 or is_released or has_fresh


TECHNIQUE = Technique(
    EditRequest,
    later("swiftpie.pipelines.inversion:prepare_edit"),
    lambda components, _request: (
        components.inversion is not None
        or not (components.family.knows_all_times or components.family.edits_by_reference)
    ),
    follows_seed,
    name="inversion",
    about="an inversion network",
    options=InversionOptions,
    advice=later("swiftpie.pipelines.inversion:advice"),
)
