"""DISTS (arXiv:2004.07728): how different pictures look in structure and texture, seen by VGG16.

The package dists-pytorch brings the learned weights of the distance. Its own class needs
torchvision and fetches the half gigabyte of VGG16 by itself, from no file of the user's, so the
arithmetic is here.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.errors import MissingExtra, WeightsError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STAGES = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))  # convolutions of VGG16
CONSTANT = 1e-6  # c1 and c2, against division by nothing
TINY = 1e-12  # under the root of a pooled square
RGB = 3
PACKAGE, LEARNED = "DISTS_pytorch", "weights.pt"


class Dists(nn.Module):
    """The distance of pictures, 0 where they are equal; frozen, and computed in full precision."""

    learned: Tensor  # (2, C), all weights together 1
    mean: Tensor  # (1, 3, 1, 1) of pixels in [0, 1]
    std: Tensor  # (1, 3, 1, 1)
    kernel: Tensor  # (1, 1, 3, 3) that blurs

    def __init__(self, layers: Mapping[int, tuple[Tensor, Tensor]], learned: Tensor) -> None:
        """Keep the weights.

        Args:
            layers: Weight and bias of each convolution, by its place in VGG16's features.
            learned: Weights of structure's and texture's terms (2, C), 0 or more, for the channels
                of the picture and of the last convolution of each stage, in this order.
        """
        super().__init__()
        for place, (weight, bias) in layers.items():
            self.register_buffer(f"weight_{place}", weight)
            self.register_buffer(f"bias_{place}", bias)
        self.register_buffer("learned", learned / learned.sum())
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, RGB, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, RGB, 1, 1))
        edge = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", (edge[:, None] * edge)[None, None])

    @classmethod
    def read(cls, path: Path, *, allow_pickle: bool = False) -> Self:
        """Return the distance by torchvision's VGG16 in `path`, safetensors or a pickle.

        Raises:
            MissingExtra: dists-pytorch is not installed.
            WeightsError: The file is no VGG16, or cannot be read.
        """
        learned = _learned()
        stored = read_tensors(path, allow_pickle=allow_pickle)
        try:
            layers = {
                place: (
                    stored[f"features.{place}.weight"].float(),
                    stored[f"features.{place}.bias"].float(),
                )
                for stage in STAGES
                for place in stage
            }
        except KeyError as error:
            raise WeightsError(
                f"'{path}' has no tensor {error}, which VGG16 has. DISTS needs torchvision's "
                "VGG16. Get vgg16-397923af.pth from download.pytorch.org/models."
            ) from error
        channels = RGB + sum(len(layers[stage[-1]][0]) for stage in STAGES)
        if learned.shape[1] != channels:
            raise WeightsError(
                f"'{path}' has {channels} channels, and DISTS was learned for "
                f"{learned.shape[1]}. It needs torchvision's VGG16. Choose another file."
            )
        return cls(layers, learned)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance (B,) of two batches of pixels (B, 3, H, W) in [-1, 1]."""
        with torch.autocast(first.device.type, enabled=False):
            pairs = zip(self._features(first), self._features(second), strict=True)
            terms = torch.cat([_terms(*pair) for pair in pairs], dim=2)  # (2, B, C)
            likeness: Tensor = (self.learned[:, None] * terms).sum((0, 2))
        return 1 - likeness

    def _features(self, pixels: Tensor) -> list[Tensor]:
        picture = pixels.to(self.mean) / 2 + 0.5
        found, hidden = [picture], (picture - self.mean) / self.std
        for number, stage in enumerate(STAGES):
            if number:
                hidden = self._pool(hidden)
            for place in stage:
                weight, bias = (self.get_buffer(f"{name}_{place}") for name in ("weight", "bias"))
                hidden = F.relu(F.conv2d(hidden, weight, bias, padding=1))
            found.append(hidden)
        return found

    def _pool(self, hidden: Tensor) -> Tensor:
        """Return the root of the blurred square at half the size, which moves less than maxima."""
        count = hidden.shape[1]
        kernel = self.kernel.expand(count, 1, -1, -1)
        square = F.conv2d(hidden.square(), kernel, stride=2, padding=1, groups=count)
        return (square + TINY).sqrt()


def _terms(first: Tensor, second: Tensor) -> Tensor:
    """Return likeness of means and of structures (2, B, C) of features (B, C, h, w)."""
    means = [features.mean((2, 3)) for features in (first, second)]
    spreads = [
        (features - mean[..., None, None]).square().mean((2, 3))
        for features, mean in zip((first, second), means, strict=True)
    ]
    shared = (first * second).mean((2, 3)) - means[0] * means[1]
    texture = (2 * means[0] * means[1] + CONSTANT) / (
        means[0].square() + means[1].square() + CONSTANT
    )
    return torch.stack([texture, (2 * shared + CONSTANT) / (sum(spreads) + CONSTANT)])


def _learned() -> Tensor:
    found = importlib.util.find_spec(PACKAGE)  # not imported: that takes torchvision
    if found is None or not found.submodule_search_locations:
        raise MissingExtra(
            "stage.dists needs dists-pytorch for the weights of the distance. It is not installed. "
            'Run: pip install "swiftpie-lab[dists]"'
        )
    path = Path(found.submodule_search_locations[0]) / LEARNED
    stored = read_tensors(path, allow_pickle=True)
    return torch.stack([stored[name].flatten().float() for name in ("alpha", "beta")])
