"""Loads a preset's networks, whichever family they are of."""

from pathlib import Path
from typing import Unpack

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.embedded import load_embedded
from swiftpie.backbones.preset import Family, Preset
from swiftpie.backbones.scheduling import with_steps
from swiftpie.errors import ConfigError

EMBEDDED_CHOICES = {"steps", "weights", "inversion"}
IDLE_CHOICES = {"allow_pickle", "offline"}  # nothing is downloaded or unpickled anyway


def load_components(
    preset: Preset, *, device: str = "cpu", **choices: Unpack[Choices]
) -> Components:
    """Load every network of `preset`.

    Args:
        preset: What to load.
        device: A torch device.
        **choices: See `Choices`.

    Raises:
        TypeError: There is no such choice.
        ConfigError: The preset's family does not leave this choice, or so many steps.
        WeightsError: A file is missing, is not safetensors, is damaged or has other shapes.
    """
    if unknown := sorted(choices.keys() - Choices.__annotations__.keys()):
        raise TypeError(f"load() got an unexpected keyword argument {unknown[0]!r}")
    if preset.family is not Family.TINY:
        # Imported late: what published weights need costs seconds that `mini` need not pay.
        from swiftpie.backbones.published import load_published

        preset = with_steps(preset, choices.get("steps"))
        return load_published(preset, device=device, choices=choices)
    made = {name for name, value in choices.items() if value is not None}
    if refused := sorted(made - EMBEDDED_CHOICES - IDLE_CHOICES):
        raise ConfigError(
            f"Preset {preset.name!r} was loaded with {refused[0]!r}. All of its networks belong "
            "together and come with SwiftPie. Leave it out, or choose a Stable Diffusion preset."
        )
    weights, inversion = choices.get("weights"), choices.get("inversion")
    return load_embedded(
        preset,
        device=device,
        weights=None if weights is None else Path(weights),
        steps=choices.get("steps"),
        inversion=None if inversion is None else Path(inversion),
    )
