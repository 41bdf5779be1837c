"""What a preset says about a loadable model, without loading it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from swiftpie.registry import Registry


class Capability(StrEnum):
    """An operation that a preset's weights were made for."""

    PERSONALIZE = "personalize"
    LAYOUT = "layout"  # the place of the subject is predicted, or given by a box
    EDIT = "edit"


@dataclass(frozen=True)
class Preset:
    """One named choice of networks with its settings."""

    name: str
    summary: str
    source: str  # where the weights are: a folder inside the package, or a hub repository
    licence: str
    image_size_px: int
    latent_channels: int
    latent_cell_px: int
    timesteps: tuple[int, ...]
    prediction_type: str  # epsilon, v_prediction or sample, as diffusers spells them
    capabilities: frozenset[Capability]
    defaults: Mapping[str, float]  # identity_scale, detail_scale


PRESETS: Registry[Preset] = Registry(
    package="swiftpie.backbones.presets",
    attribute="PRESET",
    entry_point_group="swiftpie.presets",
)
