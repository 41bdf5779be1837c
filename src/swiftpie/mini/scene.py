"""Subjects in a scene: the place in the prompt's light, and the subjects before it.

A model that predicts layout and light draws the picture small, from words. Before the place stand
the subjects' own pixels, in the light that the model predicts and draws, with the shadows that this
light casts. For other models a subject is inserted into the scene as into a photograph.
"""

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
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
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.images import extent_of, from_8_bits, from_bytes, in_bytes, to_bytes, to_pil
from swiftpie.masks import Box
from swiftpie.mini.layout_predictor import place_subjects
from swiftpie.mini.placing import FLOOR, OWN_LOOKS, Situation, Staged, choose_boxes, postures_of
from swiftpie.mini.reading import Reading, read
from swiftpie.noise import draw_noise, draw_step_noise, share_of
from swiftpie.pipelines.choose import Choice, Clock
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.insertion import Posture
from swiftpie.pipelines.request import WORDS_ALONE, Output, PersonalizeRequest
from swiftpie.pipelines.techniques.personalize import (
    check_subjects,
    prepare_picture,
    prepare_subjects,
)
from swiftpie.places.own_pixels import GREY, WHOLE, PlacedSprite, gains_between, own_pixels
from swiftpie.places.relight import DRAWN_WEATHERS, NOISE_SHAPE, relight, weathered
from swiftpie.places.scenes import OWN_PICTURE, WINTRY, cut_to, scene_library
from swiftpie.places.words import FOG, NIGHT, PLAIN, WINTER
from swiftpie.types import NO_FACTS, DecodedImages
from swiftpie.validation import PixelBox

UNSHADED = 1 - 1 / 1024  # share of its light that a picture of 8 bits shows as all of it
AROUND_CELLS = 2  # cells, at half size, between a subject and the end of its patch
# Light that a drawn subject keeps by night; at 1 it has 15 % more than its place.
NIGHT_SHARE = 0.87
# Share of its colours that it loses there, by eye: blue light would make a tongue bright purple.
NIGHT_GREY = 0.5
# Colours that a clear sky adds to shades, over the light lost: Cycles draws six places so.
SKYLIGHT = (-0.3, -0.05, 0.35)
EDGES, BEHIND = 48, 0.04  # parts of a far end, and the height over which shadows end behind it
CLEARER = 0.6  # share of the fog that is not before subjects, which stand near, but behind them
# Arts that the model's drawings do not show.
UNSEEN_ARTS = frozenset(("oil", "pixel art", "paper cut"))
MOST_COVER = 63 / 576  # share of its height by which what grows is seen before its foot at most
# Chosen by eye on 14 pictures: how steeply the ground behind a foot rises in a picture, and over
# what part of its height what is as far away as the foot fades.
RISES, SOFT = 0.4, 8 / 576
# Blur of what is far behind a portrait, and the row of its feet, in heights; rows, discs, gamma.
FAR_BLUR, FEET_AT, SOFT_PX, NUM_DISCS, GAMMA = 0.045, 1.45, 216, 4, 2.2


