"""Pictures before an edit, and what of their files an edit keeps; loads no tensor library."""

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageCms

from swiftpie.errors import short_reason
from swiftpie.imageio.credentials import COMPOSITE, LOST, SOURCE_TYPE, credentials_in
from swiftpie.imageio.decoding import (
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
    COMMENT,
    EXIF_BLOCK,
    METADATA_KEY,
    USER_COMMENT,
    XMP_KEYWORD,
    PictureData,
    format_of,
    holds_text,
    is_clear,
    mark_of,
)

GPS_BLOCK = 0x8825
MAKER_NOTE = 0x927C
EXIF_SIZE = (0xA002, 0xA003)  # width and height, which upright may be exchanged
EXIF_POINTER = 0xA005  # points to another block, which is never read
# Tags of the first block that describe the picture, not its storage or orientation.
EXIF_WORDS = (*range(0x010E, 0x0111), 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C)
EXIF_WORDS += (0x8298, *range(0x9C9B, 0x9CA0))
MAX_KEPT_EXIF = 5_000  # bytes; a JPEG also has to hold how the picture was made
MAX_KEPT_TEXTS = 5_000  # letters
LOST_TEXT = "its text {!r}"
MAX_DPI = 65_535  # what a JPEG holds
MARKS = (mark_of(None), mark_of({SOURCE_TYPE: COMPOSITE}))  # of files of ours

OTHER_COLOURS = {"CMYK": "colours for print (CMYK)", "LAB": "colours in Lab"}
OTHER_COLOURS |= {"YCbCr": "colours in YCbCr", **dict.fromkeys("IF", "numbers of 32 bit")}


class OriginalPicture(NamedTuple):
    """A picture before an edit."""

    stored: PictureData
    losses: tuple[str, ...]  # what its file holds and none that is written can
    data: bytes = b""  # its file, if that came in a request


def read_original(source: str | Path | bytes | Image.Image) -> OriginalPicture:
    """Return a picture upright, of 8 bits, in the colours and words of its file."""
    image = open_image(source)
    with image_errors(describe(source)):
        profile, lost = colour_profile(image), lost_colours(image)
        image.load()
        exif, losses = _kept_exif(image)
        words, dropped = kept_words(image, more=getattr(image, "text", None))
        losses += [*lost, *dropped, *lost_credentials(source)]
        kept: dict[str, Any] = {"exif": exif, **words}
        image = to_straight(to_upright(image, is_ours=image is not source))
        has_other = "icc_profile" in image.info and (not profile or image.mode in {"L", "LA"})
        if has_other or image.mode in OTHER_COLOURS:
            return OriginalPicture(PictureData(load_image(source), **kept), tuple(losses))
        return OriginalPicture(PictureData(to_plain(image), profile, **kept), tuple(losses))


def lost_credentials(source: object) -> list[str]:
    """Return the name of the content credentials of a file, which at most a signed edit keeps."""
    found = credentials_in(source)
    if found is None:
        return []
    return ["its damaged content credentials" if found.signer == "" else f"{LOST}, {found}"]


def lost_colours(image: Image.Image) -> list[str]:
    """Return the names of the pixels and colours that no edited file keeps, by a header alone."""
    losses = []
    if any(";16" in str(tile.args) for tile in getattr(image, "tile", ())):
        losses.append("its 16 bits")
    if getattr(image, "is_animated", False):
        losses.append("frames after its first")
    if not colour_profile(image) and image.info.get("icc_profile"):
        losses.append("its colour profile")
    if image.mode in OTHER_COLOURS:
        losses.append(f"its {OTHER_COLOURS[image.mode]}")
    return losses


def composite(original: OriginalPicture, edited: Image.Image, blend: Image.Image) -> PictureData:
    """Return `edited` over the original by the weights of `blend`; elsewhere bits stay the same.

    Args:
        original: Of size (W, H).
        edited: sRGB, as large. If it has transparency, that is the result's.
        blend: Mode L, as large; 0 leaves the original's pixel unchanged.
    """
    pixels, profile = original.stored[:2]
    alpha = edited.getchannel("A") if edited.mode == "RGBA" else None
    edited = edited.convert("RGB")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(edited, srgb, own, outputMode="RGB")
        assert converted is not None  # only in-place conversion returns nothing
        edited = converted
    before = pixels if pixels.mode == "RGB" else pixels.convert("RGB")
    joined = Image.composite(edited, before, blend)
    if pixels.mode == "RGBA":
        joined.putalpha(alpha or pixels.getchannel("A"))
    return original.stored._replace(pixels=joined)


def losses_in(
    original: OriginalPicture, suffix: str, *, is_signed: bool = False
) -> tuple[str, ...]:
    (pixels, _, exif, _, texts), losses = original.stored, list(original.losses)
    losses = [loss for loss in losses if not (is_signed and loss.startswith(LOST))]
    file_format = format_of(suffix)
    if file_format == "JPEG" and is_clear(pixels):
        losses.append("its transparency")
    lost = (name for name in texts if not holds_text(file_format, name, texts[name]))
    losses += [LOST_TEXT.format(short_reason(name)) for name in lost]
    if file_format != "PNG" and exif:
        kept = Image.Exif()
        kept.load(exif)
        if USER_COMMENT in kept.get_ifd(EXIF_BLOCK):
            losses.append("the comment in its EXIF data")
    return tuple(losses)


def kept_words(
    image: Image.Image, more: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the resolution and the texts of a file by its header, and the names of lost texts.

    They are fields of `PictureData`. `more` are texts at the end of a PNG.
    """
    dpi, texts = None, dict[str, str]()
    with suppress(TypeError, ValueError, ArithmeticError):
        across, down = map(float, image.info.get("dpi") or ())
        if 1 <= across <= MAX_DPI and 1 <= down <= MAX_DPI:
            dpi = across, down
    if image.format == "PNG":
        texts = {str(key): text for key, text in image.info.items() if isinstance(text, str)}
        texts |= more or {}
        texts = {key: texts[key] for key in texts.keys() - {METADATA_KEY, XMP_KEYWORD}}
    elif image.format in {"JPEG", "MPO"} and (comment := image.info.get(COMMENT)):
        texts = {COMMENT: bytes(comment).decode(errors="replace")}
    kept, losses, left = dict[str, str](), list[str](), MAX_KEPT_TEXTS
    for name, text in sorted(texts.items(), key=lambda item: len(item[1])):
        left -= len(name) + len(text)
        if left < 0 or name.startswith("Raw profile type"):
            losses.append(LOST_TEXT.format(short_reason(name)))
        else:
            kept[name] = text.replace("\0", "")
    return {"dpi": dpi, "texts": kept}, losses


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
            if left := {tag: entries[tag] for tag in entries if tag not in left_out}:
                kept.get_ifd(block).update(left)
        has_words = len(kept) or any(map(kept.get_ifd, (EXIF_BLOCK, GPS_BLOCK)))
        data = kept.tobytes() if has_words else b""
    except DECODER_ERRORS:
        return b"", ["its EXIF data, which are damaged"]
    if len(data) > MAX_KEPT_EXIF:
        return b"", [f"its EXIF data of {len(data)} bytes"]
    words = image.info.get("xmp") or image.info.get(XMP_KEYWORD)
    if words and words not in {*MARKS, *map(str.encode, MARKS)}:
        losses.append("its XMP data")
    return data, losses
