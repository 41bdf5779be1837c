"""Predicts where a subject goes, the light on its reference, and the light of its new place."""

import math
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.geometry.layout import POSE_NUMBERS, Layout, pixel_grid
from swiftpie.geometry.relief import height, normals
from swiftpie.geometry.shading import Illumination, Lighting
from swiftpie.masks import resize_mask
from swiftpie.noise import NUM_STATISTICS, noise_statistics

REFERENCE_PX, SCENERY_PX = 64, 128  # sides at which pictures are read
NUMBERS = 9  # of a light: where it comes from, and the colours of both of its parts
AMBIENT_GAIN, TINT_GAIN = 0.5, 0.3
LEAST_AMBIENT = 0.02
CALM = 0.05  # a light from one side as weak as this is about none, from wherever it comes
DOUBT = 0.5  # cells that must be sure of what they say before they count as much as all else


class LayoutScores(NamedTuple):
    """A layout and the raw score of its flip, which a loss needs."""

    layout: Layout
    flip_logit: Tensor  # (B,)


class LayoutPredictor(ModelMixin, ConfigMixin):
    """A three-layer perceptron over pooled conditions, and a reader of light."""

    @register_to_config
    def __init__(
        self,
        text_width: int = 160,
        hidden: int = 256,
        knows_pose: bool = False,  # noqa: FBT001, FBT002 - a setting, given by name
        knows_light: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        """Make an untrained network.

        With `knows_pose` it predicts the pose, else 0; with `knows_light` also the light.
        """
        super().__init__()
        self.text_norm = nn.LayerNorm(text_width)
        self.layers = nn.Sequential(
            nn.Linear(NUM_STATISTICS + text_width + 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden // 2),
            nn.SiLU(),
            nn.Linear(hidden // 2, 5 + POSE_NUMBERS * knows_pose),
        )
        self.light_reader = LightReader(NUM_STATISTICS + text_width) if knows_light else None

    def forward(self, noise: Tensor, text: Tensor, extent: Tensor) -> LayoutScores:
        """Return a layout a row for noise (B, C, h, w) and the pooled prompt (B, D).

        `extent` (B, 2) is width and height of the subject in its frame.
        """
        features = torch.cat([2 * noise_statistics(noise), self.text_norm(text), 4 * extent], 1)
        raw = self.layers(features).float()
        flip_logit = 6 * raw[:, 4]
        layout = Layout(
            centre=0.5 + 0.2 * raw[:, :2],
            scale=torch.exp(0.3 * raw[:, 2] - 0.6),
            # Lying and upside down are far beyond the sway of what stands.
            rotation=(math.pi / 2 if self.config.knows_pose else 0.2) * raw[:, 3],
            flip=(flip_logit > 0).float(),
            pose=0.3 * raw[:, 5:] if self.config.knows_pose else raw.new_zeros(len(raw), 4),
        )
        return LayoutScores(layout=layout, flip_logit=flip_logit)

    def place(self, noise: Tensor, text: Tensor, extent: Tensor) -> Layout:
        """Return the layouts of `forward`; see `Placer`."""
        placed: LayoutScores = self(noise, text, extent)
        return placed.layout

    def light(
        self,
        noise: Tensor,
        text: Tensor,
        *,
        pixels: Tensor,
        mask: Tensor,
        given: Tensor | None = None,
    ) -> Lighting | None:
        """Return the light on references and in their new places; None without `knows_light`.

        `noise` and `text` are those of the layout; other arguments as in `LightReader`, where one
        row may stand for all.
        """
        if self.light_reader is None:
            return None
        rows = (len(noise), -1, -1, -1)
        pixels, mask = pixels.expand(rows), mask.expand(rows)
        given = None if given is None else given.expand(rows)
        known = torch.cat([noise_statistics(noise), self.text_norm(text)], dim=1)
        lighting: Lighting = self.light_reader(known, pixels, mask, given)
        return lighting


class LightVotes(NamedTuple):
    """A prediction of the light by each cell of a picture."""

    numbers: Tensor  # (B, 9, 16, 16)
    confidence: Tensor  # (B, 1, 16, 16) logits: whether the cell shows the light


class LightReader(nn.Module):
    """Predicts the light on a reference from its relief, and that of a place from its conditions.

    The conditions are the prompt, the noise, which places the sun, and the known part of a picture,
    whose cells vote. An untrained network predicts the same even light for both.
    """

    def __init__(self, known_width: int, *, width: int = 128) -> None:
        """Make an untrained network; `known_width` is that of noise and prompt together."""
        super().__init__()
        self.reference = _reference_trunk(7, (32, 48, 64, 96), width)
        self.own = nn.Linear(width, NUMBERS)
        self.told = nn.Sequential(
            nn.Linear(known_width, width), nn.SiLU(), nn.Linear(width, NUMBERS)
        )
        self.scenery = _scenery_trunk(24, (48, 64, 96))  # of blocks of two by two pixels
        self.mood = nn.Linear(96, NUMBERS)
        self.vote = nn.Conv2d(96, NUMBERS + 1, 1)
        with torch.no_grad():
            for last in (self.own, self.told[2], self.mood, self.vote):
                assert isinstance(last, nn.Linear | nn.Conv2d)
                assert last.bias is not None
                last.weight.mul_(0.1)
                last.bias.zero_()

    def forward(
        self, known: Tensor, pixels: Tensor, mask: Tensor, given: Tensor | None
    ) -> Lighting:
        """Return the lights of B pictures.

        Args:
            known: Statistics of the noise and the pooled prompt, (B, D).
            pixels: Reference frames (B, 3, H, W) in [-1, 1], grey (0) outside of the subject.
            mask: The subject in them, (B, 1, H, W).
            given: The known part of the pictures, (B, 4, H, W): pixels in [-1, 1], grey elsewhere,
                and a mask. None if nothing is known.
        """
        seen = _at(torch.cat([pixels, mask], dim=1), REFERENCE_PX)
        own = self.own(self.reference(torch.cat([seen, normals(height(mask))], dim=1)))
        scene = self.told(known)
        if given is not None:
            features, votes = self._look(given)
            sure = torch.sigmoid(votes.confidence)
            sure = sure * resize_mask(given[:, 3:], (sure.shape[2], sure.shape[3]))
            said = (sure * votes.numbers).sum((2, 3)) / (sure.sum((2, 3)) + DOUBT)
            scene = scene + self.mood(features.mean((2, 3))) + said
        return Lighting(illumination(own.float()), illumination(scene.float()))

    def votes(self, given: Tensor) -> LightVotes:
        """Return the predictions of the cells of `given` pictures (B, 4, H, W), see `forward`."""
        return self._look(given)[1]

    def _look(self, given: Tensor) -> tuple[Tensor, LightVotes]:
        places = pixel_grid(SCENERY_PX, SCENERY_PX, like=given).movedim(-1, 0)
        seen = torch.cat([_at(given, SCENERY_PX), places.expand(len(given), -1, -1, -1)], dim=1)
        features = self.scenery(F.pixel_unshuffle(seen, 2))
        numbers, confidence = self.vote(features).float().split((NUMBERS, 1), dim=1)
        return features, LightVotes(numbers, confidence)


def illumination(numbers: Tensor) -> Illumination:
    """Return the lights that nine numbers (B, 9) describe; zeros are an even light."""
    towards, ambient, tint = numbers.split(3, dim=1)
    strength = (towards.square().sum(dim=1, keepdim=True) + CALM**2).sqrt()
    return Illumination(
        ambient=(1 + AMBIENT_GAIN * ambient - strength).clamp_min(LEAST_AMBIENT),
        colour=(strength * (1 + TINT_GAIN * tint)).clamp_min(0),
        direction=towards / strength,
    )


def _at(pixels: Tensor, side: int) -> Tensor:
    if pixels.shape[-2:] == (side, side):
        return pixels
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)


def _reference_trunk(channels: int, widths: tuple[int, ...], out: int) -> nn.Sequential:
    """Return layers that read pictures of 64 px a side as a whole."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [
            nn.Conv2d(channels, width, 3, stride=2, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        ]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * channels, out), nn.SiLU())


def _scenery_trunk(channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    """Return layers that read pictures of 64 px a side in 16 x 16 cells."""
    layers: list[nn.Module] = []
    for number, width in enumerate(widths):
        layers += [
            nn.Conv2d(channels, width, 3, stride=2 if number else 1, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
        ]
        channels = width
    last = [nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU()]
    return nn.Sequential(*layers, *last, nn.Conv2d(channels, channels, 3, padding=1), nn.SiLU())
