"""How alike pictures look in the features of a network."""

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.masks import resize_mask
from swiftpie.models.autoencoder import LatentAutoencoder

Compare: TypeAlias = Callable[[Tensor, Tensor], list[Tensor]]
"""Takes two batches of pixels (B, 3, H, W) in [-1, 1], returns distance maps (B, 1, h, w) >= 0 of
any sizes; the first batch gets the gradient."""

Extract: TypeAlias = Callable[[Tensor], list[Tensor]]


def feature_distance(extract: Extract) -> Compare:
    """Return the squared distance of features (B, C, h, w) brought to unit length in each place."""

    def compare(prediction: Tensor, target: Tensor) -> list[Tensor]:
        with torch.no_grad():
            wanted = extract(target)
        pairs = zip(extract(prediction), wanted, strict=True)
        units = [[F.normalize(x.float(), dim=1, eps=1e-6) for x in pair] for pair in pairs]
        return [(a - b).square().sum(1, keepdim=True) for a, b in units]

    return compare


def masked_mean(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w) where `mask` (B, 1, H, W) is, averaged over maps."""
    means = []
    for distance in maps:
        weight = resize_mask(mask, (distance.shape[2], distance.shape[3]))
        means.append((distance * weight).sum() / weight.sum().clamp_min(1e-6))
    return torch.stack(means).mean()


def compare_in_autoencoder(autoencoder: LatentAutoencoder) -> Compare:
    """Compare in what the encoder sees at each of its scales."""
    encoder = autoencoder.network.encoder
    if autoencoder.is_tiny:
        every = _outputs_of(encoder.layers, prepare=nn.Identity())
        return feature_distance(lambda pixels: _last_of_each_size(every(pixels)))
    return feature_distance(_outputs_of(encoder.down_blocks, prepare=encoder.conv_in))


def _last_of_each_size(features: list[Tensor]) -> list[Tensor]:
    return list({feature.shape[-1]: feature for feature in features}.values())


def _outputs_of(layers: Iterable[nn.Module], *, prepare: Callable[[Tensor], Tensor]) -> Extract:
    def extract(pixels: Tensor) -> list[Tensor]:
        hidden, features = prepare(pixels), []
        for layer in layers:
            hidden = layer(hidden)
            features.append(hidden)
        return features

    return extract
