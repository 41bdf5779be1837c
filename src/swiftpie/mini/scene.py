"""Subjects in a scene: the place in the prompt's light, and the subjects before it.

A model that predicts layout and light draws the picture small, from words. Before the place stand
the subjects' own pixels, in the light that the model predicts and draws, and their shadows.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.ground import Ground
from swiftpie.geometry.layout import Layout
from swiftpie.geometry.shading import (
    FEET,
    Illumination,
    Part,
    cast_around,
    contact_shadow,
    usual_shadow,
)
from swiftpie.imageio.images import extent_of, to_bytes
from swiftpie.lexicon import NIGHT, PLAIN
from swiftpie.mini.layout_predictor import place_subjects
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.choose import Choice, Clock
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest
from swiftpie.pipelines.techniques.personalize import (
    check_subjects,
    prepare_picture,
    prepare_subjects,
)
from swiftpie.places.own_pixels import GREY, PlacedSprite, gains_between, own_pixels
from swiftpie.places.placing import OWN_LOOKS, Staged, postures_of
from swiftpie.places.reading import read
from swiftpie.places.scene import SceneRow, facts_of, scene_rows
from swiftpie.types import NO_FACTS, DecodedImages
from swiftpie.validation import PixelBox

UNSHADED = 1 - 1 / 1024  # share of its light that a picture of 8 bits shows as all of it
AROUND_CELLS = 2  # cells, at half size, between a subject and the end of its patch
# Light that a drawn subject keeps by night, as at 1 it has 15 % more than its place, and share of
# its colours that it loses, by eye: blue light would make a tongue bright purple.
NIGHT_SHARE, NIGHT_GREY = 0.87, 0.5
# Colours that a clear sky adds to shades, over the light lost, as Cycles draws six places.
SKYLIGHT = (-0.3, -0.05, 0.35)
EDGES, BEHIND = 48, 0.04  # parts of a far end, and the height over which shadows end behind it
UNSEEN_ARTS = frozenset(("oil", "pixel art", "paper cut"))  # those that drawings do not show
MOST_COVER = 63 / 576  # share of its height by which what grows is seen before its foot at most
# Chosen by eye on 14 pictures: how steeply the ground behind a foot rises in a picture, and over
# what part of its height what is as far away as the foot fades.
RISES, SOFT = 0.4, 8 / 576

Sprites = dict[tuple[int, str], PlacedSprite]
"""Subjects of the last picture, by number and look."""


class ScenePlan(NamedTuple):
    """What remains of the preparation until the subjects are drawn."""

    staged: Staged  # the request of the caller
    rows: tuple[SceneRow, ...]
    start: Prepared
    facts: Mapping[str, str] = NO_FACTS  # facts of an animation


def prepare_art(choice: Choice[PersonalizeRequest]) -> Plan:
    """Prepare art, which the denoiser draws from words, or raise CapabilityError."""
    staged, request = choice.staged, choice.request
    readings = staged.readings
    arts = [reading.rendition for reading in readings if reading.rendition in UNSEEN_ARTS]
    if arts or not request.subjects:
        what = f"{arts[0]!r}" if arts else "places without a subject as art"
        raise CapabilityError(
            f"Preset {choice.components.preset.name!r} does not draw {what}. Ask for a subject in "
            "another art, as in 'a watercolour of a cat on a beach', or use a larger model."
        )
    prompts = tuple(reading.sentence for reading in readings)
    prompt = prompts[0] if isinstance(request.prompt, str) else prompts
    words = replace(request, prompt=prompt, scene=WORDS_ALONE)
    return prepare_words(replace(choice, request=words, staged=replace(staged, request=words)))


def prepare_words(choice: Choice[PersonalizeRequest]) -> Plan:
    """Prepare a picture that the denoiser draws from words, all of it."""
    postures = postures_of(choice.components, choice.staged)
    return prepare_picture(choice, place=partial(place_subjects, postures=postures))


def draw_empty(
    staged: Staged, rows: Sequence[SceneRow], clock: Clock, facts: Mapping[str, str] = NO_FACTS
) -> DecodedImages:
    """Return scenes without a subject, a picture a row."""
    pictures = torch.cat([row.behind_weather(to_bytes(row.place)) for row in rows])
    clock.end_stage("scene")
    return DecodedImages(
        pictures,
        torch.zeros_like(pictures[:, :1]),
        regions=torch.zeros(len(rows), 1, *staged.drawn_cells),
        facts={**facts_of(rows), **facts},
    )


def prepare_scene(choice: Choice[PersonalizeRequest]) -> Plan:
    """Choose and light the scenes of a request, and prepare the subjects that are put before them.

    The errors are those of `scene_rows`.
    """
    components, request, clock = choice.components, choice.request, choice.clock
    staged: Staged = choice.staged
    if not staged.is_empty:
        check_subjects(components, request)
    rows = tuple(scene_rows(components, staged))
    clock.end_stage("scene")
    if staged.is_empty:
        return Plan(request, partial(draw_empty, staged, rows, clock))
    boxes = tuple(zip(*(row.boxes for row in rows), strict=True))
    noise = model_noise(components, staged, request.seeds)
    stands = partial(
        place_subjects,
        postures=rows[0].postures,
        boxes=boxes if any(map(any, boxes)) else None,
        size=staged.size,
        read_noise=noise[0],
        suns=[row.sun for row in rows],
    )
    words = subjects_alone(staged, coarse_noise(noise, staged.drawn_cells))
    start = prepare_subjects(components, words, clock, place=stands)
    finish = partial(finish_scene, plan=ScenePlan(staged, rows, start), clock=clock)
    return Plan(request, finish, start)


def subjects_alone(staged: Staged, noise: Tensor | None = None) -> PersonalizeRequest:
    """Return the request for the drawing, from that noise, whose subjects come before the scene.

    What falls in the air is drawn later, over the whole picture.
    """
    request = staged.request
    library = [identity.named for identity in staged.identities if identity.named is not None]
    names = {entry.word: entry.name for entry in library if " " in entry.word}
    prompts = []
    for reading in staged.readings:
        text = reading.sentence if request.scene else reading.placed_sentence
        for look in filter(None, reading.all_looks):  # their own pixels show it
            if look.name in OWN_LOOKS:
                text = re.sub(rf"\b{look.phrase}\b ?", "", text, count=1, flags=re.IGNORECASE)
        for word, name in names.items():  # a "golden retriever" is a dog, and not of gold
            text = re.sub(rf"\b{re.escape(word)}\b", name, text, count=1, flags=re.IGNORECASE)
        prompts.append(read(text).photo_prompt)
    prompt = prompts[0] if isinstance(request.prompt, str) else tuple(prompts)
    size_px = staged.drawn_px
    return replace(request, prompt=prompt, scene=WORDS_ALONE, size_px=size_px, noise=noise)


def model_noise(components: Components, staged: Staged, seeds: Sequence[int]) -> Tensor:
    """Return the noise of pictures of the size that the model was trained on, (n, B, C, h, w).

    They have the shape of the request's pictures. The layout predictor reads from it where subjects
    stand and where the light comes from.
    """
    shape = (components.preset.latent_channels, *staged.model_cells)
    return draw_step_noise(seeds, shape, count=components.schedule.num_draws)


def coarse_noise(noise: Tensor, cells: tuple[int, int]) -> Tensor:
    """Return noise (n, B, C, h, w) in fewer cells: the same layout, and as white."""
    shares = []
    for many, few in zip(noise.shape[-2:], cells, strict=True):
        share = F.one_hot(torch.arange(many) * few // many, few).to(noise)
        shares.append(share / share.sum(dim=0).sqrt())
    return shares[0].T @ noise @ shares[1]


@torch.no_grad()
def finish_scene(result: DecodedImages, plan: ScenePlan, clock: Clock) -> DecodedImages:
    """Return the pictures of `result` with their subjects before the scenes, behind the weather."""
    pictures, masks, sprites = [], [], Sprites()
    drawings, drawn_masks = result.pixels.float().cpu(), result.subject_mask.float().cpu()
    for index, row in enumerate(plan.rows):
        drawing = drawings[[index]]
        if night := row.share_at(NIGHT):
            drawing = at_night(drawing, night)
        picture, alpha = _draw_subjects(plan, index, drawing, drawn_masks[[index]], sprites)
        masks.append(alpha)
        pictures.append(row.behind_weather(picture, subjects=alpha))
    clock.end_stage("scene")
    return result._replace(
        pixels=torch.cat(pictures) if len(pictures) > 1 else pictures[0],
        subject_mask=torch.cat(masks),
        facts={**facts_of(plan.rows), **plan.facts},
    )


def at_night(drawing: Tensor, share: float) -> Tensor:
    """Return a drawing (1, 3, H, W) in [-1, 1] of subjects by a share of night, as their place."""
    return (drawing + 1) * (1 + share * (NIGHT_SHARE - 1)) - 1


def _sprite_of(plan: ScenePlan, number: int, row: int, look: str, sprites: Sprites) -> PlacedSprite:
    """Return one subject of one picture; one that stood there before is in `sprites`."""
    rows, light = slice(row, row + 1), plan.start.lights[number]
    assert light is not None, "the layout predictor reads it"
    layout = Layout(*(values[rows].float().cpu() for values in plan.start.layouts[number]))
    own_light, scene = map(Illumination.on_cpu, light.select(rows))
    identity = plan.staged.identities[number]
    grey = NIGHT_GREY * plan.rows[row].share_at(NIGHT)
    before = sprites.get((number, look))
    if before is not None and all(map(torch.equal, before.layout, layout)):
        return before.in_light(scene)._replace(grey=grey)
    pixels = own_pixels(plan.start.components, identity, own_light, look=look)
    sprite = pixels.sprite_at(layout, scene, picture_px=max(plan.staged.size))
    if len(plan.rows) > 1:
        sprite = sprites[number, look] = sprite._replace(cache={})
    return sprite._replace(grey=grey)


def _draw_subjects(
    plan: ScenePlan, row: int, drawing: Tensor, drawn_mask: Tensor, sprites: Sprites
) -> tuple[Tensor, Tensor]:
    """Return a place with its subjects, (1, 3, H, W), and where they are, (1, 1, H, W), in bytes.

    They have their own pixels and outlines, and their shadows lie on the ground. The `drawing`
    (1, 3, h, w) gives its light.
    """
    looks = [_look_of(plan, row, number) for number in range(len(plan.staged.identities))]
    subjects = [_sprite_of(plan, number, row, look, sprites) for number, look in enumerate(looks)]
    # The prompt of the drawing leaves these looks out.
    in_drawing = [
        _sprite_of(plan, number, row, "", sprites) if look in OWN_LOOKS else sprite
        for (number, look), sprite in zip(enumerate(looks), subjects, strict=True)
    ]
    all_sprites = drawing.new_zeros(1, 4, *drawing.shape[2:])  # all subjects, premultiplied
    for sprite in in_drawing:
        pixels = sprite.render((drawing.shape[2], drawing.shape[3]))
        all_sprites = pixels + (1 - pixels[:, 3:]) * all_sprites
    scene, (height, width) = plan.rows[row], plan.staged.size
    by_day = None if GREY in looks else scene.share_at(PLAIN.time)
    gains = gains_between(all_sprites, drawing, drawn_mask, by_day=by_day)
    gains *= torch.tensor(scene.ground.light if scene.ground else 1.0).view(-1, 1, 1)
    outlines = [sprite.outline_in(((height + 1) // 2, (width + 1) // 2)) for sprite in subjects]
    whole = F.pad(to_bytes(scene.place), (0, 0, 0, 0, 0, 1))
    picture, alpha = whole.split((3, 1), dim=1)
    if scene.is_ground:
        is_soft = scene.ground is not None and scene.ground.is_diffuse
        clear = 1 - usual_shadow(subjects[0].scene, is_soft=is_soft).softness
        _darken(picture, _light_on_ground(outlines, subjects, scene.ground), scene.cover, clear)
    for sprite, (opacity, extent) in zip(subjects, outlines, strict=True):
        if extent is None:
            continue
        _, rows, columns = patch = _patch_around(extent, plan.staged.size)
        size = (rows.stop - rows.start, columns.stop - columns.start)
        start = (columns.start / width, rows.start / height)
        place = (*start, columns.stop / width, rows.stop / height)
        subject = sprite.render(size, place, gains=gains).mul_(255)
        if scene.cover is not None and 2 * extent[3] < height:  # the border does not cut it off
            blades = _grown_before(opacity, patch, scene.cover)  # show the place, no subject behind
            subject *= 1 - blades * (1 - alpha[patch] / 255)
        shows = 1 - subject[:, 3:] / 255
        if scene.is_ground:
            contact_shadow(subject[:, :3], picture[patch], 1 - shows, sprite.layout, width)
        whole[patch] = torch.addcmul(subject, whole[patch].contiguous(), shows).round_()
    return picture, alpha


def _look_of(plan: ScenePlan, row: int, number: int) -> str:
    """Return the look that a subject's own pixels have before the light, as of `own_pixels`."""
    entry = plan.staged.identities[number].named
    look = next(iter(plan.rows[row].reading.looks[number:]), None)
    if look is None or (entry is not None and look.phrase in entry.name.split()):
        return ""  # a "black cat" of the library is black
    return look.name if look.name in OWN_LOOKS else GREY


