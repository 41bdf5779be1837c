"""Masks find the subject where the truth is known, say so where they cannot, and keep apart."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFilter

import swiftpie
from swiftpie import masks
from swiftpie.errors import InputError
from swiftpie.images import load_image, mask_to_pil

WIDTH, HEIGHT = 420, 300


def ellipse(box=(130, 60, 290, 250)):
    truth = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(truth).ellipse(box, fill=255)
    return truth


def ring():
    truth = ellipse((90, 20, 330, 280))
    ImageDraw.Draw(truth).ellipse((150, 80, 270, 220), fill=0)
    return truth


def star():
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 55, 125)
    points = np.stack([210 + radii * np.sin(angles), 150 - radii * np.cos(angles)], axis=-1)
    truth = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(truth).polygon([tuple(p) for p in points.tolist()], fill=255)
    return truth


def photo(truth, ground="white", *, subject=(190, 60, 40), noise=6.0):
    """Draw the subject `truth`, shaded and with a label, on a noisy ground."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    grounds = {
        "white": np.full((HEIGHT, WIDTH, 3), 248.0),
        "blue": np.broadcast_to([70.0, 110.0, 170.0], (HEIGHT, WIDTH, 3)),
        "dark": np.full((HEIGHT, WIDTH, 3), 24.0),
        "gradient": (120 + 110 * x / WIDTH)[..., None] * np.array([1.0, 0.97, 0.9]),
        "vignette": (240 - 0.5 * np.hypot(x - 210, y - 150))[..., None] * np.ones(3),
        "horizon": np.where(y > 190, 120.0, 215.0)[..., None] * np.array([1.0, 0.98, 0.95]),
    }
    shade = (0.75 + 0.5 * x / WIDTH)[..., None]
    body = np.array(subject) * shade
    body = np.where((abs(y - 150) < 14)[..., None], [240, 210, 70], body)
    soft = np.asarray(truth.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    values = soft * body + (1 - soft) * grounds[ground]
    values = values + np.random.default_rng(0).normal(0, noise, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def as_mask(truth):
    return torch.from_numpy(np.array(truth, dtype=np.float32))[None, None] / 255


@pytest.mark.parametrize("ground", ["white", "blue", "dark", "gradient", "vignette", "horizon"])
@pytest.mark.parametrize("shape", [ellipse, star], ids=["ellipse", "star"])
def test_subject_on_a_plain_ground_is_found(shape, ground):
    mask = masks.subject_mask(photo(shape(), ground))
    assert mask.shape == (1, 1, HEIGHT, WIDTH)
    assert 0 <= mask.min() <= mask.max() <= 1
    assert masks.iou(mask, as_mask(shape())).item() > 0.9


@pytest.mark.parametrize("subject", [(120, 120, 125), (30, 30, 30), (205, 190, 170), (20, 140, 60)])
def test_subject_of_any_colour_is_found_on_white(subject):
    mask = masks.subject_mask(photo(ellipse(), "white", subject=subject))
    assert masks.iou(mask, as_mask(ellipse())).item() > 0.9


def test_a_wide_opening_stays_open():
    mask = masks.subject_mask(photo(ring()))
    assert masks.iou(mask, as_mask(ring())).item() > 0.9
    assert mask[0, 0, 150, 210] < 0.1


def test_a_small_spot_of_ground_colour_inside_is_filled():
    image = photo(ellipse())
    ImageDraw.Draw(image).ellipse((200, 100, 216, 116), fill="white")
    assert masks.subject_mask(image)[0, 0, 108, 208] > 0.9


def test_two_parts_of_like_size_are_both_kept_and_specks_dropped():
    truth = ellipse((80, 90, 180, 210))
    ImageDraw.Draw(truth).ellipse((240, 90, 340, 210), fill=255)
    image = photo(truth)
    ImageDraw.Draw(image).ellipse((30, 250, 38, 258), fill=(190, 60, 40))
    mask = masks.subject_mask(image)
    assert masks.iou(mask, as_mask(truth)).item() > 0.9
    assert mask[0, 0, 254, 34] < 0.1


def test_the_same_photo_gives_the_same_mask():
    image = photo(star(), "gradient")
    assert torch.equal(masks.subject_mask(image), masks.subject_mask(image))


def test_the_shipped_photo_is_cut_out():
    folder = Path(swiftpie.__file__).parent / "assets" / "photos"
    mask = masks.subject_mask(load_image(folder / "dahlia.jpg"))[0, 0]
    rows, columns = (mask > 0.5).any(dim=1).nonzero(), (mask > 0.5).any(dim=0).nonzero()
    height = (rows.max() - rows.min()).item()
    width = (columns.max() - columns.min()).item()
    assert 0.85 < width / height < 1.2  # one round flower, without its neighbour
    assert mask.mean().item() * mask.numel() / (width * height) == pytest.approx(0.785, abs=0.06)


def test_a_large_photo_takes_well_under_a_second():
    image = photo(star()).resize((1000, 714))
    masks.subject_mask(image)
    start = time.perf_counter()
    masks.subject_mask(image)
    assert time.perf_counter() - start < 1.0  # about 0.15 s on one idle core


@pytest.mark.parametrize("size", [(300, 300), (1, 1), (2, 9), (40, 2)])
@pytest.mark.parametrize("colour", ["white", "black"])
def test_an_empty_picture_has_no_subject(size, colour):
    with pytest.raises(InputError, match=r"% of the picture .* IMAGE:MASK"):
        masks.subject_mask(Image.new("RGB", size, colour))


def test_transparency_wins_over_colours():
    image = photo(star())
    image.putalpha(ellipse())
    assert torch.equal(masks.subject_mask(image), as_mask(ellipse()))
    image.putalpha(255)
    assert masks.iou(masks.subject_mask(image), as_mask(star())).item() > 0.9
    image.putalpha(0)
    with pytest.raises(InputError, match="0% of the picture"):
        masks.subject_mask(image)


def test_mask_files_are_read_by_alpha_or_brightness_at_the_photos_size():
    size = (WIDTH * 2, HEIGHT * 2)
    truth = as_mask(ellipse().resize(size))
    clear = Image.new("RGBA", (WIDTH, HEIGHT), "black")
    clear.putalpha(ellipse())
    for image in (ellipse(), ellipse().convert("RGB"), clear):
        mask = masks.load_mask(image, size)
        assert mask.shape == (1, 1, HEIGHT * 2, WIDTH * 2)
        assert masks.iou(mask, truth).item() > 0.98


def test_mask_files_that_cannot_fit_are_refused():
    with pytest.raises(InputError, match=r"420x300 px and its photo 300x420"):
        masks.load_mask(ellipse(), (HEIGHT, WIDTH))
    with pytest.raises(InputError, match="is black"):
        masks.load_mask(Image.new("L", (8, 8), 0), (8, 8))


def test_boxes_are_read_as_fractions():
    assert masks.parse_box("0.25, 0.5,1,1.0") == (0.25, 0.5, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "1,2", "0,0,1,1,1", "a,b,c,d", "10,20,300,400", "0.5,0,0.5,1", "1,0,0,1", "nan,0,1,1"],
)
def test_nonsense_is_no_box(text):
    with pytest.raises(InputError, match="is not a box"):
        masks.parse_box(text)


def test_box_mask_covers_its_share_and_fades_outside_only():
    box = (0.1, 0.25, 0.55, 0.75)
    hard = masks.box_mask(box, height=10, width=13)
    assert hard.shape == (1, 1, 10, 13)
    assert hard.mean().item() == pytest.approx(0.45 * 0.5, abs=1e-5)
    soft = masks.box_mask(box, height=10, width=13, feather=0.2)
    assert (soft >= hard).all()
    assert soft.mean() > hard.mean()
    assert soft[0, 0, 5, -1] == 0


@pytest.mark.parametrize("size", [(7, 5), (40, 60), (9, 60), (16, 24)])
def test_resizing_keeps_the_range_and_the_mean(size):
    mask = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    resized = masks.resize_mask(mask, size)
    assert resized.shape == (2, 1, *size)
    assert 0 <= resized.min() <= resized.max() <= 1
    assert resized.mean().item() == pytest.approx(mask.mean().item(), abs=0.03)


@pytest.mark.parametrize("radius_px", [0, 1, 2, 5, 30])
def test_growing_takes_the_largest_value_around(radius_px):
    mask = torch.rand(2, 1, 16, 24, generator=torch.Generator().manual_seed(0))
    side = 2 * radius_px + 1
    expected = torch.nn.functional.pad(mask, (radius_px,) * 4).unfold(2, side, 1).unfold(3, side, 1)
    assert torch.equal(masks.grow(mask, radius_px), expected.amax((4, 5)))


def test_iou_is_a_number_a_sample():
    first = torch.tensor([[1.0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).view(3, 1, 2, 2)
    second = torch.tensor([[0.0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]).view(3, 1, 2, 2)
    assert masks.iou(first, second).tolist() == pytest.approx([1 / 3, 1, 1])


def attention_map(seed, scale=1.0):
    noise = torch.rand(16, 16, generator=torch.Generator().manual_seed(seed)) * 0.1
    noise[4:12, 5:11] += 1
    return (noise * scale)[None, None]


def test_attention_becomes_a_mask_whatever_its_scale():
    mask = masks.attention_to_mask(attention_map(0))
    torch.testing.assert_close(masks.attention_to_mask(attention_map(0, scale=1e-4)), mask)
    truth = torch.zeros(1, 1, 16, 16)
    truth[..., 4:12, 5:11] = 1
    assert masks.iou(mask, truth).item() > 0.9
    assert mask.min() < 0.02
    assert mask.max() > 0.98


def test_attention_samples_never_mix():
    maps = torch.cat([attention_map(0), attention_map(1, scale=50.0), torch.ones(1, 1, 16, 16)])
    together = masks.attention_to_mask(maps)
    for index in range(3):
        alone = masks.attention_to_mask(maps[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_attention_without_structure_means_everywhere(level):
    assert (masks.attention_to_mask(torch.full((2, 1, 8, 8), level)) == 1).all()


def test_a_mask_survives_as_a_picture():
    mask = as_mask(ellipse())
    assert mask_to_pil(mask)[0].tobytes() == ellipse().tobytes()
