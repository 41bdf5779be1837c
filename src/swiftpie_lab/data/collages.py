"""Pictures of one subject each, put together from cut-outs and photographs."""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from torch import Tensor

from swiftpie_lab.data.photographs import photos_of
from swiftpie_world.subjects import Split

COLLAGE_PX = 256
MASK_PX = 128  # side of the masks, as the network guesses them

Array = NDArray[np.float32]

_PHOTO_PX, _CUTOUT_PX = 1024, 320  # at most: the shorter side of a photo, the longer of a cut-out
_WHOLE, _GROUND, _PLAIN = 0.6, 0.2, 0.1  # shares of surroundings; the rest is a surface
_SPRITES = 0.15  # of the subjects; the others are photographed
_OWN_COLOURS, _MIXED_COLOURS = 0.6, 0.25  # of the subjects; the rest is covered by a photograph
_BLANK, _EMPTY, _PAIRS = 0.03, 0.04, 0.08  # nothing at all, no subject, two things that are one
_CUT, _CLOSE = 0.2, 0.15  # cut by the lower border, and so close that all borders may
_MIN_CUT = 0.45  # smaller ones are not cut
_NUM_OTHERS, _OTHERS = 4, 0.35  # things that are not the subject, each in this share
_SUPPORTED, _SHADED, _HELD, _HIDDEN = 0.2, 0.65, 0.12, 0.1


class Collection(NamedTuple):
    """What pictures are put together from."""

    photos: Sequence[Image.Image]  # RGB
    cutouts: Sequence[Image.Image]  # RGBA, photographed
    sprites: Sequence[Image.Image]  # RGBA, drawn


class Collages(NamedTuple):
    """Pictures with the exact masks of their subjects."""

    pixels: Tensor  # (B, 3, 256, 256) in [-1, 1]
    mask: Tensor  # (B, 1, 128, 128) in [0, 1], what is visible of the subject


def read_photos(folder: Path, split: Split) -> list[Image.Image]:
    """Return the photographs of one side of the split, by name."""
    photos = []
    for path in photos_of(folder.rglob("*"), split):
        with Image.open(path) as opened:
            photo = ImageOps.exif_transpose(opened).convert("RGB")
        zoom = min(1.0, _PHOTO_PX / min(photo.size))
        photos.append(photo.resize((round(photo.width * zoom), round(photo.height * zoom))))
    return photos


def read_cutouts(folder: Path, split: Split) -> list[Image.Image]:
    """Return the photographed subjects of one side of the split, by name.

    Outlines lose a pixel, where the ground that a subject was cut from may still show.
    """
    cutouts = []
    for path in photos_of(folder.rglob("*"), split):
        with Image.open(path) as opened:
            cutout = opened.convert("RGBA")
        cutout = cutout.crop(cutout.getchannel("A").getbbox())
        cutout.thumbnail((_CUTOUT_PX, _CUTOUT_PX))
        cutout.putalpha(cutout.getchannel("A").filter(ImageFilter.MinFilter(3)))
        cutouts.append(cutout)
    return cutouts


