"""Pairs of prompts for one picture, and where following the second would change it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from random import Random
from typing import NamedTuple, TypeVar, get_args

import torch
from torch import Tensor

from swiftpie.geometry.layout import Layout
from swiftpie.masks import MaskRule, from_noise_difference, iou, resize_mask
from swiftpie_lab.stickers.captions import (
    Accessory,
    Attributes,
    Side,
    Size,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
)
from swiftpie_lab.stickers.renderer import Placed, render
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import SceneBatch, StickerBatch, StickerWorld
from swiftpie_lab.training.stages.one_step_tasks import rows_where
from swiftpie_lab.world import captions as world_captions
from swiftpie_lab.world.changes import (
    SameWords,
    Wish,
    WorldChange,
    alternatives,
    redraw,
    stand_aside,
)
from swiftpie_lab.world.places import PLACES
from swiftpie_lab.world.placing import place
from swiftpie_lab.world.world import Figure, Rendering, World, WorldBatch

VISIBLE_CHANGE = 0.1  # of the range [-1, 1]; below it two pixels look the same
RELIT_SHARE = 0.5  # of a subject; if more of it looks different, all of it is drawn anew
EMPTY_SHARE = 0.4  # of the first prompts: many users do not describe what they have
SAME_WORDS_SHARE = 0.6  # of the pairs are worded alike, as when a user edits a prompt

T = TypeVar("T")


class Change(StrEnum):
    """What the second prompt asks for in sticker scenes."""

    NOTHING = "nothing"  # the same in other words
    SCENE = "scene"
    SUBJECT = "subject"
    ACCESSORY = "accessory"
    SIZE = "size"
    SIDE = "side"
    REMOVAL = "removal"
    SECOND = "second"  # another subject beside the first
    COLOUR = "colour"
    WORD = "word"  # a bare word for something in the picture: that is what shall change


SHARES = {
    Change.NOTHING: 0.07,
    Change.SCENE: 0.21,
    Change.SUBJECT: 0.13,
    Change.ACCESSORY: 0.16,
    Change.SIZE: 0.07,
    Change.SIDE: 0.07,
    Change.REMOVAL: 0.08,
    Change.SECOND: 0.06,
    Change.COLOUR: 0.04,
    Change.WORD: 0.11,
}
WORLD_SHARES: Mapping[WorldChange, float] = {  # of those that a picture leaves a way for
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
DRAWN_AGAIN = frozenset({Change.SCENE, Change.SUBJECT, Change.ACCESSORY, Change.SIZE, Change.SIDE})
STAYS_IN_PLACE = frozenset({Change.SCENE, Change.ACCESSORY})
OTHERS = frozenset({Change.SUBJECT, Change.REMOVAL, Change.WORD})  # lose the subject there was
WORLD_OTHERS = frozenset({WorldChange.SUBJECT, WorldChange.REMOVAL, WorldChange.WORD})


class Changes(NamedTuple):
    """Two prompts for each picture of a batch."""

    kinds: Sequence[StrEnum]  # of either world
    source: list[str]  # says what is there, or nothing
    target: list[str]
    mask: Tensor  # (B, 1, R, R) in [0, 1], 1 = differs from the picture of the second prompt
    same_subject: Tensor  # (B,) whether the second prompt is about the same subject


class _Edit(NamedTuple):
    """One row: what the second picture shows."""

    kind: Change
    source: str
    target: str
    scene: int
    attributes: Attributes
    is_about_scene: bool  # of bare words: whether the word is for the background


def draw_changes(world: StickerWorld | World, batch: SceneBatch, *, seed: int) -> Changes:
    """Return a change for every picture of `batch`; `seed` decides which.

    The batch is from `world`, of two subjects or more, and placed by its own noise.
    """
    if isinstance(world, World):
        assert isinstance(batch, WorldBatch), "it is from this world"
        return _changes_of_world(world, batch, seed=seed)
    assert isinstance(batch, StickerBatch), "it is from this world"
    return _changes_of_stickers(world, batch, seed=seed)


def _changes_of_stickers(world: StickerWorld, batch: StickerBatch, *, seed: int) -> Changes:
    random = Random(seed)
    views = len(batch.noise) // len(batch.frames)
    others = batch.subject.roll(-views).tolist()
    edits = [_draw_edit(world, batch, row, other, random) for row, other in enumerate(others)]
    known = [_known_mask(wish, batch.mask[row]) for row, wish in enumerate(edits)]
    mask = torch.stack(known).contiguous()
    rows = [row for row, wish in enumerate(edits) if wish.kind in DRAWN_AGAIN]
    if rows:
        mask[rows] = _visible_change(world, batch, rows, [edits[row] for row in rows])
    rows = [row for row, wish in enumerate(edits) if wish.kind is Change.SECOND]
    if rows:
        mask[rows] = _beside(world, batch, rows, seed=seed)
    return Changes(
        kinds=[wish.kind for wish in edits],
        source=[wish.source for wish in edits],
        target=[wish.target for wish in edits],
        mask=mask,
        same_subject=torch.tensor([wish.kind not in OTHERS for wish in edits]),
    )


def _draw_edit(
    world: StickerWorld, batch: StickerBatch, row: int, other: int, random: Random
) -> _Edit:
    """Choose what shall change in picture `row`; subject `other` may take its subject's place."""
    subject, scene = int(batch.subject[row]), int(batch.scene[row])
    attributes, name = batch.attributes[row], world.subjects.names[subject]
    kind = random.choices(list(SHARES), list(SHARES.values()))[0]
    words = random.randrange(2**31)
    same = random.random() < SAME_WORDS_SHARE and kind is not Change.NOTHING
    other_words = words if same else random.randrange(2**31)
    source = draw_caption(Random(words), SCENES[scene], attributes, name=name)
    wanted_scene, wanted = scene, attributes
    match kind:
        case Change.SCENE:
            wanted_scene = _another(random, range(len(SCENES)), scene)
        case Change.ACCESSORY:
            accessory = _another(random, get_args(Accessory), attributes.accessory)
            wanted = replace(attributes, accessory=accessory)
        case Change.SIZE:
            wanted = replace(attributes, size=_another(random, get_args(Size), attributes.size))
        case Change.SIDE:
            wanted = replace(attributes, side=_another(random, get_args(Side), attributes.side))
        case Change.COLOUR:
            wanted = replace(attributes, is_black_and_white=not attributes.is_black_and_white)
        case _:
            pass
    target = draw_caption(Random(other_words), SCENES[wanted_scene], wanted, name=name)
    is_about_scene = random.random() < 0.5
    if kind is Change.SUBJECT:
        renamed = target.replace(name, world.subjects.names[other])
        # A prompt that names its subject by no name of its own agrees with every subject.
        kind = kind if renamed != target else Change.NOTHING
        target = renamed
    elif kind is Change.WORD:
        target = random.choice(SCENES[scene].phrases) if is_about_scene else name
    elif kind is Change.SECOND:
        names = (name, world.subjects.names[other])
        target = draw_pair_caption(Random(other_words), SCENES[scene], attributes, names=names)
    elif kind is Change.REMOVAL:
        target = draw_empty_caption(random, SCENES[scene])
    is_silent = kind is Change.WORD or random.random() < EMPTY_SHARE
    return _Edit(kind, "" if is_silent else source, target, wanted_scene, wanted, is_about_scene)


