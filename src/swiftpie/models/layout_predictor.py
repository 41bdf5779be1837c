"""Predicts where the subject goes from the noise, the prompt and the subject's shape."""

import math
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from swiftpie.layout import Layout
from swiftpie.noise import block_normals

NUM_STATISTICS = 48  # 16 block means of the noise, each through erf, and sine and cosine of that
VISIBLE = 0.3  # a row or column counts as touched by the subject above this coverage


class LayoutScores(NamedTuple):
    """A layout and the raw score of its flip, which a loss needs."""

    layout: Layout
    flip_logit: Tensor  # (B,)


def noise_statistics(noise: Tensor) -> Tensor:
    """Return what the layout depends on in `noise` (B, C, h, w), as (B, 48) in [-1, 1]."""
    uniform = torch.erf(block_normals(noise) / math.sqrt(2))
    return torch.cat([uniform, torch.sin(math.pi * uniform), torch.cos(math.pi * uniform)], dim=1)


def subject_extent(mask: Tensor) -> Tensor:
    """Return width and height of the subject in its frame (B, 1, H, W), as (B, 2) in [0, 1]."""
    fullest = [mask[:, 0].amax(side) for side in (1, 2)]  # of each column, of each row
    return torch.stack([(one > VISIBLE).float().mean(1) for one in fullest], dim=1)


class LayoutPredictor(ModelMixin, ConfigMixin):
    """A three-layer perceptron over pooled conditions."""

    @register_to_config
    def __init__(self, text_width: int = 160, hidden: int = 256) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(text_width)
        self.layers = nn.Sequential(
            nn.Linear(NUM_STATISTICS + text_width + 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden // 2),
            nn.SiLU(),
            nn.Linear(hidden // 2, 5),
        )

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
            rotation=0.2 * raw[:, 3],
            flip=(flip_logit > 0).float(),
        )
        return LayoutScores(layout=layout, flip_logit=flip_logit)
