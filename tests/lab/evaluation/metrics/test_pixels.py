import dataclasses
import math

import numpy as np
import pytest
import torch

from swiftpie_lab.evaluation.case import METRICS, Evidence
from swiftpie_lab.evaluation.metrics.pixels import inner, mean_colour, sharpness_ratio

HEIGHT, WIDTH = 20, 24


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


def noisy(evidence, size):
    generator = torch.Generator().manual_seed(0)
    return evidence.truth + size * torch.randn(evidence.truth.shape, generator=generator)


def test_mask_iou_compares_masks_and_skips_pictures_without_one(evidence):
    half = evidence.mask.clone()
    half[..., 16:, :] = 0
    assert score("mask-iou", evidence, claimed=half) == pytest.approx(0.5)
    assert score("mask-iou", evidence) is None


def test_psnr_of_a_known_error(evidence):
    brighter = evidence.truth + 0.2  # a tenth of the range
    assert score("psnr", evidence, picture=brighter) == pytest.approx(20, abs=1e-3)
    assert score("psnr", evidence) == pytest.approx(60)


def test_psnr_of_the_subject_ignores_the_background(evidence):
    picture = evidence.truth + 0.2 * evidence.mask + (1 - evidence.mask)
    assert score("subject-psnr", evidence, picture=picture) == pytest.approx(20, abs=1e-3)
    assert score("subject-psnr", evidence, mask=torch.zeros_like(evidence.mask)) is None


def test_sharpness_is_the_ratio_of_gradients_in_its_own_region(evidence):
    truth = noisy(evidence, 0.1)
    sharper_subject = truth * (1 + evidence.mask)
    changes = {"truth": truth, "picture": sharper_subject}
    assert score("sharpness-subject", evidence, **changes) == pytest.approx(2, rel=1e-4)
    assert score("sharpness-background", evidence, **changes) == pytest.approx(1, rel=1e-4)


def test_sharpness_of_the_whole_picture_is_its_mean_step(evidence):
    ramp = torch.linspace(-1, 1, 32).expand(1, 3, 32, 32)  # steps of 2 / 31 across, none down
    assert score("sharpness", evidence, picture=ramp) == pytest.approx(1 / 31)
    assert score("sharpness", evidence, picture=ramp / 2) == pytest.approx(0.5 / 31)


def test_sharpness_does_not_apply_where_the_truth_is_smooth(evidence):
    assert score("sharpness-background", evidence, picture=noisy(evidence, 0.1)) is None


def test_lighting_error_is_the_error_of_the_mean_colour_in_levels(evidence):
    lit = dataclasses.replace(evidence.expected, is_lit=True)
    redder = evidence.truth.clone()
    redder[:, 0] += 6 / 127.5
    found = score("lighting-error", evidence, picture=redder, expected=lit)
    assert found == pytest.approx(2, rel=1e-4)
    assert score("lighting-error", evidence, expected=lit) == 0


def test_lighting_is_judged_only_where_nothing_else_changes_colours(evidence):
    plain = dataclasses.replace(evidence.expected, is_lit=False)
    assert score("lighting-error", evidence, expected=plain) is None
    lit = dataclasses.replace(plain, is_lit=True)
    assert score("lighting-error", evidence, expected=lit) == 0


def test_the_inner_part_of_a_mask_has_lost_its_outermost_pixels():
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 2:7, 2:7] = 1
    expected = torch.zeros(1, 1, 9, 9)
    expected[..., 3:6, 3:6] = 1
    assert torch.equal(inner(mask), expected)
    assert torch.equal(inner(0.5 * mask), torch.zeros(1, 1, 9, 9))


def test_the_mean_colour_is_taken_over_the_region_alone():
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[:, 1, :, :2] = 0.5
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    torch.testing.assert_close(mean_colour(pixels, left), torch.tensor([[0.0, 0.5, 0.0]]))


def test_steps_across_the_border_of_the_region_do_not_count():
    truth = torch.rand(1, 3, 8, 8)
    region = torch.zeros(1, 1, 8, 8)
    region[..., :4] = 1
    changed = truth + 5 * (1 - region)
    assert sharpness_ratio(changed, truth, region) == 1


