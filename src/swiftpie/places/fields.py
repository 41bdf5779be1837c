"""Fields of noise over finished pictures, and the rain, snowfall and fog that follow from them.

Weather has a closed form. Its lengths are shares of the picture's longer side, so that drops and
flakes keep their shape in pictures that are not square.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.lexicon import LISTS
from swiftpie.noise import grain

CELLS = 32  # cells a side of the four noise fields
Colour = tuple[int, int, int]
TimeColours = tuple[tuple[float, float, float], ...]  # a row for each time of day
# Rain, chosen by eye: columns of streaks, how far they lean, streaks a column, by how much of one
# columns differ, and the share of the picture that a streak of a drawn place covers.
RAIN_COLUMNS, RAIN_LEAN, RAIN_FALLS, RAIN_SHIFT, RAIN_SHARE = 32, 0.16, 3, 0.37, 0.4


class Precipitation(NamedTuple):
    """Flakes, or drops that leave streaks, of one distance from the camera."""

    per_side: int  # cells in a row, each with a flake at most
    channel: int  # the noise field that sizes follow
    radius: float  # radius of the largest flake, in cells
    share: float = 0.9  # how much of the picture a flake covers
    sharpest: float = math.inf  # how steeply a flake ends; less is out of focus
    long: float = 1  # times its width; streaks lean


IN_DRAWINGS = {"snowfall": (Precipitation(16, 0, 0.24), Precipitation(8, 2, 0.17))}
# By eye: most flakes and drops are far away, small and faint; those close by are out of focus.
IN_PHOTOS = {
    "rain": (
        Precipitation(32, 0, 0.10, share=0.26, sharpest=1.5, long=7),
        Precipitation(32, 3, 0.13, share=0.32, sharpest=1.2, long=9),
        Precipitation(16, 1, 0.10, share=0.30, sharpest=0.9, long=12),
    ),
    "snowfall": (
        Precipitation(32, 0, 0.10, share=0.65, sharpest=1.4),
        Precipitation(32, 3, 0.13, share=0.65, sharpest=1.1),
        Precipitation(16, 2, 0.12, share=0.5, sharpest=0.9),
    ),
}
LEAST_FLAKE = -0.2  # cells with a smaller number hold none
RAIN_COLOURS, FLAKE_COLOURS, FOG_COLOURS = (
    tuple((r, g, b) for r, g, b in LISTS["in_air"][name]) for name in ("rain", "flakes", "fog")
)


class PixelRows(NamedTuple):
    """The pixels that are drawn: some rows of a picture."""

    size: tuple[int, int]  # height and width of the whole picture
    rows: tuple[int, int]  # the first row, and the one behind the last
    repeat: int = 1  # how often the pattern of the noise fits into the longer side

    @property
    def cell_px(self) -> float:
        """Pixels that one repetition of the pattern takes."""
        return max(self.size) / self.repeat

    def places(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the places of pixel centres in repetitions, (1, W) and (rows, 1)."""
        across = torch.arange(self.size[1], device=like.device, dtype=like.dtype) + 0.5
        down = torch.arange(*self.rows, device=like.device, dtype=like.dtype) + 0.5
        return across[None] / self.cell_px, down[:, None] / self.cell_px


