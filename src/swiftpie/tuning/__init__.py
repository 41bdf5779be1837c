"""Tuning of one subject: what is trained, and the settings; each file in `methods` is a method.

A tuned subject is an identity like any other. What a method changes acts through the subject's own
tokens, keys and values, which a call hands to the attention layers as values. So the weights of a
session stay as they are, and pictures without the subject stay the same, bit for bit.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from swiftpie.config import Option
from swiftpie.errors import ConfigError
from swiftpie.registry import Registry

if TYPE_CHECKING:
    from swiftpie.tuning.methods import Method

MAX_STEPS, MAX_RANK, MAX_SEED = 10_000, 64, 2**31


@dataclass(frozen=True)
class TuneSettings:
    """How a subject is tuned; equal settings and pictures give an equal result on the CPU."""

    method: Annotated[str, Option("What is trained: tokens or lora.", "METHOD")] = "tokens"
    steps: Annotated[
        int, Option("Steps of training, a third to half a second each.", least=1, most=MAX_STEPS)
    ] = 100
    rank: Annotated[int, Option("Rank of lora.", least=1, most=MAX_RANK)] = 8
    learning_rate: Annotated[
        float | None, Option("Size of a step; by default the method's own.", least=1e-6, most=1)
    ] = None
    num_scenes: Annotated[
        int, Option("Scenes that the subject is trained in.", least=1, most=64)
    ] = 8
    seed: Annotated[int, Option("Seed of everything random.", least=0, most=MAX_SEED)] = 0

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float | None, float, float]] = {
            "steps": (self.steps, 1, MAX_STEPS),
            "rank": (self.rank, 1, MAX_RANK),
            "learning_rate": (self.learning_rate, 1e-6, 1),
            "num_scenes": (self.num_scenes, 1, 64),
            "seed": (self.seed, 0, MAX_SEED),
        }
        for name, (value, least, most) in ranges.items():
            if value is not None and not least <= value <= most:
                raise ConfigError(
                    f"{name} is {value}. Tuning needs {least:g} to {most:g}. Give such a value, or "
                    "leave it out."
                )


METHODS: "Registry[Method]" = Registry(
    package="swiftpie.tuning.methods", attribute="METHOD", entry_point_group="swiftpie.tuning"
)
"""The methods by name."""