def _known_mask(wish: _Edit, subject: Tensor) -> Tensor:
    """Return what changes (1, R, R) as far as the `subject` mask (1, R, R) of a picture tells."""
    match wish.kind:
        case Change.REMOVAL:
            return subject
        case Change.COLOUR:
            return torch.ones_like(subject)
        case Change.WORD:
            return 1 - subject if wish.is_about_scene else subject
        case _:
            return torch.zeros_like(subject)


def _visible_change(
    world: StickerWorld, batch: StickerBatch, rows: list[int], edits: Sequence[_Edit]
) -> Tensor:
    """Draw `rows` again as wished, from the same noise, and return what differs (n, 1, R, R)."""
    count = len(batch.noise)
    views = count // len(batch.frames)
    frames = batch.frames.repeat_interleave(views, dim=0)
    kinds = [wish.kind for wish in edits]
    is_other, stays, is_scene = (
        torch.tensor(flags).view(-1, 1, 1, 1).to(frames.device)
        for flags in (
            [kind is Change.SUBJECT for kind in kinds],
            [kind in STAYS_IN_PLACE for kind in kinds],
            [kind is Change.SCENE for kind in kinds],
        )
    )
    shown = torch.where(is_other, frames.roll(-views, 0)[rows], frames[rows])
    scenes = [wish.scene for wish in edits]
    attributes = [wish.attributes for wish in edits]
    wanted = place(batch.noise[rows], shown, scenes, attributes)
    # Who gets a hat stays where it is; the renderer alone would make room for the hat.
    now = (value[rows] for value in batch.layout)
    layout = Layout(*rows_where(stays.flatten(), now, wanted))
    drawn = render(
        batch.noise[rows],
        shown,
        scenes,
        attributes,
        accessories=world.accessories,
        size_px=world.size_px,
        layout=layout,
    )
    apart = (drawn.pixels - batch.pixels[rows]).abs().amax(1, keepdim=True)
    changed, before = (apart > VISIBLE_CHANGE).to(apart), batch.mask[rows]
    moved = torch.where(stays, changed, torch.maximum(changed, torch.maximum(drawn.mask, before)))
    # All but the subject, or everything where another light falls on it.
    area = before.sum((1, 2, 3), keepdim=True).clamp_min(1)
    is_relit = (before * changed).sum((1, 2, 3), keepdim=True) > RELIT_SHARE * area
    return torch.where(is_scene, torch.where(is_relit, 1.0, 1 - before), moved)


