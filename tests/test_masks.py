import pytest
import torch
from PIL import Image, ImageChops, ImageFilter

from swiftpie import bounding_box, masks
from swiftpie.errors import AmbiguousMask, InputError
from swiftpie.imageio.images import mask_to_pil
from tests.shapes import HEIGHT, WIDTH, as_mask, ellipse, photo


def clear(alpha, ground="black"):
    image = Image.new("RGBA", alpha.size, ground)
    image.putalpha(alpha)
    return image


HOLE = ImageChops.invert(ellipse())
MASKS = {
    "grey": ellipse(),
    "colours": ellipse().convert("RGB"),
    "two colours": ellipse().convert("1"),
    "a hole": clear(HOLE),
    "a hole in white": clear(HOLE, "white"),
    "painted, with an alpha channel": ellipse().convert("RGBA"),
}


@pytest.mark.parametrize("name", MASKS)
def test_transparency_marks_what_may_change_and_else_white(name):
    size = (WIDTH * 2, HEIGHT * 2)
    mask = masks.load_mask(MASKS[name], size)
    assert mask.shape == (1, 1, HEIGHT * 2, WIDTH * 2)
    assert masks.iou(mask, as_mask(ellipse().resize(size))).item() > 0.98


STROKES = clear(ellipse(), "white")


@pytest.mark.parametrize("strokes", [STROKES, STROKES.filter(ImageFilter.GaussianBlur(1))])
def test_white_strokes_on_a_clear_layer_are_read_as_asked_and_else_refused(strokes):
    mask = masks.load_mask(strokes, strokes.size, by_white=True)
    assert masks.iou(mask, as_mask(ellipse())).item() > 0.98
    with pytest.raises(AmbiguousMask, match=r"clear, with white in it.*Fill the clear part"):
        masks.load_mask(strokes, strokes.size)
    mask = masks.load_mask(strokes, strokes.size, of_subject=True)
    assert masks.iou(mask, as_mask(ellipse())).item() > 0.98


@pytest.mark.parametrize("ground", ["black", (200, 40, 60)])
def test_a_cut_out_in_colours_has_one_reading(ground):
    cutout = clear(ellipse(), ground)
    assert masks.iou(masks.load_mask(cutout, cutout.size), as_mask(HOLE)).item() > 0.98


def test_strokes_that_touch_the_border_and_have_soft_edges_have_two_readings_too():
    strokes = Image.new("RGBA", (100, 100), (0, 0, 0, 0))
    strokes.paste("white", (0, 0, 100, 20))  # 35 % of the border
    with pytest.raises(AmbiguousMask):
        masks.load_mask(strokes, strokes.size)
    strokes.paste("black", (0, 0, 20, 20))  # a fifth of what is seen: no strokes
    assert masks.load_mask(strokes, strokes.size).mean().item() == pytest.approx(0.8)


def test_noises_that_differ_by_rounding_alone_mark_nothing():
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert not masks.from_noise_difference(noise, noise * (1 + 1e-7)).any()
    changed = noise.clone()
    changed[:, :, 2, 3] += 1
    assert masks.from_noise_difference(noise, changed).sum((1, 2, 3)).tolist() == [1, 1]


def test_the_soft_mask_of_two_noises_is_their_difference_scaled_to_one():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 2, 4, 8, 8, generator=generator)
    difference = (first.double() - second.double()).abs().mean(dim=1, keepdim=True)
    least, most = (values.view(2, 1, 1, 1) for values in difference.flatten(1).aminmax(dim=1))
    found = masks.from_noise_difference(first, second, is_soft=True)
    assert torch.allclose(found.double(), (difference - least) / (most - least), atol=1e-5)


def test_where_white_marks_what_is_clear_does_not_change():
    drawn = clear(HOLE, "white")
    assert masks.iou(masks.load_mask(drawn, drawn.size, by_white=True), as_mask(HOLE)).item() > 0.98
    with pytest.raises(InputError, match="no white that is opaque"):
        masks.load_mask(clear(HOLE), HOLE.size, by_white=True)


def test_the_mask_of_a_subject_is_opaque_as_its_cut_out_is():
    mask = masks.load_mask(clear(ellipse()), ellipse().size, of_subject=True)
    assert masks.iou(mask, as_mask(ellipse())).item() > 0.98


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (Image.new("L", (8, 8), 120), "is black"),
        (Image.new("RGBA", (8, 8), "black"), "opaque everywhere"),
        (clear(Image.new("L", (8, 8), 254)), "nowhere more than half transparent"),
        (photo(ellipse(), "gradient").resize((8, 8)), "100% of it is between"),
    ],
)
def test_what_marks_nothing_or_is_no_mask_is_called_what_it_is(mask, words):
    with pytest.raises(InputError, match=words):
        masks.load_mask(mask, (8, 8))


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"420x300 px and its photo 300x420"):
        masks.load_mask(ellipse(), (HEIGHT, WIDTH))


@pytest.mark.parametrize(("width", "fits"), [(100, True), (101, True), (99, True), (105, False)])
def test_a_mask_may_miss_the_shape_of_its_photo_by_rounding_alone(width, fits):
    mask = Image.new("L", (100, 100), 255)
    if fits:
        assert masks.load_mask(mask, (width, 100)).shape == (1, 1, 100, width)
    else:
        with pytest.raises(InputError):
            masks.load_mask(mask, (width, 100))


def test_soft_edges_are_no_reason_to_refuse_a_mask():
    soft = ellipse().filter(ImageFilter.GaussianBlur(20))
    assert masks.load_mask(soft, soft.size).max() == 1


