import json

import pytest
import torch
from PIL import Image, PngImagePlugin

from swiftpie.errors import InputError
from swiftpie.geometry import layout
from swiftpie.imageio import images
from swiftpie.imageio.credentials import COMPOSITE, SOURCE_TYPE
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import (
    alpha_of,
    contact_sheet,
    crop_square,
    fit_square,
    mask_to_pil,
    to_pil,
    to_tensor,
)
from swiftpie.imageio.writing import MAX_METADATA_BYTES, encode_image, read_metadata, save_image
from tests.fuzz.pictures import encoded

METADATA = {"prompt": 'a "cat" — 猫 \0 on <b>', "seed": "7", "preset": "mini"}
TRAINED = b"digitalsourcetype/trainedAlgorithmicMedia"


def noise_image(width=31, height=17, mode="RGB"):
    generator = torch.Generator().manual_seed(3)
    shape = (height, width, len(mode))
    values = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return Image.fromarray(values.numpy(), mode=None)


def test_every_byte_value_survives_the_way_in_and_out():
    image = Image.frombytes("RGB", (16, 16), bytes(v for v in range(256) for _ in range(3)))
    pixels = to_tensor(image)
    assert pixels.shape == (1, 3, 16, 16)
    assert (pixels.min().item(), pixels.max().item()) == (-1, 1)
    assert to_pil(pixels)[0].tobytes() == image.tobytes()


def test_to_pil_rounds_clamps_and_takes_batches():
    pixels = torch.tensor([-2.0, 0.999, 5.0]).view(3, 1, 1, 1).expand(3, 3, 2, 2)
    images = to_pil(pixels.to(torch.bfloat16))
    assert [image.getpixel((0, 0))[0] for image in images] == [0, 255, 255]


def test_alpha_is_apart_from_the_pixels():
    image = noise_image(mode="RGBA")
    alpha = alpha_of(image)
    assert alpha.shape == (1, 1, 17, 31)
    assert mask_to_pil(alpha)[0].tobytes() == image.getchannel("A").tobytes()
    assert to_pil(to_tensor(image))[0].tobytes() == image.convert("RGB").tobytes()
    assert alpha_of(noise_image()) is None


@pytest.mark.parametrize("box", [(40, 50, 120, 90), (0, 0, 30, 60), (150, 60, 200, 100)])
@pytest.mark.parametrize("size_px", [64, 300])
def test_fit_square_centres_the_subject_at_the_promised_size(box, size_px):
    left, top, right, bottom = box
    mask = torch.zeros(1, 1, 100, 200)
    mask[..., top:bottom, left:right] = 1
    pixels = mask * 2 - 1
    frame, frame_mask = fit_square(pixels.repeat(1, 3, 1, 1), mask, size_px=size_px, fill=0.9)
    assert frame.shape == (1, 3, size_px, size_px)
    solid = (frame_mask[0, 0] > 0.5).nonzero()
    low, high = solid.min(dim=0).values, solid.max(dim=0).values + 1
    assert (high - low).max().item() == pytest.approx(0.9 * size_px, abs=0.04 * size_px)
    assert ((low + high) / 2).tolist() == pytest.approx([size_px / 2] * 2, abs=0.03 * size_px)


def test_beyond_the_photo_the_frame_is_grey_and_unmasked():
    mask = torch.ones(1, 1, 10, 40)
    frame, frame_mask = fit_square(torch.ones(1, 3, 10, 40), mask, size_px=40, fill=1.0)
    assert (frame[..., :10, :] == 0).all()
    assert (frame_mask[..., :10, :] == 0).all()
    assert (frame[..., 18:22, :] == 1).all()


def test_the_frame_warped_back_by_its_layout_hits_the_subject():
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 48:80] = 1
    _, frame = fit_square(torch.zeros(1, 3, 128, 128), mask, size_px=128, fill=layout.SUBJECT_FILL)
    place = layout.from_box((48 / 128, 32 / 128, 80 / 128, 96 / 128))
    back = layout.warp(frame, layout.to_affine(place), (128, 128))
    assert (back - mask).abs().mean() < 0.01