def _beside(world: StickerWorld, batch: StickerBatch, rows: list[int], *, seed: int) -> Tensor:
    """Return where other subjects stand beside those of `rows`, (n, 1, R, R)."""
    views = len(batch.noise) // len(batch.frames)
    frames = batch.frames.repeat_interleave(views, dim=0)
    others = frames.roll(-views, 0)[rows]
    noise = torch.randn(batch.noise[rows].shape, generator=torch.Generator().manual_seed(seed))
    scenes = batch.scene[rows].tolist()
    across = [
        Attributes(side="left" if centre > 0.5 else "right")  # where there is room
        for centre in batch.layout.centre[rows, 0].tolist()
    ]
    layout = place(noise.to(batch.noise), others, scenes, across)
    drawn = render(
        batch.noise[rows],
        frames[rows],
        scenes,
        [batch.attributes[row] for row in rows],
        accessories=world.accessories,
        size_px=world.size_px,
        layout=Layout(*(value[rows] for value in batch.layout)),
        companion=Placed(others, layout),
    )
    return drawn.companion_mask


class _Pair(NamedTuple):
    """One row of the larger world."""

    wish: Wish
    source: str
    target: str
    is_about_place: bool  # of bare words: whether the word is for the background


def _changes_of_world(world: World, batch: WorldBatch, *, seed: int) -> Changes:
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    views = len(batch.noise) // len(batch.frames)
    names = batch.subject.roll(-views).tolist()
    pairs = [_draw_pair(world, batch, row, other, random) for row, other in enumerate(names)]
    rows = torch.arange(len(batch.frames), device=batch.noise.device).repeat_interleave(views)
    subject = Figure(batch.frames[rows], batch.relief[rows], batch.layout)
    after = rows.roll(-views)
    others = Figure(batch.frames[after], batch.relief[after], batch.layout)
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
        [one.wish for one in pairs],
        others=stand_aside(free, subject, others, batch.asked),
    ).mask
    for row, one in enumerate(pairs):
        if one.wish.change is WorldChange.WORD:
            mask[row] = 1 - batch.mask[row] if one.is_about_place else batch.mask[row]
    return Changes(
        kinds=[one.wish.change for one in pairs],
        source=[one.source for one in pairs],
        target=[one.target for one in pairs],
        mask=mask,
        same_subject=torch.tensor([one.wish.change not in WORLD_OTHERS for one in pairs]),
    )


