import pytest
import torch

from swiftpie_lab.training.perceptual import feature_distance, masked_mean


def test_only_places_under_the_mask_count():
    distance = feature_distance(lambda pixels: [pixels])
    first = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[..., :4] = -first[..., :4]
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    maps = distance(first, second)
    assert float(masked_mean(maps, left)) == pytest.approx(4)
    assert float(masked_mean(maps, 1 - left)) == 0