def _darken(picture: Tensor, light: Tensor, cover: Tensor | None, clear: Tensor) -> None:
    """Leave bytes (1, 3, H, W) a share (1, 1, h, w) of their light, at half of their size.

    What grows has the light of the ground at its root. Where the sky is `clear`, from 0 to 1,
    shades are lit by its blue.
    """
    shaded = extent_of((light < UNSHADED).to(light))
    if shaded is None:
        return
    left, top, right, bottom = shaded
    top -= 0 if cover is None else math.ceil(MOST_COVER * light.shape[2])
    rows, columns = slice(max(0, top - 1), bottom + 1), slice(max(0, left - 1), right + 1)
    share = F.interpolate(light[..., rows, columns], scale_factor=2, mode="bilinear")
    across = slice(2 * columns.start, 2 * columns.stop)
    where: Part = (..., slice(2 * rows.start, 2 * rows.stop), across)
    part = picture[where]
    share = share[..., : part.shape[2], : part.shape[3]]
    if cover is not None:
        root_rows = torch.arange(part.shape[2])[:, None] + cover[where]
        share = share.gather(2, root_rows.long().clamp_max(part.shape[2] - 1))
    if clear > 0:
        blue = clear * torch.tensor(SKYLIGHT).view(3, 1, 1)
        share = torch.addcmul(share, blue, share * (1 - share))
    part.copy_((part.contiguous() * share).round_())


