"""Finds the subject of a photo: a small U-Net guesses, colours and edges sharpen."""

import functools
import importlib.resources
import logging
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.cutout import sharpen
from swiftpie.errors import ImageError
from swiftpie.images import alpha_of, plane, to_tensor
from swiftpie.models.judges import ConvBlock

logger = logging.getLogger(__name__)

ASSETS = "assets/cutout"
CUTOUT_PX = 128  # side of the pictures that the network looks at
WORK_SIDE_PX = 160  # its guess is sharpened at this size; the outline is refined afterwards
GUIDE_PIXELS = 2048**2  # the outline follows a photo with more of them in a smaller copy
MIN_SHARE, MAX_SHARE = 0.02, 0.95  # outside of this range nothing usable was found
GUIDE_RADIUS_PX = 2  # at working size: the outline follows the photo's edges this far
GUIDE_SOFTNESS = 1e-3  # squared contrast in [0, 1] below which an edge is ignored
OUTLINE_CONTRAST = 1.7  # steepens the outline, which also drops the filter's faint halo
KEPT = 0.88  # of each side, in views of a photo's lower corners: things stand there
DOUBTFUL = 0.72  # below lay 9 of 10 bad outlines of photos, and 2 of 12 good ones


class CutoutNet(ModelMixin, ConfigMixin):
    """Pictures (B, 3, 128, 128) in [-1, 1] to logits (B, 1, 128, 128) of the subject's mask.

    Which of several things is the subject is decided on the coarsest level, where attention sees
    the whole picture; the way up brings the outline back.
    """

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (20, 44, 72, 96)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1))
        levels = list(pairwise(widths))
        self.encoders = nn.ModuleList(ConvBlock(wide, groups=4) for wide in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in levels)
        self.middle = nn.Sequential(ConvBlock(widths[-1], groups=4), _Attention(widths[-1]))
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(levels))
        self.decoders = nn.ModuleList(ConvBlock(wide, groups=4) for wide in reversed(widths[:-1]))
        self.head = nn.Sequential(
            nn.GroupNorm(4, widths[0]),
            nn.SiLU(),
            nn.Conv2d(widths[0], 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, 1, 128, 128)."""
        hidden = self.stem(pixels)
        skips = []
        for encode, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encode(hidden))
            hidden = down(skips[-1])
        hidden = self.middle(hidden)
        for up, decode in zip(self.ups, self.decoders, strict=True):
            enlarged = F.interpolate(up(hidden), scale_factor=2, mode="nearest")
            hidden = decode(enlarged + skips.pop())
        logits: Tensor = self.head(hidden).float()
        return logits


def subject_mask(image: Image.Image) -> Tensor:
    """Return where the subject is (1, 1, H, W): its transparency, or else what `find` finds.

    A warning tells that what was found may be wrong.

    Args:
        image: photo, mode RGB or RGBA. One subject is looked for, large and near the middle.

    Raises:
        ImageError: Next to nothing or nearly everything is found.
    """
    alpha = alpha_of(image)
    mask = find(image) if alpha is None else alpha
    share = mask.mean().item()
    low, high = (0.0, 1.0) if alpha is not None else (MIN_SHARE, MAX_SHARE)
    if share <= low or share > high:
        raise ImageError(
            f"The subject could not be told from its background: {share:.0%} of the picture was "
            "found. One subject that stands out is needed. Supply a mask as IMAGE:MASK."
        )
    if alpha is None and (confidence := confidence_with(packaged(), image)) < DOUBTFUL:
        logger.warning(
            "The subject may be cut out badly (confidence %.2f; below %.2f most are). Look at it "
            "with `swiftpie cutout IMAGE`, and give a mask if it is wrong: IMAGE:MASK, or masks= "
            "in Python.",
            *(confidence, DOUBTFUL),
        )
    return mask


def find(image: Image.Image) -> Tensor:
    """Return the mask (1, 1, H, W) in [0, 1] of the subject of `image`."""
    return find_with(packaged(), image)


@torch.no_grad()
def find_with(network: CutoutNet, image: Image.Image) -> Tensor:
    """Return the mask (1, 1, H, W) in [0, 1] of the subject that `network` finds in `image`."""
    photo = image if image.mode == "RGB" else image.convert("RGB")
    # The whole photo, squeezed to a square: what lies at its edges tells what the subject is.
    square = photo.resize((CUTOUT_PX, CUTOUT_PX), Image.Resampling.BOX)
    scale = min(1.0, WORK_SIDE_PX / max(photo.size))
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    small = photo.resize(size, Image.Resampling.BOX)
    logits = F.interpolate(network(to_tensor(square)), size=size[::-1], mode="bilinear")
    colours = np.array(small, dtype=np.float32) / np.float32(255)
    coarse = torch.from_numpy(sharpen(logits[0, 0].numpy(), colours))
    times = math.ceil(math.sqrt(photo.width * photo.height / GUIDE_PIXELS))
    guide = photo if times < 2 else photo.reduce(times)
    mask = _follow_edges(coarse[None, None], plane(small.convert("L")), plane(guide.convert("L")))
    if guide is photo:
        return mask
    return F.interpolate(mask, size=photo.size[::-1], mode="bilinear", align_corners=False)


@torch.no_grad()
def confidence_with(network: CutoutNet, image: Image.Image) -> float:
    """Return how well guesses about several views of `image` agree about its subject, in [0, 1].

    The views are the mirrored picture and its lower corners. The least agreement with the guess
    about the whole counts, a soft intersection over union. What the network is wrongly sure of
    stays hidden.
    """
    side = 2 * CUTOUT_PX
    photo = image if image.mode == "RGB" else image.convert("RGB")
    square = to_tensor(photo.resize((side, side), Image.Resampling.BOX))
    edge, cells = round(KEPT * side), round(KEPT * CUTOUT_PX)
    lower = square[..., -edge:, :]
    views = (square, square.flip(-1), lower[..., :edge], lower[..., -edge:])
    small = [F.interpolate(one, (CUTOUT_PX, CUTOUT_PX), mode="area") for one in views]
    whole, mirrored, *corners = torch.sigmoid(network(torch.cat(small))).split(1)
    left, right = (F.interpolate(one, (cells, cells), mode="bilinear") for one in corners)
    seen = whole[..., -cells:, :]
    pairs = ((mirrored.flip(-1), whole), (left, seen[..., :cells]), (right, seen[..., -cells:]))
    return min(float(torch.minimum(*pair).sum() / torch.maximum(*pair).sum()) for pair in pairs)


@functools.cache
def packaged() -> CutoutNet:
    """Return the network that ships with the package."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie") / ASSETS) as folder:
        return load(folder)


