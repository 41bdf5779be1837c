"""Batches of the larger world: pictures, references, captions and all that is known of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, pixel_grid
from swiftpie.geometry.relief import Turned, height, normals, turn
from swiftpie.geometry.shading import cast_shadow
from swiftpie.noise import layout_uniforms
from swiftpie_lab.data.subjects import Split, Subjects
from swiftpie_lab.world.accessories import ACCESSORIES, Wardrobe, open_wardrobe, wear
from swiftpie_lab.world.air import Setting, veil
from swiftpie_lab.world.captions import (
    AS_USUAL,
    NONE,
    POSES,
    VIEWS,
    Asked,
    AskedShares,
    draw_asked,
    draw_caption,
    draw_empty_caption,
    draw_pair_caption,
)
from swiftpie_lab.world.fields import Fields, over, paste, read_fields, smoothstep
from swiftpie_lab.world.grounds import Ground, draw_ground, photographed_ground
from swiftpie_lab.world.lighting import (
    REFERENCE_NUMBERS,
    Light,
    light_of_reference,
    opposite_numbers,
    relight_reference,
    shade,
)
from swiftpie_lab.world.looks import recolour, remake
from swiftpie_lab.world.places import (
    PLACES,
    Background,
    draw_foregrounds,
    draw_places,
    is_held_out,
    settings,
)
from swiftpie_lab.world.placing import draw_frames, lowest_point, pose_subjects
from swiftpie_lab.world.renditions import render_as
from swiftpie_lab.world.textures import cut_square

NOISE_CHANNELS, NOISE_CELLS = 32, (16, 16)  # as models of 128 px read it
CELL_PX = 8  # of a picture, a side of a latent cell
SMALLEST_PX = 128
LEAST_RELIEF = 0.6  # of a subject's roundness: flat things are flat, and no outline tells
# Smallest frame and what the noise adds, in sides of the picture.
SCALES = {"normal": (0.44, 0.24), "tiny": (0.28, 0.07), "huge": (0.70, 0.14)}
BESIDE_SCALE = 0.52  # largest frame of one of two subjects
TILT_GROUNDED, TILT_FLOATING = 0.15, 0.4  # largest rotation that nobody asked for, radians
UNASKED_YAW, UNASKED_PITCH = math.radians(22), math.radians(8)
OTHER_SIDE = (math.radians(20), math.radians(25))  # least yaw of a second reference, and more
OTHER_PITCH = math.radians(15)
JUMP = 0.16  # of the side, how high a jump is
MARGIN = 0.85  # how much of the frame must stay inside the picture
TURN_SHARE, MAX_TURN, HUE_SHARE = 0.3, 0.15, 0.3  # of the subjects, before anything else
LEAST_SEEN = 0.01  # of the picture: less of a subject tells nothing
LEAST_CHANGE = 0.06  # of the range [-1, 1]; below it two pixels look the same
CAPTIONS_A_SUBJECT = 12  # that a tokenizer learns from
FOREGROUND_SHARE = 0.35  # of the pictures whose place has a foreground
COVER, COVER_RANGE = 0.08, 0.06  # share of the subject's height behind the foreground
# In pictures unlike the world others stand beside; what light does to them tells the light.
BYSTANDER_SHARE = 0.8  # of the sides that have room
BYSTANDER_SCALE, LEAST_BYSTANDER = (0.2, 0.18), 0.1  # smallest frame and how much more; if cramped
BYSTANDER_BACK = 0.12  # how much higher it may stand, in sides of the picture
PHOTO_SHARE, PHOTO_CUT = 0.5, (0.4, 1.0)  # of the batches; of a photograph's shorter side
PHOTO_SCALE = (0.34, 0.2)  # smallest frame in photographs and what is added: others have room
GAP_ROOM = 0.4  # of a subject's side, how much more may be hidden around where it comes
PHOTO_FLOOR = (0.74, 0.18)  # where subjects stand in photographs, and how much lower at most

# Which layout numbers decide what; horizon, sun and planet have 5, 7 and 8.
_X, _FLOOR, _SCALE, _ROTATION, _FLIP, _YAW, _PITCH, _POSE = 0, 1, 2, 3, 4, 13, 14, 15
_GATE, _COVER = 11, 12
_ROOM = {one.name: one.room for one in ACCESSORIES} | {NONE: 1.0}


class Figure(NamedTuple):
    """A subject in each picture, before anything is asked of it, and its place."""

    frames: Tensor  # (B, 4, 128, 128)
    relief: Tensor  # (B, 1, h, w) its heights
    layout: Layout


class Rendering(NamedTuple):
    """Pictures with all that is known about them; pixels lie in [-1, 1]."""

    pixels: Tensor  # (B, 3, R, R)
    mask: Tensor  # (B, 1, R, R) visible share of subject and accessory, in [0, 1]
    background: Tensor  # (B, 3, R, R) the same picture without subject, shadow and foreground
    worn: Tensor  # (B, 1, R, R) what stands out of the subject
    companion_mask: Tensor  # (B, 1, R, R) visible share of the second subject; 0 without one
    light: Light


class Answer(NamedTuple):
    """The one right picture of each noise, and the references that it is to be drawn from."""

    rendering: Rendering
    layout: Layout
    reference: Tensor  # (B, 3, R, R) in [-1, 1]
    reference_mask: Tensor  # (B, 1, R, R) in [0, 1]


class Insertion(NamedTuple):
    """A subject in a photograph, and all that decides how it looks there."""

    answer: Answer  # the reference is lit strongly from where the light does not come from
    unlit: Tensor  # (B, 3, R, R) in [0, 1], the subject in its place before any light; 0 around


class Scenery(NamedTuple):
    """Pictures unlike the world with a gap for a subject, and what tells their light."""

    given: Tensor  # (B, 4, R, R) pixels in [-1, 1], 0 in the gap, and 1 around it
    shows: Tensor  # (B, 1, R, R) in [0, 1], things that stand in the light, as far as given
    light: Light


@dataclass(frozen=True, eq=False)
class WorldBatch:
    """G subjects in V pictures each; rows i * V to (i + 1) * V of B show subject i."""

    noise: Tensor  # (B, 32, R / 8, R / 8)
    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    mask: Tensor  # (B, 1, R, R) in [0, 1], visible subject and accessory
    background: Tensor  # (B, 3, R, R) in [-1, 1], the picture without its subject
    worn: Tensor  # (B, 1, R, R) in [0, 1], accessories where they stand out of the subject
    layout: Layout
    captions: list[str]
    reference: Tensor  # (G, 3, R, R) in [-1, 1]
    reference_mask: Tensor  # (G, 1, R, R) in [0, 1]
    frames: Tensor  # (G, 4, 128, 128) subjects as they are, before anything is asked of them
    relief: Tensor  # (G, 1, h, w) their heights
    subject: Tensor  # (B,) long, row of the subject in `Subjects`
    asked: tuple[Asked, ...]  # one a row
    light: Light
    reference_light: Light  # of the references, (G, …)
    companion_mask: Tensor  # (B, 1, R, R) in [0, 1], the second subject, 0 if there is none
    companion_layout: Layout | None  # its place; it is the subject of the V pictures before
    is_unlike: bool = False  # the pictures look like no place

    @property
    def touched(self) -> Tensor:
        """Return what has to be drawn anew where a subject comes or goes, (B, 1, R, R).

        Besides the subject that is its shadow, and all that a rendition draws otherwise for it.
        """
        change = (self.pixels - self.background).abs().amax(dim=1, keepdim=True)
        return torch.maximum(self.mask, (change > LEAST_CHANGE).to(change))

    def empty_caption(self, random: Random, row: int) -> str:
        """Describe the place of a row with nobody in it."""
        return draw_empty_caption(random, None if self.is_unlike else self.asked[row].setting)


class World:
    """Draws batches of one half of the subjects on one device."""

    def __init__(
        self,
        subjects: Subjects,
        split: Split = "train",
        *,
        size_px: int = 128,
        device: str | torch.device = "cpu",
        surfaces: Tensor | None = None,
        photos: Sequence[Tensor] = (),
        shares: AskedShares = AS_USUAL,
    ) -> None:
        """Take one half of the subjects; training sees no held-out settings, the other all.

        Args:
            subjects: The whole pack.
            split: Which half.
            size_px: Side of the pictures.
            device: Where everything is drawn.
            surfaces: Textures (T, 3, t, t) in 8 bit that pictures unlike the world are made of.
            photos: Photographs (3, H, W) in 8 bit, to be the ground of half of such pictures.
            shares: How often pictures are asked for what.

        Raises:
            ConfigError: The pack lacks an accessory, or noise cannot decide pictures of that size.
        """
        if size_px % SMALLEST_PX:
            raise ConfigError(
                f"Pictures of {size_px} px were asked for. The larger world is drawn from noise "
                f"for {SMALLEST_PX} px and multiples of it. Choose one of them."
            )
        self.subjects = subjects
        worn = {one.code for one in ACCESSORIES}
        self.pool = [i for i in subjects.indices(split) if subjects.codes[i] not in worn]
        self.size_px, self.shares = size_px, shares
        self.tiles = subjects.tiles.to(device)
        self.surfaces = None if surfaces is None else surfaces.to(device)
        self.photos = [one.to(device) for one in photos]
        self.wardrobe = open_wardrobe(subjects, device)
        self.settings = [one for one in settings() if split == "held_out" or not is_held_out(one)]
        self._by_place = [
            [one for one in self.settings if one.place == index] for index in range(len(PLACES))
        ]
        self._with_floor = [one for one in self.settings if PLACES[one.place].grounded]

    def batch(
        self,
        num_subjects: int,
        views: int,
        *,
        seed: int,
        augment: bool = True,
        free_places: bool = False,
        pairs: bool = False,
        unlike: bool = False,
        asked: Sequence[Asked] | None = None,
    ) -> WorldBatch:
        """Draw `views` pictures of each of `num_subjects`; the seed decides everything.

        Args:
            num_subjects: Distinct ones as long as the split has so many.
            views: Pictures of each subject; they share one reference.
            seed: The same seed gives the same batch, on devices of one kind.
            augment: Turn, mirror and recolour subjects now and then.
            free_places: Place subjects by other noise than the picture's own.
            pairs: Put the subject of the pictures before beside each, both placed freely.
            unlike: Draw pictures that look like no place and follow from no noise. Their settings
                say nothing but how high subjects stand, and captions do not mention them.
            asked: What is asked of each picture; drawn if not given.

        Raises:
            ConfigError: Pictures unlike the world need surfaces, and there are none.
        """
        device = self.tiles.device
        random, generator = Random(seed), torch.Generator(device).manual_seed(seed)
        draw = random.sample if num_subjects <= len(self.pool) else random.choices
        chosen, count = draw(self.pool, k=num_subjects), num_subjects * views
        if asked is None:
            places = self._settings(random, count, unlike=unlike)
            asked = [draw_asked(random, one, self.shares) for one in places]
        if unlike:
            asked = [replace(one, rendition=NONE) for one in asked]
        if pairs:
            asked = [Asked(one.setting, rendition=one.rendition) for one in asked]
        cells = self.size_px // CELL_PX
        shape = (3, count, NOISE_CHANNELS, cells, cells)
        noise, other, third = torch.randn(shape, generator=generator, device=device)
        numbers = torch.rand(num_subjects, 16, generator=generator, device=device)
        rows = torch.arange(num_subjects, device=device).repeat_interleave(views)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):  # places need all bits
            frames = self._pose(chosen, numbers, augment=augment)
            relief = _relief(frames, numbers)
            shown, heights = frames[rows], relief[rows]
            layout = place(other if free_places or pairs or unlike else noise, shown, asked)
            subject, companion = Figure(shown, heights, layout), None
            if pairs:
                layout, beside = side_by_side(layout, shown, asked, third)
                subject = subject._replace(layout=layout)
                companion = Figure(shown.roll(views, 0), heights.roll(views, 0), beside)
            if unlike:
                ground = self._ground(subject, seed)
                others = _bystanders(subject, third, views)
                rendering = render_on(ground, subject, asked, self.wardrobe, bystanders=others)
            else:
                rendering = self.draw(noise, subject, asked, companion=companion)
            reference, reference_mask = self._references(frames, relief, numbers)
        names = [self.subjects.names[i] for i in chosen]
        synonyms = [self.subjects.synonyms[i] for i in chosen]
        captions = [
            draw_pair_caption(random, one, names=(names[g], names[(g - 1) % num_subjects]))
            if pairs
            else draw_caption(
                random, one, name=names[g], synonyms=synonyms[g], says_where=not unlike
            )
            for g, one in zip(rows.tolist(), asked, strict=True)
        ]
        return WorldBatch(
            noise=noise,
            pixels=rendering.pixels,
            mask=rendering.mask,
            background=rendering.background,
            worn=rendering.worn,
            layout=subject.layout,
            captions=captions,
            reference=reference,
            reference_mask=reference_mask,
            frames=frames,
            relief=relief,
            subject=torch.tensor(chosen, device=device)[rows],
            asked=tuple(asked),
            light=rendering.light,
            reference_light=light_of_reference(numbers[:, -REFERENCE_NUMBERS:]),
            companion_mask=rendering.companion_mask,
            companion_layout=None if companion is None else companion.layout,
            is_unlike=unlike,
        )

    def answer(
        self,
        noise: Tensor,
        chosen: Sequence[int],
        asked: Sequence[Asked],
        *,
        numbers: Tensor,
        opposed: bool = False,
    ) -> Answer:
        """Draw what belongs to given noise, each picture with a reference of its own.

        Args:
            noise: Standard normal, (B, 32, R / 8, R / 8).
            chosen: Rows of the subjects, drawn as they are.
            asked: What is asked of each picture.
            numbers: Uniform in [0, 1], (B, 16): roundness, and the reference's wall and light.
            opposed: Light references strongly from where the picture's light does not come from.
        """
        subject = self.figures(noise, chosen, asked, numbers=numbers)
        rendering = self.draw(noise, subject, asked)
        if opposed:
            against = opposite_numbers(rendering.light, subject.layout)
            numbers = torch.cat([numbers[:, :-REFERENCE_NUMBERS], against], dim=1)
        reference = self._references(subject.frames, subject.relief, numbers)
        return Answer(rendering, subject.layout, *reference)

    def figures(
        self, noise: Tensor, chosen: Sequence[int], asked: Sequence[Asked], *, numbers: Tensor
    ) -> Figure:
        """Return subjects as they are, where `noise` places them; see `answer`."""
        frames = self._pose(chosen, numbers, augment=False)
        return Figure(frames, _relief(frames, numbers), place(noise, frames, asked))

    def draw(
        self,
        noise: Tensor,
        subject: Figure,
        asked: Sequence[Asked],
        *,
        companion: Figure | None = None,
    ) -> Rendering:
        """Draw one picture a row, the subject where it is told to be; see `render`."""
        with torch.no_grad(), torch.autocast(noise.device.type, enabled=False):
            return render(
                noise, subject, asked, self.wardrobe, size_px=self.size_px, companion=companion
            )

    def insert(self, photo: Tensor, chosen: Sequence[int], *, seed: int) -> Insertion:
        """Put one subject into a photograph, upright, as a whole and seen as in its reference.

        Others stand beside it already, smaller: what light does to them tells the light.

        Args:
            photo: The picture (1, 3, R, R) in [0, 1].
            chosen: Rows of the subject and of those beside it.
            seed: Decides place, light, roundness and reference.
        """
        generator = torch.Generator().manual_seed(seed)
        noise, other = torch.randn(2, 1, NOISE_CHANNELS, *NOISE_CELLS, generator=generator)
        numbers = torch.rand(len(chosen), 16, generator=generator)
        frames = self._pose(chosen, numbers, augment=False)
        relief = _relief(frames, numbers)
        layout = Layout(*(one.expand(len(chosen), *one.shape[1:]) for one in _stood(noise, frames)))
        everyone = Figure(frames, relief, layout)
        others = other.expand(len(chosen), -1, -1, -1)
        # The first row has each of the others beside it; the other rows are not looked at.
        beside = [_first_of(one) for one in _bystanders(everyone, others, 1, share=1.0)]
        subject = _first_of(everyone)
        ground = photographed_ground(photo, base=_lowest(subject.frames, subject.layout), seed=seed)
        plain = [Asked(self._with_floor[0])]
        rendering = render_on(ground, subject, plain, self.wardrobe, bystanders=beside)
        against = opposite_numbers(rendering.light, subject.layout)
        numbers = torch.cat([numbers[:1, :-REFERENCE_NUMBERS], against], dim=1)
        reference = self._references(subject.frames, subject.relief, numbers)
        unlit = draw_frames(subject.frames, subject.layout, size_px=photo.shape[-1])[:, :3]
        return Insertion(Answer(rendering, subject.layout, *reference), unlit)

    def scenery(self, count: int, *, seed: int) -> Scenery:
        """Draw pictures unlike the world without their subjects, of which only others are seen.

        Args:
            count: How many.
            seed: The same seed gives the same pictures, on devices of one kind.

        Raises:
            ConfigError: As of `batch`.
        """
        random, device = Random(seed), self.tiles.device
        generator = torch.Generator(device).manual_seed(seed)
        asked = [Asked(one) for one in self._settings(random, count, unlike=True)]
        shape = (2, count, NOISE_CHANNELS, *NOISE_CELLS)
        noise, other = torch.randn(shape, generator=generator, device=device)
        numbers = torch.rand(count, 16, generator=generator, device=device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            frames = self._pose(random.choices(self.pool, k=count), numbers, augment=True)
            relief = _relief(frames, numbers)
            subject = Figure(frames, relief, place(noise, frames, asked))
            ground = self._ground(subject, seed)
            picture = ground.background.pixels
            shows = torch.zeros_like(picture[:, :1])
            for one in _bystanders(subject, other, 1):
                drawn = _stand(picture, one, asked, self.wardrobe, ground.background)
                picture, shows = drawn.picture, torch.maximum(shows, drawn.mask)
            grid = pixel_grid(self.size_px, self.size_px, like=picture).movedim(-1, 0)
            away = (grid - (2 * subject.layout.centre - 1)[..., None, None]).abs().amax(1)
            gap = SUBJECT_FILL * subject.layout.scale * (1 + GAP_ROOM * numbers[:, 9])
            is_given = (away > gap[:, None, None]).to(picture)[:, None]
            pixels = 2 * ground.develop(picture.clamp(0, 1)) - 1
            given = torch.cat([pixels * is_given, is_given], dim=1)
        return Scenery(given, shows * is_given, ground.background.light)

    def corpus(self) -> Iterator[str]:
        """Yield captions of all subjects, of both halves, for a tokenizer to learn from."""
        random, subjects = Random(0), self.subjects
        for name, synonyms in zip(subjects.names, subjects.synonyms, strict=True):
            for setting in self._settings(random, CAPTIONS_A_SUBJECT):
                asked = draw_asked(random, setting)
                yield draw_caption(random, asked, name=name, synonyms=synonyms)

    def ask(self, count: int, *, seed: int) -> list[Asked]:
        """Draw what is asked of `count` pictures, as `batch` does by itself."""
        random = Random(seed)
        return [draw_asked(random, one, self.shares) for one in self._settings(random, count)]

    def _settings(self, random: Random, count: int, *, unlike: bool = False) -> list[Setting]:
        if unlike:
            return random.choices(self._with_floor, k=count)
        # Half as many as pictures, so that rows are drawn together; every place equally often.
        places: list[int] = []
        while len(places) < count:
            places += random.sample(range(len(PLACES)), len(PLACES))
        half = places[: math.ceil(count / 2)]
        return [random.choice(self._by_place[place]) for place in (half * 2)[:count]]

    def _pose(self, chosen: Sequence[int], numbers: Tensor, *, augment: bool) -> Tensor:
        still = torch.zeros_like(numbers[:, 0])
        if not augment:
            return pose_subjects(self.tiles[list(chosen)], rotation=still, flip=still, hue=still)
        turned = (numbers[:, 4] < TURN_SHARE) * (2 * numbers[:, 5] - 1) * MAX_TURN
        hue = (numbers[:, 7] < HUE_SHARE) * numbers[:, 8] * 2 * math.pi
        flip = (numbers[:, 6] > 0.5).to(numbers)
        return pose_subjects(self.tiles[list(chosen)], rotation=turned, flip=flip, hue=hue)

    def _ground(self, subject: Figure, seed: int) -> Ground:
        if self.surfaces is None:
            raise ConfigError(
                "Pictures unlike the world are made of surfaces, and this world has none. Give it "
                "some: World(subjects, surfaces=make_textures(...))."
            )
        base, random = _lowest(subject.frames, subject.layout), Random(seed)
        if self.photos and random.random() < PHOTO_SHARE:
            chosen = random.choices(self.photos, k=len(base))
            shares = [random.uniform(*PHOTO_CUT) for _ in chosen]
            cuts = [
                cut_square(photo, random, share=share, size_px=self.size_px)
                for photo, share in zip(chosen, shares, strict=True)
            ]
            return photographed_ground(torch.stack(cuts), base=base, seed=seed)
        pool = self.tiles[self.pool]
        return draw_ground(
            pool, self.surfaces, base=base, layout=subject.layout, size_px=self.size_px, seed=seed
        )

    def other_sides(self, batch: WorldBatch, *, seed: int) -> tuple[Tensor, Tensor]:
        """Return a second reference of each subject, from another side and in another light.

        Pixels (G, 3, R, R) in [-1, 1] and masks (G, 1, R, R), as `batch` has the first ones.
        """
        generator = torch.Generator(self.tiles.device).manual_seed(seed)
        size = (len(batch.frames), 16)
        numbers = torch.rand(size, generator=generator, device=self.tiles.device)
        signed, none = 2 * numbers[:, 4:6] - 1, torch.zeros_like(numbers[:, 0])
        yaw = torch.sign(signed[:, 0]) * (OTHER_SIDE[0] + OTHER_SIDE[1] * signed[:, 0].abs())
        pose = torch.stack([yaw, OTHER_PITCH * signed[:, 1], none, none], dim=1)
        with torch.no_grad(), torch.autocast(self.tiles.device.type, enabled=False):
            return self.seen_in(pose, batch.frames, batch.relief, numbers)

    def seen_in(
        self, pose: Tensor, frames: Tensor, relief: Tensor, numbers: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return references, see `references`, of subjects that are turned to a `pose` (B, 4)."""
        return self._dressed(turn(frames, relief, pose), numbers)

    def references(self, chosen: Sequence[int], numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return a reference of each row of `chosen`: pixels (B, 3, R, R) and masks (B, 1, R, R).

        Roundness, wall and light follow from `numbers`, uniform in [0, 1], (B, 16).
        """
        frames = self._pose(chosen, numbers, augment=False)
        with torch.no_grad():
            return self._references(frames, _relief(frames, numbers), numbers)

    def _references(self, frames: Tensor, relief: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        return self._dressed(Turned(frames, relief, normals(relief)), numbers)

    def _dressed(self, turned: Turned, numbers: Tensor) -> tuple[Tensor, Tensor]:
        lit = relight_reference(turned, numbers[:, -REFERENCE_NUMBERS:])
        size = (self.size_px, self.size_px)
        if lit.shape[-1] != self.size_px:
            lit = F.interpolate(lit, size=size, mode="bilinear", align_corners=False)
        backdrop = numbers[:, :3, None, None].expand(-1, -1, *size)
        return paste(backdrop, lit).clamp(0, 1) * 2 - 1, lit[:, 3:]


def _relief(frames: Tensor, numbers: Tensor) -> Tensor:
    return height(frames[:, 3:]) * (1 - (1 - LEAST_RELIEF) * numbers[:, 3].view(-1, 1, 1, 1))


def place(noise: Tensor, frames: Tensor, asked: Sequence[Asked]) -> Layout:
    """Return the layout, pose included, that belongs to `noise` (B, 32, h, w) and what is asked.

    Subjects `frames` (B, 4, 128, 128) stand on their lowest point where the place has a floor.
    """
    u = layout_uniforms(noise)
    signed = 2 * u - 1
    spots = [PLACES[one.setting.place] for one in asked]
    grounded = torch.tensor([one.grounded for one in spots], device=u.device)
    ranges = u.new_tensor([SCALES[one.size] for one in asked])
    room = u.new_tensor([_ROOM[one.accessory] for one in asked])
    scale = (ranges[:, 0] + ranges[:, 1] * u[:, _SCALE]) * room
    poses = u.new_tensor([POSES[one.pose] for one in asked])
    side = torch.sign(signed[:, _ROTATION])
    sway = signed[:, _ROTATION] * torch.where(grounded, TILT_GROUNDED, TILT_FLOATING)
    is_turned = poses[:, 0] > 0
    asked_turn = side * (poses[:, 0] + poses[:, 1] * u[:, _POSE])
    rotation = torch.where(is_turned, asked_turn, sway)
    views = u.new_tensor([VIEWS.get(one.view, (0, 0, 0, 0)) for one in asked]) * math.pi / 180
    is_open = torch.tensor([one.view == NONE for one in asked], device=u.device)
    yaw = torch.where(
        is_open, UNASKED_YAW * signed[:, _YAW] ** 3, views[:, 0] + views[:, 1] * u[:, _YAW]
    )
    pitch = torch.where(
        is_open, UNASKED_PITCH * signed[:, _PITCH] ** 3, views[:, 2] + views[:, 3] * u[:, _PITCH]
    )
    flip = (u[:, _FLIP] > 0.5).to(u.dtype)
    yaw = yaw * (1 - 2 * flip)  # to the side that is meant, mirrored or not
    stretch = poses[:, 2] + poses[:, 3] * u[:, _POSE]
    bend = side * (poses[:, 4] + poses[:, 5] * u[:, _POSE])
    layout = Layout(
        centre=torch.zeros_like(u[:, :2]),
        scale=scale,
        rotation=rotation,
        flip=flip,
        pose=torch.stack([yaw, pitch, stretch, bend], dim=1),
    )
    margin = MARGIN * scale / 2
    floors = u.new_tensor([one.floor for one in spots])
    jump = u.new_tensor([JUMP * (one.pose == "jumping") for one in asked])
    floor = floors[:, 0] + (floors[:, 1] - floors[:, 0]) * u[:, _FLOOR]
    standing = floor - lowest_point(frames, layout) - jump
    floating = margin + (1 - 2 * margin) * u[:, _FLOOR]
    wanted = u.new_tensor([{NONE: 0, "left": -1, "right": 1}[one.side] for one in asked])
    near_edge = 0.4 * scale + 0.1 * u[:, _X]
    x = torch.where(wanted < 0, near_edge, 1 - near_edge)
    x = torch.where(wanted == 0, margin + (1 - 2 * margin) * u[:, _X], x)
    y = torch.where(grounded, standing, floating)
    return layout._replace(centre=torch.stack([x, y], dim=1))


def side_by_side(
    layout: Layout, frames: Tensor, asked: Sequence[Asked], noise: Tensor
) -> tuple[Layout, Layout]:
    """Return the layouts of two subjects beside each other, neither hiding most of the other."""
    u = layout_uniforms(noise)
    near = 0.22 + 0.1 * u[:, 1]
    x = torch.where(u[:, 0] > 0.5, near, 1 - near)

    def beside(one: Layout, x: Tensor) -> Layout:
        # A smaller frame stands as low as the larger one did.
        centre = torch.stack([x, one.centre[:, 1]], dim=1)
        return one._replace(centre=centre, scale=one.scale.clamp(max=BESIDE_SCALE))

    return beside(layout, x), beside(place(noise, frames, asked), 1 - x)


def render(
    noise: Tensor,
    subject: Figure,
    asked: Sequence[Asked],
    wardrobe: Wardrobe,
    *,
    size_px: int,
    companion: Figure | None = None,
) -> Rendering:
    """Draw one picture a row; `companion` subjects stand behind the first, and plainly."""
    fields = read_fields(noise, size_px=size_px)
    places = [one.setting for one in asked]
    background = draw_places(fields, places)
    picture, companion_mask = background.pixels, torch.zeros_like(background.pixels[:, :1])
    if companion is not None:
        plain = [Asked(one.setting) for one in asked]
        drawn = _stand(picture, companion, plain, wardrobe, background)
        picture, companion_mask = drawn.picture, drawn.mask
    drawn = _stand(picture, subject, asked, wardrobe, background)
    picture, mask = drawn.picture, drawn.mask
    worn = (mask - drawn.bare).clamp(min=0)
    if companion is None:
        colour, coverage = _foreground(fields, places, subject)
        picture, mask = over(picture, colour, coverage), mask * (1 - coverage)
    names = [one.rendition for one in asked]
    picture = render_as(veil(picture, fields, places), fields, names, edges=mask)
    empty = render_as(veil(background.pixels, fields, places), fields, names)
    return Rendering(
        pixels=picture.clamp(0, 1) * 2 - 1,
        mask=mask,
        background=empty.clamp(0, 1) * 2 - 1,
        worn=worn,
        companion_mask=companion_mask * (1 - mask),
        light=background.light,
    )


def render_on(
    ground: Ground,
    subject: Figure,
    asked: Sequence[Asked],
    wardrobe: Wardrobe,
    *,
    bystanders: Sequence[Figure] = (),
) -> Rendering:
    """Put subjects into pictures of their own, a row each; bystanders stand there already."""
    background = ground.background
    empty, plain = background.pixels, [Asked(one.setting) for one in asked]
    for one in bystanders:
        empty = _stand(empty, one, plain, wardrobe, background).picture
    drawn = _stand(empty, subject, asked, wardrobe, background)
    pixels, without = (ground.develop(one.clamp(0, 1)) for one in (drawn.picture, empty))
    return Rendering(
        pixels=pixels * 2 - 1,
        mask=drawn.mask,
        background=without * 2 - 1,
        worn=(drawn.mask - drawn.bare).clamp(min=0),
        companion_mask=torch.zeros_like(drawn.mask),
        light=background.light,
    )


def _bystanders(
    subject: Figure, noise: Tensor, views: int, *, share: float = BYSTANDER_SHARE
) -> list[Figure]:
    """Return other subjects of the batch, small and whole, one on each side of this one.

    Each is there in a `share` of the pictures that have room. None stands where the subject does:
    nobody could tell what it hides.
    """
    u, near = layout_uniforms(noise), subject.layout
    foot, half = _lowest(subject.frames, near).flatten(), SUBJECT_FILL * near.scale / 2
    rooms = (near.centre[:, 0] - half, 1 - near.centre[:, 0] - half)
    none, standing = torch.zeros_like(half), []
    for number, room in enumerate(rooms):
        along, back, size, gate = u[:, 4 * number : 4 * number + 4].unbind(1)
        frames, relief = (one.roll((number + 1) * views, 0) for one in subject[:2])
        smallest, more = BYSTANDER_SCALE
        scale = torch.minimum(smallest + more * size, room.clamp_min(0) / SUBJECT_FILL)
        is_there = (gate < share) & (scale > LEAST_BYSTANDER)
        scale = scale.clamp_min(LEAST_BYSTANDER)
        free = (room - SUBJECT_FILL * scale).clamp_min(0)
        away = half + SUBJECT_FILL * scale / 2 + free * along
        across = near.centre[:, 0] + (away if number else -away)
        layout = Layout(
            centre=torch.stack([across, none], dim=1),
            scale=scale,
            rotation=none,
            flip=(size > 0.5).to(u),
            pose=torch.zeros_like(near.pose),
        )
        # Those that are not there stand far below the picture.
        stand = torch.where(is_there, foot - BYSTANDER_BACK * back, foot + 3)
        height = stand - lowest_point(frames, layout)
        centre = torch.stack([layout.centre[:, 0], height], dim=1)
        standing.append(Figure(frames, relief, layout._replace(centre=centre)))
    return standing


def _stood(noise: Tensor, frames: Tensor) -> Layout:
    """Return where one subject stands in a photograph, upright and whole."""
    u = layout_uniforms(noise)
    smallest, more = PHOTO_SCALE
    scale = smallest + more * u[:, _SCALE]
    none, half = torch.zeros_like(scale), SUBJECT_FILL * scale / 2
    layout = Layout(u[:, :2], scale, rotation=none, flip=none, pose=u.new_zeros(1, 4))
    x = half + (1 - 2 * half) * u[:, _X]
    y = PHOTO_FLOOR[0] + PHOTO_FLOOR[1] * u[:, _FLOOR] - lowest_point(frames[:1], layout)
    return layout._replace(centre=torch.stack([x, y], dim=1))


def _first_of(subject: Figure) -> Figure:
    layout = Layout(*(value[:1] for value in subject.layout))
    return Figure(subject.frames[:1], subject.relief[:1], layout)


class _Drawn(NamedTuple):
    picture: Tensor  # (B, 3, R, R)
    mask: Tensor  # (B, 1, R, R) subject and what it wears
    bare: Tensor  # (B, 1, R, R) subject


def _stand(
    picture: Tensor,
    subject: Figure,
    asked: Sequence[Asked],
    wardrobe: Wardrobe,
    background: Background,
) -> _Drawn:
    side, layout, light = picture.shape[-1], subject.layout, background.light
    looked = recolour(subject.frames, [one.colour for one in asked])
    surface = remake(looked, normals(subject.relief), [one.material for one in asked])
    turned = turn(surface.frame, subject.relief, layout.pose)
    sprite = draw_frames(shade(turned, light, layout, surface.gloss), layout, size_px=side)
    shadow = cast_shadow(sprite[:, 3:], layout, _lowest(turned.frame, layout), light.cast())
    picture, whole = picture * (1 - shadow), sprite
    kinds = [None if one.accessory == NONE else one.accessory for one in asked]
    pieces = wear(subject.frames, subject.relief, layout, kinds, wardrobe)
    worn = []
    for piece in pieces:
        own = Light(*(value[piece.rows] for value in light))
        lit = shade(piece.turned, own, piece.layout, torch.zeros_like(own.strength))
        worn.append((piece, draw_frames(lit, piece.layout, size_px=side)))
    for piece, drawn in worn:
        if piece.is_behind:
            picture = _pasted(picture, drawn, piece.rows)
            whole = whole.index_copy(0, _index(piece.rows, whole), paste(drawn, whole[piece.rows]))
    picture = paste(picture, sprite)
    for piece, drawn in worn:
        if not piece.is_behind:
            picture, whole = _pasted(picture, drawn, piece.rows), _pasted(whole, drawn, piece.rows)
    return _Drawn(picture, whole[:, 3:], sprite[:, 3:])


def _pasted(picture: Tensor, sprite: Tensor, rows: list[int]) -> Tensor:
    return picture.index_copy(0, _index(rows, picture), paste(picture[rows], sprite))


def _index(rows: list[int], like: Tensor) -> Tensor:
    return torch.tensor(rows, device=like.device)


def _foreground(
    fields: Fields, places: Sequence[Setting], subject: Figure
) -> tuple[Tensor, Tensor]:
    layout = subject.layout
    base, scale = _lowest(subject.frames, layout), layout.scale.view(-1, 1, 1, 1)
    edge = base - (COVER + COVER_RANGE * fields.u(_COVER)) * scale
    colour, coverage = draw_foregrounds(fields, places, edge=edge, base=base)
    has_one = (fields.u(_GATE) < FOREGROUND_SHARE).to(coverage)
    away = (fields.x - layout.centre[:, 0].view(-1, 1, 1, 1)).abs() / scale
    return colour, coverage * has_one * smoothstep(0.75, 0.55, away)  # ends beside the subject


def _lowest(frames: Tensor, layout: Layout) -> Tensor:
    return (layout.centre[:, 1] + lowest_point(frames, layout)).view(-1, 1, 1, 1)
