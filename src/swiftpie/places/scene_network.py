"""The scene network: a place as a reference shows it, at another time, in other weather."""

import importlib.resources
import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry.layout import position_codes
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.network import Network, keep_settings
from swiftpie.models.unet import UNet
from swiftpie.noise import COUPLED_CHANNELS, NUM_STATISTICS, noise_statistics, smoothed
from swiftpie.places.fields import centres, coarse_fields

NUM_FIELDS = 4
POSITION_CODES = 20
HEAD_SHARE = 2  # the head computes at half the side of the picture
PHASES = (16, 32, 64)  # waves a side by which the head tells pixels of one cell apart
WEIGHTS, AUTOENCODER = "assets/scene", "assets/mini/autoencoder"


class SceneCondition(NamedTuple):
    """The place, time, weather and season of each picture, as numbers of the renderer's lists."""

    place: Tensor  # (B,) long; `num_places` stands for a place that nothing names
    time: Tensor  # (B,) long
    weather: Tensor  # (B,) long
    season: Tensor  # (B,) long


class SceneNetwork(Network):
    """Draws a place in one step, from a reference picture where there is one, else from words.

    A two-level U-Net reads noise and reference as latents. Its output is a smooth field, which a
    pixel head enlarges and combines with the noise fields, pixel positions and the reference's own
    pixels. The picture is the reference plus what the head adds. Rain, flakes and fog are not part
    of it: `places.fields` draws them over the finished picture, subject and all.
    """

    @keep_settings
    def __init__(
        self,
        num_places: int,
        num_times: int = 4,
        num_weathers: int = 5,
        num_seasons: int = 4,
        latent_channels: int = 32,
        widths: tuple[int, ...] = (64, 96),
        heads: tuple[int, ...] = (0, 2),
        text_width: int = 160,
        setting_width: int = 24,
        head_width: int = 64,
    ) -> None:
        """Make an untrained network; widths and heads are as in `TinyDenoiser`.

        The number behind those of all places stands for none.
        """
        super().__init__()
        counts = (num_places + 1, num_times, num_weathers, num_seasons)
        self.setting = nn.ModuleList(nn.Embedding(count, setting_width) for count in counts)
        self.place_token = nn.Embedding(num_places + 1, text_width)
        self.unet = UNet(
            2 * latent_channels + 4 * COUPLED_CHANNELS + POSITION_CODES + NUM_FIELDS + 1,
            head_width,
            widths=widths,
            heads=heads,
            text_width=text_width,
            embedding_width=256,
            class_width=NUM_STATISTICS + 4 * setting_width,
        )
        extra = NUM_FIELDS + 4 * len(PHASES) + 3 * HEAD_SHARE**2
        self.modulation = nn.Linear(4 * setting_width, 2 * head_width)
        self.enter = nn.Conv2d(head_width + extra, head_width, 3, padding=1)
        self.middle = nn.Conv2d(head_width, head_width, 3, padding=1)
        self.leave = nn.Conv2d(head_width, 6 * HEAD_SHARE**2, 1)
        self.finish = nn.Conv2d(9, 3, 3, padding=1)  # behind the shuffle, which leaves a checker
        with torch.no_grad():
            self.finish.weight.mul_(0.3)  # branches that start small learn; zero ones stall
            self.finish.bias.zero_()  # type: ignore[union-attr]  # the layer has one

    def forward(
        self, noise: Tensor, reference: Tensor, latents: Tensor, condition: SceneCondition
    ) -> Tensor:
        """Return the place without rain, flakes and fog, (B, 3, H, W) in about [-1, 1].

        Args:
            noise: Standard normal latents, (B, C, H/8, W/8).
            reference: Pictures of the places, (B, 3, H, W) in [-1, 1]; rows of zeros have none.
            latents: The same encoded, (B, C, H/8, W/8), zeros where there is no reference.
            condition: What to draw.
        """
        count = len(noise)
        fields = coarse_fields(noise)
        rows, columns = noise.shape[-2:]
        places = position_codes(rows, columns, like=noise).expand(count, -1, -1, -1)
        is_there = (reference != 0).flatten(1).any(dim=1).to(noise).view(-1, 1, 1, 1)
        setting = torch.cat(
            [embed(number) for embed, number in zip(self.setting, condition, strict=True)], dim=1
        )
        inputs = torch.cat(
            [
                latents,
                noise,
                smoothed(noise),
                places,
                F.interpolate(fields, size=(rows, columns), mode="nearest"),
                is_there.expand(-1, 1, rows, columns),
            ],
            dim=1,
        )
        smooth = self.unet(
            inputs.contiguous(memory_format=torch.channels_last),
            999,
            self.place_token(condition.place)[:, None],
            class_labels=torch.cat([noise_statistics(noise), setting], dim=1),
        )
        return reference + self._pixels(smooth, fields, reference, setting)

    def _pixels(self, smooth: Tensor, fields: Tensor, reference: Tensor, setting: Tensor) -> Tensor:
        """Return what is added to the reference, (B, 3, H, W)."""
        size = (reference.shape[-2] // HEAD_SHARE, reference.shape[-1] // HEAD_SHARE)
        parts = (
            F.interpolate(smooth, size=size, mode="bilinear"),
            F.interpolate(fields.to(smooth), size=size, mode="bilinear"),
            pixel_phases(*size, like=smooth).expand(len(smooth), -1, -1, -1),
            F.pixel_unshuffle(reference, HEAD_SHARE).to(smooth),
        )
        # Laid out alike, they are joined in a sixth of the time.
        alike = [part.contiguous(memory_format=torch.channels_last) for part in parts]
        hidden = torch.cat(alike, dim=1)
        scale, shift = self.modulation(setting)[:, :, None, None].chunk(2, dim=1)
        hidden = F.silu(self.enter(hidden) * (1 + scale) + shift)
        hidden = F.silu(self.middle(hidden))
        hidden = F.pixel_shuffle(self.leave(hidden), HEAD_SHARE)
        added: Tensor = self.finish(torch.cat([hidden.float(), reference.float()], dim=1))
        return added.float()


class Relighter(nn.Module):
    """Shows references in another setting: the scene network, and what encodes for it."""

    def __init__(self, network: SceneNetwork, autoencoder: PatchAutoencoder) -> None:
        super().__init__()
        self.network, self.autoencoder = network, autoencoder
        self.eval()  # a traced module takes the mode of the outermost one

    def forward(self, noise: Tensor, reference: Tensor, *numbers: Tensor) -> Tensor:
        """Return references (B, 3, H, W) as `SceneNetwork` draws them, in [-1, 1].

        Args:
            noise: Standard normal latents, (B, C, H/8, W/8).
            reference: Pictures of the places, (B, 3, H, W) in [-1, 1].
            numbers: The fields of a `SceneCondition`, (B,) each.
        """
        latents = self.autoencoder.encode(reference.contiguous(memory_format=torch.channels_last))
        pictures: Tensor = self.network(noise, reference, latents, SceneCondition(*numbers))
        return pictures.clamp(-1, 1)


@cache
def scene_relighter() -> Relighter:
    """Return the networks that ship with the package."""
    root = importlib.resources.files("swiftpie")
    with importlib.resources.as_file(root / WEIGHTS) as folder:
        network = SceneNetwork.from_pretrained(folder)
    with importlib.resources.as_file(root / AUTOENCODER) as folder:
        encoder = PatchAutoencoder.from_pretrained(folder)
    return Relighter(network, encoder).requires_grad_(False)


def pixel_phases(rows: int, columns: int, *, like: Tensor) -> Tensor:
    """Return waves (1, 4 n, rows, columns), n of `PHASES` a side, that tell pixels apart."""
    waves = []
    for places in (centres(columns, like), centres(rows, like)[:, None]):
        for count in PHASES:
            angle = (2 * math.pi * count * places).expand(rows, columns)
            waves += [angle.sin(), angle.cos()]
    return torch.stack(waves)[None].to(like)
