import io

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.originals import composite, losses_in, read_original
from swiftpie.imageio.writing import encode_image
from tests.fuzz import pictures
from tests.fuzz.pictures import encoded, swapped_profile

WIDTH, HEIGHT = pictures.SIZE
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MAKE, ORIENTATION = 0x010F, 0x0112
EXIF, GPS = 0x8769, 0x8825
LOST_WORDS = {".png": (), ".jpg": ("its text 'Mood'",), ".webp": ("its text 'Mood'",)}
LOST_WORDS[".tif"] = ("its text 'Mood'", "its text 'Copyright'")
IMAGE_WORDS = {"Description": 0x010E, "Author": 0x013B, "Copyright": 0x8298}
MAKER_NOTE, EXPOSURE, COMMENT, STORED_WIDTH = 0x927C, 0x829A, 0x9286, 0xA002


def deep(channels=3):
    shape = (HEIGHT, WIDTH, channels)
    return np.random.default_rng(channels).integers(0, 1 << 16, shape, dtype=np.uint16)


def tiff_of(values):
    channels = values.shape[2]
    return pictures.tiff(values.astype("<u2").tobytes(), samples=channels, t258=(16,) * channels)


def test_an_edit_is_reported_in_the_colours_of_the_pictures_own_profile():
    before = Image.new("RGB", pictures.SIZE, (10, 200, 30))
    original = read_original(encoded(before, icc_profile=swapped_profile()))
    left_half = Image.new("L", pictures.SIZE, 0)
    left_half.paste(255, (0, 0, WIDTH // 2, HEIGHT))
    after = composite(original, Image.new("RGB", pictures.SIZE, (250, 0, 0)), left_half)
    assert after.pixels.getpixel((WIDTH - 1, 0)) == (10, 200, 30)
    assert after.pixels.getpixel((1, 1)) == pytest.approx((0, 0, 250), abs=4)
    shown = load_image(encode_image(after, ".png", metadata={}))
    assert shown.getpixel((1, 1)) == pytest.approx((250, 0, 0), abs=4)


def photo(**more):
    exif = Image.Exif()
    exif[MAKE], exif[ORIENTATION] = "a camera", 6
    exif.get_ifd(EXIF).update({EXPOSURE: 0.5, STORED_WIDTH: 24})
    exif.get_ifd(GPS)[1] = "N"
    return encoded(Image.new("RGB", (24, 16)), "JPEG", exif=exif, icc_profile=PROFILE, **more)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_data_stay_but_for_which_way_is_up(suffix):
    original = read_original(photo())
    assert original.stored.pixels.size == (16, 24)
    data = encode_image(original.stored, suffix, metadata={"prompt": "a dog"})
    with Image.open(io.BytesIO(data)) as opened:
        exif = opened.getexif()
        assert (exif[MAKE], ORIENTATION in exif) == ("a camera", False)
        assert exif.get_ifd(EXIF)[EXPOSURE] == 0.5
        assert STORED_WIDTH not in exif.get_ifd(EXIF)
        assert exif.get_ifd(GPS)[1] == "N"
        assert (opened.info["icc_profile"], opened.size) == (PROFILE, (16, 24))


@pytest.mark.parametrize(
    ("picture", "suffix", "words"),
    [
        (encoded(Image.new("CMYK", (8, 8)), "JPEG"), ".png", "print"),
        (Image.fromarray(np.ones((8, 8), np.float32)), ".png", "32 bit"),
        (Image.new("RGBA", (8, 8), (0, 0, 0, 9)), ".jpg", "its transparency"),
        (tiff_of(deep()), ".tif", "its 16 bits"),
        (encoded(Image.fromarray(deep()[..., 0])), ".png", "its 16 bits"),
        (pictures.png((8, 8), bit_depth=16, colour_type=4), ".png", "its 16 bits"),
        (encoded(Image.new("L", (8, 8)), icc_profile=b"none"), ".png", "its colour profile"),
        (photo(xmp=b"<x:xmpmeta/>"), ".png", "its XMP data"),
        (pictures.samples()["gif-animated"], ".webp", "frames after its first"),
        (pictures.samples()["jpeg"], ".jpg", "comment"),
    ],
)
def test_what_a_file_cannot_keep_is_reported(picture, suffix, words):
    assert any(words in loss for loss in losses_in(read_original(picture), suffix))


def test_maker_notes_and_much_exif_data_are_left_out_and_that_is_reported():
    exif = Image.Exif()
    exif.get_ifd(EXIF).update({MAKER_NOTE: b"secret" * 9, EXPOSURE: 0.5})
    original = read_original(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    assert original.stored.exif
    assert b"secret" not in original.stored.exif
    assert "maker" in original.losses[0]
    exif.get_ifd(EXIF)[COMMENT] = b"ASCII\0\0\0" + b"x" * 20_000
    original = read_original(encoded(Image.new("RGB", (8, 8)), "JPEG", exif=exif))
    assert original.stored.exif == b""
    assert "bytes" in original.losses[-1]


def captioned(**texts):
    notes = PngInfo()
    for name, text in texts.items():
        notes.add_text(name, text, zip=len(text) > 99)
    return encoded(Image.new("RGB", (8, 8)), pnginfo=notes, dpi=(300, 300))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_resolution_and_texts_stay_in_the_fields_that_each_format_has(suffix):
    words = {"Copyright": "© Jane", "Author": "Jane", "Description": "my cat", "Mood": "calm"}
    original = read_original(captioned(**words))
    with Image.open(io.BytesIO(encode_image(original.stored, suffix, metadata={}))) as opened:
        opened.load()
        exif = opened.getexif()
        dpi = opened.info.get("dpi") or [exif[tag] for tag in (0x011A, 0x011B)]
        assert [float(value) for value in dpi] == pytest.approx([300, 300], abs=0.1)
        lost = losses_in(original, suffix)
        for name, tag in IMAGE_WORDS.items():
            held = opened.info.get(name) if suffix == ".png" else exif.get(tag)
            is_kept = f"its text {name!r}" not in lost
            assert (held in spelled(words[name])) is is_kept
    assert lost == LOST_WORDS[suffix]


def spelled(text):
    """How Pillow reads a text in UTF-8 from a tag, and from a PNG."""
    return {text, text.encode().decode("latin-1")}


def test_the_comment_of_a_jpeg_stays_where_there_is_room_for_it():
    given = encoded(Image.new("RGB", (8, 8)), "JPEG", comment=b"(c) Jane", dpi=(240, 240))
    original = read_original(given)
    for suffix in (".jpg", ".png"):
        with Image.open(io.BytesIO(encode_image(original.stored, suffix, metadata={}))) as opened:
            assert opened.info["comment"] in {b"(c) Jane", "(c) Jane"}
            assert round(opened.info["dpi"][0]) == 240
        assert losses_in(original, suffix) == ()
    assert losses_in(original, ".webp") == ("its text 'comment'",)


def test_of_much_text_the_short_ones_stay_and_no_old_record_does():
    made = captioned(Author="Jane", workflow="{}" * 5_000, swiftpie='{"prompt": "a dog"}')
    original = read_original(made)
    assert dict(original.stored.texts) == {"Author": "Jane"}
    assert original.losses == ("its text 'workflow'",)


def test_a_resolution_that_means_nothing_is_left_out():
    for dpi in ((0, 300), (float("nan"), 300), (1e9, 1e9), "300", (300,)):
        image = Image.new("RGB", (8, 8))
        image.info["dpi"] = dpi
        assert read_original(image).stored.dpi is None


def test_a_profile_that_readers_of_png_refuse_becomes_plain_colours_and_that_is_reported():
    large = swapped_profile() + bytes(1_200_000)
    original = read_original(encoded(Image.new("RGB", (8, 8), (10, 200, 30)), icc_profile=large))
    assert original.losses == ("its colour profile",)
    data = encode_image(original.stored, ".png", metadata={})
    with Image.open(io.BytesIO(data)) as opened:
        assert opened.convert("RGB").getpixel((0, 0)) == pytest.approx((30, 200, 10), abs=6)


def test_a_plain_picture_is_written_as_any_other():
    plain = Image.fromarray((deep() >> 8).astype(np.uint8))
    original = read_original(encoded(plain))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        stored = encode_image(original.stored, suffix, metadata={"seed": "1"})
        assert stored == encode_image(plain, suffix, metadata={"seed": "1"})
        assert losses_in(original, suffix) == ()


@pytest.mark.parametrize("name", sorted(pictures.samples()))
def test_every_kind_of_picture_keeps_its_look(name):
    data = pictures.samples()[name]
    seen = load_image(encode_image(read_original(data).stored, ".png", metadata={}))
    expected = load_image(data)
    assert seen.size == expected.size
    difference = np.asarray(seen.convert("RGBA"), int) - np.asarray(expected.convert("RGBA"), int)
    assert np.abs(difference).max() <= 2
