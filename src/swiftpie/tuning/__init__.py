"""Tuning of one subject: its tokens, keys and values themselves are trained.

A tuned subject is an identity like any other. What tuning changes acts through the subject's own
tokens, keys and values, which a call hands to the attention layers as values. So the weights of a
session stay as they are, and pictures without the subject stay the same, bit for bit.
"""

from dataclasses import dataclass
from typing import Annotated

from swiftpie.config import Option
from swiftpie.errors import ConfigError

MAX_STEPS, MAX_SEED = 10_000, 2**31


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
        ranges: dict[str, tuple[float, float, float]] = {
            "steps": (self.steps, 1, MAX_STEPS),
            "learning_rate": (self.learning_rate, 1e-6, 1),
            "num_scenes": (self.num_scenes, 1, 64),
            "seed": (self.seed, 0, MAX_SEED),
        }
        for name, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise ConfigError(
                    f"{name} is {value}. Tuning needs {least:g} to {most:g}. Give such a value, or "
                    "leave it out."
                )
