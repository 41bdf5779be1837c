import torch

from swiftpie.evaluation.regions import inner, mean_colour, sharpness_ratio


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
