"""The network of light: what a place's light does to a thing, and a thing to the place's light."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry.relief import height, normals
from swiftpie.models.network import Network, keep_settings

NUM_MAPS, NUM_NUMBERS = 17, 106


class LightNetwork(Network):
    """Draws gains of a place and of a thing in one step, by a U-Net that numbers modulate."""

    @keep_settings
    def __init__(self, widths: Sequence[int] = (24, 48, 64, 96), numbers_width: int = 128) -> None:
        """Make an untrained network, with so many channels at each level."""
        super().__init__()
        self.numbers = nn.Sequential(
            nn.Linear(NUM_NUMBERS, numbers_width),
            nn.SiLU(),
            nn.Linear(numbers_width, numbers_width),
            nn.SiLU(),
        )
        self.enter = nn.Conv2d(NUM_MAPS, widths[0], 3, padding=1)
        finer, coarser = (widths[0], *widths[:-1]), (*widths[1:], widths[-1])
        self.down = nn.ModuleList(
            ModulatedBlock(*pair, numbers_width) for pair in zip(finer, widths, strict=True)
        )
        self.middle = ModulatedBlock(widths[-1], widths[-1], numbers_width)
        self.up = nn.ModuleList(
            ModulatedBlock(wide + below, wide, numbers_width)
            for wide, below in zip(widths, coarser, strict=True)
        )
        self.leave = nn.Conv2d(widths[0], 7, 3, padding=1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        """Return logarithms of the gains of place and thing, and a logit of what hides the thing.

        Args:
            maps: What `light_maps` returns, (B, 17, H, W).
            numbers: What `light_numbers` returns, (B, 106), or zeros without a probe.

        Returns:
            (B, 7, H, W): three, three and one.
        """
        numbers, hidden = self.numbers(numbers), self.enter(maps)
        levels = []
        for level, block in enumerate(self.down):
            hidden = block(F.avg_pool2d(hidden, 2) if level else hidden, numbers)
            levels.append(hidden)
        hidden = self.middle(hidden, numbers)
        for block, level in zip(self.up[::-1], levels[::-1], strict=True):
            hidden = F.interpolate(hidden, level.shape[-2:]) if hidden is not level else hidden
            hidden = block(torch.cat([hidden, level], 1), numbers)
        left: Tensor = self.leave(hidden)
        return left


class ModulatedBlock(nn.Module):
    """Two convolutions beside a path of one, scaled and shifted by numbers of the picture."""

    def __init__(self, entering: int, leaving: int, numbers_width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(entering, leaving, 3, padding=1)
        self.norm = nn.GroupNorm(8, leaving)
        self.modulation = nn.Linear(numbers_width, 2 * leaving)
        self.second = nn.Conv2d(leaving, leaving, 3, padding=1)
        self.path = nn.Conv2d(entering, leaving, 1)
        with torch.no_grad():
            self.second.weight.mul_(0.1)  # branches that start small learn; zero ones stall
            self.modulation.weight.mul_(0.1)

    def forward(self, maps: Tensor, numbers: Tensor) -> Tensor:
        scale, shift = self.modulation(numbers)[..., None, None].chunk(2, dim=1)
        hidden = F.silu(self.norm(self.first(maps)) * (1 + scale) + shift)
        return self.path(maps) + self.second(hidden)


def light_maps(
    place: Tensor, own: Tensor, alpha: Tensor, ground: Tensor, is_ground: Tensor, left: Tensor
) -> Tensor:
    """Return what the network reads of each pixel, (B, 17, S, S).

    Args:
        place: The place without the thing in linear light, (B, 3, S, S).
        own: The thing's own pixels, where they will stand, in linear light.
        alpha: Its opacity, (B, 1, S, S).
        ground: Places on it, right and away from the foot, in heights of the thing, (B, 2, S, S).
        is_ground: Where the ground can be seen, (B, 1, S, S).
        left: Logarithm of the light that the outline would leave to it, (B, 3, S, S).
    """
    relief = height(alpha)
    shape = [F.interpolate(part, alpha.shape[-2:]) * alpha for part in (relief, normals(relief))]
    seen = [pixels.clamp(0, 1) ** (1 / 2.2) for pixels in (place, own)]
    where = (ground / 2).clamp(-3, 3) * is_ground
    return torch.cat([seen[0], seen[1] * alpha, alpha, *shape, where, is_ground, left], 1)


def light_numbers(panorama: Tensor, sun: Tensor) -> Tensor:
    """Return what the network reads of a probe, (B, 106); zeros stand for none.

    Args:
        panorama: Light from around the foot, as bright as the place's pixels, (B, 3, 8, 16): rows
            from the zenith down, its middle ahead.
        sun: Direction to a sun (right, away, up) and its irradiance, (B, 6), zeros without one.
    """
    upper = F.avg_pool2d(panorama[:, :, :4], (1, 2)).flatten(1)
    light = torch.cat([upper, panorama[:, :, 4:].mean((2, 3)), sun[:, 3:]], 1)
    return torch.cat([(light + 0.02).log() / 2, sun[:, :3], torch.ones_like(sun[:, :1])], 1)
