"""Pairs of prompts for one picture, and where following the second would change it."""

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie_world import captions
from swiftpie_world.changes import (
    EditSpec,
    SameWords,
    WorldChange,
    alternatives,
    redraw,
    stand_aside,
)
from swiftpie_world.compositor import PlacedSprite, Rendering
from swiftpie_world.places import PLACES
from swiftpie_world.sampler import World, WorldBatch

EMPTY_SHARE = 0.4  # of the first prompts: many users do not describe what they have
SAME_WORDS_SHARE = 0.6  # of the pairs are worded alike, as when a user edits a prompt


SHARES: Mapping[WorldChange, float] = {  # of those that a picture leaves a way for
    WorldChange.NOTHING: 0.06,
    WorldChange.PLACE: 0.10,
    WorldChange.TIME: 0.08,
    WorldChange.WEATHER: 0.07,
    WorldChange.SEASON: 0.06,
    WorldChange.RENDITION: 0.07,
    WorldChange.COLOUR: 0.06,
    WorldChange.MATERIAL: 0.06,
    WorldChange.PUT_ON: 0.08,
    WorldChange.TAKE_OFF: 0.05,
    WorldChange.VIEW: 0.06,
    WorldChange.POSE: 0.05,
    WorldChange.SIZE: 0.03,
    WorldChange.SIDE: 0.03,
    WorldChange.SUBJECT: 0.10,
    WorldChange.REMOVAL: 0.08,
    WorldChange.SECOND: 0.10,  # few pictures leave a way for it
    WorldChange.WORD: 0.09,
}
# These lose the subject there was.
OTHERS = frozenset({WorldChange.SUBJECT, WorldChange.REMOVAL, WorldChange.WORD})


class Changes(NamedTuple):
    """Two prompts for each picture of a batch."""

    kinds: Sequence[WorldChange]
    source: list[str]  # says what is there, or nothing
    target: list[str]
    mask: Tensor  # (B, 1, R, R) in [0, 1], 1 = differs from the picture of the second prompt
    same_subject: Tensor  # (B,) whether the second prompt is about the same subject


class _Pair(NamedTuple):
    """One row: a change and the two prompts around it."""

    edit: EditSpec
    source: str
    target: str
    is_about_place: bool  # of bare words: whether the word is for the background


def draw_changes(world: World, batch: WorldBatch, *, seed: int) -> Changes:
    """Return a change for every picture of `batch`; `seed` decides which.

    The batch is from `world`, of two subjects or more, and placed by its own noise.
    """
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    views = len(batch.noise) // len(batch.frames)
    names = batch.subject.roll(-views).tolist()
    pairs = [_draw_pair(world, batch, row, other, random) for row, other in enumerate(names)]
    rows = torch.arange(len(batch.frames), device=batch.noise.device).repeat_interleave(views)
    subject = PlacedSprite(batch.frames[rows], batch.relief[rows], batch.layout)
    after = rows.roll(-views)
    others = PlacedSprite(batch.frames[after], batch.relief[after], batch.layout)
    free = torch.randn(batch.noise.shape, generator=generator).to(batch.noise)
    first = Rendering(
        pixels=batch.pixels,
        mask=batch.mask,
        background=batch.background,
        worn=batch.worn,
        companion_mask=batch.companion_mask,
        light=batch.light,
    )
    mask = redraw(
        world,
        batch.noise,
        first,
        subject,
        [pair.edit for pair in pairs],
        others=stand_aside(free, subject, others, batch.specs),
    ).mask
    for row, pair in enumerate(pairs):
        if pair.edit.change is WorldChange.WORD:
            mask[row] = 1 - batch.mask[row] if pair.is_about_place else batch.mask[row]
    return Changes(
        kinds=[pair.edit.change for pair in pairs],
        source=[pair.source for pair in pairs],
        target=[pair.target for pair in pairs],
        mask=mask,
        same_subject=torch.tensor([pair.edit.change not in OTHERS for pair in pairs]),
    )


def _draw_pair(world: World, batch: WorldBatch, row: int, other: int, random: Random) -> _Pair:
    """Choose what shall change in picture `row`; subject `other` may take its subject's place."""
    spec, subject = batch.specs[row], int(batch.subject[row])
    change, options = WorldChange.NOTHING, [spec]
    ways = dict(SHARES)
    while ways:  # until one of them can be gone; nothing is one that always can
        change = random.choices(list(ways), list(ways.values()))[0]
        if options := alternatives(spec, change, world.settings):
            break
        del ways[change]
    wanted = random.choice(options)
    words = random.randrange(2**31)
    is_alike = random.random() < SAME_WORDS_SHARE and change is not WorldChange.NOTHING
    other_words = words if is_alike else random.randrange(2**31)

    def caption(words: int, spec: captions.SceneSpec, who: int) -> str:
        name, synonyms = world.subjects.names[who], world.subjects.synonyms[who]
        return captions.draw_caption(SameWords(words), spec, name=name, synonyms=synonyms)

    source, target = caption(words, spec, subject), caption(other_words, wanted, subject)
    name, is_about_place = world.subjects.names[subject], random.random() < 0.5
    match change:
        case WorldChange.SUBJECT:
            renamed = caption(other_words, wanted, other)
            # A prompt that names its subject by no name of its own agrees with every subject.
            change = change if renamed != target else WorldChange.NOTHING
            target = renamed
        case WorldChange.WORD:
            phrases = PLACES[spec.setting.place].phrases
            target = random.choice(phrases) if is_about_place else name
        case WorldChange.SECOND:
            names = (name, world.subjects.names[other])
            target = captions.draw_pair_caption(SameWords(other_words), wanted, names=names)
        case WorldChange.REMOVAL:
            target = captions.draw_empty_caption(SameWords(other_words), wanted.setting)
        case _:
            pass
    is_silent = change is WorldChange.WORD or random.random() < EMPTY_SHARE
    return _Pair(EditSpec(change, wanted), "" if is_silent else source, target, is_about_place)
