"""Scenes as pictures show them: the place in the light of its prompt, and what is in the air."""

import math
import operator
from collections.abc import Sequence
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
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.images import from_8_bits, from_bytes, in_bytes, plane, to_bytes, to_pil
from swiftpie.lexicon import FOG, PLAIN, WINTER
from swiftpie.masks import Box, in_frame
from swiftpie.noise import draw_noise, share_of
from swiftpie.pipelines.choose import Choice
from swiftpie.pipelines.denoise import Plan
from swiftpie.pipelines.insertion import Posture
from swiftpie.pipelines.request import WORDS_ALONE, Output, PersonalizeRequest
from swiftpie.pipelines.settings import Scales
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.pipelines.techniques import insert
from swiftpie.pipelines.techniques.personalize import check_subjects
from swiftpie.places.own_pixels import WHOLE
from swiftpie.places.placing import FLOOR, Situation, Staged, choose_boxes, postures_of, stage
from swiftpie.places.reading import Reading
from swiftpie.places.relight import DRAWN_WEATHERS, NOISE_SHAPE, relight, weathered
from swiftpie.scenes import OWN_PICTURE, WINTRY, cut_to, scene_library
from swiftpie.types import DecodedImages, EditedImage

CLEARER = 0.6  # share of the fog that is not before subjects, which stand near, but behind them
# Blur far behind a portrait and row of its feet, in heights, by eye; rows; discs; gamma of bytes.
FAR_BLUR, FEET_AT, SOFT_PX, NUM_DISCS, GAMMA = 0.045, 1.45, 216, 4, 2.2
KEPT_SCALES = ("identity_scale", "text_scale", "balance", "energy_cap")  # those of an insertion


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
    later: "tuple[SceneRow, float] | None" = None

    @property
    def sun(self) -> Sequence[float] | None:
        """What its photograph shows of the light, which words leave as it is; None: nothing."""
        if self.ground is None or self.ground.sun is None:
            return None
        setting = self.reading.shown_setting
        if setting != PLAIN:
            setting = setting.in_photographs._replace(season=PLAIN.season)
        return self.ground.sun if setting == PLAIN else None

    def share_at(self, time: int) -> float:
        """Return how far it is that time of day, in [0, 1]."""
        now = float(self.reading.shown_setting.time == time)
        return now + self.later[1] * (self.later[0].share_at(time) - now) if self.later else now

    def behind_weather(self, picture: Tensor, *, subjects: Tensor | None = None) -> Tensor:
        """Return a picture of bytes (1, 3, H, W) behind the weather.

        Less of the fog is before `subjects`, bytes (1, 1, H, W).
        """
        result = self.in_own_weather(picture, subjects)
        if self.later is not None:
            after, share = self.later
            other = after.in_own_weather(picture, subjects)
            if result is not other:
                result = torch.lerp(from_bytes(result), from_bytes(other), share)
        return in_bytes(result)

    def in_own_weather(self, picture: Tensor, subjects: Tensor | None) -> Tensor:
        """Return a picture behind the weather of this state alone, in [-1, 1]; see `later`."""
        setting = self.reading.shown_setting
        if setting.weather not in DRAWN_WEATHERS:
            return picture
        clear = from_bytes(picture)
        result = weathered(clear, setting, noise=self.noise, is_photo=self.is_photo)
        if subjects is not None and self.is_photo and setting.weather == FOG:
            result = torch.lerp(result, clear, CLEARER * from_8_bits(subjects))
        return result


def prepare_insertions(choice: Choice[PersonalizeRequest]) -> Plan:
    """Choose and light the scenes, as `scene_rows` does, and prepare the first subject of each."""
    components, request = choice.components, choice.request
    check_subjects(components, request)
    if request.has_style:
        raise CapabilityError(
            "A style picture cannot be combined with a scene: preset "
            f"{components.preset.name!r} inserts subjects into scenes as into photographs, whose "
            "style stays. Leave one of them out."
        )
    rows = scene_rows(components, stage(components, request))
    choice.clock.end_stage("scene")
    return _insert(choice, rows, [row.place for row in rows])


