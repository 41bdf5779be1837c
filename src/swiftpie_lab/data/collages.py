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
Bytes = NDArray[np.uint8]
Point = tuple[float, float]

_PHOTO_PX, _CUTOUT_PX = 1024, 320  # at most: the shorter side of a photo, the longer of a cut-out
_DRAWN = 0.3  # share of drawn pictures; the others are photographs
_WHOLE, _GROUND, _PLAIN = 0.6, 0.2, 0.1  # shares of surroundings; the rest is a surface
_SPRITES = 0.15  # share of drawn subjects; the others are photographed
_OWN_COLOURS, _MIXED_COLOURS = 0.6, 0.25  # shares of subjects; a photograph covers the rest
_TWO_TONED, _GLASSY = 0.12, 0.1  # shares of subjects of two materials, and of glass
_STRAPPED, _ALIKE = 0.08, 0.15  # with a strap or a handle, and as light as what is around them
_RIVALLED, _FAR = 0.45, 0.75  # pictures with rivals, and the share of these that is out of focus
_BLANK, _EMPTY, _PAIRS = 0.03, 0.04, 0.08  # nothing at all, no subject, two things that are one
_CUT, _CLOSE = 0.2, 0.15  # cut by the lower border, and so close that all borders may
_MIN_CUT = 0.45  # smaller ones are not cut
_NUM_OTHERS, _OTHERS = 4, 0.35  # things that are not the subject, each in this share
_BESIDE, _DISHES, _WORN = 0.2, 0.08, 0.06  # things next to it, a dish below it, a person behind it
_SUPPORTED, _SHADED, _HIDDEN = 0.2, 0.65, 0.15
_HELD, _GRIPPED = 0.18, 0.6  # shares of subjects that are held, and of those under fingers
_SMALL, _SMALL_PX = 0.5, (96, 200)  # share of drawn pictures stored at a side in this range
SKIN = np.array([0.85, 0.62, 0.5], np.float32)[:, None, None]


class Collection(NamedTuple):
    """What pictures are put together from."""

    photos: Sequence[Image.Image]  # RGB
    cutouts: Sequence[Image.Image]  # RGBA, photographed
    sprites: Sequence[Image.Image]  # RGBA, drawn


