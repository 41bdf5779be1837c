"""The original picture of an edit, with the colours, depth and metadata of its file."""

import io
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from swiftpie.imageio.decoding import (
    BAND_PIXELS,
    DECODER_ERRORS,
    colour_profile,
    describe,
    image_errors,
    load_image,
    open_image,
    to_plain,
    to_straight,
    to_upright,
)
from swiftpie.imageio.writing import (
    DEEP_FORMATS,
    EXIF_BLOCK,
    GPS_BLOCK,
    USER_COMMENT,
    XMP,
    PictureData,
    format_of,
)

MAKER_NOTE = 0x927C
EXIF_SIZE = (0xA002, 0xA003)  # width and height, which upright may be exchanged
EXIF_POINTER = 0xA005  # to another block, which is never read
# Tags of the first block that describe the picture, not its storage or orientation.
EXIF_WORDS = (*range(0x010E, 0x0111), 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C)
EXIF_WORDS += (0x8298, *range(0x9C9B, 0x9CA0))
MAX_KEPT_EXIF = 5_000  # bytes; a JPEG also has to hold how the picture was made

# Pillow keeps the upper bytes of colours of 16 bit; with the other byte order it keeps the lower.
OTHER_BYTES = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in ("BL", "LB", "NB" if sys.byteorder == "little" else "NL")
}
OTHER_COLOURS = {
    "I": "numbers of 32 bit",
    "F": "numbers of 32 bit",
    "CMYK": "colours for print (CMYK)",
    "LAB": "colours in Lab",
    "YCbCr": "colours in YCbCr",
}
GREYS = ("L", "LA")


class OriginalPicture(NamedTuple):
    """A picture before an edit."""

    stored: PictureData
    losses: tuple[str, ...]  # what its file holds and none that is written can


def read_original(source: str | Path | bytes | Image.Image) -> OriginalPicture:
    """Return a picture upright and with the colours, depth and words that its file has.

    Raises:
        ImageError: It cannot be read; see `load_image`.
    """
    image = open_image(source)
    is_ours = image is not source
    with image_errors(describe(source)):
        is_deep, tiles = _lower_bytes(image) if is_ours else (False, [])
        image.load()
        exif, losses = _kept_exif(image)
        if getattr(image, "is_animated", False):
            losses.append("frames after its first")
        profile = colour_profile(image)
        if not profile and image.info.get("icc_profile"):
            losses.append("its colour profile")
        image = to_straight(to_upright(image, is_ours=is_ours))
        deep = _in_16_bits(image, source, tiles)
        if deep is not None:
            if deep.shape[2] == 4:
                hidden = deep[..., 3] == 0
                deep[hidden, :3] = np.asarray(to_plain(image), np.uint16)[hidden, :3] * 257
            return OriginalPicture(PictureData(deep, profile, exif), tuple(losses))
        if is_deep:
            losses.append("its 16 bits")
        if image.mode in OTHER_COLOURS:
            losses.append(f"its {OTHER_COLOURS[image.mode]}")
        if image.mode in OTHER_COLOURS or (image.mode in GREYS and "icc_profile" in image.info):
            return OriginalPicture(PictureData(load_image(source), b"", exif), tuple(losses))
        return OriginalPicture(PictureData(to_plain(image), profile, exif), tuple(losses))


def composite(original: OriginalPicture, edited: Image.Image, blend: Image.Image) -> PictureData:
    """Return `edited` over the original by the weights of `blend`; elsewhere bits stay the same.

    Args:
        original: Of size (W, H).
        edited: sRGB of 8 bit, as large. If it has transparency, that is the result's.
        blend: Mode L, as large; 0 leaves the original's pixel unchanged.
    """
    pixels, profile, _ = original.stored
    alpha = edited.getchannel("A") if edited.mode == "RGBA" else None
    edited = edited.convert("RGB")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(edited, srgb, own, outputMode="RGB")
        assert converted is not None  # only in-place conversion returns nothing
        edited = converted
    if not isinstance(pixels, Image.Image):
        deep = _blended(pixels, edited, blend)
        if alpha is not None:
            deep[(np.asarray(alpha) == 255) & (deep[..., 3] < 0xFF00), 3] = 0xFFFF
        return original.stored._replace(pixels=deep)
    before = pixels if pixels.mode == "RGB" else pixels.convert("RGB")
    joined = Image.composite(edited, before, blend)
    if pixels.mode == "RGBA":
        joined.putalpha(alpha or pixels.getchannel("A"))
    return original.stored._replace(pixels=joined)


