import math

import numpy as np
import pytest
import torch

from swiftpie.evaluation.edits.pie.measures import mse, psnr, ssim

HEIGHT, WIDTH = 20, 24


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    first = random.random((HEIGHT, WIDTH, 3))
    second = np.clip(first + 0.2 * random.standard_normal(first.shape), 0, 1)
    mask = np.zeros((HEIGHT, WIDTH))
    mask[4:15, 6:20] = 1
    return first, second, mask


def tensor(values):
    values = values if values.ndim == 3 else values[..., None]
    return torch.from_numpy(values).permute(2, 0, 1)[None].float()


def plain_mse(first, second, mask):
    return np.mean((first * mask[..., None] - second * mask[..., None]) ** 2)


def plain_ssim(first, second):
    """Window by window, in float64."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line)
    window /= window.sum()
    values = []
    for channel in range(3):
        one, other = (np.pad(p[..., channel], 5, mode="reflect") for p in (first, second))
        for y in range(HEIGHT):
            for x in range(WIDTH):
                a, b = one[y : y + 11, x : x + 11], other[y : y + 11, x : x + 11]
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                var_a = (window * a * a).sum() - mean_a**2
                var_b = (window * b * b).sum() - mean_b**2
                shared = (window * a * b).sum() - mean_a * mean_b
                light = (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
                values.append(light * (2 * shared + 9e-4) / (var_a + var_b + 9e-4))
    return np.mean(values)


def test_mse_and_psnr_average_the_whole_frame_of_products(pictures):
    first, second, mask = pictures
    expected = plain_mse(first, second, mask)
    arguments = tensor(first), tensor(second), tensor(mask)
    assert mse(*arguments) == pytest.approx(expected, rel=1e-5)
    assert psnr(*arguments) == pytest.approx(10 * math.log10(1 / expected), abs=1e-4)


def test_a_smaller_mask_raises_psnr_though_no_pixel_is_better(pictures):
    first, second, _ = (tensor(one) for one in pictures)
    whole, half = torch.ones(1, 1, HEIGHT, WIDTH), torch.ones(1, 1, HEIGHT, WIDTH)
    half[..., WIDTH // 2 :] = 0
    assert psnr(first, second, half) > psnr(first, second, whole) + 2


def test_equal_pictures_have_no_finite_psnr(pictures):
    first, _, mask = (tensor(one) for one in pictures)
    assert psnr(first, first, mask) is None


def test_ssim_is_that_of_the_definition(pictures):
    first, second, mask = pictures
    expected = plain_ssim(first * mask[..., None], second * mask[..., None])
    assert ssim(tensor(first), tensor(second), tensor(mask)) == pytest.approx(expected, abs=1e-5)
    assert ssim(tensor(first), tensor(first), tensor(mask)) == pytest.approx(1)
