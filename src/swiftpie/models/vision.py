"""Reference pictures to identity tokens, for the semantic branch."""

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

GRID = 4  # tokens a side of the feature map, for a 128 px reference


class ConvImageEncoder(ModelMixin, ConfigMixin):
    """Small convolutional encoder of a masked subject, trained together with the denoiser."""

    @register_to_config
    def __init__(self, width: int = 160) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(96, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
        )
        self.positions = nn.Parameter(torch.randn(1, GRID**2 + 1, width) * 0.02)
        self.project = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width)
        )

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W).

        References are grey (0) outside the subject.
        The first token summarises the whole subject, the others follow the rows of the picture.
        """
        features = self.stem(torch.cat([pixels, mask], dim=1)).flatten(2).transpose(1, 2)
        tokens = torch.cat([features.mean(1, keepdim=True), features], dim=1)
        identity: Tensor = self.project(tokens + self.positions)
        return identity