def draw_collages(collection: Collection, *, count: int, seed: int) -> Collages:
    """Draw pictures of one subject each, or rarely none; the seed decides everything."""
    drawn = [
        _Collage(collection, np.random.default_rng((seed, row))).draw() for row in range(count)
    ]
    pictures, masks = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
    mask = torch.nn.functional.avg_pool2d(masks[:, None], COLLAGE_PX // MASK_PX)
    return Collages(pictures.movedim(3, 1).float() / 127.5 - 1, mask)


class _Collage:
    """One picture; fields are float32 (256, 256, C) in [0, 1], with alpha premultiplied."""

    def __init__(self, collection: Collection, random: Generator) -> None:
        self.collection, self.random = collection, random

    def draw(self) -> tuple[NDArray[np.uint8], Array]:
        """Return a picture (256, 256, 3) in 8 bit and the mask (256, 256) of its subject."""
        if self.chance(_BLANK):
            return self.photographed(self.plain()), np.zeros((COLLAGE_PX, COLLAGE_PX), np.float32)
        picture = self.surroundings()
        size = self.uniform(1.0, 1.5) if self.chance(_CLOSE) else self.uniform(0.25, 1.05)
        spread = 0.22 * max(0.05, 1.05 - size)
        x, y = (0.5 + np.clip(spread * self.random.standard_normal(2), -0.3, 0.3)).tolist()
        if self.chance(_CUT) and size > _MIN_CUT:
            y = max(0.45, 1 - size * self.uniform(0.05, 0.45))
        for _ in range(_NUM_OTHERS):
            if self.chance(_OTHERS):
                picture = over(picture, self.other(size))
        subject = self.subjects(x, y, size)
        rows = np.flatnonzero(subject[..., 3].max(axis=1) > 0.5)
        base = float(rows[-1] + 1) / COLLAGE_PX if len(rows) else y
        if self.chance(_SUPPORTED):
            picture = over(picture, self.support(x, base, size))
        if self.chance(_SHADED):
            picture = self.shaded(picture, subject[..., 3], base)
        if self.chance(_HELD):
            picture = over(picture, self.arm(x, y, size))
        subject = self.matched(subject, picture)
        picture, mask = over(picture, subject), subject[..., 3]
        if self.chance(_HIDDEN):
            cover = self.cover(x, base, len(rows) / COLLAGE_PX)
            picture, mask = over(picture, cover), mask * (1 - cover[..., 3])
        return self.photographed(picture), mask

    def subjects(self, x: float, y: float, size: float) -> Array:
        """Return what the picture is of: one thing, or two that belong together, or nothing."""
        if self.chance(_EMPTY):
            return np.zeros((COLLAGE_PX, COLLAGE_PX, 4), np.float32)
        subject = self.placed(self.subject(), x, y, size)
        if self.chance(_PAIRS):
            right, down = (0.3 * size * self.random.standard_normal(2)).tolist()
            part = size * self.uniform(0.4, 0.8)
            subject = over(subject, self.placed(self.subject(), x + right, y + down, part))
        return subject

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return float(self.random.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def one_of(self, pictures: Sequence[Image.Image]) -> Image.Image:
        return pictures[int(self.random.integers(len(pictures)))]

    def surroundings(self) -> Array:
        """Return a place, a ground before a wall, a plain backdrop, or a surface."""
        kind = self.random.random()
        if kind < _WHOLE:
            picture = self.blurred(self.piece(self.uniform(0.35, 1.0)), 0.4, 3)
        elif kind < _WHOLE + _GROUND:
            picture = self.ground_and_wall()
        elif kind < _WHOLE + _GROUND + _PLAIN:
            picture = self.plain()
        else:
            picture = self.blurred(self.piece(0.1 ** self.uniform(0.3, 1)), 0.2, 2)
        return self.toned(picture)

    def piece(self, share: float, side: int = COLLAGE_PX) -> Array:
        """Return a square of a photograph, a `share` of its shorter side."""
        photo = self.one_of(self.collection.photos)
        extent = share * min(photo.size)
        left, top = (self.uniform(0, length - extent) for length in photo.size)
        box = (left, top, left + extent, top + extent)
        part = photo.resize((side, side), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
        return as_field(ImageOps.mirror(part) if self.chance(0.5) else part)

    def ground_and_wall(self) -> Array:
        horizon = self.uniform(0.1, 0.8)
        wall = self.plain() if self.chance(0.3) else self.piece(0.15 ** self.uniform())
        wall = self.blurred(wall, 0.7, 6)
        surface = self.plain() if self.chance(0.15) else self.piece(0.12 ** self.uniform())
        far = self.uniform(0.1, 0.45) * COLLAGE_PX  # of the lower edge, at each side
        quad = (0, 0, far, COLLAGE_PX, COLLAGE_PX - far, COLLAGE_PX, COLLAGE_PX, 0)
        size = (COLLAGE_PX, max(2, round(COLLAGE_PX * (1 - horizon))))
        ground = as_image(self.toned(surface)).transform(
            size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR
        )
        picture = wall.copy()
        picture[-size[1] :] = as_field(ground)
        return picture

    def plain(self, side: int = COLLAGE_PX) -> Array:
        """Return a square that runs from one colour to another."""
        first, second = self.tone(), self.tone()
        second = first + (second - first) * self.uniform(0, 0.5)
        turn = self.uniform(0, 2 * math.pi)
        across, down = _grid(side)
        share = 0.5 + (across - 0.5) * math.cos(turn) + (down - 0.5) * math.sin(turn)
        return np.asarray(first + share[..., None].clip(0, 1) * (second - first), np.float32)

    def tone(self) -> Array:
        """Return a colour (3,), most of them dull and light ones as frequent as dark ones."""
        value = 1.0 if self.chance(0.15) else self.uniform(0.03, 1)
        vividness = self.uniform() ** 2
        return np.asarray(value * (1 - vividness * self.random.random(3)), np.float32)

    def toned(self, picture: Array) -> Array:
        """Change light, contrast and colours, so that pieces of photographs do not repeat."""
        mean = picture.mean(axis=(0, 1))
        picture = mean + (picture - mean) * np.float32(self.uniform(0.5, 1.25))
        if self.chance(0.25):
            picture = picture @ self.mixing()
        gain = self.uniform(0.6, 1.3) * (1 + self.random.uniform(-0.12, 0.12, 3))
        return np.clip(picture * gain.astype(np.float32), 0, 1)

    def mixing(self) -> Array:
        """Return a matrix (3, 3) that mixes colours at random and keeps grey."""
        weights = np.exp(2 * self.random.standard_normal((3, 3)))
        return np.asarray(weights / weights.sum(axis=0), np.float32)

    def blurred(self, field: Array, share: float, most: float) -> Array:
        """Blur a `share` of fields by up to `most` pixels."""
        if not self.chance(share):
            return field
        radius = most * self.uniform() ** 1.5
        blur = ImageFilter.BoxBlur(radius)
        return np.stack(
            [
                np.asarray(Image.fromarray(channel).filter(blur), np.float32) / 255
                for channel in np.moveaxis(_bytes(field), 2, 0)
            ],
            axis=2,
        )

    def subject(self) -> Image.Image:
        """Return a cut-out in its own colours, in others, or covered by a photograph."""
        is_drawn = self.chance(_SPRITES)
        thing = self.one_of(self.collection.sprites if is_drawn else self.collection.cutouts)
        thing = ImageOps.mirror(thing) if self.chance(0.5) else thing
        kind = self.random.random()
        colours, alpha = as_field(thing.convert("RGB")), thing.getchannel("A")
        if kind > _OWN_COLOURS + _MIXED_COLOURS:
            light = colours.mean(axis=2, keepdims=True) - colours.mean()
            cloth = self.plain_or_piece(max(thing.size))[: thing.height, : thing.width]
            colours = cloth + np.float32(self.uniform(0.3, 1)) * light
        elif kind > _OWN_COLOURS:
            colours = colours @ self.mixing()
            colours = 1 - colours if self.chance(0.15) else colours
        mean = colours.mean(axis=2, keepdims=True)
        colours = mean + (colours - mean) * np.float32(self.uniform(0.3, 1.4))
        power = math.exp(self.uniform(-0.6, 0.5))
        changed = as_image(np.clip(colours, 0, 1) ** np.float32(power))
        changed.putalpha(alpha)
        return changed

    def placed(self, thing: Image.Image, x: float, y: float, size: float) -> Array:
        """Return (256, 256, 4) with a `thing` whose longer side is `size` at a centre."""
        stretch = math.exp(self.uniform(-0.25, 0.25))
        wide, high = thing.width * stretch, thing.height / stretch
        zoom = size * COLLAGE_PX / max(wide, high)
        wide, high = max(2, round(wide * zoom)), max(2, round(high * zoom))
        small = thing.resize((wide, high), Image.Resampling.BILINEAR)
        turn, lean = 0.12 * self.random.standard_normal(), self.uniform(-0.12, 0.12)
        if self.chance(0.08):
            turn = self.uniform(-math.pi, math.pi)
        across = (math.cos(turn), math.sin(turn) + lean)
        down = (-math.sin(turn), math.cos(turn))
        left, top = x * COLLAGE_PX, y * COLLAGE_PX
        data = (
            *(*across, wide / 2 - across[0] * left - across[1] * top),
            *(*down, high / 2 - down[0] * left - down[1] * top),
        )
        size_px = (COLLAGE_PX, COLLAGE_PX)
        turned = small.transform(size_px, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        return self.lit(as_field(turned.convert("RGBa")))

    def lit(self, layer: Array) -> Array:
        """Light a layer from one side."""
        across, down = _grid()
        side = self.uniform(-0.5, 0.5) * (across - 0.5) + self.uniform(-0.5, 0.3) * (down - 0.5)
        layer[..., :3] *= ((1 + side) * self.uniform(0.65, 1.25))[..., None]
        layer[..., :3] = np.minimum(layer[..., :3], layer[..., 3:])
        return layer

    def matched(self, layer: Array, picture: Array) -> Array:
        """Bring the mean colour of a layer nearer to that of what is around it."""
        own = layer[..., :3].mean(axis=(0, 1)) / max(1e-3, float(layer[..., 3].mean()))
        gain = np.clip(picture.mean(axis=(0, 1)) / own.clip(0.02), 0.4, 2.5) ** self.uniform(0, 0.8)
        layer[..., :3] = np.minimum(layer[..., :3] * gain.astype(np.float32), layer[..., 3:])
        return self.blurred(layer, 0.3, 1.5)

    def other(self, size: float) -> Array:
        """Return a thing that is not the subject: smaller, or across a border."""
        at_border = self.chance(0.7)
        if at_border:
            turn = self.uniform(0, 2 * math.pi)
            direction = np.array([math.cos(turn), math.sin(turn)])
            x, y = (0.5 + 0.5 * self.uniform(0.8, 1.1) * direction / abs(direction).max()).tolist()
            extent = self.uniform(0.2, 0.9)
        else:
            x, y, extent = self.uniform(), self.uniform(), min(0.3, size * self.uniform(0.15, 0.5))
        thing = self.rectangle() if self.chance(0.4) else self.subject()
        return self.blurred(self.placed(thing, x, y, extent), 0.6, 5)

    def rectangle(self) -> Image.Image:
        """Return a box or a round thing with a surface of its own."""
        side = 160
        shape = Image.new("L", (side, side))
        draw, inset = ImageDraw.Draw(shape), round(self.uniform(0, 0.4) * side)
        outline = (4, inset // 2 + 4, side - 4, side - inset // 2 - 4)
        if self.chance(0.4):
            draw.ellipse(outline, fill=255)
        else:
            draw.rounded_rectangle(outline, radius=self.uniform(0, 30), fill=255)
        surface = as_image(self.toned(self.plain_or_piece(side)))
        surface.putalpha(shape)
        return surface

    def plain_or_piece(self, side: int) -> Array:
        if self.chance(0.4):
            return self.plain(side)
        return self.piece(0.12 ** self.uniform(), side)

    def support(self, x: float, base: float, size: float) -> Array:
        """Return a table, a stone or a cloth under the subject."""
        top = base - size * self.uniform(0.02, 0.3)
        half = size * self.uniform(0.4, 1.5)
        middle = x + 0.2 * size * self.random.standard_normal()
        low = top + self.uniform(0.1, 1.2)
        lean = self.uniform(-0.5, 0.5) * half
        corners = [(middle - half - lean, low), (middle - half, top), (middle + half, top)]
        return self.filled([*corners, (middle + half + lean, low)])

    def cover(self, x: float, base: float, height: float) -> Array:
        """Return something before the lower part of the subject, as grass or an edge."""
        top = base - height * self.uniform(0.02, 0.25)
        steps = np.linspace(-0.1, 1.1, 40)
        rough = self.uniform(0, 0.2) * height * self.random.standard_normal(40)
        rows = top + rough + self.uniform(-0.1, 0.1) * (steps - x)
        edge = [*zip(steps.tolist(), rows.tolist(), strict=True)]
        return self.filled([*edge, (1.1, 1.2), (-0.1, 1.2)])

    def filled(self, corners: Sequence[tuple[float, float]]) -> Array:
        """Return a polygon (256, 256, 4) with a surface of its own."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        points = [(COLLAGE_PX * x, COLLAGE_PX * y) for x, y in corners]
        ImageDraw.Draw(shape).polygon(points, fill=255)
        alpha = as_field(shape.filter(ImageFilter.BoxBlur(self.uniform(0.3, 1.5))))
        surface = self.toned(self.plain_or_piece(COLLAGE_PX))
        return self.lit(np.concatenate([surface * alpha, alpha], axis=2))

    def arm(self, x: float, y: float, size: float) -> Array:
        """Return an arm that reaches from a border to behind the subject."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        draw = ImageDraw.Draw(shape)
        turn = self.uniform(0.0, math.pi)
        thick = COLLAGE_PX * size * self.uniform(0.12, 0.3)
        start = (x + 1.2 * math.cos(turn), y + 1.2 * math.sin(turn))
        end = (x + 0.2 * size * self.random.standard_normal(), y + 0.3 * size * self.uniform())
        for share in np.linspace(0, 1, 60):
            at = [COLLAGE_PX * (a + share * (b - a)) for a, b in zip(start, end, strict=True)]
            half = thick * (1 - 0.4 * share) / 2
            draw.ellipse((at[0] - half, at[1] - half, at[0] + half, at[1] + half), fill=255)
        alpha = as_field(shape.filter(ImageFilter.BoxBlur(1)))
        skin = np.array([0.85, 0.62, 0.5], np.float32) * np.float32(self.uniform(0.3, 1.15))
        is_sleeve = self.chance(0.4)
        surface = self.plain_or_piece(COLLAGE_PX) if is_sleeve else skin + 0 * self.plain()
        return self.lit(np.concatenate([surface * alpha, alpha], axis=2))

    def shaded(self, picture: Array, alpha: Array, base: float) -> Array:
        """Darken the ground under the subject and, softly, beside it."""
        flat, lean = self.uniform(1.2, 4), self.uniform(-1.5, 1.5)
        data = (1, lean, -lean * base * COLLAGE_PX, 0, flat, base * COLLAGE_PX * (1 - flat))
        shape = Image.fromarray(_bytes(alpha))
        cast = shape.transform(shape.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        cast = cast.filter(ImageFilter.BoxBlur(self.uniform(1, 10)))
        near = shape.filter(ImageFilter.BoxBlur(self.uniform(3, 12)))
        shade = self.uniform(0, 0.7) * as_field(cast) + self.uniform(0, 0.5) * as_field(near)
        return picture * (1 - shade.clip(0, 0.9))

    def photographed(self, picture: Array) -> NDArray[np.uint8]:
        """Return what a camera makes of it: light, colour cast, blur, noise and compression."""
        across, down = _grid()
        fall = ((across - 0.5) ** 2 + (down - 0.5) ** 2) * self.uniform(-0.2, 0.8)
        exposure = self.uniform(0.25, 0.7) / max(0.05, float(picture.mean()))
        gain = np.clip(exposure, 0.6, 2.5) * (1 + self.random.uniform(-0.1, 0.1, 3))
        picture = picture * (1 - fall)[..., None] * gain.astype(np.float32)
        picture = np.clip(picture, 1e-3, 1) ** np.float32(math.exp(self.uniform(-0.35, 0.35)))
        mean = picture.mean(axis=2, keepdims=True)
        vivid = 0.0 if self.chance(0.04) else self.uniform(0.5, 1.25)
        picture = self.blurred(mean + (picture - mean) * np.float32(vivid), 0.35, 1.5)
        if self.chance(0.4):
            grain = self.random.standard_normal(picture.shape, np.float32)
            picture = picture + np.float32(self.uniform(0, 0.05)) * grain
        image = as_image(np.clip(picture, 0, 1))
        if self.chance(0.5):
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=int(self.random.integers(35, 95)))
            image = Image.open(buffer)
        return np.asarray(image)


def over(below: Array, layer: Array) -> Array:
    """Return `layer` (h, w, 4) over a picture (h, w, 3), or over another layer."""
    channels = below.shape[2]
    return below * (1 - layer[..., 3:]) + layer[..., :channels]


def as_field(image: Image.Image) -> Array:
    """Return a picture as (h, w, C) in [0, 1]."""
    field = np.asarray(image, np.float32) / np.float32(255)
    return field if field.ndim == 3 else field[..., None]


def as_image(field: Array) -> Image.Image:
    """Return a picture (h, w, 3) in [0, 1]."""
    return Image.fromarray(_bytes(field))


def _bytes(field: Array) -> NDArray[np.uint8]:
    return np.asarray(np.clip(field, 0, 1) * 255 + 0.5, np.uint8)


def _grid(side: int = COLLAGE_PX) -> tuple[Array, Array]:
    """Return how far across (1, s) and down (s, 1) the middle of each pixel lies, in [0, 1]."""
    places = ((np.arange(side) + 0.5) / side).astype(np.float32)
    return places[None], places[:, None]
