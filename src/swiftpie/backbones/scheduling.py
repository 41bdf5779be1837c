"""The schedule that a preset describes, and how a caller changes it."""

from collections.abc import Callable
from dataclasses import replace

from swiftpie.backbones.presets import SPACINGS, Preset
from swiftpie.errors import ConfigError
from swiftpie.schedules import NoiseScale, PredictionType, Renoise, Schedule, build_schedule


def schedule_of(preset: Preset) -> Schedule:
    """Return the steps that the networks of `preset` were trained to take."""
    return build_schedule(
        preset.timesteps,
        PredictionType(preset.prediction_type),
        noise_scale=NoiseScale(preset.noise_scale),
        renoise=Renoise(preset.renoise),
        eta=preset.eta,
    )


def with_steps(
    preset: Preset, steps: int | None, *, spaced: Callable[[int], tuple[float, ...]] | None = None
) -> Preset:
    """Return `preset` with so many denoising steps; None leaves it its own.

    `spaced` returns the timesteps of other counts; None is the preset's own spacing.

    Raises:
        ConfigError: The weights were not trained for so many.
    """
    if steps is None or steps == len(preset.timesteps):
        return preset
    counts = preset.step_counts
    if steps not in counts:
        raise ConfigError(
            f"Preset {preset.name!r} cannot draw in {steps} steps. Its weights were trained for "
            f"{' or '.join(map(str, counts))}. Choose one of these, or another preset."
        )
    others = tuple(count for count in counts if count != steps)
    timesteps = (spaced or SPACINGS[preset.spacing])(steps)
    return replace(preset, timesteps=timesteps, more_steps=others)
