import io
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageCms

from swiftpie.errors import ImageError, InputError
from swiftpie.imageio import decoding
from swiftpie.imageio.decoding import load_image
from tests.fuzz import pictures
from tests.fuzz.pictures import chunk, encoded, gradient, swapped_profile


def png_header(width, height, *, bit_depth=1):
    """A PNG that promises a size; its pixels are missing."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


SAMPLES = {
    name: encoded(gradient(), name, **options)
    for name, options in {
        "PNG": {},
        "JPEG": {"quality": 90},
        "WEBP": {"lossless": True},
        "GIF": {},
        "BMP": {},
        "TIFF": {},
    }.items()
}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_listed_format_loads_as_rgb_of_the_same_size(name):
    image = load_image(SAMPLES[name])
    assert (image.mode, image.size) == ("RGB", (24, 16))
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 8


def test_path_text_bytes_file_and_image_give_the_same_picture(tmp_path):
    path = tmp_path / "photo.dat"  # the name says nothing, the content decides
    path.write_bytes(SAMPLES["PNG"])
    opened = Image.open(io.BytesIO(SAMPLES["PNG"]))
    sources = [path, str(path), SAMPLES["PNG"], io.BytesIO(SAMPLES["PNG"]), opened]
    assert {load_image(source).tobytes() for source in sources} == {gradient().tobytes()}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<html><body>404</body></html>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\x89PNG\r\n\x1a\n",
        SAMPLES["PNG"][:60],
        SAMPLES["JPEG"][:300],
        png_header(8, 8, bit_depth=16),
    ],
)
def test_what_is_no_complete_picture_is_refused_by_name(tmp_path, data):
    path = tmp_path / "odd.png"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"odd\.png"):
        load_image(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99), "is in HEIC, which is not read"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif" + bytes(99), "is in AVIF"),
        (b"\xff\x0a" + bytes(99), "is in JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "is in JPEG XL"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg width='9'/>", "is an SVG drawing"),
        (b"%PDF-1.7\n" + bytes(99), "is a PDF"),
        (b"<html><body>404</body></html>", "is not a readable picture"),
        (SAMPLES["PNG"][:30], "is a damaged PNG"),
        (SAMPLES["JPEG"][:9], "is a damaged JPEG"),
    ],
)
def test_a_refusal_names_what_a_file_is(data, words):
    with pytest.raises(ImageError, match=words):
        load_image(data)


@pytest.mark.parametrize("place", ["https://x.org/a.png", "s3://b/a.png", "data:image/png;base64,"])
def test_an_address_is_said_to_be_never_fetched(place, tmp_path):
    for path in (place, Path(place), tmp_path / place):
        with pytest.raises(ImageError, match="never fetched"):
            load_image(path)


def with_chunk(kind, body, *, is_sound=True):
    """Return a PNG with a chunk more, after its header."""
    data, more = SAMPLES["PNG"], chunk(kind, body)
    more = more if is_sound else more[:-4] + bytes(4)
    return data[:33] + more + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"tEXt", b"Comment\0hello", is_sound=False),
        with_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1), is_sound=False),
        with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(3 << 20))),
        with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(3 << 20))),
        with_chunk(b"iCCP", b"icc\0\0no deflate"),
    ],
)
def test_what_of_a_png_viewers_skip_is_skipped(data):
    assert load_image(data).tobytes() == load_image(SAMPLES["PNG"]).tobytes()


def test_a_large_profile_of_a_png_is_applied():
    body = b"icc\0\0" + zlib.compress(swapped_profile() + bytes(1_300_000))
    small = encoded(load_image(SAMPLES["PNG"]), icc_profile=swapped_profile())
    seen, expected = load_image(with_chunk(b"iCCP", body)), load_image(small)
    assert seen.tobytes() == expected.convert(seen.mode).tobytes()


@pytest.mark.parametrize("place", ["missing.png", ".", "file.png/inside.png", "nul\0.png"])
def test_a_path_without_a_file_is_refused(tmp_path, place):
    (tmp_path / "file.png").write_bytes(SAMPLES["PNG"])
    with pytest.raises(InputError, match="picture file is needed"):
        load_image(tmp_path / place)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((30_000, 30_000), "too large"),
        ((10_000, 9_500), "too large"),  # where Pillow would only warn
        ((decoding.MAX_SIDE_PX + 1, 1_000), "too large"),
        ((8_000, 5_001), "too large"),
        ((600, 20), "20 times"),
        ((20, 401), "20 times"),
    ],
)
def test_limits_are_checked_on_the_header_alone(size, words):
    with pytest.raises(InputError, match=words):
        load_image(png_header(*size))


@pytest.mark.parametrize("size", [(8_000, 5_000), (decoding.MAX_SIDE_PX, 600), (20, 400)])
def test_a_picture_at_a_limit_is_opened(size):
    assert decoding.open_image(png_header(*size)).size == size


def test_too_many_bytes_are_refused_without_reading_them_all():
    class Endless(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            assert size >= 0
            Endless.taken += size
            return b"\0" * size

    with pytest.raises(InputError, match="20 MiB"):
        load_image(Endless())
    assert Endless.taken == (20 << 20) + 1


def test_limits_hold_for_pil_images_too():
    with pytest.raises(InputError, match="20 times"):
        load_image(Image.new("RGB", (300, 10)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation):
    stored = {  # how a camera of that orientation stores the upright scene
        1: [],
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }
    image = gradient()
    for step in stored[orientation]:
        image = image.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert load_image(encoded(image, "PNG", exif=exif)).tobytes() == gradient().tobytes()


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    loaded = np.asarray(load_image(encoded(Image.fromarray(values))))
    assert (loaded[..., 0].ravel() == np.arange(256)).all()


@pytest.mark.parametrize(
    ("mode", "top"), [("I", 255), ("I", 65535), ("I", 1_000_000), ("F", 1.0), ("F", 255.0)]
)
def test_wide_grey_spans_the_whole_range(mode, top):
    kind = np.int32 if mode == "I" else np.float32
    values = (np.linspace(0, 1, 64).reshape(8, 8) * top).astype(kind)
    loaded = np.asarray(load_image(Image.fromarray(values)))[..., 0].ravel()
    assert loaded[0] == 0
    assert loaded[-1] == 255
    assert (np.diff(loaded.astype(int)) > 0).all()


def test_not_a_number_becomes_black():
    values = np.array([[np.nan, np.inf], [0.5, 1.0]], dtype=np.float32)
    loaded = np.asarray(load_image(Image.fromarray(values)))[..., 0]
    assert loaded.tolist() == [[0, 0], [128, 255]]


def test_cmyk_jpeg_becomes_rgb():
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    loaded = load_image(encoded(red, "JPEG", quality=95))
    assert loaded.mode == "RGB"
    assert loaded.getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=12)


def test_a_cmyk_jpeg_without_adobes_marker_counts_ink():
    data = encoded(ImageChops.invert(Image.new("CMYK", (16, 16), (0, 255, 255, 0))), "JPEG")
    at = data.index(b"\xff\xee")
    plain = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4]) :]
    assert load_image(plain).getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "clear colour"])
def test_a_profile_is_applied_to_every_form_of_picture_that_has_one(mode):
    profile = swapped_profile()
    image = Image.new("RGB", (8, 8), (204, 51, 0))
    options = {"icc_profile": profile}
    if mode == "clear colour":
        options["transparency"] = (1, 2, 3)
    else:
        image = image.convert(mode)
    read = load_image(encoded(image, **options)).convert("RGB").getpixel((4, 4))
    plain = load_image(encoded(Image.new("RGB", (8, 8), (204, 51, 0)), icc_profile=profile))
    assert read == plain.getpixel((4, 4)) != (204, 51, 0)


def test_palette_with_a_clear_colour_becomes_rgba():
    image = Image.new("P", (4, 4), 0)
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putpixel((1, 1), 1)
    loaded = load_image(encoded(image, "PNG", transparency=0))
    assert loaded.mode == "RGBA"
    assert loaded.getpixel((0, 0))[3] == 0
    assert loaded.getpixel((1, 1)) == (0, 255, 0, 255)


def test_grey_with_alpha_becomes_rgba():
    loaded = load_image(encoded(Image.new("LA", (4, 4), (90, 40))))
    assert (loaded.mode, loaded.getpixel((0, 0))) == ("RGBA", (90, 90, 90, 40))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_colours_under_full_transparency_do_not_matter(mode):
    read = []
    for hidden in ("black", "fuchsia"):
        image = gradient().quantize(64).convert("RGBA")
        image.paste(Image.new("RGBA", (7, 5), hidden), (3, 4))
        alpha = Image.new("L", image.size, 255)
        alpha.paste(0, (3, 4, 10, 9))
        image.putalpha(alpha)
        read.append(np.asarray(load_image(encoded(image.convert(mode)))))
        assert np.array_equal(read[-1][..., 3], np.asarray(alpha))
    assert np.array_equal(*read)


def test_what_is_hardly_seen_keeps_its_colour():
    image = Image.new("RGBA", (8, 8), (200, 30, 40, 0))
    image.putpixel((3, 3), (10, 240, 20, 1))
    image.putpixel((6, 6), (250, 0, 250, 255))
    assert load_image(image).getpixel((3, 3)) == (10, 240, 20, 1)


def test_visible_colours_are_carried_on_to_what_is_hidden():
    image = Image.new("RGBA", (24, 16), (40, 80, 120, 255))
    image.paste((255, 0, 255, 0), (6, 4, 18, 12))
    assert np.abs(np.asarray(load_image(image))[..., :3] - [40, 80, 120]).max() <= 4


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_an_animation_gives_its_first_frame(file_format):
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    data = encoded(first, file_format, save_all=True, append_images=[second])
    assert load_image(data).convert("RGB").getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=3)


def test_an_embedded_profile_is_converted_and_a_broken_one_ignored():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"not a profile", srgb[:200]):
        loaded = load_image(encoded(gradient(), "PNG", icc_profile=profile))
        assert np.abs(np.asarray(loaded, int) - np.asarray(gradient(), int)).max() <= 2
    data = encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 77)), icc_profile=swapped_profile())
    assert load_image(data).getpixel((0, 0)) == pytest.approx((0, 0, 255, 77), abs=3)


def test_nothing_but_pixels_is_kept_of_a_polyglot():
    data = SAMPLES["PNG"] + b"<html><script>alert(1)</script></html>"
    loaded = load_image(data)
    assert loaded.info == {}
    assert loaded.tobytes() == gradient().tobytes()


def test_the_callers_image_is_left_alone():
    image = Image.new("RGB", (4, 4), "red")
    image.info["note"] = "mine"
    load_image(image).putpixel((0, 0), (0, 0, 0))
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert image.info == {"note": "mine"}


def test_a_palette_with_more_transparencies_than_colours_is_read():
    palette = bytes(v for i in range(256) for v in (i, 0, 0))
    chunks = [(b"PLTE", palette), (b"tRNS", bytes([77]) * 300)]
    loaded = load_image(pictures.png((4, 4), colour_type=3, chunks=chunks))
    assert (loaded.mode, loaded.getpixel((0, 0))) == ("RGBA", (0, 0, 0, 77))
    chunks[1] = (b"tRNS", b"\xff" * 299 + b"\0")  # clear is a colour that no palette has
    assert load_image(pictures.png((4, 4), colour_type=3, chunks=chunks)).mode == "RGB"


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ((50, 20, 0, 100), (127, 51, 0, 100)),
        pytest.param(
            *((50, 100), (127, 127, 127, 100)),
            marks=pytest.mark.skipif(not pictures.READS_ALL, reason="Pillow 13 reads it first"),
        ),
    ],
)
def test_colours_that_were_multiplied_by_transparency_are_divided_again(stored, seen):
    image = load_image(pictures.tiff(bytes(stored * 24 * 16), samples=len(stored), extra=1))
    assert (image.mode, image.getpixel((3, 3))) == ("RGBA", seen)


@pytest.mark.parametrize("name", pictures.HOSTILE)
def test_costly_pictures_are_read_or_refused_in_a_sentence(name):
    data = pictures.HOSTILE[name]()
    if name in {"strip", "bits"}:
        assert decoding.open_image(data).size  # at a limit; they are read elsewhere
        return
    try:
        assert load_image(data).size == pictures.SIZE
    except ImageError as error:
        assert "is needed" in str(error) or "read" in str(error)  # noqa: PT017 - either is right


def test_a_jpeg_may_have_as_many_scans_as_its_size_allows():
    assert load_image(pictures.jpeg_of_scans((64, 64), 100)).size == (64, 64)
    with pytest.raises(ImageError, match="200 scans"):
        decoding.open_image(pictures.jpeg_of_scans((2_000, 2_000), 200))


def test_a_jpeg_inside_a_tiff_is_counted_too(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_SCANNED_PIXELS", 20 * 24 * 16)
    few, many = (pictures.jpeg_of_scans((24, 16), count) for count in (20, 21))
    assert load_image(pictures.tiff(few, samples=1, t259=7, t279=len(few))).mode == "RGB"
    with pytest.raises(ImageError, match="21 scans"):
        decoding.open_image(pictures.tiff(many, samples=1, t259=7, t279=len(many)))
    lengths = (len(few),) * 16
    with pytest.raises(ImageError, match="overlap"):
        decoding.open_image(
            pictures.tiff(few, samples=1, t259=7, t278=1, t273=(0,) * 16, t279=lengths)
        )


def test_headers_are_read_in_bounded_steps(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_HEADER_READS", 20)
    assert decoding.open_image(SAMPLES["PNG"]).size == (24, 16)
    with pytest.raises(ImageError, match="more blocks"):
        decoding.open_image(pictures.png((4, 4), chunks=((b"vpAg", b""),) * 20))


def test_wide_grey_is_scaled_in_bands_as_at_once(monkeypatch):
    values = np.random.default_rng(0).uniform(0, 300, (40, 30)).astype(np.float32)
    whole = load_image(Image.fromarray(values)).tobytes()
    monkeypatch.setattr(decoding, "BAND_PIXELS", 70)
    assert load_image(Image.fromarray(values)).tobytes() == whole


def test_threads_leave_the_filters_of_warnings_as_they_were():
    before, errors = list(warnings.filters), []
    truncated = encoded(gradient(), "TIFF")

    def read():
        try:
            for _ in range(25):
                load_image(truncated)
        except Exception as error:  # noqa: BLE001 - compared below
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (errors, warnings.filters) == ([], before)
