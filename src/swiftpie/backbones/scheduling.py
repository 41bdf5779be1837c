"""The schedule that a preset describes, and how a caller or a folder of weights changes it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from swiftpie.backbones import presets
from swiftpie.backbones.presets import SPACINGS, Preset
from swiftpie.config import from_json
from swiftpie.errors import ConfigError, WeightsError, short_reason
from swiftpie.schedules import (
    TRAIN_TIMESTEPS,
    NoiseScale,
    PredictionType,
    Renoise,
    Schedule,
    build_schedule,
)

STEPS_FILE = "schedule.json"  # beside weights that take other steps than their preset's
MAX_FILE_BYTES = 64 << 10  # a thousand timesteps take a tenth of it


@dataclass(frozen=True)
class StoredSteps:
    """What a folder of weights says about its steps."""

    timesteps: tuple[int, ...]
    noise_scale: presets.NoiseScale = "unit"
    renoise: presets.Renoise = "ddim"

    def __post_init__(self) -> None:
        is_flow = self.noise_scale == "flow"
        low, high = (1, TRAIN_TIMESTEPS) if is_flow else (0, TRAIN_TIMESTEPS - 1)
        inside = all(low <= timestep <= high for timestep in self.timesteps)
        falling = all(first > second for first, second in pairwise(self.timesteps))
        if not (self.timesteps and inside and falling):
            raise ConfigError(f"timesteps have to fall, within {low} to {high}, and be one or more")


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


def with_stored_steps(preset: Preset, folder: Path) -> Preset:
    """Return `preset` with the steps that `folder` holds beside its weights, if it says any.

    Raises:
        WeightsError: The file cannot be used.
    """
    path = folder / STEPS_FILE
    if not path.is_file():
        return preset
    try:
        stored = from_json(StoredSteps, _read_short(path))
    except (OSError, ValueError, RecursionError) as error:  # ConfigError is a ValueError
        raise WeightsError(
            f"'{path}' does not say how to denoise: {short_reason(error)}. A JSON object with "
            "timesteps, noise_scale and renoise is needed. Correct it, or remove it for the "
            "preset's own steps."
        ) from error
    return replace(
        preset,
        timesteps=stored.timesteps,
        noise_scale=stored.noise_scale,
        renoise=stored.renoise,
        more_steps=(),
    )


def _read_short(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"it has more than {MAX_FILE_BYTES} bytes")
    return data.decode()
