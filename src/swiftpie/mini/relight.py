"""Shows a place at another time, in other weather and season, at the size of its picture.

The scene network draws 256 x 256 pixels. Maps of colour carry the change to any size.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import called
from swiftpie.imageio.images import as_rgb, to_pil, to_tensor
from swiftpie.mini.fields import apply_maps, changes_between, meant_change, within, without_lamps
from swiftpie.mini.scene_network import scene_relighter
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.weather import PixelRows, draw_weather
from swiftpie.mini.words import AUTUMN, NIGHT, PLAIN, WEATHERS, WINTER, SceneSetting
from swiftpie.pipelines.filling import OnBand

SIDE_PX = 256  # side of the pictures that the network was trained on
NOISE_SHAPE = (32, SIDE_PX // 8, SIDE_PX // 8)
BAND_PIXELS = 65_000  # so many pixels and their maps fit into a cache
PATTERN_PX = 384  # least size in a photograph of one repetition of rain or flakes
MOST_REPEATS = 3
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
    run: Callable[..., Tensor] = called,
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
    changes = changes_between(before, after)
    return _carried_over(picture, changes if meant is None else within(changes, meant), on_band)


def _in_colours_of(setting: SceneSetting, reference: Tensor, drawn: Tensor) -> Tensor:
    """Return what is drawn of a reference, (1, 3, h, w), without colours that no season brings.

    Snow and bare wood are not lilac, and autumn makes nothing greener.
    """
    red, green, blue = drawn.split(1, dim=1)
    if setting.season == WINTER:
        green = torch.maximum(green, torch.minimum(red, blue))
    elif setting.season == AUTUMN:
        before = reference[:, 1:2] - (reference[:, :1] + reference[:, 2:]) / 2
        green = torch.minimum(green, (red + blue) / 2 + before.clamp_min(0))
    return torch.cat([red, green, blue], dim=1)


def _carried_over(picture: Image.Image, changes: Tensor, on_band: OnBand) -> Image.Image:
    """Return a picture of any size with `changes` (1, 12, n, m) found on a small copy of it."""
    result, count = Image.new("RGB", picture.size), changes.shape[2]
    maps = F.interpolate(_of_bytes(changes), (count, picture.width), mode="bilinear")
    maps = maps[0].movedim(1, 0).flatten(1)  # (n, 12 * W)
    for view in _bands(picture):
        top, bottom = view.rows
        places = (torch.arange(top, bottom) + 0.5) * count / picture.height - 0.5
        places = places.clamp(0, count - 1)
        first, last = int(places[0]), int(places[-1]) + 2
        near = torch.arange(first, last).clamp(max=count - 1)
        weights = (1 - (places[:, None] - torch.arange(first, last)).abs()).clamp_min(0)
        here = (weights @ maps[near]).view(bottom - top, 12, picture.width).movedim(0, 1)[None]
        rows = np.array(picture.crop((0, top, picture.width, bottom)))
        pixels = torch.from_numpy(rows).permute(2, 0, 1)[None].float()
        pixels = apply_maps(here, pixels).clamp_(0, 255).round_().to(torch.uint8)
        planes = [Image.fromarray(plane) for plane in pixels[0].numpy()]
        result.paste(Image.merge("RGB", planes), (0, top))
        on_band()
    return result


def _of_bytes(changes: Tensor) -> Tensor:
    """Turn maps (1, 12, n, m) for colours in [-1, 1] into maps for colours in 0..255."""
    offsets = changes[:, 9:] + 1 - changes[:, :9].unflatten(1, (3, 3)).sum(dim=2)
    return torch.cat([changes[:, :9], 127.5 * offsets], dim=1)


def weathered(picture: Tensor, setting: SceneSetting, *, noise: Tensor, is_photo: bool) -> Tensor:
    """Return a picture (1, 3, H, W) in [-1, 1] behind the rain, the flakes or the fog of `setting`.

    For a large picture, `add_weather` does this in bands of rows, with less memory.
    """
    name = DRAWN_WEATHERS.get(setting.weather)
    if name is None:
        return picture
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
        pixels = draw_weather(
            _rows(image, view), noise, name=name, time=time, view=view, is_photo=True
        )
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


def _rows(image: Image.Image, view: PixelRows) -> Tensor:
    return to_tensor(image.crop((0, view.rows[0], image.width, view.rows[1])))