def test_an_empty_region_has_no_sharpness():
    truth = torch.rand(1, 3, 8, 8)
    assert sharpness_ratio(truth, truth, torch.zeros(1, 1, 8, 8)) is None


def test_a_perfect_edit_gets_perfect_scores(edit_evidence):
    expected = {
        "outside-psnr": 60,
        "inside-psnr": 60,
        "mask-iou": 1,
        "stray-pixels": 0,
        "reconstruction-psnr": 60,
        "time": 3,
    }
    for name, value in expected.items():
        assert score(name, edit_evidence) == pytest.approx(value, abs=1e-4), name


def test_errors_are_counted_where_they_are_and_nowhere_else(edit_evidence):
    outside = dataclasses.replace(
        edit_evidence, picture=edit_evidence.truth + 0.2 * (1 - edit_evidence.mask)
    )
    assert score("outside-psnr", outside) == pytest.approx(20, abs=1e-3)
    assert score("inside-psnr", outside) == pytest.approx(60)
    inside = dataclasses.replace(
        edit_evidence, picture=edit_evidence.truth - 0.2 * edit_evidence.mask
    )
    assert score("inside-psnr", inside) == pytest.approx(20, abs=1e-3)
    assert score("outside-psnr", inside) == 60


def test_a_mask_that_covers_all_leaves_nothing_to_preserve(edit_evidence):
    everywhere = dataclasses.replace(edit_evidence, mask=torch.ones_like(edit_evidence.mask))
    assert score("outside-psnr", everywhere) is None
    assert (
        score(
            "inside-psnr",
            dataclasses.replace(edit_evidence, mask=torch.zeros_like(edit_evidence.mask)),
        )
        is None
    )


def test_stray_pixels_are_counted_one_by_one(edit_evidence):
    picture = edit_evidence.picture.clone()
    picture[0, 1, 3, 20:23] += 1 / 255
    assert score("stray-pixels", dataclasses.replace(edit_evidence, picture=picture)) == 3


def test_what_an_editor_does_not_tell_is_not_judged(edit_evidence):
    silent = dataclasses.replace(
        edit_evidence, claimed=None, reconstruction=None, uncomposed=None, time_ms=None
    )
    for name in ("mask-iou", "stray-pixels", "reconstruction-psnr", "outside-psnr-drawn", "time"):
        assert score(name, silent) is None


def test_what_was_drawn_is_judged_apart_from_what_was_put_back(edit_evidence):
    drawn = dataclasses.replace(
        edit_evidence, uncomposed=edit_evidence.source + 0.2 * (1 - edit_evidence.mask)
    )
    assert score("outside-psnr-drawn", drawn) == pytest.approx(20, abs=1e-3)
    assert score("outside-psnr", drawn) == score("outside-psnr", edit_evidence)


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


def shown(first, second, mask):
    """Evidence of pictures in [0, 1], of which `mask` is compared."""
    return Evidence(source=2 * first - 1, picture=2 * second - 1, mask=1 - mask)


def test_mse_and_psnr_average_the_whole_frame_of_products(pictures):
    first, second, mask = pictures
    expected = plain_mse(first, second, mask)
    evidence = shown(tensor(first), tensor(second), tensor(mask))
    assert score("unedited-mse", evidence) == pytest.approx(1e4 * expected, rel=1e-4)
    assert score("unedited-psnr", evidence) == pytest.approx(-10 * math.log10(expected), abs=1e-4)


def test_equal_pictures_have_no_finite_psnr(pictures):
    first, _, mask = (tensor(one) for one in pictures)
    assert score("unedited-psnr", shown(first, first, mask)) is None


def test_ssim_is_that_of_the_definition(pictures):
    first, second, mask = pictures
    expected = plain_ssim(first * mask[..., None], second * mask[..., None])
    first, second, mask = (tensor(one) for one in pictures)
    different, same = shown(first, second, mask), shown(first, first, mask)
    assert score("unedited-ssim", different) == pytest.approx(100 * expected, abs=1e-3)
    assert score("unedited-ssim", same) == pytest.approx(100)
