"""The schedule that a preset describes."""

from swiftpie.backbones.preset import Preset
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
