import torch

from swiftpie_lab.judges import JUDGE_PX, cut, subject_crops


def mask_of(top, bottom, left, right, side=32):
    mask = torch.zeros(1, 1, side, side)
    mask[..., top:bottom, left:right] = 1
    return mask


def test_a_crop_is_a_square_around_the_subject_with_a_margin():
    crops = subject_crops(mask_of(8, 16, 12, 28))
    torch.testing.assert_close(crops.centre, torch.tensor([[0.25, -0.25]]))
    torch.testing.assert_close(crops.side, torch.tensor([1.2]))  # 16 of 32 pixels and a tenth


def test_a_crop_shows_what_is_under_the_mask():
    mask = mask_of(4, 12, 16, 24)
    inside = cut(mask.expand(1, 3, -1, -1), subject_crops(mask))
    assert inside.shape == (1, 3, JUDGE_PX, JUDGE_PX)
    assert 0.6 < float(inside.mean()) < 0.8  # the margin takes 1 - 1 / 1.2² of it
    assert float(inside[..., JUDGE_PX // 2, JUDGE_PX // 2].min()) == 1
