"""How different two pictures look, place by place, in the features of a network."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel

from swiftpie.errors import WeightsError, short_reason
from swiftpie.masks import resize_mask
from swiftpie.models.latents import LatentAutoencoder
from swiftpie.training.clip import read_normalisation

Compare: TypeAlias = Callable[[Tensor, Tensor], list[Tensor]]
"""Takes two batches of pixels (B, 3, H, W) in [-1, 1], returns distance maps (B, 1, h, w) >= 0 of
any sizes; the first batch gets the gradient."""

Extract: TypeAlias = Callable[[Tensor], list[Tensor]]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
USUAL_SIZE_PX = 224


def feature_distance(extract: Extract) -> Compare:
    """Return the squared distance of features (B, C, h, w) brought to unit length in each place."""

    def compare(prediction: Tensor, target: Tensor) -> list[Tensor]:
        with torch.no_grad():
            wanted = extract(target)
        pairs = zip(extract(prediction), wanted, strict=True)
        return [(_unit(a) - _unit(b)).square().sum(1, keepdim=True) for a, b in pairs]

    return compare


def masked_mean(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w) where `mask` (B, 1, H, W) is, averaged over maps."""
    means = []
    for one in maps:
        weight = resize_mask(mask, (one.shape[2], one.shape[3]))
        means.append((one * weight).sum() / weight.sum().clamp_min(1e-6))
    return torch.stack(means).mean()


def autoencoder_features(autoencoder: LatentAutoencoder) -> Extract:
    """Return what the encoder of the loaded autoencoder sees, at each of its scales."""
    network = autoencoder.network
    encoder = network.encoder

    def extract(pixels: Tensor) -> list[Tensor]:
        if isinstance(network, AutoencoderTiny):
            return _coarsening(encoder.layers, pixels)
        hidden, features = encoder.conv_in(pixels), []
        for block in encoder.down_blocks:
            hidden = block(hidden)
            features.append(hidden)
        return features

    return extract


def model_features(folder: Path, device: torch.device) -> Extract:
    """Return the hidden states of a vision model that transformers saved in `folder`.

    Raises:
        WeightsError: There is none.
    """
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, LookupError) as error:
        raise WeightsError(
            f"There is no vision model in '{folder}' ({short_reason(error)}). A folder that "
            "transformers saved, with safetensors, is needed for stage.perceptual. Check the path."
        ) from error
    network: nn.Module = getattr(model, "vision_model", model)
    network = network.to(device).eval().requires_grad_(requires_grad=False)
    mean, std = read_normalisation(folder, device, usual=(IMAGENET_MEAN, IMAGENET_STD))
    size = getattr(network.config, "image_size", None) or USUAL_SIZE_PX
    side = int(size[0] if isinstance(size, list | tuple) else size)

    def extract(pixels: Tensor) -> list[Tensor]:
        picture = F.interpolate(
            pixels, size=(side, side), mode="bicubic", align_corners=False, antialias=True
        )
        output = network((picture / 2 + 0.5 - mean) / std, output_hidden_states=True)
        return [_as_map(states) for states in output.hidden_states[1:]]

    return extract


def _coarsening(layers: nn.Sequential, hidden: Tensor) -> list[Tensor]:
    """Return the last output of each size."""
    features: list[Tensor] = []
    for layer in layers:
        hidden = layer(hidden)
        if features and features[-1].shape[-1] == hidden.shape[-1]:
            features.pop()
        features.append(hidden)
    return features


def _as_map(states: Tensor) -> Tensor:
    """Return tokens (B, N, D) as (B, D, h, w), without class and register tokens."""
    if states.ndim == 4:
        return states
    side = math.isqrt(states.shape[1])
    places = states[:, -side * side :].transpose(1, 2)
    return torch.unflatten(places, 2, (side, side))


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=1, eps=1e-6)
