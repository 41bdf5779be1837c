"""Shows a place at another time, in other weather and season, at the size of its picture.

The scene network draws 256 x 256 pixels. Maps of colour carry the change to any size.
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components, called
from swiftpie.imageio.images import as_rgb, mask_to_pil, to_pil, to_tensor
from swiftpie.mini.edit_reading import read_change, read_edit
from swiftpie.mini.fields import (
    apply_maps,
    changes_between,
    meant_change,
    smoothstep,
    within,
    without_lamps,
)
from swiftpie.mini.scene_network import UNCOVERED, scene_relighter
from swiftpie.mini.scenes import scene_library
from swiftpie.mini.weather import PixelRows, draw_weather, lift_weather
from swiftpie.mini.words import AUTUMN, NIGHT, PLAIN, SEASONS, WEATHERS, WINTER, SceneSetting
from swiftpie.noise import draw_noise
from swiftpie.pipelines.denoise import Clock
from swiftpie.pipelines.draw import Plan
from swiftpie.pipelines.edit_region import blend_mask, given_mask
from swiftpie.pipelines.filling import OnBand
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.types import EditResult

logger = logging.getLogger(__name__)

SIDE_PX = 256  # of the pictures that the network was trained on
NOISE_SHAPE = (32, SIDE_PX // 8, SIDE_PX // 8)
BAND_PIXELS = 65_000  # at once, which a cache holds with their maps
PATTERN_PX = 384  # of a photograph that one repetition of rain or flakes fills at least
MOST_REPEATS = 3
LEAST_RED = 0.46  # of the green of leaves, which are no bluer than red either
SNOW_COLOURED = (0.35, 0.18)  # saturations of what no snow and no bare wood has, and what they have
LEAF_COLOURED = (0.12, 0.3)  # red less blue, over the brightest: of no autumn leaf, and of leaves
NEAR_PX = 2  # around a pixel, of 256 a side, whose mean colour counts
DARKEST = 0.02  # of 1: what is darker has no colour
DRAWN_WEATHERS = {  # those that a picture is behind, by their numbers
    number: name for number, name in enumerate(WEATHERS) if name in {"rain", "snowfall", "fog"}
}
UNCHANGED = (
    "A picture without a source prompt is taken to show a clear summer day, so nothing in it will "
    "change. Say what it shows, as in --source-prompt 'in winter' or source_prompt='in winter'."
)


@torch.no_grad()
def relight(
    image: Image.Image,
    setting: SceneSetting,
    *,
    before: SceneSetting = PLAIN,
    noise: Tensor,
    place: str | None = None,
    run: Callable[..., Tensor] = called,
    on_band: OnBand = int,
) -> Image.Image:
    """Return a picture as it looks in another setting, without rain, flakes and fog.

    The network knows pictures in plain daylight. Others are changed as much as two drawings of the
    same picture in both settings differ. Where leaves or grass come back, this is done first: the
    network draws the summer of a picture in autumn or winter. A season alone changes only what it
    changes visibly in plain light, too.

    Args:
        image: The place, of any size; the same picture comes back if it shows the setting.
        setting: The time, weather and season.
        before: Those that the picture shows.
        noise: Standard normal latents (1, 32, 32, 32), from which clouds follow.
        place: Its name in the library of scenes; None if it has none. Then nothing lights up
            at night.
        run: What calls the network that draws; see `Components`.
        on_band: Called after each band of rows of a large picture; may raise to stop.
    """
    if place is None:
        setting, before = setting.in_photographs, before.in_photographs
    if setting == before:
        return image
    between = before._replace(season=setting.season)
    if uncovers(before, setting) and between != setting:
        step = partial(relight, noise=noise, place=place, run=run, on_band=on_band)
        return step(step(image, between, before=before), setting, before=between)
    picture = as_rgb(image)
    reference = _reference(picture)
    draw = partial(_drawn, noise=noise, place=place, run=run)
    seen = cache(partial(draw, reference))
    old, new = (PLAIN._replace(season=each.season) for each in (before, setting))
    meant = None
    if uncovers(before, setting):
        first = reference
        second = draw(_leafy(draw(reference, PLAIN._replace(season=UNCOVERED))), new)
        meant = meant_change(first, second)
        if before.time == PLAIN.time:
            meant = meant * _may_hide(reference, before)
    else:
        first, second = seen(before), seen(setting)
        if between == setting:  # the season alone changes
            meant = meant_change(seen(old), seen(new))
    if first is reference and picture.size == (SIDE_PX, SIDE_PX):
        return to_pil(second if meant is None else torch.lerp(first, second, meant))[0]
    changes = changes_between(first, second)
    return _carried_over(picture, changes if meant is None else within(changes, meant), on_band)


def uncovers(before: SceneSetting, after: SceneSetting) -> bool:
    """Whether leaves or grass come back, whose colour a picture does not show."""
    old, new = (tuple(SEASONS)[setting.season] for setting in (before, after))
    return old in {"autumn", "winter"} and new not in {old, "winter"}


def _reference(picture: Image.Image) -> Tensor:
    size = (SIDE_PX, SIDE_PX)
    return to_tensor(picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0))


def _drawn(
    reference: Tensor,
    setting: SceneSetting,
    *,
    noise: Tensor,
    place: str | None,
    run: Callable[..., Tensor],
) -> Tensor:
    """Return a picture (1, 3, 256, 256) in a setting, as the network draws it of the reference."""
    if setting == PLAIN:
        return reference
    numbers = (scene_library().number(place), *setting)
    drawn = run(
        scene_relighter(), noise, reference, *(torch.tensor([number]) for number in numbers)
    )
    if place is not None:
        return drawn
    drawn = _in_colours_of(setting, reference, drawn)
    return without_lamps(reference, drawn) if setting.time == NIGHT else drawn


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


def _leafy(pixels: Tensor) -> Tensor:
    """Return pixels (1, 3, h, w) in [-1, 1] with no green that leaves and grass do not have."""
    red, green, blue = (pixels / 2 + 0.5).split(1, dim=1)
    is_green = (green > red) & (green > blue)
    warmer = torch.maximum(red, LEAST_RED * green)
    leaves = 2 * torch.cat([warmer, green, torch.minimum(blue, warmer)], dim=1) - 1
    return torch.where(is_green, leaves, pixels)


def _may_hide(reference: Tensor, setting: SceneSetting) -> Tensor:
    """Return where a picture in plain light has the colour of what a season lays over plants.

    Args:
        reference: The picture, (1, 3, h, w) in [-1, 1].
        setting: What it shows: winter, with snow and bare wood, or autumn, with leaves.

    Returns:
        (1, 1, h, w) in [0, 1], 0 where walls, cloths and the sky stay.
    """
    side = 2 * NEAR_PX + 1
    smooth = F.avg_pool2d(reference, side, 1, NEAR_PX, count_include_pad=False) / 2 + 0.5
    most = smooth.amax(dim=1, keepdim=True).clamp_min(DARKEST)
    if setting.season == WINTER:
        return smoothstep(*SNOW_COLOURED, (most - smooth.amin(dim=1, keepdim=True)) / most)
    return smoothstep(*LEAF_COLOURED, (smooth[:, :1] - smooth[:, 2:]) / most)


def _carried_over(picture: Image.Image, changes: Tensor, on_band: OnBand) -> Image.Image:
    """Return a picture of any size with the changes (1, 12, n, m) that a small one of it shows."""
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
    """Return maps (1, 12, n, m) of colours in [-1, 1] for those in 0..255."""
    offsets = changes[:, 9:] + 1 - changes[:, :9].unflatten(1, (3, 3)).sum(dim=2)
    return torch.cat([changes[:, :9], 127.5 * offsets], dim=1)


def weathered(picture: Tensor, setting: SceneSetting, *, noise: Tensor, is_photo: bool) -> Tensor:
    """Return a picture (1, 3, H, W) in [-1, 1] behind the rain, the flakes or the fog of `setting`.

    Large pictures are changed row by row with less memory by `add_weather`.
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


