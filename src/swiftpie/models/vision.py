"""Reference pictures to identity tokens, for the semantic branch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.errors import CapabilityError
from swiftpie.models.autoencoder import ResidualBlock
from swiftpie.models.network import Network, keep_settings

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

# Mean and deviation of CLIP's training pictures, per channel in [0, 1].
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

SIDE_PX = 128  # references are read at this size


class Feature(StrEnum):
    """What a projector reads."""

    EMBEDS = "embeds"  # (B, D) projected class token of the image encoder
    HIDDEN = "hidden"  # (B, L, D) its last hidden states but one
    FACE = "face"  # (B, 512) vector of a face recogniser
    FACE_AND_HIDDEN = "face_and_hidden"  # both, in this order


@dataclass(frozen=True, eq=False)
class Projector:
    """A projector with what a caller needs to know about it; `module` takes the feature."""

    module: nn.Module
    feature: Feature
    feature_width: int  # width of the encoder's features; `Feature.FACE`: of the vector
    num_tokens: int
    width: int  # numbers in an identity token
    face_width: int = 0  # numbers in a face vector; 0 where none is read


class ConvImageEncoder(Network):
    """Small convolutional encoder of a masked subject, trained together with the denoiser."""

    @keep_settings
    def __init__(self, width: int = 160, grid: int = 4, blocks: int = 0) -> None:
        """Make an untrained network of `grid` x `grid` tokens (4 or 8) and residual `blocks`."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(96, width, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=8 // grid, padding=1),
            *(ResidualBlock(width) for _ in range(blocks)),
        )
        self.positions = nn.Parameter(torch.empty(1, grid**2 + 1, width))
        nn.init.normal_(self.positions, std=0.02)
        self.project = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.LayerNorm(width)
        )

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W).

        References are grey (0) outside the subject.
        The first token summarises the whole subject, the others follow the rows of the picture.
        """
        seen = torch.cat([pixels, mask], dim=1)
        if seen.shape[-1] != SIDE_PX:
            # By two products: OpenVINO has no bilinear interpolation with antialiasing.
            high, wide = (_shares(size, SIDE_PX).to(seen) for size in seen.shape[-2:])
            seen = high @ seen @ wide.T
        features = self.stem(seen).flatten(2).transpose(1, 2)
        tokens = torch.cat([features.mean(1, keepdim=True), features], dim=1)
        identity: Tensor = self.project(tokens + self.positions)
        return identity


def _shares(size: int, side: int) -> Tensor:
    """Return how much each of `size` pixels in a row is in each of `side`, (side, size)."""
    scale = size / side
    centres = (torch.arange(side) + 0.5) * scale
    away = (torch.arange(size) + 0.5 - centres[:, None]).abs() / max(scale, 1.0)
    shares = (1 - away).clamp(min=0)
    return shares / shares.sum(1, keepdim=True)


@runtime_checkable
class HasNullTokens(Protocol):
    """An image encoder that was trained with tokens for no subject."""

    def null_tokens(self) -> Tensor:
        """Return the tokens (1, K, D) that stand for no subject."""


class ClipIdentityEncoder(nn.Module):
    """Maps references (R, 3, H, W) and masks (R, 1, H, W) to identity tokens (R, K, D)."""

    def __init__(
        self, tower: "CLIPVisionModelWithProjection", projector: nn.Module, feature: Feature
    ) -> None:
        super().__init__()
        self.tower = tower
        self.projector = projector
        self.feature = feature
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(CLIP_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(CLIP_STD).view(1, 3, 1, 1), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The type of its weights; diffusers asks every module of a pipeline."""
        return self.tower.dtype

    @property
    def device(self) -> torch.device:
        """Where it is; the tower's weights may be elsewhere while it does not run."""
        return self.mean.device

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Encode with the background at CLIP's mean colour, which it sees as nothing."""
        resized = self.resized(pixels, mask).to(self.tower.dtype)
        output = self.tower(resized, output_hidden_states=True)
        match self.feature:
            case Feature.EMBEDS:
                features = output.image_embeds
            case Feature.HIDDEN:
                features = output.hidden_states[-2]
            case Feature.FACE | Feature.FACE_AND_HIDDEN:
                raise CapabilityError(
                    "This adapter reads a face embedding, which needs a face encoder. Use an "
                    "adapter that reads CLIP features."
                )
        tokens: Tensor = self.projector(features).float()
        return tokens

    def look(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return the projected vectors (R, D) of references (R, 3, H, W) and masks."""
        # They come to where the tower runs with the call.
        resized = self.resized(pixels.to(self.device), mask.to(self.device)).to(self.tower.dtype)
        embeds: Tensor = self.tower(resized).image_embeds
        return embeds.float()

    def resized(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return (R, 3, s, s) as the tower reads it: CLIP's colours, its mean outside of `mask`."""
        side = int(self.tower.config.image_size)  # type: ignore[arg-type]  # CLIP is square
        picture = (pixels / 2 + 0.5 - self.mean) / self.std * mask
        return F.interpolate(
            picture, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )

    @torch.no_grad()
    def null_tokens(self) -> Tensor:
        """Return the tokens (1, K, D) of zero features; they are not zero themselves.

        Public adapters were trained to see them in place of a dropped picture: those of a zero
        vector, or of a picture of zeros if they read hidden states.
        """
        if self.feature is Feature.EMBEDS:
            tokens: Tensor = self.projector(self._zeros(self.tower.config.projection_dim)).float()
            return tokens
        seen: Tensor = self(*self._null_inputs())
        return seen

    def _null_inputs(self) -> list[Tensor]:
        side = self.tower.config.image_size
        return [self._zeros(channels, side, side) for channels in (3, 1)]

    def _zeros(self, *shape: Any) -> Tensor:  # noqa: ANN401 - transformers annotates squares loosely
        return torch.zeros((1, *shape), device=self.device, dtype=self.dtype)


class FaceIdentityEncoder(ClipIdentityEncoder):
    """Maps vectors of a face recogniser (R, F), and crops of the faces, to tokens (R, K, D)."""

    def __init__(self, tower: "CLIPVisionModelWithProjection", projector: Projector) -> None:
        """Wrap the networks; only FaceID Plus looks through `tower`."""
        super().__init__(tower, projector.module, projector.feature)
        self.face_width = projector.face_width
        self.reader = ClipIdentityEncoder(tower, nn.Identity(), Feature.HIDDEN)

    @property
    def needs_crops(self) -> bool:
        """Whether it also looks at the faces."""
        return self.feature is Feature.FACE_AND_HIDDEN

    @staticmethod
    def in_public_order(pixels: Tensor) -> Tensor:
        """Return crops as CLIP saw them beside vectors: blue first, as OpenCV reads photographs.

        The publishers' examples, and those of diffusers, hand such crops to CLIP as red first.
        """
        return pixels.flip(1)

    def forward(self, pixels: Tensor, mask: Tensor, face: Tensor | None = None) -> Tensor:
        """Return identity tokens (R, K, D) of `face`, one vector for each, (R, F).

        Crops (R, 3, H, W) in [-1, 1] show the faces upright and in the middle; `mask` (R, 1, H, W)
        in [0, 1] is the visible part, 0 for no face.

        Raises:
            CapabilityError: There are no vectors.
        """
        if face is None:
            raise CapabilityError(
                "This adapter reads the vectors of a face recogniser, and pictures alone were "
                "given. Make the identity with face_identity(), or load another adapter."
            )
        inputs = [face]
        if self.needs_crops:
            inputs.append(self.reader(self.in_public_order(pixels), mask))
        tokens: Tensor = self.projector(*(tensor.to(self.dtype) for tensor in inputs)).float()
        return tokens

    def _null_inputs(self) -> list[Tensor]:
        return [*super()._null_inputs(), self._zeros(self.face_width)]
