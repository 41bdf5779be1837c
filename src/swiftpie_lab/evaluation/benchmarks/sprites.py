"""Held-out subjects in places of the larger world, dealt by a seed, beside photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import NamedTuple

import torch
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import mask_to_pil, to_pil
from swiftpie_world.nouns import article_of
from swiftpie_world.places import PLACES
from swiftpie_world.sampler import World
from swiftpie_world.subjects import Subjects

PHRASE_OF = {place.name: place.phrases[0] for place in PLACES}


class SpriteCase(NamedTuple):
    """One picture of a sprite."""

    code: str  # the subject in its pack
    subject: str  # its name in words
    place: str
    prompt: str
    seed: int


class ShownSprite(NamedTuple):
    """A subject as a user would give it."""

    reference: Image.Image
    mask: Image.Image


@dataclass(frozen=True, eq=False)
class SpritesInPlaces:
    """Deals subjects and places, and shows the subjects."""

    subjects: Subjects
    seed: int = 0  # decides everything

    @cached_property
    def world(self) -> World:
        """The held-out half of the subjects, which draws the references."""
        return World(self.subjects, "held_out")

    @cached_property
    def codes(self) -> list[str]:
        """All held-out subjects, in the order they are dealt in."""
        pool = self.world.pool
        return [self.subjects.codes[row] for row in Random(self.seed).sample(pool, len(pool))]

    def places(self, count: int) -> list[str]:
        """Return the first places that are dealt.

        Raises:
            ConfigError: There are not as many.
        """
        if count > len(PHRASE_OF):
            raise ConfigError(
                f"{count} places were requested. There are {len(PHRASE_OF)}. Ask for as many or "
                "fewer."
            )
        return Random(f"{self.seed}:places").sample([*PHRASE_OF], count)

    def rows(self, num_subjects: int, places: Sequence[str]) -> list[list[SpriteCase]]:
        """Return a row of cases a subject; picture i of all has the seed plus i.

        Raises:
            ConfigError: There are not as many held-out subjects.
        """
        if num_subjects > len(self.codes):
            raise ConfigError(
                f"{num_subjects} held-out subjects were requested. The pack has "
                f"{len(self.codes)}. Ask for as many or fewer, or pass a larger pack."
            )
        return [
            [
                self._case(code, place, seed=self.seed + row * len(places) + column)
                for column, place in enumerate(places)
            ]
            for row, code in enumerate(self.codes[:num_subjects])
        ]

    def show(self, code: str) -> ShownSprite:
        """Return a subject before a plain wall."""
        row = self.subjects.index(code)
        numbers = torch.rand(1, 16, generator=torch.Generator().manual_seed(self.seed + row))
        pixels, mask = self.world.references([row], numbers)
        return ShownSprite(to_pil(pixels)[0], mask_to_pil(mask)[0])

    def _case(self, code: str, place: str, *, seed: int) -> SpriteCase:
        subject = self.subjects.names[self.subjects.index(code)]
        return SpriteCase(code, subject, place, prompt_of(subject, place), seed)


def prompt_of(noun: str, place: str) -> str:
    """Return a prompt that puts `noun` into the place of this name."""
    return f"a photo of {article_of(noun)} {noun} {PHRASE_OF[place]}"


def check_places(names: list[str]) -> list[str]:
    """Return the names of places that the renderer knows.

    Raises:
        ConfigError: One is unknown.
    """
    for name in names:
        if name not in PHRASE_OF:
            raise ConfigError(
                f"There is no place {name!r}. Known are {', '.join(sorted(PHRASE_OF))}. Choose "
                "among those, with commas between them."
            )
    return names