def _light_on_ground(
    outlines: Sequence[tuple[Tensor, PixelBox | None]],
    subjects: Sequence[PlacedSprite],
    ground: Ground | None,
) -> Tensor:
    """Return the share of its light that a place keeps beside subjects, (1, 1, h, w).

    They are where `PlacedSprite.outline_in` says; the last one stands in front. Shadows end
    behind the far end of the `ground`.
    """
    light, alpha = torch.ones_like(outlines[0][0]), torch.zeros_like(outlines[0][0])
    lies = torch.ones_like(light) if ground is None else _share_on(ground, light.shape[2:])
    is_soft = ground is not None and ground.is_diffuse
    for (opacity, extent), sprite in zip(outlines, subjects, strict=True):
        if extent is not None:
            cast = usual_shadow(sprite.scene, is_soft=is_soft)
            part, shadow = cast_around(opacity, extent, sprite.layout, cast, cache=sprite.cache)
            light[part] *= 1 - shadow * lies[part] * (1 - alpha[part])
            if sprite is not subjects[-1]:
                alpha = alpha + opacity - alpha * opacity
    return light


def _share_on(ground: Ground, size: Sequence[int]) -> Tensor:
    """Return how far a picture shows its ground, not what is behind or below it, (1, 1, h, w)."""
    across = ground._replace(corners=tuple((y, x) for x, y in ground.corners))
    ends = [across.span_at(x / EDGES)[0] for x in range(EDGES + 1)]
    far = torch.tensor(ends if ground.is_near else [ground.near_and_far()[1]]).view(1, 1, -1)
    far = F.interpolate(far, size[1], mode="linear", align_corners=True)[:, None]
    y = (torch.arange(size[0]) + 0.5)[:, None] / size[0]
    return (torch.minimum(y - far, ground.near_and_far()[0] + BEHIND - y) / BEHIND + 1).clamp(0, 1)