class SceneRow(NamedTuple):
    """One picture: its empty place, and what is in the air before it."""

    reading: Reading  # what its prompt says
    seed: int
    place: Image.Image
    name: str | None  # name in the library; None: a picture of the caller
    is_photo: bool  # False for a drawing
    is_ground: bool  # whether subjects stand on it, and cast shadows
    noise: Tensor  # (1, 32, 32, 32); the weather follows it
    boxes: tuple[Box | None, ...]  # boxes where subjects stand; None: the model places them
    postures: tuple[Posture, ...]  # how they are turned there
    ground: Ground | None = None  # what they stand on, where a place says so
    cover: Tensor | None = None  # (1, 1, H, W), rows by which what grows is seen before its foot
    # Of a frame: what is in the air in the next state, and how far the frame is on to it.
    then: "tuple[SceneRow, float] | None" = None

    @property
    def sun(self) -> Sequence[float] | None:
        """What its photograph shows of the light, which words leave as it is; None: nothing."""
        if self.ground is None or self.ground.sun is None:
            return None
        setting = self.reading.shown_setting
        if setting != PLAIN:
            setting = setting.in_photographs._replace(season=PLAIN.season)
        return self.ground.sun if setting == PLAIN else None

    def how_far(self, time: int) -> float:
        """Return how far it is that time of day, in [0, 1]."""
        own = float(self.reading.shown_setting.time == time)
        return own + self.then[1] * (self.then[0].how_far(time) - own) if self.then else own

    def finished(self, picture: Tensor, *, subjects: Tensor | None = None) -> Tensor:
        """Return a picture of bytes (1, 3, H, W) behind the weather.

        Less of the fog is before `subjects`, bytes (1, 1, H, W).
        """
        seen = self.in_the_air(picture, subjects)
        if self.then is not None:
            after, share = self.then
            next_seen = after.in_the_air(picture, subjects)
            if seen is not next_seen:
                seen = torch.lerp(from_bytes(seen), from_bytes(next_seen), share)
        return in_bytes(seen)

    def in_the_air(self, picture: Tensor, subjects: Tensor | None) -> Tensor:
        """Return a picture behind the weather of this state alone, in [-1, 1]; see `finished`."""
        setting = self.reading.shown_setting
        if setting.weather not in DRAWN_WEATHERS:
            return picture
        clear = from_bytes(picture)
        seen = weathered(clear, setting, noise=self.noise, is_photo=self.is_photo)
        if subjects is not None and self.is_photo and setting.weather == FOG:
            seen = torch.lerp(seen, clear, CLEARER * from_8_bits(subjects))
        return seen


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
    pictures = torch.cat([row.finished(to_bytes(row.place)) for row in rows])
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
    names = {named.word: named.name for named in library if " " in named.word}
    prompts = []
    for reading in staged.readings:
        text = reading.sentence if request.scene else reading.placed_sentence
        for look in filter(None, reading.looks):  # their own pixels show it
            if look.name in OWN_LOOKS:
                text = re.sub(rf"\b{look.phrase}\b ?", "", text, count=1, flags=re.IGNORECASE)
        for word, name in names.items():  # a "golden retriever" is a dog, and not of gold
            text = re.sub(rf"\b{re.escape(word)}\b", name, text, count=1, flags=re.IGNORECASE)
        prompts.append(read(text, reading.vocabulary).photo_prompt)
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
def scene_rows(components: Components, staged: Staged) -> list[SceneRow]:
    """Return the scene of each picture as its prompt says.

    Raises:
        CapabilityError: The request asks for latents, for a material that is not drawn, or for an
            art at a place that is given.
        InputError: There is no such scene, or it is combined with noise or encoded prompts.
    """
    request, readings = staged.request, staged.readings
    if request.output is Output.LATENTS:
        raise CapabilityError("A scene is drawn in pixels and has no latents. Ask for pictures.")
    if request.noise is not None or not readings:
        raise InputError(
            "`scene` cannot be combined with noise or an encoded prompt: seed and words choose and "
            "light a scene. Give a prompt as text, and seeds."
        )
    if textures := [reading.texture for reading in readings if reading.texture]:
        raise CapabilityError(
            f"Preset {components.preset.name!r} does not draw {textures[0]!r}, whose pattern is "
            f"too fine for it. Name another material, as gold or wood."
        )
    if arts := [reading.rendition for reading in readings if reading.rendition]:
        raise CapabilityError(
            f"Art ({arts[0]!r}) cannot be combined with a scene or photographs: preset "
            f"{components.preset.name!r} draws art from words alone, in still pictures. Leave the "
            "scene out, and draw photographs in another call."
        )
    size, postures = staged.size[::-1], postures_of(components, staged)
    rows, library = [], scene_library()
    for index, seed in enumerate(request.seeds):
        prompt, noise = staged.prompts[index % len(readings)], draw_noise([seed], NOISE_SHAPE)
        share, near, aside = share_of(noise), share_of(noise, 1), share_of(noise, 2)
        if isinstance(request.scene, Image.Image):
            name, view, is_photo, is_ground = None, WHOLE, True, True
            picture, ground, cover = cut_to(request.scene, size), None, None
        else:
            name = prompt.place_at(share)
            share = library.share_for(name, share, is_small=prompt.is_small)
            is_photo, is_ground = library.is_photographed(name), library.is_ground(name)
            view, whole = WHOLE, library.size_of(name)
            if is_ground and not is_photo:  # a wide picture shows the ground of a drawn place
                view = FLOOR.part_shown(size, whole=whole)
            picture, ground, cover = _place_shown(components, name, share, size, drawn_part=view)
        spot = Situation(staged, prompt, postures, ground, view, is_ground, near, aside)
        boxes = choose_boxes(spot)
        if is_photo and (torn := prompt.reading.pose_phrases["torn"]):
            raise CapabilityError(
                f"The place is a photograph, in which {torn[0]!r} would tear the subject. Leave "
                "it out, give a picture of the subject in that pose, turn it by `tilt`, or draw "
                f"all of it from words by `scene='{WORDS_ALONE}'`."
            )
        row = SceneRow(
            prompt.reading, seed, picture, name, is_photo, is_ground, noise, boxes, postures
        )
        lit = _lit(components, row, share)
        if name and boxes and all((*boxes, *staged.are_cut)):  # a portrait
            horizon = (ground or FLOOR.seen_in(view)).horizon
            what = sha256(lit.tobytes()).hexdigest()
            lit = components.keep("portrait", what, partial(_out_of_focus, lit, horizon))
            row = row._replace(is_ground=False)  # shadows lie beside feet, below the border
        rows.append(row._replace(place=lit, ground=ground, cover=cover))
    return rows


