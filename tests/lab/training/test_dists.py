"""DISTS against its definition, written out in float64, on a tiny network of VGG's shape."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from swiftpie.errors import WeightsError
from swiftpie_lab.training.dists import STAGES, Dists

WIDTHS = (4, 6, 6, 8, 8)


def tiny_layers():
    random, channels, layers = torch.Generator().manual_seed(0), 3, {}
    for width, stage in zip(WIDTHS, STAGES, strict=True):
        for place in stage:
            weight = (
                torch.randn(width, channels, 3, 3, generator=random) * (2 / 9 / channels) ** 0.5
            )
            layers[place] = weight, 0.1 * torch.randn(width, generator=random)
            channels = width
    return layers


def tiny_learned():
    return torch.rand(2, 3 + sum(WIDTHS), generator=torch.Generator().manual_seed(1))


def tiny_dists():
    return Dists(tiny_layers(), tiny_learned())


def pictures(seed, *, side=40):
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def by_hand(first, second):
    layers, learned = tiny_layers(), tiny_learned().double()
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)

    def features(picture):
        shown = (picture.double() + 1) / 2
        found, hidden = [*shown], (shown - mean) / std
        for number, stage in enumerate(STAGES):
            if number:  # a root of squares under a 3 x 3 window of Hann's weights
                square = F.pad(hidden.square(), (1, 1, 1, 1))
                total = 0
                for row, down in enumerate((0.25, 0.5, 0.25)):
                    for column, across in enumerate((0.25, 0.5, 0.25)):
                        end = (row - 2 or None, column - 2 or None)
                        part = square[:, row : end[0], column : end[1]]
                        total = total + down * across * part[:, ::2, ::2]
                hidden = (total + 1e-12).sqrt()
            for place in stage:
                weight, bias = layers[place]
                hidden = F.conv2d(hidden[None], weight.double(), bias.double(), padding=1)[0]
                hidden = hidden.clamp_min(0)
            found += [*hidden]
        return found

    distances = []
    for pair in zip(first, second, strict=True):
        likeness = 0
        for number, (one, other) in enumerate(zip(*map(features, pair), strict=True)):
            a, b = one.mean(), other.mean()
            shared = ((one - a) * (other - b)).mean()
            spread = ((one - a) ** 2).mean() + ((other - b) ** 2).mean()
            texture = (2 * a * b + 1e-6) / (a**2 + b**2 + 1e-6)
            structure = (2 * shared + 1e-6) / (spread + 1e-6)
            likeness += learned[0, number] * texture + learned[1, number] * structure
        distances.append(1 - likeness / learned.sum())
    return torch.stack(distances)


@pytest.mark.parametrize("side", [40, 33])
def test_the_distance_is_what_its_definition_says(side):
    first, second = pictures(2, side=side), pictures(3, side=side)
    assert torch.allclose(tiny_dists()(first, second).double(), by_hand(first, second), atol=1e-5)


def test_the_weights_of_the_package_and_a_file_of_vgg_are_read(tmp_path):
    random, channels, stored = torch.Generator().manual_seed(4), 3, {}
    for width, stage in zip((64, 128, 256, 512, 512), STAGES, strict=True):
        for place in stage:
            weight = (
                torch.randn(width, channels, 3, 3, generator=random) * (2 / 9 / channels) ** 0.5
            )
            stored[f"features.{place}.weight"] = weight
            stored[f"features.{place}.bias"] = torch.zeros(width)
            channels = width
    path = tmp_path / "vgg16.safetensors"
    save_file(stored, path)
    dists = Dists.read(path)
    assert dists.learned.shape == (2, 1475)
    found = dists(pictures(2, side=32), pictures(3, side=32))
    assert ((found > 0) & (found < 1)).all()
    del stored["features.28.bias"]
    save_file(stored, path)
    with pytest.raises(WeightsError, match=r"features\.28\.bias"):
        Dists.read(path)
