"""Light at a place: what it does to subjects and to the ground beside them, by a network.

A probe holds the light that comes to the ground of a place from all around. The network of light
draws, in one step and in a patch around a subject, by how much the subject's own pixels and those
of the place are lighter or darker there.
"""

import importlib.resources
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple, Self

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import run_network
from swiftpie.imageio.images import extrapolate, to_tensor
from swiftpie.lexicon import PLAIN, SceneSetting
from swiftpie.models import light as network
from swiftpie.places.own_pixels import PlacedSprite, sampled
from swiftpie.validation import Box, PixelBox

WEIGHTS = "assets/light"
ROWS, COLUMNS = 8, 16  # of a probe's panorama
SIDE_PX = 64  # of the patch that the network sees, as in its training
OWN_LIGHT = (0.2, 0.5)  # mean light of subjects as training shows them
THIN, WHOLE = 0.03, 0.9  # opacities: least of what has a colour, and least of what has a gain
FADES_PX = 8  # at the sides of a patch, over which the change of its ground ends
SMALL_PX = 64  # side of a picture whose light is measured
GAMMA = 2.2  # exponent from values of pixels to light
DARK = 1e-3  # light that counts as none


class Probe(NamedTuple):
    """Light at the ground of a place, as bright as its pixels; zeros where it is not known."""

    panorama: Tensor  # (1, 3, 8, 16): rows from the zenith down, its middle ahead
    sun: Tensor  # (1, 6): direction (right, away, up) and irradiance; zeros without one

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Self:
        """Return the probe of `SceneLibrary.probe`, an unknown one for no numbers."""
        count = 3 * ROWS * COLUMNS
        light = torch.tensor(numbers or [0.0] * (count + 6))
        panorama = light[:count].view(1, ROWS, COLUMNS, 3)
        return cls(panorama.movedim(-1, 1), light[None, count:])

    def shown_in(self, setting: SceneSetting, before: Image.Image, after: Image.Image) -> Self:
        """Return the light where a place looks as `after` in a setting, and else as `before`.

        All light follows that of the lower half. Without a sun, the sky spreads what came from it.
        """
        if setting._replace(season=PLAIN.season) == PLAIN:
            return self
        now, plain = (_light_below(picture) for picture in (after, before))
        share = (now / plain.clamp_min(DARK)).view(1, 3, 1, 1)
        spread = (self.sun[:, 3:] * self.sun[:, 2:3]).view(1, 3, 1, 1) / torch.pi
        upper = (torch.arange(ROWS) < ROWS // 2).view(-1, 1)
        return type(self)(share * (self.panorama + spread * upper), torch.zeros_like(self.sun))

    def towards(self, other: Self, share: float) -> Self:
        """Return the light a share of the way to another."""
        return type(self)(*(torch.lerp(*pair, share) for pair in zip(self, other, strict=True)))


class LightGains(NamedTuple):
    """What the light of a place does to a subject and to the ground, as factors of 8-bit values."""

    ground: Tensor  # (1, 3, S, S), 1 at its sides
    subject: Tensor  # (1, 3, S, S), 1 in the mean
    patch: Box  # where they are in the picture; it may begin or end outside of it

    def around(self, size: tuple[int, int]) -> tuple[tuple[slice, slice], Tensor] | None:
        """Return rows and columns of a picture of `size` that the patch covers, and `ground`."""
        (left, top, right, bottom), (height, width) = self.patch, size
        rows = slice(max(0, round(top * height)), min(height, round(bottom * height)))
        columns = slice(max(0, round(left * width)), min(width, round(right * width)))
        count = (rows.stop - rows.start, columns.stop - columns.start)
        if min(count) <= 0:
            return None
        start = (columns.start / width, rows.start / height)
        place = (*start, columns.stop / width, rows.stop / height)
        return (rows, columns), sampled(self.ground, self.patch, place, count)


def light_gains(
    picture: Tensor,
    sprite: PlacedSprite,
    extent: PixelBox,
    probe: Probe,
    *,
    of: tuple[int, int],
    lens: network.Lens,
    run: Callable[..., Tensor] = run_network,
) -> LightGains:
    """Return what light does to one subject and to the ground beside it.

    Args:
        picture: The place without it, (1, 3, H, W) in [0, 1] or bytes.
        sprite: The subject, without its own light.
        extent: Where it is, in pixels of a picture of the size `of`.
        probe: The light of the place.
        of: Height and width.
        lens: What took the picture.
        run: What calls the network; see `Components`.
    """
    (left, top, right, foot), (height, width) = extent, of
    side = max(right - left, foot - top) / network.FILL
    x, y = (left + right - side) / 2 / width, (foot - network.FOOT * side) / height
    patch = (x, y, x + side / width, y + side / height)
    frame = sprite.plain((SIDE_PX, SIDE_PX), patch)
    alpha = frame[:, 3:]
    own = (frame[:, :3] / alpha.clamp_min(THIN)).clamp(0, 1) ** GAMMA
    mean = own.masked_select(alpha > 0.5).mean() if (alpha > 0.5).any() else own.new_tensor(1.0)
    own = own * (mean.clamp(*OWN_LIGHT) / mean.clamp_min(DARK))
    rows, columns = (
        torch.linspace(patch[axis], patch[axis + 2], 2 * SIDE_PX + 1)[1::2] for axis in (1, 0)
    )
    columns = (columns - (left + right) / 2 / width) * width / height
    tall = (foot - top) / height
    ground, is_ground = network.ground_around(
        rows.view(1, 1, -1, 1), columns.view(1, 1, 1, -1), foot=foot / height, tall=tall, lens=lens
    )
    left_over = network.light_left(alpha, ground, probe.panorama, probe.sun) * is_ground
    maps = network.light_maps(_seen(picture, patch), own, alpha, ground, is_ground, left_over)
    numbers = network.light_numbers(probe.panorama, probe.sun) * bool(probe.panorama.any())
    beside, on, _ = run(light_network(), maps, numbers).float().split((3, 3, 1), 1)
    ways = (torch.arange(SIDE_PX) + 0.5).minimum(SIDE_PX - 0.5 - torch.arange(SIDE_PX))
    fade = (ways / FADES_PX).clamp(max=1)
    whole = (alpha > WHOLE).float()
    even = (on * whole).sum((2, 3), keepdim=True) / whole.sum().clamp_min(1)
    shading = extrapolate((on - even) * whole, whole) if whole.any() else torch.zeros_like(on)
    darker = beside * fade * fade[:, None]
    return LightGains((darker / GAMMA).exp(), (shading / GAMMA).exp(), patch)


@cache
def light_network() -> network.LightNetwork:
    """Return the network that ships with the package."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie") / WEIGHTS) as folder:
        return network.LightNetwork.from_pretrained(folder).requires_grad_(False)


def _light_below(picture: Image.Image) -> Tensor:
    """Return the mean linear light (3,) of the lower half of a picture."""
    small = picture.resize((SMALL_PX, SMALL_PX), Image.Resampling.BOX, reducing_gap=2.0)
    return (to_tensor(small)[0, :, SMALL_PX // 2 :] / 2 + 0.5).pow(GAMMA).mean((1, 2))


def _seen(picture: Tensor, patch: Box) -> Tensor:
    """Return what a patch of a picture shows in linear light, (1, 3, S, S), 0 beyond."""
    height, width = picture.shape[2:]
    left, top, right, bottom = (
        round(end * count) for end, count in zip(patch, (width, height) * 2, strict=True)
    )
    part = picture[..., max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    beyond = (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height))
    whole = F.pad(part.float() / (255 if part.dtype == torch.uint8 else 1), beyond)
    return F.interpolate(whole, (SIDE_PX, SIDE_PX), mode="area").pow(GAMMA)