def _place_shown(
    components: Components, name: str, share: float, size: tuple[int, int], *, drawn_part: Box
) -> tuple[Image.Image, Ground | None, Tensor | None]:
    """Return what a picture of width and height shows of a place, its ground and its cover."""
    library = scene_library()
    ground, whole = library.surface(name, share), library.size_of(name)
    key = f"{name} {library.variant_number(name, share)} {size}"
    view = WHOLE if ground is None else ground.part_shown(size, whole=whole)
    floor = None if ground is None or not ground.corners else ground.seen_in(view)

    def part() -> tuple[Image.Image, Tensor | None]:
        _, top, _, bottom = drawn_part
        down = top / (1 - bottom + top) if bottom - top < 1 else 0.5
        picture = library.pick_variant(name, share, size, down=down)
        grown = library.cover(name, share)
        box = tuple(map(operator.mul, view, 2 * picture.size))
        shown = picture.resize(size, Image.Resampling.BICUBIC, box=box)
        if grown is None:
            return shown, None
        rows = np.array(grown.resize(size, Image.Resampling.BILINEAR, box=box))
        return shown, size[1] / (box[3] - box[1]) * torch.from_numpy(rows)[None, None]

    shown, cover = components.keep("place", key, part)
    return shown, floor, cover


def _lit(components: Components, row: SceneRow, share: float) -> Image.Image:
    """Return the place of a picture, which `share` has dealt, in the light of its prompt.

    Photographs look the same by any noise, up to a level or two, so each is lit once.
    """
    picture, name, setting = row.place, row.name, row.reading.shown_setting
    if row.is_photo and name in WINTRY and setting.season == WINTER:
        setting = setting._replace(season=PLAIN.season)
    if setting == PLAIN:
        return picture
    run = components.engine.run
    if not row.is_photo:  # the network knows how drawings of a place look
        return relight(picture, setting, noise=row.noise, place=name, run=run)
    if setting.in_photographs == PLAIN:
        return picture
    key = f"{name} {scene_library().variant_number(name, share)}" if name else ""
    what = key or sha256(picture.tobytes()).hexdigest()
    lit = partial(relight, picture, setting, noise=draw_noise([0], NOISE_SHAPE), run=run)
    return components.keep("lit place", f"{what} {picture.size} {tuple(setting)}", lit)


