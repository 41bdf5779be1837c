"""Shows a place at another time, in other weather and season, at the size of its picture.

The scene network draws 256 x 256 pixels. Local affine maps of colour carry the change to any size.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import run_network
from swiftpie.imageio.images import as_rgb, luma, to_pil, to_tensor
from swiftpie.lexicon import AUTUMN, NIGHT, PLAIN, WEATHERS, WINTER, SceneSetting
from swiftpie.photo.compositing import OnBand
from swiftpie.places.fields import PixelRows, draw_weather
from swiftpie.places.looks import smoothstep
from swiftpie.places.scene_network import scene_relighter
from swiftpie.scenes import scene_library

SIDE_PX = 256  # side of the pictures that the network was trained on
NOISE_SHAPE = (32, SIDE_PX // 8, SIDE_PX // 8)
BAND_PIXELS = 65_000  # so many pixels and their maps fit into a cache
PATTERN_PX = 384  # least size in a photograph of one repetition of rain or flakes
MOST_REPEATS = 3
# Chosen by eye, in pixels of about 256 a side: how far from one an affine map reaches, how much
# brighter or warmer than expected, in [-1, 1], begins to be a lamp, and how far its halo reaches.
RADIUS, LAMP, HALO_PX = 6, 0.08, 4
# Change over brightness that is an error, and that is meant, by eye; the brightness that is added,
# since a share of nothing says nothing; pixels around one over which both are averaged.
FAINT, DARK, FAINT_PX = (0.04, 0.08), 0.05, 2
ROUNDED = 1e-6  # added to squares of colours: those that differ by rounding tell nothing
RIDGE = 4e-3  # pulls local maps to the one of the whole picture, in units of colour squared
DRAWN_WEATHERS = {  # weathers that are drawn over a picture, by their numbers
    number: name for number, name in enumerate(WEATHERS) if name in {"rain", "snowfall", "fog"}
}


@torch.no_grad()
def relight(
    image: Image.Image,
    setting: SceneSetting,
    *,
    noise: Tensor,
    place: str | None = None,
    run: Callable[..., Tensor] = run_network,
    on_band: OnBand = int,
) -> Image.Image:
    """Return a picture in plain daylight as it looks in a setting, without rain, flakes and fog.

    Where only the season changes, faint differences are errors of the network and are left out.

    Args:
        image: The place, of any size; the same picture comes back if it shows the setting.
        setting: The time, weather and season.
        noise: Standard normal latents (1, 32, 32, 32), from which clouds follow.
        place: Its name in the library of scenes; None if it has none. Then nothing lights up
            at night.
        run: What calls the network that draws; see `Components`.
        on_band: Called after each band of rows of a large picture; may raise to stop.
    """
    if place is None:
        setting = setting.in_photographs
    if setting == PLAIN:
        return image
    picture = as_rgb(image)
    size = (SIDE_PX, SIDE_PX)
    before = to_tensor(picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))
    numbers = (torch.tensor([number]) for number in (scene_library().number(place), *setting))
    after = run(scene_relighter(), noise, before, *numbers)
    if place is None:
        after = _in_colours_of(setting, before, after)
        after = without_lamps(before, after) if setting.time == NIGHT else after
    is_season = setting == PLAIN._replace(season=setting.season)
    meant = meant_change(before, after) if is_season else None
    if picture.size == size:
        return to_pil(after if meant is None else torch.lerp(before, after, meant))[0]
    changes = local_affine_maps(before, after)
    changes[:, 9:] += after - apply_maps(changes, before)  # what no change of colour explains
    return _carried_over(picture, changes if meant is None else within(changes, meant), on_band)


def _in_colours_of(setting: SceneSetting, reference: Tensor, relit: Tensor) -> Tensor:
    """Return what is drawn of a reference, (1, 3, h, w), without colours that no season brings.

    Snow and bare wood are not lilac, and autumn makes nothing greener.
    """
    red, green, blue = relit.split(1, dim=1)
    if setting.season == WINTER:
        green = torch.maximum(green, torch.minimum(red, blue))
    elif setting.season == AUTUMN:
        before = reference[:, 1:2] - (reference[:, :1] + reference[:, 2:]) / 2
        green = torch.minimum(green, (red + blue) / 2 + before.clamp_min(0))
    return torch.cat([red, green, blue], dim=1)


def _carried_over(picture: Image.Image, changes: Tensor, on_band: OnBand) -> Image.Image:
    """Return a picture of any size with `changes` (1, 12, n, m) found on a small copy of it."""
    result, count = Image.new("RGB", picture.size), changes.shape[2]
    # Maps for colours in [-1, 1] are turned into maps for colours in 0..255.
    offsets = changes[:, 9:] + 1 - changes[:, :9].unflatten(1, (3, 3)).sum(dim=2)
    maps = torch.cat([changes[:, :9], 127.5 * offsets], dim=1)
    maps = F.interpolate(maps, (count, picture.width), mode="bilinear")
    maps = maps[0].movedim(1, 0).flatten(1)  # (n, 12 * W)
    for view in _bands(picture):
        top, bottom = view.rows
        places = (torch.arange(top, bottom) + 0.5) * count / picture.height - 0.5
        places = places.clamp(0, count - 1)
        first, last = int(places[0]), int(places[-1]) + 2
        cells = torch.arange(first, last).clamp(max=count - 1)
        weights = (1 - (places[:, None] - torch.arange(first, last)).abs()).clamp_min(0)
        local = (weights @ maps[cells]).view(bottom - top, 12, picture.width).movedim(0, 1)[None]
        rows = np.array(picture.crop((0, top, picture.width, bottom)))
        pixels = torch.from_numpy(rows).permute(2, 0, 1)[None].float()
        pixels = apply_maps(local, pixels).clamp_(0, 255).round_().to(torch.uint8)
        planes = [Image.fromarray(plane) for plane in pixels[0].numpy()]
        result.paste(Image.merge("RGB", planes), (0, top))
        on_band()
    return result


def weathered(picture: Tensor, setting: SceneSetting, *, noise: Tensor, is_photo: bool) -> Tensor:
    """Return a picture (1, 3, H, W) in [-1, 1] behind the rain, the flakes or the fog of `setting`.

    For a large picture, `add_weather` does this in bands of rows, with less memory.
    """
    name = DRAWN_WEATHERS[setting.weather]
    time = setting.in_photographs.time if is_photo else setting.time
    size = (picture.shape[2], picture.shape[3])
    view = PixelRows(size, (0, size[0]), _repeats(size))
    return draw_weather(picture, noise, name=name, time=time, view=view, is_photo=is_photo)


@torch.no_grad()
def add_weather(
    image: Image.Image, setting: SceneSetting, *, noise: Tensor, on_band: OnBand = int
) -> Image.Image:
    """Return a photograph behind the rain, the flakes or the fog of `setting`; see `relight`."""
    name, time = DRAWN_WEATHERS.get(setting.weather), setting.in_photographs.time
    if name is None:
        return image
    result = Image.new("RGB", image.size)
    for view in _bands(image):
        rows = to_tensor(image.crop((0, view.rows[0], image.width, view.rows[1])))
        pixels = draw_weather(rows, noise, name=name, time=time, view=view, is_photo=True)
        result.paste(to_pil(pixels)[0], (0, view.rows[0]))
        on_band()
    return result


def _bands(image: Image.Image) -> Iterator[PixelRows]:
    rows = max(1, BAND_PIXELS // image.width)
    size = (image.height, image.width)
    for top in range(0, image.height, rows):
        yield PixelRows(size, (top, min(top + rows, image.height)), _repeats(size))


def _repeats(size: tuple[int, int]) -> int:
    return min(MOST_REPEATS, max(1, max(size) // PATTERN_PX))


def local_affine_maps(before: Tensor, after: Tensor) -> Tensor:
    """Return the affine map of colour around each pixel that best makes `after` of `before`.

    Most of what a network changes in a picture is colour and light. Such maps say it, and carry
    over to a large picture, as in a guided filter (He et al., 2013) and in HDRNet
    (arXiv:1707.02880).

    Args:
        before: One picture, (1, 3, h, w).
        after: The changed picture, (1, 3, h, w).

    Returns:
        (1, 12, h, w): nine factors, rows by columns, and three offsets. Where `before` is flat,
        the map is the one of the whole picture with another offset.
    """
    whole = _whole_map(before, after)
    rest = (after - apply_maps(_everywhere(whole), before))[0]
    colours = before[0]
    mean, rest_mean = _smooth(colours), _smooth(rest)
    spread = _smooth(_products(colours, colours)) - _products(mean, mean)
    shared = _smooth(_products(rest, colours)) - _products(rest_mean, mean)
    factors = _solved(spread.unflatten(0, (3, 3)), shared.unflatten(0, (3, 3)), ridge=RIDGE)
    offsets = rest_mean - (factors * mean).sum(dim=1)
    factors = _smooth(factors.flatten(0, 1)) + whole[:, :3].reshape(9, 1, 1)
    offsets = _smooth(offsets) + whole[:, 3:, None]
    return torch.cat([factors, offsets])[None]


def without_lamps(before: Tensor, after: Tensor) -> Tensor:
    """Return `after` with what is lit up beyond the change of the whole picture taken back.

    A network that lights windows at night takes bright fur, faces and flowers for windows.

    Args:
        before: One picture, (1, 3, h, w) in [-1, 1].
        after: The same by night, (1, 3, h, w).
    """
    expected = apply_maps(_everywhere(_whole_map(before, after)), before)
    excess = after - expected
    warmer = (excess[:, :1] - excess[:, 2:]) / 2
    lamps = ((torch.maximum(luma(excess), warmer) - LAMP) / (2 * LAMP)).clamp(0, 1)
    lamps = F.max_pool2d(lamps, 2 * HALO_PX + 1, stride=1, padding=HALO_PX)
    lamps = F.avg_pool2d(F.pad(lamps, (HALO_PX,) * 4, mode="replicate"), 2 * HALO_PX + 1, stride=1)
    return torch.lerp(after, expected, lamps)


def meant_change(before: Tensor, after: Tensor) -> Tensor:
    """Return where `after` is no slip of `before`, both (1, 3, h, w) in [-1, 1]: (1, 1, h, w).

    Seasons change plants and ground. That the air and walls come out a little different is an
    error of the network that drew both, and in other light than by day it is larger. The eye sees
    shares: of what is dark, a faint change is meant.

    Returns:
        0 where hardly anything differs, 1 where much does.
    """
    side = 2 * FAINT_PX + 1
    change = (after - before).abs().amax(dim=1, keepdim=True)
    light = torch.maximum(before, after).amax(dim=1, keepdim=True) / 2 + 0.5
    change, light = (
        F.avg_pool2d(plane, side, 1, FAINT_PX, count_include_pad=False) for plane in (change, light)
    )
    return smoothstep(*FAINT, change / (light + DARK))


def apply_maps(maps: Tensor, pixels: Tensor) -> Tensor:
    """Return pixels (1, 3, h, w) with their colours changed by maps (1, 12, h, w)."""
    factors, result = maps[:, :9].unflatten(1, (3, 3)), maps[:, 9:]
    for colour, plane in enumerate(pixels.split(1, dim=1)):
        result = torch.addcmul(result, factors[:, :, colour], plane)
    return result


def _whole_map(before: Tensor, after: Tensor) -> Tensor:
    """Return the affine map of colour (3, 4) that best makes `after` of `before`."""
    # In double precision, because the last bits of a sum depend on where its numbers lie in memory.
    colours, targets = before[0].flatten(1).double(), after[0].flatten(1).double()
    mean, target_mean = (plane.mean(dim=1, keepdim=True) for plane in (colours, targets))
    apart = colours - mean
    shares = apart.T / apart.shape[1]
    factors = _solved(apart @ shares, (targets - target_mean) @ shares, ridge=ROUNDED)
    return torch.cat([factors, target_mean - factors @ mean], dim=1).to(before)


def _solved(spread: Tensor, shared: Tensor, *, ridge: float) -> Tensor:
    """Return the maps A (out, in, h, w) with A @ (spread + ridge) = shared, at each pixel.

    By Cholesky's decomposition of all pixels together, which takes a tenth of a loop over them.

    Args:
        spread: Symmetric matrices, (in, in, h, w), or one (in, in).
        shared: (out, in, h, w), or one (out, in).
        ridge: Added to the diagonal. Of many solutions, as for greys, the least is then found.
    """
    first, second, third = (spread[place, place] + ridge for place in range(3))
    low, lower = spread[1, 0] / first, spread[2, 0] / first
    second = second - low * spread[1, 0]
    rest = spread[2, 1] - lower * spread[1, 0]
    last = rest / second
    third = third - lower * spread[2, 0] - last * rest
    red, green, blue = shared.unbind(1)
    green = green - low * red
    blue = (blue - lower * red - last * green) / third
    green = green / second - last * blue
    red = red / first - low * green - lower * blue
    return torch.stack([red, green, blue], dim=1)


def within(maps: Tensor, share: Tensor) -> Tensor:
    """Return maps (1, 12, h, w) of which only a `share` (1, 1, h, w) in [0, 1] is applied."""
    nothing = F.pad(torch.eye(3).flatten(), (0, 3)).view(1, 12, 1, 1).to(maps)
    return torch.lerp(nothing, maps, share)


def _everywhere(whole: Tensor) -> Tensor:
    """Return a map (3, 4) as maps (1, 12, 1, 1)."""
    return torch.cat([whole[:, :3].flatten(), whole[:, 3]]).view(1, 12, 1, 1)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Return all products of channels, (3 * 3, h, w)."""
    return (first[:, None] * second[None]).flatten(0, 1)


def _smooth(values: Tensor) -> Tensor:
    """Return the mean around each pixel of (C, h, w)."""
    sums = F.pad(values[None], (RADIUS,) * 4, mode="replicate")[0]
    return _window_sums(_window_sums(sums, -1), -2) / (2 * RADIUS + 1) ** 2


def _window_sums(values: Tensor, axis: int) -> Tensor:
    """Return the sums of `2 * RADIUS + 1` neighbours along an axis, which gets so much shorter."""
    # Windows that double are added up, an eighth of the work of pooling.
    side, start, windows = 2 * RADIUS + 1, 0, values
    count = values.shape[axis] - side + 1
    sums = torch.zeros_like(values.narrow(axis, 0, count))
    for bit in range(side.bit_length()):
        if bit:
            rest = windows.shape[axis] - 2 ** (bit - 1)
            windows = windows.narrow(axis, 0, rest) + windows.narrow(axis, -rest, rest)
        if side >> bit & 1:
            sums += windows.narrow(axis, start, count)
            start += 2**bit
    return sums