def _insert(
    choice: Choice[PersonalizeRequest],
    rows: Sequence[SceneRow],
    places: Sequence[Image.Image],
    number: int = 0,
) -> Plan:
    """Return the plan that puts subjects, from a `number` on, into the places of all pictures."""
    request = choice.request
    subject = request.subjects[number]

    def finish(*changes: EditedImage) -> DecodedImages | Plan:
        choice.clock.end_stage("insert")
        if number + 1 < len(request.subjects):
            places = [change.image for change in changes]
            return _insert(choice, rows, places, number + 1)
        return _behind_weather(rows, changes)

    insertions = (
        RetouchRequest(
            image=place,
            seed=row.seed,
            source=subject.identity,
            prompt=row.reading.photo_prompt,
            box=in_frame(row.boxes[number]) if subject.box is None else subject.box,
            view=subject.view,
            scales=Scales(**{name: getattr(request.scales, name) for name in KEPT_SCALES}),
            guidance=request.guidance,
            shaping=request.shaping,
            negative_prompt=request.negative_prompt,
        )
        for row, place in zip(rows, places, strict=True)
    )
    parts = tuple(choice.prepared_by(insert.TECHNIQUE, insertion) for insertion in insertions)
    return Plan(request, finish, parts=parts)


def _behind_weather(rows: Sequence[SceneRow], changes: Sequence[EditedImage]) -> DecodedImages:
    """Return the pictures that were changed last, with rain, flakes and fog before everything."""
    pairs = zip(rows, changes, strict=True)
    return DecodedImages(
        torch.cat([row.behind_weather(to_bytes(change.image)) for row, change in pairs]),
        torch.cat([plane(change.region) for change in changes]),
        regions=torch.cat([change.latent_region for change in changes]),
        branches=changes[0].branches,
        facts=facts_of(rows),
    )


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
            share = library.share_for(name, share, is_small=prompt.is_small, seed=seed)
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
        place = _relit_place(components, row, share)
        if name and boxes and all((*boxes, *staged.are_cut)):  # a portrait
            horizon = (ground or FLOOR.seen_in(view)).horizon
            digest = sha256(place.tobytes()).hexdigest()
            place = components.keep("portrait", digest, partial(_out_of_focus, place, horizon))
            row = row._replace(is_ground=False)  # shadows lie beside feet, below the border
        rows.append(row._replace(place=place, ground=ground, cover=cover))
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
        plants = library.cover(name, share)
        box = tuple(map(operator.mul, view, 2 * picture.size))
        image = picture.resize(size, Image.Resampling.BICUBIC, box=box)
        if plants is None:
            return image, None
        rows = np.array(plants.resize(size, Image.Resampling.BILINEAR, box=box))
        return image, size[1] / (box[3] - box[1]) * torch.from_numpy(rows)[None, None]

    image, cover = components.keep("place", key, part)
    return image, floor, cover


def _relit_place(components: Components, row: SceneRow, share: float) -> Image.Image:
    """Return the place of a picture, which `share` chose, in the light of its prompt.

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
    source = key or sha256(picture.tobytes()).hexdigest()
    make = partial(relight, picture, setting, noise=draw_noise([0], NOISE_SHAPE), run=run)
    return components.keep("lit place", f"{source} {picture.size} {tuple(setting)}", make)


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
    blurs = F.conv2d(light.transpose(0, 1), (discs / discs.sum((1, 2), keepdim=True))[:, None])
    parts = (1 - (radius - steps[:, None]).abs() / (steps[1] - steps[0])).clamp_min(0)
    soft = (blurs * parts[:, :, None]).sum(dim=1).clamp(0, 1).pow(1 / GAMMA)
    return to_pil(2 * soft[None] - 1)[0].resize(place.size, Image.Resampling.BICUBIC)


def facts_of(rows: Sequence[SceneRow]) -> dict[str, str]:
    """Return what metadata say of the scenes of pictures; in photographs a model makes a part."""
    names = ", ".join(dict.fromkeys(row.name or OWN_PICTURE for row in rows))
    is_photo = any(row.is_photo for row in rows)
    return {"scene": names} | ({SOURCE_TYPE: COMPOSITE} if is_photo else {})