def test_a_box_may_be_seen_from_elsewhere():
    plain, seen = (layout.from_box((0.1, 0.2, 0.5, 0.9), view=view) for view in ((0, 0), (90, -45)))
    assert torch.equal(plain.pose, torch.zeros(1, 4))
    assert torch.allclose(seen.pose, torch.pi * torch.tensor([[0.5, -0.25, 0, 0]]))
    assert torch.equal(layout.to_affine(seen), layout.to_affine(plain))


def test_a_warp_takes_each_pixel_from_where_the_layout_says():
    frame = torch.randn(2, 4, 32, 24, generator=torch.Generator().manual_seed(0))
    place = layout.Layout(
        centre=torch.tensor([[0.4, 0.6], [0.3, 0.2]]),
        scale=torch.tensor([0.55, 1.4]),
        rotation=torch.tensor([0.1, -0.7]),
        flip=torch.tensor([0.0, 1.0]),
        pose=torch.zeros(2, 4),
    )
    affine, size = layout.to_affine(place), (20, 36)
    points = layout.to_reference(affine, layout.pixel_grid(*size, like=frame))
    expected = torch.nn.functional.grid_sample(frame, points, align_corners=False)
    assert torch.equal(layout.warp(frame, affine, size), expected)


@pytest.mark.parametrize("box", [(0, 0, 90, 40), (10, 5, 30, 35), (60, 0, 90, 20)])
def test_a_square_is_cut_out_of_a_photo_as_out_of_its_pixels(box):
    photo, mask = noise_image(90, 40), torch.zeros(1, 1, 40, 90)
    mask[..., box[1] : box[3], box[0] : box[2]] = 1
    whole = fit_square(to_tensor(photo), mask, size_px=32, fill=0.9)
    cut = fit_square(*crop_square(photo, mask, fill=0.9), size_px=32, fill=0.9)
    assert all(torch.equal(*pair) for pair in zip(whole, cut, strict=True))


def test_a_long_strip_is_shrunk_before_it_is_made_a_square(monkeypatch):
    photo, mask = Image.new("RGB", (1_200, 60), "red"), torch.zeros(1, 1, 60, 1_200)
    mask[..., 20:40, 100:1_100] = 1
    whole = fit_square(to_tensor(photo), mask, size_px=32, fill=0.9)
    held = []
    monkeypatch.setattr(images, "MAX_FRAME_PX", 200)
    monkeypatch.setattr(images, "to_tensor", lambda part: held.append(part.size) or to_tensor(part))
    cut = fit_square(*crop_square(photo, mask, fill=0.9), size_px=32, fill=0.9)
    assert held == [(186, 10)]
    for one, other in zip(whole, cut, strict=True):
        assert (one - other).abs().mean() < 0.02
    mask[..., 21:, :] = 0  # a line that shrinking makes faint
    assert crop_square(photo, mask, fill=0.9)[1].max() > 0.5


def test_masks_become_bytes_in_bands_as_at_once(monkeypatch):
    mask = torch.rand(2, 1, 30, 20, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    whole = (mask.clamp(0, 1) * 255).round().to(torch.uint8)
    monkeypatch.setattr(images, "CACHED_PIXELS", 45)
    assert torch.equal(images.in_8_bits(mask), whole)
    assert images.in_8_bits(whole) is whole
    assert torch.equal(images.in_8_bits(images.from_8_bits(whole)), whole)


def test_fit_square_refuses_an_empty_mask():
    with pytest.raises(InputError, match="no subject"):
        fit_square(torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8), size_px=8, fill=0.9)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp", ".tif"])
