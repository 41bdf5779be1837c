"""Surfaces to put behind and on subjects: drawn ones, and sprites magnified."""

import math
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie_world.fields import read_fields
from swiftpie_world.places import draw_places, settings

TEXTURE_PX = 160
_NOISE_SHAPE = (32, 16, 16)  # latents of a 128 px picture


def make_textures(count: int, tiles: Tensor, *, seed: int) -> Tensor:
    """Return textures (count, 3, 160, 160) in 8 bit; the seed decides everything.

    Args:
        count: How many.
        tiles: Sprites (S, 4, h, w) in 8 bit, premultiplied, to magnify and to strew.
        seed: Of the drawing.
    """
    random, generator = Random(seed), torch.Generator().manual_seed(seed)
    drawn = [
        lambda: _clouds(random, generator),
        lambda: _clouds(random, generator),
        lambda: _fibres(random, generator),
        lambda: _grit(random, generator),
        lambda: _cells(random, generator),
        lambda: _tiling(random, generator),
        lambda: _stripes(random, generator),
        lambda: _scenery(random, generator),
        lambda: _strewn(random, tiles),
        lambda: _magnified(random, tiles),
    ]
    textures = torch.empty(count, 3, TEXTURE_PX, TEXTURE_PX, dtype=torch.uint8)
    for row in range(count):
        textures[row] = (255 * random.choice(drawn)().clamp(0, 1)).round().to(torch.uint8)
    return textures


def spectral(
    generator: torch.Generator, count: int, *, slope: float, stretch: float = 1.0, turn: float = 0.0
) -> Tensor:
    """Return fields (count, 160, 160) of deviation 1 whose amplitude falls as frequency**-slope.

    Above 1, `stretch` draws them out at the angle `turn`, in radians.
    """
    side = TEXTURE_PX
    rows, columns = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)
    along = columns * math.cos(turn) + rows * math.sin(turn)
    across = rows * math.cos(turn) - columns * math.sin(turn)
    frequency = torch.hypot(along * stretch, across).clamp_min(1 / side)
    amplitude = frequency**-slope
    amplitude[0, 0] = 0
    noise = torch.randn(count, side, side, generator=generator)
    fields = torch.fft.irfft2(torch.fft.rfft2(noise) * amplitude, s=(side, side))
    return fields / fields.std(dim=(1, 2), keepdim=True)


def _colour(random: Random) -> Tensor:
    """Return a colour (3, 1, 1); many are dull, as most surfaces are."""
    value, vividness = random.uniform(0.05, 1.0), random.random() ** 2
    hue = torch.tensor([random.random() for _ in range(3)])
    return (value * (1 - vividness * hue)).view(3, 1, 1)


def _tinted(random: Random, field: Tensor) -> Tensor:
    """Colour `field` (160, 160) from one colour at -1.5 to another at 1.5."""
    share = ((field + 1.5) / 3).clamp(0, 1)
    first = _colour(random)
    # Mostly two shades of one colour.
    second = _colour(random) if random.random() < 0.4 else first * random.uniform(0.3, 0.8)
    return torch.lerp(first, second, share)


def _clouds(random: Random, generator: torch.Generator) -> Tensor:
    fields = spectral(generator, 3, slope=random.uniform(0.5, 2.0))
    together = random.uniform(0.3, 1.0)
    mixed = together * fields[:1] + (1 - together) * fields
    return _colour(random) + random.uniform(0.03, 0.25) * mixed


def _fibres(random: Random, generator: torch.Generator) -> Tensor:
    turn = random.choice([0.0, math.pi / 2, random.uniform(0, math.pi)])
    stretch = random.uniform(3, 12)
    slope = random.uniform(0.3, 1.2)
    first, second = spectral(generator, 2, slope=slope, stretch=stretch, turn=turn)
    if random.random() < 0.4:  # woven, or blades that cross
        (other,) = spectral(generator, 1, slope=slope, stretch=stretch, turn=turn + random.random())
        first = torch.maximum(first, other)
    return _tinted(random, random.uniform(0.4, 1.5) * first) + 0.03 * second


def _grit(random: Random, generator: torch.Generator) -> Tensor:
    fine, coarse = spectral(generator, 2, slope=random.uniform(-0.3, 0.5))
    (broad,) = spectral(generator, 1, slope=1.5)
    return _tinted(random, random.uniform(0.3, 1.5) * fine) + 0.05 * broad + 0.03 * coarse