def centres(count: int, like: Tensor) -> Tensor:
    """Return the places of pixel centres in [0, 1]."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count


def coarse_fields(noise: Tensor) -> Tensor:
    """Return the fields (B, 4, 32, 32) that pictures are drawn from, whatever their size."""
    field = grain(noise)
    factor = field.shape[-1] // CELLS
    # A mean of n normals has deviation 1 / sqrt(n).
    return field if factor == 1 else F.avg_pool2d(field, factor) * factor


def draw_weather(
    pixels: Tensor,
    noise: Tensor,
    *,
    name: str,
    time: int | Tensor,
    view: PixelRows,
    is_photo: bool = False,
) -> Tensor:
    """Return pixels behind rain, snowfall or fog; any other weather leaves them as they are.

    Args:
        pixels: The rows of one picture that `view` names, (1, 3, rows, W) in [-1, 1].
        noise: Standard normal latents, (1, 32, h, w) with h and w multiples of 16.
        name: "rain", "snowfall", "fog", or a weather without anything in the air.
        time: Number of the time of day; a tensor without axes as well.
        view: The pixels.
        is_photo: Whether drops and flakes look as in photographs, or as in drawn places.
    """
    fields = coarse_fields(noise).to(pixels)
    colours = RAIN_COLOURS if name == "rain" else FLAKE_COLOURS
    if name == "rain" and not is_photo:
        return _over(pixels, colours, time, RAIN_SHARE * _streaks(fields, view))
    if layers := (IN_PHOTOS if is_photo else IN_DRAWINGS).get(name):
        clear = torch.ones(())
        for layer in layers:  # one behind the other, all of one colour
            clear = clear * (1 - layer.share * _falling(fields, view, layer))
        return _over(pixels, colours, time, 1 - clear)
    return _over(pixels, FOG_COLOURS, time, _fog(fields, view)) if name == "fog" else pixels


def _streaks(fields: Tensor, view: PixelRows) -> Tensor:
    """Return the coverage by rain: streaks that fall in leaning columns."""
    across, down = view.places(fields)
    slant = RAIN_COLUMNS * (across + RAIN_LEAN * down)
    phases = torch.special.ndtr(_in_cells(fields[0, 0], CELLS * across, CELLS * down))
    falling = _fraction(RAIN_FALLS * down + 0.3 * phases + RAIN_SHIFT * slant.floor())
    from_axis = (_fraction(slant) - 0.5).abs()
    return _ramp(0.2, 0.05, from_axis) * _ramp(0.45, 0.9, falling)


def _falling(fields: Tensor, view: PixelRows, layer: Precipitation) -> Tensor:
    """Return the coverage by flakes or drops, at most one in each cell of a lattice."""
    count, channel, radius = layer[:3]
    side = CELLS // count
    channels = fields[:, [channel, 1, 2]]
    size, right, down = (F.avg_pool2d(channels, side) * side)[0]
    reach = (0.6 + 0.4 * torch.tanh(size - LEAST_FLAKE)) * (size > LEAST_FLAKE)
    lattice = torch.stack([reach.square(), torch.tanh(right), torch.tanh(down)])
    x, y = (count * place for place in view.places(fields))
    if layer.long > 1:
        x = x + RAIN_LEAN * y
        y = y / layer.long + RAIN_SHIFT * x.floor()
    reach, right, down = _in_cells(lattice, x, y)
    shift = (0.5 - radius) / radius  # a flake stays in its cell
    from_left = (_fraction(x) - 0.5) / radius - shift * right
    from_above = (_fraction(y) - 0.5) / radius - shift * down
    sharpness = min(layer.sharpest, view.cell_px * radius / (2.4 * count))
    return ((reach - from_left.square() - from_above.square()) * sharpness).clamp(0, 1)


def _fog(fields: Tensor, view: PixelRows) -> Tensor:
    """Return the coverage by fog: more of it far away, which is high in the picture."""
    banks = fields[:, 1:2]
    for _ in range(2):
        banks = F.avg_pool2d(F.pad(banks, (4, 4, 1, 1), mode="reflect"), (3, 9), 1)
        banks = banks * math.sqrt(3 * 9)
    height, width = view.size
    down = centres(height, fields)[slice(*view.rows)]
    banks = _tent(down) @ banks[0, 0] @ _tent(centres(width, fields)).T
    return (0.1 + 0.3 * _ramp(1.0, 0.45, down[:, None]) + 0.03 * banks).clamp(0, 0.6)


def _in_cells(lattice: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the numbers of each pixel's cell, (..., rows, W), of lattices (..., n, n).

    Pixels lie at `x` and `y`, in cells; the lattices repeat.
    """
    count = lattice.shape[-1]
    row, column = ((place - count * (place / count).floor()).int() for place in (y, x))
    cell = (row * count + column).clamp(0, count * count - 1)  # by rounding it may be one further
    values = lattice.flatten(-2).index_select(-1, cell.flatten())
    return values.unflatten(-1, (cell.shape[-2], cell.shape[-1]))


def _tent(places: Tensor) -> Tensor:
    """Return weights (n, 32) that are linear between the centres of cells, for places in [0, 1]."""
    at = (CELLS * places - 0.5).clamp(0, CELLS - 1)
    return (1 - (at[:, None] - torch.arange(CELLS, device=places.device)).abs()).clamp_min(0)


def _fraction(values: Tensor) -> Tensor:
    """Return what is behind the point of positive numbers, in operators that graphs know."""
    return values - values.floor()


def _ramp(low: float, high: float, value: Tensor) -> Tensor:
    """Rise straight from 0 at `low` to 1 at `high`."""
    return ((value - low) / (high - low)).clamp(0, 1)


def _over(pixels: Tensor, colours: TimeColours, time: int | Tensor, coverage: Tensor) -> Tensor:
    """Paint the colour of a time of day, in [0, 1], on pixels (1, 3, h, w) in [-1, 1]."""
    paint = 2 * pixels.new_tensor(colours)[time].view(1, 3, 1, 1) - 1
    return torch.lerp(pixels, paint, coverage)
