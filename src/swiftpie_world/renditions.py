"""Art of the whole picture: drawings and paintings made by rules from the exact picture."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.places.fields import Colour
from swiftpie.places.looks import smoothstep
from swiftpie_world.fields import Fields, over

_LINE_PX = 128  # lines are found in pictures of this side, whatever the side that is drawn
_PANES = 10  # panes of stained glass along a side


def render_as(
    picture: Tensor, fields: Fields, names: Sequence[str], edges: Tensor | None = None
) -> Tensor:
    """Return `picture` (B, 3, R, R) in [0, 1] as a drawing or a painting of it.

    Args:
        picture: Exact pictures.
        fields: Their noise.
        names: One of `ARTS` for each row, or "none", which changes nothing.
        edges: Masks (B, 1, R, R) whose outlines are drawn besides those of the picture.
    """
    drawn = picture.clone()
    for name in sorted({*names} - {"none"}):
        rows = [row for row, other in enumerate(names) if other == name]
        masks = None if edges is None else edges[rows]
        model = _Model(picture[rows], fields.select(rows), masks)
        drawn[rows] = _DRAW[name](model).clamp(0, 1)
    return drawn


@dataclass(frozen=True)
class _Model:
    """What an artist looks at."""

    picture: Tensor  # (B, 3, R, R) in [0, 1]
    fields: Fields
    edges: Tensor | None  # (B, 1, R, R) in [0, 1]

    @cached_property
    def luminance(self) -> Tensor:
        """Brightness, (B, 1, R, R)."""
        weights = self.picture.new_tensor([[[0.3, 0.59, 0.11]]])
        return (weights @ self.picture.flatten(2)).unflatten(2, self.picture.shape[2:])

    @cached_property
    def outline(self) -> Tensor:
        """Strength of the edges, (B, 1, R, R); 1 is a step by about a third of the brightness."""
        red, _, blue = self.picture.split(1, dim=1)
        planes = [self.luminance, 0.5 * (red - blue)]
        planes += [] if self.edges is None else [0.4 * self.edges]
        small = _shrink(torch.cat(planes, dim=1), _LINE_PX)
        padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
        across = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]).abs_()
        down = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]).abs_()
        return self.enlarge(3 * across.add_(down).amax(dim=1, keepdim=True), "bilinear")

    def cells(self, count: int) -> Tensor:
        """Return the mean colours of `count` x `count` cells."""
        return _shrink(self.picture, count)

    def enlarge(self, plane: Tensor, mode: str = "nearest") -> Tensor:
        side = self.picture.shape[-1]
        return plane if plane.shape[-1] == side else F.interpolate(plane, (side, side), mode=mode)

    def vivid(self, picture: Tensor, gain: float) -> Tensor:
        """Return `picture` (B, 3, h, w) with colours that are `gain` times as far from grey."""
        return torch.lerp(picture.mean(dim=1, keepdim=True), picture, gain).clamp(0, 1)

    def stripes(self, count: float, dx: float, dy: float) -> Tensor:
        """Return a wave (1, 1, R, R) in [-1, 1] with `count` crests a side along (dx, dy)."""
        return torch.sin(2 * torch.pi * count * (dx * self.fields.x + dy * self.fields.y))

    def ramp(self, share: Tensor, dark: Colour, light: Colour) -> Tensor:
        """Return colours between `dark` where `share` is 0 and `light` where it is 1."""
        return torch.lerp(self.fields.rgb(*dark), self.fields.rgb(*light), share)


def _shrink(picture: Tensor, side: int) -> Tensor:
    """Return means of `picture` (B, C, R, R) on a coarser grid; a finer one is not made."""
    size = picture.shape[-1]
    if size <= side:
        return picture
    if size % side:
        return F.interpolate(picture, (side, side), mode="area")
    return F.avg_pool2d(picture, size // side)


Draw = Callable[[_Model], Tensor]


_DRAW: dict[str, Draw] = {}


def _rendition(draw: Draw) -> Draw:
    """Enter a function as the art that it makes and is named after."""
    _DRAW[draw.__name__.replace("_", " ")] = draw
    return draw


@_rendition
def pencil(m: _Model) -> Tensor:
    """Draw grey lines and hatch what is dark, twice what is darkest."""
    dark = 1 - m.luminance
    grain = 0.12 * m.fields.soft(3)
    hatch = smoothstep(0.9, -0.3, m.stripes(21, 0.8, 0.8) - 1.6 * (dark - 0.55) + grain)
    cross = smoothstep(0.9, -0.3, m.stripes(21, 0.8, -0.8) - 1.8 * (dark - 0.8) + grain)
    line = smoothstep(0.25, 1.1, m.outline)
    shade = 0.32 * hatch * smoothstep(0.2, 0.6, dark) + 0.3 * cross * smoothstep(0.5, 0.8, dark)
    mark = 1 - (1 - 0.85 * line) * (1 - shade) * (1 - 0.12 * dark)
    return m.ramp(mark, (247, 246, 242), (58, 58, 64))


@_rendition
def ink(m: _Model) -> Tensor:
    """Cut black and white with lines that swell where it is darker."""
    wave = m.stripes(24, 0.0, 1.0)
    black = smoothstep(-0.06, 0.06, 0.44 - m.luminance + 0.18 * wave)
    line = smoothstep(0.5, 0.9, m.outline)
    # Lines that meet black are white, as a knife leaves them.
    return m.ramp((black - line).abs(), (250, 244, 228), (20, 18, 24))


@_rendition
def watercolour(m: _Model) -> Tensor:
    """Let pale washes run into each other, darker where they dry, on paper left white."""
    wash = m.enlarge(_shrink(m.picture, 32), "bilinear")
    flow = m.fields.soft(5)
    colour = torch.lerp(wash, m.picture, m.picture.new_tensor(0.35))
    colour = m.vivid(colour, 1.25) * 0.72 + 0.28
    rim = 0.22 * smoothstep(0.2, 1.1, m.outline) * (0.7 + 0.3 * flow)
    colour = colour * (1 - rim) + 0.035 * flow + 0.03 * m.fields.soft(3)
    border = torch.minimum(
        torch.minimum(m.fields.x, 1 - m.fields.x), (torch.minimum(m.fields.y, 1 - m.fields.y))
    )
    wet = smoothstep(0.0, 0.05, border - 0.03 - 0.02 * flow)
    return over(m.fields.rgb(252, 250, 245), colour, wet)


@_rendition
def oil(m: _Model) -> Tensor:
    """Lay short slanted strokes of one colour each, with bristles."""
    f = m.fields
    swirl = 0.05 * torch.sin(7 * f.x + 2) * torch.cos(6 * f.y)
    along, across = 0.7 * (f.x + f.y) + swirl, 0.7 * (f.y - f.x) + swirl
    row = (across * 40).floor()
    offset = 0.37 * row
    stroke = (along * 18 + offset).floor()
    middle_along, middle_across = (stroke + 0.5 - offset) / 18, (row + 0.5) / 40
    x = ((middle_along - swirl) - (middle_across - swirl)) / 1.4
    y = ((middle_along - swirl) + (middle_across - swirl)) / 1.4
    side = m.picture.shape[-1]
    place = [(v * side).long().clamp(0, side - 1) for v in (x, y)]
    colour = m.picture.flatten(2)[:, :, (place[1] * side + place[0]).flatten()]
    colour = m.vivid(colour.view_as(m.picture), 1.3)
    edge = (across * 40 - row - 0.5).abs() * 2
    bristle = torch.sin(2 * torch.pi * (across * 120)) * 0.035
    tone = 0.09 * torch.sin(2.4 * row + 1.7 * stroke) + bristle - 0.12 * edge.square() + 0.05
    return torch.lerp(colour, m.picture, m.picture.new_tensor(0.35)) * (1 + tone) + 0.4 * tone


@_rendition
def pixel_art(m: _Model) -> Tensor:
    """Fill large squares with few bright colours."""
    cells = m.vivid(m.cells(32), 1.35)
    return m.enlarge((cells * 5).round() / 5)


@_rendition
def mosaic(m: _Model) -> Tensor:
    """Set square tiles into pale mortar, no two of them alike."""
    count = 32
    bright = 1 + 0.16 * torch.tanh(m.fields.cells(32, 1))
    tile = m.enlarge(m.vivid(m.cells(count), 1.5)) * bright
    # Mortar on two sides of a tile makes one line between two of them.
    inside = torch.minimum((m.fields.x * count) % 1, (m.fields.y * count) % 1)
    return over(tile, m.fields.rgb(225, 218, 204), 0.7 * smoothstep(0.3, 0.2, inside))


@_rendition
def stained_glass(m: _Model) -> Tensor:
    """Join pieces of bright glass by lead."""
    pane, gap = _panes(m.fields)
    glass = m.cells(_PANES).flatten(2)[:, :, pane.flatten()].view_as(m.picture)
    painted = m.vivid(torch.lerp(glass, m.picture, 0.45), 2.0)
    lead = torch.maximum(smoothstep(0.15, 0.07, gap), smoothstep(0.6, 1.1, m.outline))
    return over(painted, m.fields.rgb(20, 20, 24), lead)


def _panes(f: Fields) -> tuple[Tensor, Tensor]:
    """Return which of the panes each pixel lies in, and how far from its border, in panes.

    Panes are the pixels that are nearest to a point; there is one point in each cell of a lattice.
    """
    x, y = f.x[0] * _PANES, f.y[0] * _PANES
    near = torch.arange(-1, 2, device=x.device)
    column = x.floor() + near.repeat(3).view(9, 1, 1)
    row = y.floor() + near.repeat_interleave(3).view(9, 1, 1)
    across = 0.5 + 0.36 * torch.sin(2.3 * column + 4.1 * row)
    down = 0.5 + 0.36 * torch.sin(3.7 * column - 2.9 * row + 1)
    distance = torch.hypot(column + across - x, row + down - y)
    (first, second), index = distance.topk(2, dim=0, largest=False)
    last = _PANES - 1
    numbers = row.clamp(0, last) * _PANES + column.clamp(0, last)
    return numbers.gather(0, index[:1])[0].long(), second - first


@_rendition
def neon_lines(m: _Model) -> Tensor:
    """Bend glowing tubes along the edges before the dark."""
    blurred = m.enlarge(_shrink(m.picture, 32), "bilinear")
    low, high = blurred.amin(dim=1, keepdim=True), blurred.amax(dim=1, keepdim=True)
    grey = smoothstep(0.2, 0.0, high - low)  # it has no colour to be made brighter
    colour = 0.08 + 0.92 * (blurred - low) / (high - low + 0.04) + 0.6 * grey
    line = smoothstep(0.45, 1.1, m.outline)
    glow = m.enlarge(_shrink(line, 32), "bilinear")
    core = smoothstep(0.75, 1.0, line)
    return m.fields.rgb(12, 8, 28) + colour * (0.9 * line + 0.8 * glow) + 0.25 * core


@_rendition
def paper_cut(m: _Model) -> Tensor:
    """Lay sheets of coloured paper over each other, each with its shadow."""
    level = 4
    sheet = (m.luminance * level + 0.08 * m.fields.soft(3)).floor()
    step = max(1, m.picture.shape[-1] * 2 // 128)
    above = F.pad(sheet, (step, 0, step, 0), mode="replicate")[..., :-step, :-step]
    shadow = (above - sheet).clamp(0, 1)
    colour = (sheet + 0.6) / level * 0.85 + 0.1 + 1.2 * (m.picture - m.luminance)
    return colour * (1 - 0.35 * shadow)


@_rendition
def blueprint(m: _Model) -> Tensor:
    """Draw thin white lines and a grid on blue paper."""
    line = smoothstep(0.35, 0.85, m.outline)
    grid = [smoothstep(0.2, 0.1, (v * 16) % 1) for v in (m.fields.x, m.fields.y)]
    faint = 0.2 * torch.maximum(*grid) + 0.12 * m.luminance
    return m.ramp(torch.maximum(0.95 * line, faint), (22, 66, 158), (235, 243, 255))


@_rendition
def comic(m: _Model) -> Tensor:
    """Print flat bright colours with dots in the shade and thick black lines."""
    bright = m.vivid(m.picture, 1.7)
    flat = (bright * 3).round() / 3
    across, down = m.fields.x * 24, m.fields.y * 24
    dots = torch.cos(2 * torch.pi * across) * torch.cos(2 * torch.pi * down)
    shade = smoothstep(-0.1, 0.1, dots - 1.6 * (m.luminance - 0.35))
    line = smoothstep(0.55, 0.9, m.outline)
    return over(flat * (1 - 0.3 * shade), m.fields.rgb(10, 10, 14), line)


@_rendition
def chalk(m: _Model) -> Tensor:
    """Draw rough pale lines on a blackboard and rub in some colour."""
    grain = smoothstep(-1.2, 0.6, m.fields.cells(32, 2)) * 0.5 + 0.5
    tooth = 0.75 + 0.25 * m.stripes(40, 0.7, 0.7)
    line = smoothstep(0.25, 0.7, m.outline) * (0.4 + 0.6 * grain)
    rubbed = 0.65 * m.luminance * tooth * grain
    colour = torch.lerp(m.vivid(m.picture, 2.0), torch.ones_like(m.picture), 0.3 + 0.5 * line)
    return over(m.fields.rgb(30, 54, 44), colour, torch.maximum(line, rubbed))


@_rendition
def embroidery(m: _Model) -> Tensor:
    """Stitch crosses of thread on linen."""
    thread = m.enlarge(m.vivid(m.cells(32), 1.3))
    across, down = (m.fields.x * 16) % 1 - 0.5, (m.fields.y * 16) % 1 - 0.5
    first, second = (across - down).abs(), (across + down).abs()
    upper = smoothstep(0.36, 0.24, first)
    cross = torch.maximum(upper, smoothstep(0.36, 0.24, second))
    twist = torch.cos(2 * torch.pi * torch.where(first < 0.3, first, second) / 0.3)
    light = 0.92 + 0.14 * twist - 0.12 * (1 - upper)
    linen = torch.lerp(m.fields.rgb(214, 200, 172), thread, thread.new_tensor(0.3))
    return over(linen, thread * light, cross)


@_rendition
def sepia(m: _Model) -> Tensor:
    """Fade to brown, darker towards the corners."""
    away = m.fields.distance(0.5, 0.5)
    tone = m.luminance * 1.2 - 0.06 - 0.5 * (away - 0.35).clamp_min(0)
    return m.ramp(tone.clamp(0, 1), (48, 28, 14), (250, 232, 196))


ARTS = tuple(_DRAW)
"""All renditions by name; `swiftpie.scenes` has the words that ask for them."""