def _cells(random: Random, generator: torch.Generator) -> Tensor:
    """Draw pebbles, cobbles or leaves: the cells nearest to scattered points."""
    count = random.choice([20, 60, 200])
    points = torch.rand(count, 2, generator=generator) * TEXTURE_PX
    points[:, 0] *= random.uniform(0.5, 1.0)
    grid = torch.arange(TEXTURE_PX, dtype=torch.float32)
    place = torch.stack(torch.meshgrid(grid * random.uniform(0.5, 1), grid, indexing="ij"), -1)
    nearest = torch.cdist(place.flatten(0, 1), points).topk(2, largest=False)
    gap = (nearest.values[:, 1] - nearest.values[:, 0]).view(TEXTURE_PX, TEXTURE_PX)
    tones = torch.randn(count, generator=generator)
    tone = tones[nearest.indices[:, 0]].view(TEXTURE_PX, TEXTURE_PX)
    joint = (gap / random.uniform(2, 6)).clamp(0, 1)
    (rough,) = spectral(generator, 1, slope=0.8)
    shaded = _tinted(random, 0.7 * tone + 0.3 * rough)
    return torch.lerp(_colour(random).expand_as(shaded), shaded, joint)


def _tiling(random: Random, generator: torch.Generator) -> Tensor:
    """Draw bricks, tiles, checks or planks."""
    high, wide = random.choice([(8, 16), (6, 20), (16, 16), (10, 160), (30, 30), (20, 40)])
    shift = random.choice([0, 0, wide // 2])
    grid = torch.arange(TEXTURE_PX)
    row = grid[:, None] // high
    column = (grid[None] + shift * (row % 2)) // wide
    numbers = torch.randn(64, 64, generator=generator)
    tone = numbers[row % 64, column % 64]
    if random.random() < 0.3:
        tone = 2.0 * ((row + column) % 2) - 1
    (rough,) = spectral(generator, 1, slope=1.0, stretch=random.choice([1.0, 6.0]))
    shaded = _tinted(random, 0.7 * tone + 0.3 * rough)
    down, across = grid[:, None] % high, (grid[None] + shift * (row % 2)) % wide
    joint = ((down == 0) | (across == 0)) * random.uniform(0, 1)
    return torch.lerp(shaded, _colour(random).expand_as(shaded), joint.float())


def _stripes(random: Random, generator: torch.Generator) -> Tensor:
    grid = torch.linspace(0, 1, TEXTURE_PX)
    turn = random.uniform(0, math.pi)
    (bend,) = spectral(generator, 1, slope=2.0)
    along = grid[None] * math.cos(turn) + grid[:, None] * math.sin(turn)
    wave = torch.sin(2 * math.pi * random.uniform(2, 24) * along + random.uniform(0, 2) * bend)
    if random.random() < 0.5:
        wave = (3 * wave).clamp(-1.5, 1.5)
    return _tinted(random, wave + random.uniform(0, 0.3) * bend)


def _scenery(random: Random, generator: torch.Generator) -> Tensor:
    noise = torch.randn(1, *_NOISE_SHAPE, generator=generator)
    fields = read_fields(noise, size_px=TEXTURE_PX)
    return draw_places(fields, [random.choice(settings())]).pixels[0]


def _strewn(random: Random, tiles: Tensor) -> Tensor:
    """Strew many sprites, as on a full shelf or a carpet with a pattern."""
    picture = _colour(random).repeat(1, TEXTURE_PX, TEXTURE_PX)
    kinds = random.choices(range(len(tiles)), k=random.choice([2, 8, 30]))
    side = random.choice([14, 24, 40, 70])
    for _ in range(2 * (TEXTURE_PX // side) ** 2):
        sprite = F.interpolate(tiles[random.choice(kinds)][None] / 255.0, side, mode="area")[0]
        top, left = (random.randrange(-side // 2, TEXTURE_PX - side // 2) for _ in range(2))
        rows, columns = (slice(max(0, at), min(TEXTURE_PX, at + side)) for at in (top, left))
        part = sprite[:, rows.start - top : rows.stop - top, columns.start - left :]
        part = part[..., : columns.stop - columns.start]
        picture[:, rows, columns] = picture[:, rows, columns] * (1 - part[3:]) + part[:3]
    return picture


def _magnified(random: Random, tiles: Tensor) -> Tensor:
    """Magnify a part of one sprite, which leaves soft shapes without a name."""
    tile = tiles[random.randrange(len(tiles))] / 255.0
    side = random.randint(20, 50)
    top, left = (random.randrange(tile.shape[1] - side) for _ in range(2))
    part = tile[:, top : top + side, left : left + side]
    part = part[:3] + (1 - part[3:]) * _colour(random)
    size = (TEXTURE_PX, TEXTURE_PX)
    return F.interpolate(part[None], size, mode="bicubic", align_corners=False)[0]