def test_a_hole_is_transparent_and_the_ground_of_a_cut_out_is_none():
    assert masks.iou(masks.hole_of(clear(HOLE)), as_mask(ellipse())).item() == 1
    assert masks.hole_of(clear(ellipse())) is None
    assert masks.hole_of(ellipse().convert("RGBA")) is None
    assert masks.hole_of(clear(Image.new("L", (8, 8), 200))) is None


def test_boxes_are_read_as_fractions():
    assert masks.parse_box("0.25, 0.5,1,1.0") == (0.25, 0.5, 1, 1)


@pytest.mark.parametrize(
    "text",
    ["", "1,2", "0,0,1,1,1", "a,b,c,d", "10,20,300,400", "0.5,0,0.5,1", "1,0,0,1", "nan,0,1,1"],
)
def test_nonsense_is_no_box(text):
    with pytest.raises(InputError, match="is not a box"):
        masks.parse_box(text)


@pytest.mark.parametrize(
    "box", [(float("nan"), 0, 1, 1), (0.5, 0, 0.5, 1), (0, 0, float("inf"), 1), (-0.1, 0, 1, 1)]
)
def test_boxes_of_numbers_that_are_none_are_refused_too(box):
    with pytest.raises(InputError, match="is not a box"):
        masks.box_mask(box, height=4, width=4)


def test_masks_of_values_that_mean_nothing_are_refused():
    for value in (float("nan"), float("inf"), -0.5, 255.0):
        mask = torch.zeros(1, 1, 4, 4)
        mask[..., 1, 2] = value
        with pytest.raises(InputError, match="0 to 1 are needed"):
            masks.check_mask(mask)
    masks.check_mask(torch.ones(1, 1, 2, 2, dtype=torch.bool))
    masks.check_mask(torch.zeros(1, 1, 0, 2))


def test_box_mask_covers_its_share_and_fades_outside_only():
    box = (0.1, 0.25, 0.55, 0.75)
    hard = masks.box_mask(box, height=10, width=13)
    assert hard.shape == (1, 1, 10, 13)
    assert hard.mean().item() == pytest.approx(0.45 * 0.5, abs=1e-5)
    soft = masks.box_mask(box, height=10, width=13, feather=0.2)
    assert (soft >= hard).all()
    assert soft.mean() > hard.mean()
    assert soft[0, 0, 5, -1] == 0
    centred = masks.box_mask((0.3, 0.4, 0.7, 0.6), height=10, width=20, feather=0.2)
    torch.testing.assert_close(centred, centred.flip(2, 3))


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


def test_attention_that_is_even_up_to_the_border_gives_a_mask_that_is_even_there():
    level = torch.ones(1, 1, 16, 16)
    level[..., 8:] = 0.2
    mask = masks.attention_to_mask(level)
    for place in (0, -1):
        torch.testing.assert_close(mask[..., place, :], mask[..., 8, :])
    torch.testing.assert_close(mask[..., :6], mask[..., 5:6].expand(1, 1, 16, 6))
    torch.testing.assert_close(mask[..., 10:], mask[..., 10:11].expand(1, 1, 16, 6))


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
    assert mask_to_pil(as_mask(ellipse()))[0].tobytes() == ellipse().tobytes()


def test_an_empty_mask_is_bounded_by_the_whole_picture():
    assert bounding_box(torch.zeros(1, 1, 6, 9)) == (0.0, 0.0, 1.0, 1.0)
    one = torch.zeros(1, 1, 6, 9)
    one[..., 2:4, 3:9] = 0.6
    assert bounding_box(one) == pytest.approx((3 / 9, 2 / 6, 1.0, 4 / 6))


def test_the_extent_of_a_subject_counts_rows_and_columns_that_it_touches():
    mask = torch.zeros(2, 1, 10, 20)
    mask[0, :, 2:7, 4:8] = 1
    mask[1, :, 0, 0] = masks.VISIBLE  # hardly there
    mask[1, :, 9, 5:10] = masks.VISIBLE + 0.01
    assert torch.allclose(masks.subject_extent(mask), torch.tensor([[0.2, 0.5], [0.25, 0.1]]))


def test_what_differs_by_more_than_half_of_three_means_is_a_region():
    source, edited = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    edited[0, 0, 0] = torch.tensor([1.0, 0.25, 0.0, 0.0])  # of 3 means: 0.53
    found = masks.from_noise_difference(source, edited)
    assert found.flatten().tolist() == [1, 1, *[0] * 6]
    edited[0, 0, 0, 1] = 0.2  # 0.44
    found = masks.from_noise_difference(source, edited)
    assert found.flatten().tolist() == [1, *[0] * 7]


def test_bytes_below_half_are_outside():
    kept = masks.without_outside(torch.tensor([0, 100, 127, 128, 255], dtype=torch.uint8))
    assert kept.tolist() == [0, 0, 0, 128, 255]


def test_edges_fade_inwards_and_nothing_lies_outside():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:30, 10:30] = 1
    soft = masks.feather(mask)
    assert not bool((soft > mask).any())
    assert float(soft[0, 0, 20, 20]) == 1
    row = soft[0, 0, 20, 10:20]
    assert 0 < float(row[0]) < 0.5
    assert bool((row.diff() >= 0).all())


def test_one_pixel_of_half_is_enough_for_a_mask():
    speck = Image.new("L", (8, 8), 0)
    speck.putpixel((2, 5), 128)
    assert masks.load_mask(speck, (8, 8)).nonzero().tolist() == [[0, 0, 5, 2]]