def _grown_before(opacity: Tensor, patch: Part, cover: Tensor) -> Tensor:
    """Return the share of a subject in a patch that hides behind what grows, (1, 1, h, w).

    Ground between feet and below what overhangs is taken to rise from the nearest foot. For
    `opacity` see `PlacedSprite.outline_in`, for `cover` see `SceneRow`.
    """
    _, rows, columns = patch
    solid = opacity[0, 0, :, columns.start // 2 : (columns.stop + 1) // 2] > FEET
    lowest = 2 * (solid * torch.arange(1, len(solid) + 1)[:, None]).amax(dim=0)
    at = 2 * torch.arange(len(lowest))
    base = (lowest - RISES * (at - at[:, None]).abs()).amax(dim=1).repeat_interleave(2)
    foot = cover[patch] + torch.arange(rows.start, rows.stop)[:, None]
    return ((foot - base[: foot.shape[3]]) / (SOFT * cover.shape[2]) + 0.5).clamp(0, 1)


def _patch_around(extent: PixelBox, size: tuple[int, int]) -> Part:
    """Return rows and columns of a picture around an extent in a copy of half of its size."""
    left, top, right, bottom = (2 * (end - AROUND_CELLS) for end in extent)
    rows = slice(max(0, top), min(size[0], bottom + 4 * AROUND_CELLS + (bottom - top) // 16))
    return (..., rows, slice(max(0, left), min(size[1], right + 4 * AROUND_CELLS)))
