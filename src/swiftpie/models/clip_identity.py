"""CLIP's image tower and an adapter's projector as one encoder of identity tokens."""

from enum import StrEnum

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModelWithProjection

# Mean and deviation of CLIP's training pictures, per channel in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class ClipFeature(StrEnum):
    """Which output of CLIP's image tower a projector reads."""

    EMBEDS = "image_embeds"  # (R, E) one vector a picture
    HIDDEN = "hidden_states[-2]"  # (R, N, C) all patches, before the last layer


class ClipIdentityEncoder(nn.Module):
    """Maps references (R, 3, H, W) and masks (R, 1, H, W) to identity tokens (R, K, D)."""

    def __init__(
        self, tower: CLIPVisionModelWithProjection, projector: nn.Module, feature: ClipFeature
    ) -> None:
        super().__init__()
        self.tower = tower
        self.projector = projector
        self.feature = feature
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Encode with the background at CLIP's mean colour, which it sees as nothing."""
        side = int(self.tower.config.image_size)  # type: ignore[arg-type]  # CLIP is square
        picture = (pixels / 2 + 0.5 - self.mean) / self.std * mask
        resized = F.interpolate(
            picture, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )
        output = self.tower(resized.to(self.tower.dtype), output_hidden_states=True)
        match self.feature:
            case ClipFeature.EMBEDS:
                features = output.image_embeds
            case ClipFeature.HIDDEN:
                features = output.hidden_states[-2]
        tokens: Tensor = self.projector(features).float()
        return tokens
