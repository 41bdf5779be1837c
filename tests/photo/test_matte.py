import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from swiftpie.masks import grow
from swiftpie.photo.matte import unmixed, with_own_colours
from tests.shapes import as_mask, ellipse


@pytest.mark.parametrize(
    ("ground", "size"), [((0, 255, 0), (420, 300)), ((30, 60, 220), (1260, 900))]
)
def test_the_soft_edge_of_a_cut_out_has_the_colour_of_the_subject(ground, size):
    subject, shape = (190, 60, 40), ellipse().filter(ImageFilter.GaussianBlur(2)).resize(size)
    photo = Image.composite(Image.new("RGB", size, subject), Image.new("RGB", size, ground), shape)
    mask = as_mask(shape)
    whole = np.asarray(with_own_colours(photo, mask), dtype=int)
    cut, solid = whole[..., :3], whole[..., 3] > 253
    assert np.abs(cut - subject)[whole[..., 3] > 13].mean() < 4
    assert np.abs(whole[..., 3] / 255 - mask[0, 0].numpy()).mean() < 0.01
    assert np.array_equal(cut[solid], np.asarray(photo)[solid])


def test_an_outline_that_is_off_follows_the_colours_of_the_photograph():
    truth = as_mask(ellipse().resize((200, 200)).filter(ImageFilter.GaussianBlur(1)))
    photo = torch.lerp(torch.full((1, 3, 200, 200), -0.6), torch.full((1, 3, 200, 200), 0.5), truth)
    given = (torch.roll(truth, (1, 2), dims=(2, 3)) > 0.5).float()
    assert (unmixed(photo, given) - truth).abs().sum() < 0.5 * (given - truth).abs().sum()
    gravel = 0.3 * torch.randn(1, 1, 200, 200, generator=torch.manual_seed(0))
    for plain in (torch.zeros_like(gravel), gravel):  # colours that say nothing leave it in place
        kept = unmixed(plain.expand(1, 3, -1, -1), given)
        assert (kept - given).abs().sum() < 0.02 * given.sum()


def test_hair_stays_and_the_outline_of_a_hard_thing_stays_hard():
    solid = as_mask(ellipse().resize((500, 500)).filter(ImageFilter.GaussianBlur(1)))
    hairs = grow(solid, 6) * (torch.arange(500) % 8 < 3)
    gravel = 0.1 * torch.randn(1, 3, 500, 500, generator=torch.manual_seed(0))
    furred = torch.maximum(solid, hairs)
    for truth, colour in ((furred, (0.8, -0.6, -0.6)), (solid, (0.1, 0.0, -0.1))):
        subject = torch.tensor(colour)[:, None, None] + gravel.flip(3) / 2  # as coats have grain
        found = unmixed(torch.lerp(gravel, subject, truth), (solid > 0.5).float())
        assert (found - truth).abs().sum() < 0.25 * (furred - solid).sum()


def test_a_rim_that_colours_do_not_tell_is_as_soft_as_the_others():
    mixed = []
    for blur in (1, 6):
        truth = as_mask(ellipse().resize((500, 500)).filter(ImageFilter.GaussianBlur(blur)))
        truth[..., 350:, :] = 1  # the ground there looks like the subject
        found = unmixed(truth.expand(1, 3, -1, -1) - 0.5, as_mask(ellipse().resize((500, 500))))
        mixed.append((found * (1 - found))[..., 380:, :].sum())
    assert mixed[1] > 2 * mixed[0]