class Collages(NamedTuple):
    """Pictures with the exact masks of their subjects, in 8 bit."""

    pixels: Bytes  # (B, 3, 256, 256)
    mask: Bytes  # (B, 1, 128, 128), what is visible of the subject

    def tensors(self, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Return the pictures in [-1, 1] and the masks in [0, 1]."""
        pixels, mask = (torch.from_numpy(part).to(device).float() for part in self)
        return pixels / 127.5 - 1, mask / 255


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
    """Return the photographed subjects of one side of the split, by name, less a pixel of rim."""
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
    pixels, masks = (np.stack(part) for part in zip(*drawn, strict=True))
    cells = masks.reshape(count, 1, MASK_PX, COLLAGE_PX // MASK_PX, MASK_PX, -1)
    return Collages(pixels, _bytes(cells.mean(axis=(3, 5))))


class _Collage:
    """One picture; fields are float32 (C, 256, 256) in [0, 1], with alpha premultiplied and last.

    It is a photograph of things, or drawn as sprites are.
    """

    def __init__(self, collection: Collection, random: Generator) -> None:
        self.collection, self.random = collection, random
        self.is_drawn = self.chance(_DRAWN)

    def draw(self) -> tuple[Bytes, Array]:
        """Return a picture (3, 256, 256) in 8 bit and the mask (256, 256) of its subject."""
        if self.chance(_BLANK):
            return self.photographed(self.plain()), np.zeros((COLLAGE_PX, COLLAGE_PX), np.float32)
        picture = self.drawn_place() if self.is_drawn else self.surroundings()
        size = self.uniform(1.0, 1.5) if self.chance(_CLOSE) else self.uniform(0.25, 1.05)
        spread = 0.22 * max(0.05, 1.05 - size)
        x, y = (0.5 + np.clip(spread * self.random.standard_normal(2), -0.3, 0.3)).tolist()
        if self.chance(_CUT) and size > _MIN_CUT:
            y = max(0.45, 1 - size * self.uniform(0.05, 0.45))
        self.crowd(picture, x, y, size)
        subject, mask = self.subjects(x, y, size)
        rows = np.flatnonzero(mask.max(axis=1) > 0.5)
        base = float(rows[-1] + 1) / COLLAGE_PX if len(rows) else y
        for share, below in (
            (_SUPPORTED, self.support),
            (_BESIDE, self.beside),
            (_DISHES, self.dish),
        ):
            if self.chance(share):
                over(picture, below(x, base, size))
        if self.chance(_SHADED):
            self.shade(picture, mask, base)
        covers = [self.cover(x, base, len(rows) / COLLAGE_PX)] if self.chance(_HIDDEN) else []
        if self.chance(_HELD):
            over(picture, self.arm(x, y, size))
            covers += [self.fingers(mask, size)] if self.chance(_GRIPPED) else []
        over(picture, self.matched(subject, picture))
        for cover in covers:
            over(picture, cover)
            mask = mask * (1 - cover[3])
        return self.photographed(picture), mask

    def crowd(self, picture: Array, x: float, y: float, size: float) -> None:
        """Put into a picture what is not its subject, and behind it."""
        for _ in range(int(self.random.binomial(_NUM_OTHERS, _OTHERS))):
            over(picture, self.other(size))
        if self.chance(_WORN):
            over(picture, self.person(x, y, size))
        if self.chance(_RIVALLED):
            for _ in range(int(self.random.integers(1, 3))):
                over(picture, self.rival(x, y, size))

    def subjects(self, x: float, y: float, size: float) -> tuple[Array, Array]:
        """Return what the picture is of, and its mask (256, 256).

        It is one thing, or two that belong together, or nothing. Glass is seen through.
        """
        if self.chance(_EMPTY):
            nothing = np.zeros((4, COLLAGE_PX, COLLAGE_PX), np.float32)
            return nothing, nothing[3]
        subject = self.placed(self.subject(), x, y, size)
        if self.chance(_PAIRS):
            right, down = (0.3 * size * self.random.standard_normal(2)).tolist()
            part = size * self.uniform(0.4, 0.8)
            over(subject, self.placed(self.subject(), x + right, y + down, part))
        if self.chance(_STRAPPED):
            below, subject = subject, self.strap(x, y, size)
            over(subject, below)
        mask = subject[3].copy()
        if self.chance(_GLASSY):
            frame = 2 * round(COLLAGE_PX * size * self.uniform(0.01, 0.05)) + 3
            inner = Image.fromarray(_bytes(mask)).filter(ImageFilter.BoxBlur(frame / 2))
            clear = (as_field(inner)[0] * 4 - 3).clip(0, 1) * self.uniform(0.3, 0.85)
            subject *= 1 - clear
        return subject, mask

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

    def drawn_place(self) -> Array:
        """Return a white or plain backdrop, one with a drawn ground, or a place."""
        kind = self.random.random()
        if kind < 0.3:
            return self.piece(self.uniform(0.5, 1.0))
        picture = self.plain()
        if kind < 0.4:
            picture[:] = 1
        elif kind < 0.7:
            rows = round(COLLAGE_PX * self.uniform(0.3, 0.95))
            picture[:, rows:] = self.plain()[:, rows:]
        return picture

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
        picture = self.blurred(wall, 0.7, 6)
        surface = self.plain() if self.chance(0.15) else self.piece(0.12 ** self.uniform())
        far = self.uniform(0.1, 0.45) * COLLAGE_PX  # of the lower edge, at each side
        quad = (0, 0, far, COLLAGE_PX, COLLAGE_PX - far, COLLAGE_PX, COLLAGE_PX, 0)
        size = (COLLAGE_PX, max(2, round(COLLAGE_PX * (1 - horizon))))
        ground = as_image(self.toned(surface)).transform(
            size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR
        )
        picture[:, -size[1] :] = as_field(ground)
        return picture

    def plain(self, side: int = COLLAGE_PX) -> Array:
        """Return a square that runs from one colour to another."""
        first, second = self.tone(), self.tone()
        second = first + (second - first) * self.uniform(0, 0.5)
        turn = self.uniform(0, 2 * math.pi)
        across, down = _grid(side)
        share = 0.5 + (across - 0.5) * math.cos(turn) + (down - 0.5) * math.sin(turn)
        return first + np.float32(share).clip(0, 1) * (second - first)

    def tone(self) -> Array:
        """Return a colour (3, 1, 1), most of them dull and light ones as frequent as dark ones."""
        value = 1.0 if self.chance(0.15) else self.uniform(0.03, 1)
        vividness = self.uniform() ** 2
        colour = value * (1 - vividness * self.random.random((3, 1, 1)))
        return np.asarray(colour, np.float32)

    def toned(self, picture: Array) -> Array:
        """Change light, contrast and colours, so that pieces of photographs do not repeat."""
        mean = picture.mean(axis=(1, 2), keepdims=True)
        picture = mean + (picture - mean) * np.float32(self.uniform(0.5, 1.25))
        if self.chance(0.25):
            picture = self.mixed(picture)
        gain = self.uniform(0.6, 1.3) * (1 + self.random.uniform(-0.12, 0.12, (3, 1, 1)))
        picture *= np.float32(gain)
        return picture.clip(0, 1, out=picture)

    def mixed(self, colours: Array) -> Array:
        """Mix colours (3, h, w) at random; grey stays."""
        weights = np.exp(2 * self.random.standard_normal((3, 3)))
        weights /= weights.sum(axis=1, keepdims=True)
        return np.einsum("ij,jhw->ihw", np.float32(weights), colours)

    def blurred(self, field: Array, share: float, most: float) -> Array:
        """Blur a `share` of fields by up to `most` pixels."""
        if not self.chance(share):
            return field
        blur = ImageFilter.BoxBlur(most * self.uniform() ** 1.5)
        channels = (Image.fromarray(channel).filter(blur) for channel in _bytes(field))
        return np.concatenate([as_field(channel) for channel in channels])

    def subject(self) -> Image.Image:
        """Return a cut-out in its own colours, in others, or covered by a photograph."""
        if self.is_drawn and self.chance(0.8):
            thing = self.one_of(self.collection.sprites)
            return ImageOps.mirror(thing) if self.chance(0.5) else thing
        is_sprite = self.is_drawn or self.chance(_SPRITES)
        thing = self.one_of(self.collection.sprites if is_sprite else self.collection.cutouts)
        thing = ImageOps.mirror(thing) if self.chance(0.5) else thing
        kind = self.random.random()
        colours, alpha = as_field(thing.convert("RGB")), thing.getchannel("A")
        if kind > _OWN_COLOURS + _MIXED_COLOURS:
            light = colours.mean(axis=0) - colours.mean()
            cloth = self.plain_or_piece(max(thing.size))[:, : thing.height, : thing.width]
            colours = cloth + np.float32(self.uniform(0.3, 1)) * light
        elif kind > _OWN_COLOURS:
            colours = self.mixed(colours)
            colours = 1 - colours if self.chance(0.15) else colours
        if self.chance(_TWO_TONED):
            colours = self.two_toned(colours)
        mean = colours.mean(axis=0)
        colours = mean + (colours - mean) * np.float32(self.uniform(0.3, 1.4))
        power = math.exp(self.uniform(-0.6, 0.5))
        changed = as_image(colours.clip(0, 1) ** np.float32(power))
        changed.putalpha(alpha)
        return changed

    def two_toned(self, colours: Array) -> Array:
        """Give what lies to one side of a line, or between two, a tone of its own."""
        _, high, wide = colours.shape
        turn = self.uniform(0, 2 * math.pi) if self.chance(0.3) else math.pi / 2
        across, down = np.linspace(-0.5, 0.5, wide), np.linspace(-0.5, 0.5, high)[:, None]
        place = across * math.cos(turn) + down * math.sin(turn)
        start, extent = self.uniform(-0.4, 0.3), self.uniform(0.08, 1)
        part = ((place > start) & (place < start + extent)).astype(np.float32)
        light = colours.mean(axis=0)
        other = self.tone() * (0.5 + light) if self.chance(0.7) else self.mixed(colours)
        return colours + part * np.float32(self.uniform(0.5, 1)) * (other - colours)

    def placed(self, thing: Image.Image, x: float, y: float, size: float) -> Array:
        """Return (4, 256, 256) with a `thing` whose longer side is `size` at a centre."""
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
        layer[:3] *= np.float32((1 + side) * self.uniform(0.65, 1.25))
        np.minimum(layer[:3], layer[3], out=layer[:3])
        return layer

    def matched(self, layer: Array, picture: Array) -> Array:
        """Bring the mean colour of a layer nearer to that of what is around it."""
        own = layer[:3].mean(axis=(1, 2)) / max(1e-3, float(layer[3].mean()))
        gain = np.clip(picture.mean(axis=(1, 2)) / own.clip(0.02), 0.4, 2.5)
        gain **= 1.0 if self.chance(_ALIKE) else self.uniform(0, 0.8)
        layer[:3] *= gain.astype(np.float32)[:, None, None]
        np.minimum(layer[:3], layer[3], out=layer[:3])
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

    def rival(self, x: float, y: float, size: float) -> Array:
        """Return a thing behind the subject: out of focus and as large, or sharp and smaller."""
        thing = self.rectangle() if self.chance(0.15) else self.subject()
        is_far = self.chance(_FAR)
        extent = size * (self.uniform(0.5, 1.3) if is_far else self.uniform(0.35, 0.7))
        away = size * self.uniform(0.25, 0.8) * (1 if self.chance(0.5) else -1)
        layer = self.placed(thing, x + away, y + size * self.uniform(-0.35, 0.12), extent)
        return self.blurred(layer, 1, 11) if is_far else layer

    def strap(self, x: float, y: float, size: float) -> Array:
        """Return a thin arc from the middle of the subject to above it."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        half, high = size * self.uniform(0.08, 0.4), size * self.uniform(0.3, 0.7)
        box = (x - half, y - high, x + half, y + high)
        thick = max(2, round(COLLAGE_PX * size * self.uniform(0.008, 0.05)))
        draw = ImageDraw.Draw(shape)
        draw.arc([COLLAGE_PX * edge for edge in box], 180, 360, fill=255, width=thick)
        return self.covered(shape, self.plain())

    def beside(self, x: float, base: float, size: float) -> Array:
        """Return a smaller thing that stands next to the subject, or before what is behind it."""
        extent = size * self.uniform(0.2, 0.6)
        away = (0.35 * size + 0.5 * extent) * self.uniform(0.8, 1.3)
        thing = self.rectangle() if self.chance(0.3) else self.subject()
        side = away if self.chance(0.5) else -away
        return self.placed(thing, x + side, base - extent * self.uniform(0.3, 0.7), extent)

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

    def dish(self, x: float, base: float, size: float) -> Array:
        """Return a plate, a tray or a mat under the subject."""
        half = size * self.uniform(0.4, 0.9)
        flat = half * self.uniform(0.15, 0.6)
        turns = np.linspace(0, 2 * math.pi, 40)
        middle = base - flat * self.uniform(0, 0.6)
        columns, rows = x + half * np.cos(turns), middle + flat * np.sin(turns)
        return self.filled([*zip(columns.tolist(), rows.tolist(), strict=True)])

    def cover(self, x: float, base: float, height: float) -> Array:
        """Return something before the lower part of the subject, as grass or an edge."""
        top = base - height * self.uniform(0.02, 0.25)
        steps = np.linspace(-0.1, 1.1, 40)
        rough = self.uniform(0, 0.2) * height * self.random.standard_normal(40)
        rows = top + rough + self.uniform(-0.1, 0.1) * (steps - x)
        edge = [*zip(steps.tolist(), rows.tolist(), strict=True)]
        return self.filled([*edge, (1.1, 1.2), (-0.1, 1.2)])

    def filled(self, corners: Sequence[Point]) -> Array:
        """Return a polygon (4, 256, 256) with a surface of its own."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        points = [(COLLAGE_PX * x, COLLAGE_PX * y) for x, y in corners]
        ImageDraw.Draw(shape).polygon(points, fill=255)
        return self.covered(shape, self.toned(self.plain_or_piece(COLLAGE_PX)))

    def covered(self, shape: Image.Image, surface: Array) -> Array:
        """Return a shape (4, 256, 256) that has a surface (3, 256, 256), softly outlined."""
        alpha = as_field(shape.filter(ImageFilter.BoxBlur(self.uniform(0.3, 1.5))))
        return self.lit(np.concatenate([surface * alpha, alpha]))

    def person(self, x: float, y: float, size: float) -> Array:
        """Return a body that is larger than the subject before it, as of one who wears it."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        draw = ImageDraw.Draw(shape)
        half, top = size * self.uniform(0.4, 0.9), y - size * self.uniform(0.4, 0.7)
        middle = x + 0.1 * size * self.random.standard_normal()
        head = half * self.uniform(0.3, 0.5)
        body = (middle - half, top, middle + half, top + 4 * half)
        draw.rounded_rectangle([COLLAGE_PX * edge for edge in body], 0.5 * half * COLLAGE_PX, 255)
        round_head = (middle - head, top - 2 * head, middle + head, top + 0.4 * head)
        draw.ellipse([COLLAGE_PX * edge for edge in round_head], fill=255)
        return self.covered(shape, self.toned(self.plain_or_piece(COLLAGE_PX)))

    def arm(self, x: float, y: float, size: float) -> Array:
        """Return an arm that reaches from a border to behind the subject."""
        turn = self.uniform(0.0, math.pi)
        thick = size * self.uniform(0.12, 0.3)
        start = (x + 1.2 * math.cos(turn), y + 1.2 * math.sin(turn))
        end = (x + 0.2 * size * self.random.standard_normal(), y + 0.3 * size * self.uniform())
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        _stroke(shape, start, end, thick, 0.6 * thick)
        is_sleeve = self.chance(0.4)
        surface = self.plain_or_piece(COLLAGE_PX) if is_sleeve else self.skin()
        return self.covered(shape, surface)

    def fingers(self, mask: Array, size: float) -> Array:
        """Return fingers that reach over the outline of what they hold."""
        shape = Image.new("L", (COLLAGE_PX, COLLAGE_PX))
        rows, columns = np.nonzero(mask > 0.5)
        if len(rows):
            middle = np.array([columns.mean(), rows.mean()])
            at = int(self.random.integers(len(rows)))
            away = np.array([columns[at], rows[at]]) - middle
            away = away / max(1.0, float(np.hypot(*away)))
            along = (columns - middle[0]) * away[0] + (rows - middle[1]) * away[1]
            edge = middle + away * float(along.max())
            thick = size * self.uniform(0.05, 0.1)
            for number in range(int(self.random.integers(1, 5))):
                side = np.array([-away[1], away[0]]) * thick * COLLAGE_PX * (number - 1.5)
                tip = edge + side - away * COLLAGE_PX * size * self.uniform(0.05, 0.2)
                root = edge + side + away * COLLAGE_PX * size * 0.1
                start, end = (tuple((at / COLLAGE_PX).tolist()) for at in (root, tip))
                _stroke(shape, start, end, thick, 0.85 * thick)
        return self.covered(shape, self.skin())

    def skin(self) -> Array:
        """Return a surface (3, 256, 256) of some skin."""
        return SKIN * np.float32(self.uniform(0.3, 1.15)) + 0 * self.plain()

    def shade(self, picture: Array, alpha: Array, base: float) -> None:
        """Darken the ground of a picture under the subject and, softly, around it."""
        flat, lean = self.uniform(1.2, 4), self.uniform(-1.5, 1.5)
        data = (1, lean, -lean * base * COLLAGE_PX, 0, flat, base * COLLAGE_PX * (1 - flat))
        shape = Image.fromarray(_bytes(alpha))
        cast = shape.transform(shape.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
        cast = cast.filter(ImageFilter.BoxBlur(self.uniform(1, 10)))
        near = shape.filter(ImageFilter.BoxBlur(self.uniform(3, 12)))
        shade = np.float32(self.uniform(0, 0.7)) * as_field(cast)
        shade += np.float32(self.uniform(0, 0.5)) * as_field(near)
        picture *= 1 - shade.clip(0, 0.9)

    def photographed(self, picture: Array) -> Bytes:
        """Return what a camera makes of it: light, colour cast, blur, noise and compression."""
        if not self.is_drawn or self.chance(0.3):
            picture = self.seen(picture)
        image = as_image(picture)
        if self.is_drawn and self.chance(_SMALL):
            stored = int(self.random.integers(*_SMALL_PX))
            image = image.resize((stored, stored), Image.Resampling.BOX)
            image = image.resize((COLLAGE_PX, COLLAGE_PX), Image.Resampling.BOX)
        if self.chance(0.5):
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=int(self.random.integers(35, 95)))
            image = Image.open(buffer)
        return np.moveaxis(np.asarray(image), 2, 0)

    def seen(self, picture: Array) -> Array:
        """Return what a lens and a sensor make of a picture."""
        across, down = _grid()
        fall = ((across - 0.5) ** 2 + (down - 0.5) ** 2) * self.uniform(-0.2, 0.8)
        exposure = self.uniform(0.25, 0.7) / max(0.05, float(picture.mean()))
        gain = np.clip(exposure, 0.6, 2.5) * (1 + self.random.uniform(-0.1, 0.1, (3, 1, 1)))
        picture = picture * np.float32(1 - fall) * np.float32(gain)
        picture = picture.clip(1e-3, 1) ** np.float32(math.exp(self.uniform(-0.35, 0.35)))
        mean = picture.mean(axis=0)
        vivid = 0.0 if self.chance(0.04) else self.uniform(0.5, 1.25)
        picture = self.blurred(mean + (picture - mean) * np.float32(vivid), 0.35, 1.5)
        if self.chance(0.4):
            grain = self.random.standard_normal(picture.shape, np.float32)
            picture = picture + np.float32(self.uniform(0, 0.05)) * grain
        return picture


def over(below: Array, layer: Array) -> None:
    """Put `layer` (4, h, w) over a picture (3, h, w), or over another layer."""
    below *= 1 - layer[3]
    below += layer[: len(below)]


def as_field(image: Image.Image) -> Array:
    """Return a picture as (C, h, w) in [0, 1]."""
    field = np.asarray(image)
    field = np.moveaxis(field, 2, 0) if field.ndim == 3 else field[None]
    return np.ascontiguousarray(field) * np.float32(1 / 255)


def as_image(field: Array) -> Image.Image:
    """Return a picture (3, h, w) in [0, 1]."""
    return Image.fromarray(np.ascontiguousarray(np.moveaxis(_bytes(field), 0, 2)))


def _bytes(field: Array) -> Bytes:
    return (field.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _grid(side: int = COLLAGE_PX) -> tuple[Array, Array]:
    """Return how far across (1, s) and down (s, 1) the middle of each pixel lies, in [0, 1]."""
    places = ((np.arange(side) + 0.5) / side).astype(np.float32)
    return places[None], places[:, None]


def _stroke(shape: Image.Image, start: Point, end: Point, thick: float, thin: float) -> None:
    """Fill a stroke that narrows from `thick` to `thin`, in shares of the side."""
    draw, side = ImageDraw.Draw(shape), shape.width
    for share in np.linspace(0, 1, 60).tolist():
        x, y = (side * (a + share * (b - a)) for a, b in zip(start, end, strict=True))
        half = side * (thick + share * (thin - thick)) / 2
        draw.ellipse((x - half, y - half, x + half, y + half), fill=255)