def test_metadata_and_mark_of_origin_survive_and_bytes_repeat(tmp_path, suffix):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    save_image(noise_image(), first, metadata=METADATA)
    save_image(noise_image(), second, metadata=dict(reversed(METADATA.items())))
    assert read_metadata(first) == METADATA
    assert first.read_bytes() == second.read_bytes()
    assert TRAINED in first.read_bytes()
    assert load_image(first).size == (31, 17)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_record_says_that_a_model_made_a_part_and_nothing_else_gets_into_the_mark(suffix):
    data = encode_image(noise_image(), suffix, metadata={SOURCE_TYPE: COMPOSITE})
    assert f"digitalsourcetype/{COMPOSITE}".encode() in data
    assert TRAINED not in data
    assert TRAINED in encode_image(noise_image(), suffix, metadata={SOURCE_TYPE: '"/>'})


@pytest.mark.parametrize("name", ["a.png", "a.tiff"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_png_and_tiff_keep_every_pixel_and_its_alpha(tmp_path, name, mode):
    image = load_image(noise_image(mode=mode))
    save_image(image, tmp_path / name, metadata={})
    assert load_image(tmp_path / name).tobytes() == image.tobytes()
    save_image(image.convert("L"), tmp_path / name, metadata=None, force=True)
    assert load_image(tmp_path / name).tobytes() == image.convert("L").convert("RGB").tobytes()


def test_jpeg_lays_transparency_on_white(tmp_path):
    save_image(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), tmp_path / "a.jpg", metadata={})
    assert load_image(tmp_path / "a.jpg").getpixel((8, 8)) == (255, 255, 255)


def test_nothing_of_the_inputs_metadata_is_saved(tmp_path):
    image = noise_image()
    image.info.update({"comment": b"secret", "exif": b"Exif\0\0secret", "xmp": b"secret"})
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        path = tmp_path / f"a{suffix}"
        save_image(image, path, metadata={})
        assert b"secret" not in path.read_bytes()


@pytest.mark.parametrize("name", ["a.gif", "a", "a.png.exe"])
def test_unknown_suffixes_are_refused_by_name(tmp_path, name):
    with pytest.raises(InputError, match=r"\.png, \.jpg, \.jpeg, \.webp, \.tif"):
        save_image(noise_image(), tmp_path / name, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_too_much_metadata_is_refused_before_writing(tmp_path):
    with pytest.raises(InputError, match="60000 fit"):
        save_image(noise_image(), tmp_path / "a.jpg", metadata={"prompt": "x" * 70_000})
    assert list(tmp_path.iterdir()) == []


def test_pictures_of_other_origin_have_no_metadata(tmp_path):
    for suffix, options in ((".png", {}), (".jpg", {"exif": b"Exif\0\0broken"}), (".webp", {})):
        file_format = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP"}[suffix]
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(noise_image(), file_format, **options))
        assert read_metadata(path) == {}


def test_contact_sheet_holds_all_rows_under_their_captions():
    rows = [[Image.new("RGB", (40, 20), "red"), Image.new("RGBA", (20, 40), (0, 0, 255, 0))]] * 2
    sheet = contact_sheet(rows, cell_px=20)
    assert sheet.size == (40, 40)
    assert sheet.getpixel((10, 10)) == (255, 0, 0)
    assert sheet.getpixel((30, 10)) == (255, 255, 255)
    assert contact_sheet([rows[0][:1]], cell_px=20).size == (20, 10)  # no empty bars
    captioned = contact_sheet(rows, cell_px=20, captions=("one", "two"))
    assert captioned.height > sheet.height
    assert captioned.convert("L").getextrema()[0] < 128


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_a_lower_quality_gives_a_smaller_file(suffix):
    sizes = [
        len(encode_image(noise_image(64, 64), suffix, metadata=None, quality=quality))
        for quality in (10, 80, None)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[1] < sizes[2]
    plain = encode_image(noise_image(), ".png", metadata=None)
    assert encode_image(noise_image(), ".png", metadata=None, quality=10) == plain


def test_more_than_a_picture_of_ours_says_is_not_read():
    for length, is_read in ((MAX_METADATA_BYTES - 20, True), (MAX_METADATA_BYTES, False)):
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("swiftpie", json.dumps({"prompt": "a" * length}), zip=True)
        assert bool(read_metadata(encoded(noise_image(), pnginfo=chunks))) == is_read