@torch.no_grad()
def without_weather(image: Image.Image, setting: SceneSetting) -> Image.Image:
    """Return a picture without the rain, the flakes or the fog of `setting`."""
    name = DRAWN_WEATHERS.get(setting.weather)
    if name is None:
        return image
    size = (image.height, image.width)
    view = PixelRows(size, (0, size[0]))
    pixels = lift_weather(to_tensor(image), name=name, time=setting.time, view=view)
    return to_pil(pixels)[0]


def is_relit(components: Components, request: EditRequest) -> bool:
    """Whether all of a picture changes; of what a source prompt shows, a season changes a part."""
    if request.settings.method is not None or _change(components, request) is None:
        return False
    if not request.source_prompt.strip():
        return True
    source = request.source_prompt
    reading = read_edit(request.prompt, components.vocabulary, source_prompt=source)
    return reading is None or not reading.changes_season_alone


def prepare_relit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Prepare an edit of time, weather and season."""
    setting = _change(components, request)
    assert setting is not None, "other edits go elsewhere"
    finish = partial(_edited, components, request, setting, clock)
    return Plan(request, finish, region=lambda: mask_to_pil(_region(request, setting))[0])


def _change(components: Components, request: EditRequest) -> SceneSetting | None:
    """Return what daylight turns into; None if anything else changes."""
    texts = {"source_prompt": request.source_prompt, "keyword": request.keyword}
    is_alone = request.identity is None
    return read_change(request.prompt, components.vocabulary, **texts) if is_alone else None


def _edited(
    components: Components, request: EditRequest, setting: SceneSetting, clock: Clock
) -> EditResult:
    """Return the photograph of a request in a setting."""
    original, region = as_rgb(request.picture), _region(request, setting)
    if setting == PLAIN:
        logger.warning(UNCHANGED)
    noise = draw_noise([request.seed], NOISE_SHAPE)
    on_band = partial(clock.lap, "relight")
    edited = relight(original, setting, noise=noise, run=components.run, on_band=on_band)
    edited = add_weather(edited, setting, noise=noise, on_band=on_band)
    clock.lap("relight")
    is_whole = request.mask is None and setting != PLAIN
    blend = Image.new("L", edited.size, 255) if is_whole else blend_mask(region)
    image = edited if is_whole else Image.composite(edited, original, blend)
    clock.lap("join")
    return EditResult(
        image=image,
        region=mask_to_pil(region)[0],
        edited=edited,
        reconstruction=None,
        blend=blend,
        latent_region=torch.ones(1, 1, *NOISE_SHAPE[1:]),
        branches=(),
        cutouts=(),
        seed=request.seed,
        timings_ms=clock.timings(),
        scales=resolved_scales(components.preset, request).given,
        origin={**components.origin, "method": "relight"},
    )


def _region(request: EditRequest, setting: SceneSetting) -> Tensor:
    """Return where an edit changes its picture, as bytes (1, 1, H, W)."""
    size = (request.picture.height, request.picture.width)
    if setting == PLAIN:
        return torch.zeros(1, 1, *size, dtype=torch.uint8)
    if request.mask is None:
        return torch.full((1, 1, *size), 255, dtype=torch.uint8)
    return given_mask(request.mask, size)


def _bands(image: Image.Image) -> Iterator[PixelRows]:
    rows = max(1, BAND_PIXELS // image.width)
    size = (image.height, image.width)
    for top in range(0, image.height, rows):
        yield PixelRows(size, (top, min(top + rows, image.height)), _repeats(size))


def _repeats(size: tuple[int, int]) -> int:
    return min(MOST_REPEATS, max(1, max(size) // PATTERN_PX))


def _rows(image: Image.Image, view: PixelRows) -> Tensor:
    return to_tensor(image.crop((0, view.rows[0], image.width, view.rows[1])))
