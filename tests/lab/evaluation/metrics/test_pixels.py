import dataclasses
import math

import numpy as np
import pytest
import torch

from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected
from swiftpie_lab.evaluation.metrics.pixels import sharpness_ratio

HEIGHT, WIDTH = 20, 24


def score(name, evidence, **changes):
    return METRICS.get(name).score(dataclasses.replace(evidence, **changes))


def close(value):
    return None if value is None else pytest.approx(value, rel=1e-3, abs=1e-6)


def noisy(size):
    return size * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def at(rows, columns=slice(None)):
    """Return a mask of 32 px with 1 in these rows and columns."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., rows, columns] = 1
    return mask


NOTHING, SQUARE, RED = torch.zeros(1, 1, 32, 32), at(slice(8, 24), slice(8, 24)), torch.eye(3)[0]
LIT, UNLIT = (Expected(where=SQUARE, is_lit=is_lit) for is_lit in (True, False))
TEXTURED = {"truth": noisy(0.1), "picture": noisy(0.1) * (1 + SQUARE)}
PLAIN = torch.zeros(1, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("mask-iou", {"claimed": at(slice(8, 16), slice(8, 24))}, 0.5),
        ("psnr", {}, 60),
        ("psnr", {"picture": PLAIN + 0.2}, 20),  # a tenth of the range
        ("subject-psnr", {"picture": PLAIN + 0.2 * SQUARE + (1 - SQUARE)}, 20),
        ("subject-psnr", {"mask": NOTHING}, None),
        ("sharpness-subject", TEXTURED, 2),
        ("sharpness-background", TEXTURED, 1),  # steps across the subject's border do not count
        ("sharpness-background", {"picture": noisy(0.1)}, None),  # the truth is smooth
        ("sharpness-subject", TEXTURED | {"mask": NOTHING}, None),
        ("lighting-error", {"expected": LIT}, 0),
        ("lighting-error", {"expected": LIT, "picture": PLAIN + 6 / 127.5 * RED[:, None, None]}, 2),
        ("lighting-error", {"expected": LIT, "picture": 1 - SQUARE.expand(1, 3, -1, -1)}, 0),
        ("lighting-error", {"expected": UNLIT}, None),
    ],
)
def test_a_picture_scores_what_its_error_says(evidence, name, changes, expected):
    assert score(name, evidence, **changes) == close(expected)


def test_steps_across_the_border_of_the_region_do_not_count():
    assert sharpness_ratio(noisy(0.1) + 5 * (1 - SQUARE), noisy(0.1), SQUARE) == 1


LEFT = at(slice(None), slice(0, 16))
EDITED = PLAIN + 0.5 * LEFT  # what `edit_evidence` shows


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"outside-psnr": 60, "inside-psnr": 60, "mask-iou": 1, "stray-pixels": 0}),
        ({}, {"time": 3}),
        ({"picture": EDITED + 0.2 * (1 - LEFT)}, {"outside-psnr": 20, "inside-psnr": 60}),
        ({"picture": EDITED - 0.2 * LEFT}, {"outside-psnr": 60, "inside-psnr": 20}),
        ({"mask": 1 + NOTHING}, {"outside-psnr": None}),
        ({"mask": NOTHING}, {"inside-psnr": None}),
        ({"picture": EDITED + at(20, slice(20, 23)) / 255}, {"stray-pixels": 3}),
    ],
)
def test_an_edit_scores_what_its_errors_say(edit_evidence, changes, expected):
    for name, value in expected.items():
        assert score(name, edit_evidence, **changes) == close(value), name


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


def shown(first, second, mask):
    """Evidence of pictures in [0, 1], of which `mask` is compared."""
    return Evidence(source=2 * first - 1, picture=2 * second - 1, mask=1 - mask)


def test_mse_and_psnr_average_the_whole_frame_of_products(pictures):
    first, second, mask = pictures
    expected = plain_mse(first, second, mask)
    evidence = shown(tensor(first), tensor(second), tensor(mask))
    assert score("unedited-mse", evidence) == pytest.approx(1e4 * expected, rel=1e-4)
    assert score("unedited-psnr", evidence) == pytest.approx(-10 * math.log10(expected), abs=1e-4)


def test_equal_pictures_have_no_decibels(pictures):
    first, _, mask = map(tensor, pictures)
    assert score("unedited-psnr", shown(first, first, mask)) is None  # infinite