def load(folder: Path) -> CutoutNet:
    """Return the network that training exported to `folder`."""
    network: CutoutNet = CutoutNet.from_pretrained(folder, use_safetensors=True)
    return network.float().eval().requires_grad_(False)


def _follow_edges(mask: Tensor, guide: Tensor, full: Tensor) -> Tensor:
    """Enlarge `mask` along the photo's edges (fast guided filter, He and Sun, 2015).

    `guide` is the greyscale photo at the size of `mask` (1, 1, h, w), `full` at that of the result.
    """
    mean_mask, mean_guide = _box_mean(mask), _box_mean(guide)
    variance = _box_mean(guide * guide) - mean_guide**2
    slope = (_box_mean(guide * mask) - mean_guide * mean_mask) / (variance + GUIDE_SOFTNESS)
    offset = mean_mask - slope * mean_guide
    lines = torch.cat([_box_mean(slope), _box_mean(offset)], dim=1)
    lines = F.interpolate(lines, size=full.shape[-2:], mode="bilinear", align_corners=False)
    refined = lines[:, :1] * full + lines[:, 1:]
    return ((refined - 0.5) * OUTLINE_CONTRAST + 0.5).clamp(0, 1)


def _box_mean(field: Tensor) -> Tensor:
    """Return the mean of `field` (1, 1, h, w) around each pixel, over the pixels that exist."""
    reach = GUIDE_RADIUS_PX
    return F.avg_pool2d(field, 2 * reach + 1, stride=1, padding=reach, count_include_pad=False)


class _Attention(nn.Module):
    """Attention among the 8 x 8 cells, which know their place."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(4, channels)
        self.place = nn.Parameter(torch.zeros(1, channels, 8, 8))
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.write = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.read(self.norm(hidden) + self.place).flatten(2)
        query, key, value = parts.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(-1, -2)
        added: Tensor = hidden + self.write(mixed.flatten(1, 2).unflatten(2, hidden.shape[2:]))
        return added