def losses_in(original: OriginalPicture, suffix: str) -> tuple[str, ...]:
    """Return the names of the parts of a picture that a file with this suffix loses."""
    (pixels, _, exif), losses = original.stored, list(original.losses)
    is_deep = not isinstance(pixels, Image.Image)
    file_format = format_of(suffix)
    if is_deep and file_format not in DEEP_FORMATS:
        losses.append("its 16 bits")
    if file_format == "JPEG" and _is_clear(pixels):
        losses.append("its transparency")
    if file_format != "PNG" and exif:
        kept = Image.Exif()
        kept.load(exif)
        if USER_COMMENT in kept.get_ifd(EXIF_BLOCK):
            losses.append("the comment in its EXIF data")
    return tuple(losses)


def _in_16_bits(
    image: Image.Image, source: str | Path | bytes | Image.Image, tiles: list[Any]
) -> NDArray[np.uint16] | None:
    """Return colours (H, W, 3 or 4) of a decoded picture; None if it has not so many bits."""
    if image.mode.startswith("I;16"):
        return np.stack([np.asarray(image).astype(np.uint16)] * 3, axis=-1)
    if not tiles:
        return None
    low = open_image(source)
    low.tile = tiles  # type: ignore[attr-defined]  # only a file has them
    low.load()
    lower = np.asarray(to_upright(low, is_ours=True))
    return np.asarray(image).astype(np.uint16) << 8 | lower


def _lower_bytes(image: Image.Image) -> tuple[bool, list[Any]]:
    """Return whether a file not decoded yet has colours of 16 bit, and where their lower bytes are.

    The places are for Pillow's decoders; there are none if Pillow cannot read them this way.
    """
    found: list[Any] = []
    for tile in getattr(image, "tile", []):
        raw, *others = (tile.args,) if isinstance(tile.args, str) else tile.args
        if raw not in OTHER_BYTES:
            return ";16" in str(raw), []
        args = OTHER_BYTES[raw] if isinstance(tile.args, str) else (OTHER_BYTES[raw], *others)
        found.append(tile._replace(args=args))
    return bool(found), found


def _kept_exif(image: Image.Image) -> tuple[bytes, list[str]]:
    """Return EXIF data without orientation and thumbnail, and the names of lost parts."""
    losses: list[str] = []
    try:
        given, kept = image.getexif(), Image.Exif()
        for tag in EXIF_WORDS:
            if tag in given:
                kept[tag] = given[tag]
        for block in (EXIF_BLOCK, GPS_BLOCK):
            left_out = (MAKER_NOTE, EXIF_POINTER, *EXIF_SIZE)
            entries = given.get_ifd(block)
            if block == EXIF_BLOCK and MAKER_NOTE in entries:
                losses.append("the maker's notes in its EXIF data")
            if kept_entries := {
                tag: entry for tag, entry in entries.items() if tag not in left_out
            }:
                kept.get_ifd(block).update(kept_entries)
        has_words = len(kept) or any(map(kept.get_ifd, (EXIF_BLOCK, GPS_BLOCK)))
        data = kept.tobytes() if has_words else b""
    except DECODER_ERRORS:
        return b"", ["its EXIF data, which are damaged"]
    if len(data) > MAX_KEPT_EXIF:
        return b"", [f"its EXIF data of {len(data)} bytes"]
    words = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if words and words not in {XMP, XMP.encode()}:
        losses.append("its XMP data")
    return data, losses


def _blended(
    pixels: NDArray[np.uint16], edited: Image.Image, blend: Image.Image
) -> NDArray[np.uint16]:
    joined = pixels.copy()
    rows = max(1, BAND_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        box = (0, top, pixels.shape[1], min(top + rows, len(pixels)))
        weight = np.asarray(blend.crop(box)).astype(np.uint32)[..., None]
        new = np.asarray(edited.crop(box)).astype(np.uint32) * 257
        band = joined[top : top + rows, :, :3]
        band[:] = (new * weight + band * (255 - weight) + 127) // 255
    return joined


def _is_clear(pixels: Image.Image | NDArray[np.uint16]) -> bool:
    if isinstance(pixels, Image.Image):
        return pixels.mode == "RGBA" and pixels.getchannel("A").getextrema()[0] != 255
    return pixels.shape[2] == 4 and bool((pixels[..., 3] < 0xFFFF).any())
