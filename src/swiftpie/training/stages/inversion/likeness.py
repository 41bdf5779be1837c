"""How different pictures look, for the term that compares pixels."""

import importlib.resources
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.judges import SubjectEmbedder, shrink
from swiftpie.training.losses import gradient_l1
from swiftpie.training.stages.adapter.perceptual import Compare, Extract, feature_distance


def distance(pixels: Tensor, truth: Tensor, compares: Sequence[Compare]) -> Tensor:
    """Return how far `pixels` (B, 3, H, W) are from `truth`: in value, in edges and in features.

    The paper takes DISTS for the last, whose weights cannot be shipped.
    """
    plain = F.l1_loss(pixels, truth) + gradient_l1(pixels, truth)
    maps = [one.mean() for compare in compares for one in compare(pixels, truth)]
    return plain + torch.stack(maps).mean() if maps else plain


def in_autoencoder(autoencoder: PatchAutoencoder) -> Compare:
    """Compare in everything that the small autoencoder's encoder sees."""
    return feature_distance(_outputs_of(autoencoder.residual_encoder, prepare=nn.Identity()))


def in_judge(device: torch.device) -> Compare:
    """Compare in what the packaged judge of subjects sees."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie")) as package:
        folder = package / "assets" / "judges" / "subject_embedder"
        judge: SubjectEmbedder = SubjectEmbedder.from_pretrained(folder)
    judge.float().to(device).eval().requires_grad_(requires_grad=False)
    return feature_distance(_outputs_of(judge.trunk, prepare=shrink))


def _outputs_of(layers: nn.Sequential, *, prepare: Callable[[Tensor], Tensor]) -> Extract:
    """Return what every one of `layers` makes of pictures, one behind the other."""

    def extract(pixels: Tensor) -> list[Tensor]:
        hidden, features = prepare(pixels), []
        for layer in layers:
            hidden = layer(hidden)
            features.append(hidden)
        return features

    return extract
