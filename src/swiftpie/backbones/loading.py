"""Loads a preset's networks, whichever family they are of."""

from pathlib import Path

from swiftpie.backbones.components import Components
from swiftpie.backbones.embedded import load_embedded
from swiftpie.backbones.preset import Family, Preset
from swiftpie.errors import CapabilityError


def load_components(
    preset: Preset, *, device: str = "cpu", weights: Path | None = None
) -> Components:
    """Load every network of `preset`.

    Args:
        preset: What to load.
        device: A torch device.
        weights: A folder in the preset's layout to read instead of the preset's own source.

    Raises:
        CapabilityError: The preset's family cannot be loaded yet.
        WeightsError: A file is missing, is not safetensors, is damaged or has other shapes.
    """
    if preset.family is not Family.TINY:
        raise CapabilityError(
            f"Preset {preset.name!r} is of family {preset.family}; this version loads only "
            f"{Family.TINY} presets, such as 'mini'."
        )
    return load_embedded(preset, device=device, weights=weights)