def _draw_pair(world: World, batch: WorldBatch, row: int, other: int, random: Random) -> _Pair:
    """Choose what shall change in picture `row`; subject `other` may take its subject's place."""
    asked, subject = batch.asked[row], int(batch.subject[row])
    change, wishes = WorldChange.NOTHING, [asked]
    ways = dict(WORLD_SHARES)
    while ways:  # until one of them can be gone; nothing is one that always can
        change = random.choices(list(ways), list(ways.values()))[0]
        if wishes := alternatives(asked, change, world.settings):
            break
        del ways[change]
    wanted = random.choice(wishes)
    words = random.randrange(2**31)
    is_alike = random.random() < SAME_WORDS_SHARE and change is not WorldChange.NOTHING
    other_words = words if is_alike else random.randrange(2**31)

    def caption(words: int, asked: world_captions.Asked, who: int) -> str:
        name, synonyms = world.subjects.names[who], world.subjects.synonyms[who]
        return world_captions.draw_caption(SameWords(words), asked, name=name, synonyms=synonyms)

    source, target = caption(words, asked, subject), caption(other_words, wanted, subject)
    name, is_about_place = world.subjects.names[subject], random.random() < 0.5
    match change:
        case WorldChange.SUBJECT:
            renamed = caption(other_words, wanted, other)
            # A prompt that names its subject by no name of its own agrees with every subject.
            change = change if renamed != target else WorldChange.NOTHING
            target = renamed
        case WorldChange.WORD:
            phrases = PLACES[asked.setting.place].phrases
            target = random.choice(phrases) if is_about_place else name
        case WorldChange.SECOND:
            names = (name, world.subjects.names[other])
            target = world_captions.draw_pair_caption(SameWords(other_words), wanted, names=names)
        case WorldChange.REMOVAL:
            target = world_captions.draw_empty_caption(SameWords(other_words), wanted.setting)
        case _:
            pass
    is_silent = change is WorldChange.WORD or random.random() < EMPTY_SHARE
    return _Pair(Wish(change, wanted), "" if is_silent else source, target, is_about_place)


def _another(random: Random, choices: Sequence[T], present: T) -> T:
    return random.choice([one for one in choices if one != present])


SHOWN_KINDS: tuple[str, ...] = (  # those of one name are one
    Change.SCENE,
    Change.SUBJECT,
    Change.ACCESSORY,
    Change.SIDE,
    Change.REMOVAL,
    Change.WORD,
    WorldChange.PLACE,
    WorldChange.TIME,
    WorldChange.RENDITION,
    WorldChange.MATERIAL,
    WorldChange.PUT_ON,
    WorldChange.VIEW,
)


def mask_figures(
    changes: Changes, located: Tensor, *, source_noise: Tensor, target_noise: Tensor
) -> dict[str, float]:
    """Return how well masks fit true changes (intersection over union), where there are any.

    The network found those of `located` (B, 1, R, R); the rules of editing make others from noise
    (B, C, h, w) that was inverted under the first and the second prompts.
    """
    truth, size = changes.mask, (located.shape[2], located.shape[3])
    masks = {"located": located}
    for rule in MaskRule:
        mask = from_noise_difference(source_noise, target_noise, rule=rule)
        masks[rule.value] = resize_mask(mask, size)
    due = [row for row, kind in enumerate(changes.kinds) if kind != Change.NOTHING]
    figures = {
        f"iou_{name}": float(iou(mask[due], truth[due]).mean()) for name, mask in masks.items()
    }
    for kind in SHOWN_KINDS:
        rows = [row for row in due if changes.kinds[row] == kind]
        if rows:
            figures[f"iou_of_{kind}"] = float(iou(located[rows], truth[rows]).mean())
    return figures