def _out_of_focus(place: Image.Image, horizon: float) -> Image.Image:
    """Return a place behind a portrait, as a lens that is focused on the subject shows it.

    A thin lens blurs what is `z` away by `FAR_BLUR * (1 - focus / z)`. Light adds up in discs.
    """
    small = place.resize((SOFT_PX * place.width // place.height, SOFT_PX), Image.Resampling.BOX)
    y = (torch.arange(SOFT_PX) + 0.5) / SOFT_PX  # ground lies as far as 1 / (y - horizon)
    radius = FAR_BLUR / 2 * SOFT_PX * ((FEET_AT - y) / (FEET_AT - horizon)).clamp(max=1)
    steps, reach = torch.linspace(radius.min(), radius.max(), NUM_DISCS), math.ceil(radius.max())
    across = torch.arange(-reach, reach + 1.0)
    discs = (steps[:, None, None] + 0.5 - torch.hypot(across, across[:, None])).clamp(0, 1)
    light = F.pad(to_bytes(small).div(255).pow(GAMMA), (reach,) * 4, mode="replicate")
    seen = F.conv2d(light.transpose(0, 1), (discs / discs.sum((1, 2), keepdim=True))[:, None])
    parts = (1 - (radius - steps[:, None]).abs() / (steps[1] - steps[0])).clamp_min(0)
    soft = (seen * parts[:, :, None]).sum(dim=1).clamp(0, 1).pow(1 / GAMMA)
    return to_pil(2 * soft[None] - 1)[0].resize(place.size, Image.Resampling.BICUBIC)


@torch.no_grad()
def finish_scene(drawn: DecodedImages, plan: ScenePlan, clock: Clock) -> DecodedImages:
    """Return the pictures of `drawn` with their subjects before the scenes, behind the weather."""
    pictures, masks, sprites = [], [], Sprites()
    drawings, drawn_masks = drawn.pixels.float().cpu(), drawn.subject_mask.float().cpu()
    for index, row in enumerate(plan.rows):
        drawing = drawings[[index]]
        if night := row.how_far(NIGHT):
            drawing = at_night(drawing, night)
        picture, alpha = _with_subjects(plan, index, drawing, drawn_masks[[index]], sprites)
        masks.append(alpha)
        pictures.append(row.finished(picture, subjects=alpha))
    clock.end_stage("scene")
    return drawn._replace(
        pixels=torch.cat(pictures) if len(pictures) > 1 else pictures[0],
        subject_mask=torch.cat(masks),
        facts={**facts_of(plan.rows), **plan.facts},
    )


def at_night(drawing: Tensor, share: float) -> Tensor:
    """Return a drawing (1, 3, H, W) in [-1, 1] of subjects by a share of night, as their place."""
    return (drawing + 1) * (1 + share * (NIGHT_SHARE - 1)) - 1


def _standing(plan: ScenePlan, number: int, row: int, look: str, sprites: Sprites) -> PlacedSprite:
    """Return one subject of one picture; one that stood there before is in `sprites`."""
    rows, light = slice(row, row + 1), plan.start.lights[number]
    assert light is not None, "the layout predictor reads it"
    layout = Layout(*(values[rows].float().cpu() for values in plan.start.layouts[number]))
    own_light, scene = map(Illumination.on_cpu, light.select(rows))
    identity = plan.staged.identities[number]
    grey = NIGHT_GREY * plan.rows[row].how_far(NIGHT)
    before = sprites.get((number, look))
    if before is not None and all(map(torch.equal, before.layout, layout)):
        return before.in_light(scene)._replace(grey=grey)
    own = own_pixels(plan.start.components, identity, own_light, look=look)
    standing = own.standing(layout, scene, picture_px=max(plan.staged.size))
    if len(plan.rows) > 1:
        standing = sprites[number, look] = standing._replace(patches={})
    return standing._replace(grey=grey)


def _with_subjects(
    plan: ScenePlan, row: int, drawing: Tensor, drawn_mask: Tensor, sprites: Sprites
) -> tuple[Tensor, Tensor]:
    """Return a place with its subjects, (1, 3, H, W), and where they are, (1, 1, H, W), in bytes.

    They have their own pixels and outlines, and their shadows lie on the ground. The `drawing`
    (1, 3, h, w) gives its light.
    """
    looks = [_look_of(plan, row, number) for number in range(len(plan.staged.identities))]
    subjects = [_standing(plan, number, row, look, sprites) for number, look in enumerate(looks)]
    # The prompt of the drawing leaves these looks out.
    in_drawing = [
        _standing(plan, number, row, "", sprites) if look in OWN_LOOKS else sprite
        for (number, look), sprite in zip(enumerate(looks), subjects, strict=True)
    ]
    own = drawing.new_zeros(1, 4, *drawing.shape[2:])  # all subjects, premultiplied
    for sprite in in_drawing:
        one = sprite.at((drawing.shape[2], drawing.shape[3]))
        own = one + (1 - one[:, 3:]) * own
    by_day = None if GREY in looks else plan.rows[row].how_far(PLAIN.time)
    light = gains_between(own, drawing, drawn_mask, by_day=by_day)
    whole = F.pad(to_bytes(plan.rows[row].place), (0, 0, 0, 0, 0, 1))
    picture, alpha = whole.split((3, 1), dim=1)
    outlines = [
        sprite.seen(((plan.staged.size[0] + 1) // 2, (plan.staged.size[1] + 1) // 2))
        for sprite in subjects
    ]
    ground, cover = plan.rows[row].ground, plan.rows[row].cover
    light *= torch.tensor(ground.light if ground else 1.0).view(-1, 1, 1)
    if plan.rows[row].is_ground:
        clear = 1 - usual_shadow(subjects[0].scene).softness
        _darken(picture, _light_on_ground(outlines, subjects, ground), cover, clear)
    for sprite, (opacity, extent) in zip(subjects, outlines, strict=True):
        if extent is not None:
            patch = _patch_around(extent, plan.staged.size)
            (height, width), (_, rows, columns) = plan.staged.size, patch
            start = (columns.start / width, rows.start / height)
            place = (*start, columns.stop / width, rows.stop / height)
            size = (rows.stop - rows.start, columns.stop - columns.start)
            subject = sprite.at(size, place, drawn=light).mul_(255)
            if cover is not None and 2 * extent[3] < height:  # the border does not cut it off
                blades = _grown_before(opacity, patch, cover)  # show the place, no subject behind
                subject *= 1 - blades * (1 - alpha[patch] / 255)
            shows = 1 - subject[:, 3:] / 255
            if plan.rows[row].is_ground:
                contact_shadow(subject[:, :3], picture[patch], 1 - shows, sprite.layout, width)
            whole[patch] = torch.addcmul(subject, whole[patch].contiguous(), shows).round_()
    return picture, alpha


def _look_of(plan: ScenePlan, row: int, number: int) -> str:
    """Return the look that a subject's own pixels have before the light, as of `own_pixels`."""
    named = plan.staged.identities[number].named
    look = next(iter(plan.rows[row].reading.looks[number:]), None)
    if look is None or (named is not None and look.phrase in named.name.split()):
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
        lit = torch.arange(part.shape[2])[:, None] + cover[where]
        share = share.gather(2, lit.long().clamp_max(part.shape[2] - 1))
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

    They are where `PlacedSprite.seen` says; the last one stands in front. Shadows end
    behind the far end of the `ground`.
    """
    light, alpha = torch.ones_like(outlines[0][0]), torch.zeros_like(outlines[0][0])
    lies = torch.ones_like(light) if ground is None else _share_on(ground, light.shape[2:])
    for (opacity, extent), sprite in zip(outlines, subjects, strict=True):
        if extent is not None:
            cast = usual_shadow(sprite.scene)
            part, shadow = cast_around(opacity, extent, sprite.layout, cast, kept=sprite.patches)
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
    `opacity` see `PlacedSprite.seen`, for `cover` see `SceneRow`.
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


def facts_of(rows: Sequence[SceneRow]) -> dict[str, str]:
    """Return what metadata say of the scenes of pictures; in photographs a model makes a part."""
    names = ", ".join(dict.fromkeys(row.name or OWN_PICTURE for row in rows))
    is_photo = any(row.is_photo for row in rows)
    return {"scene": names} | ({SOURCE_TYPE: COMPOSITE} if is_photo else {})
