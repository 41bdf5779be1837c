"""Writing picture files with their origin, and reading it back; loads no tensor library."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, PngImagePlugin

from swiftpie.errors import InputError
from swiftpie.imageio.atomic import check_target, write_file
from swiftpie.imageio.decoding import DECODER_ERRORS, Source, open_image

FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
METADATA_KEY = "swiftpie"
EXIF_BLOCK = 0x8769
USER_COMMENT = 0x9286
ASCII_COMMENT = b"ASCII\0\0\0"  # EXIF's way to say how the comment is encoded
MAX_METADATA_BYTES = 60_000  # a JPEG's EXIF block holds 64 KiB at most
QUALITY: Mapping[str, Mapping[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 92},
    "TIFF": {"compression": "raw"},  # with others, Pillow writes no EXIF data
}
LOSSLESS = ("PNG", "TIFF")
XMP_TAG = 700  # of TIFF

XMP = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType="
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


class PictureData(NamedTuple):
    """A picture with the other contents of its file."""

    pixels: Image.Image  # RGB or RGBA
    profile: bytes = b""  # ICC, of these colours; empty for sRGB
    exif: bytes = b""


def save_image(
    image: Image.Image | PictureData,
    path: str | Path,
    *,
    metadata: Mapping[str, str] | None,
    force: bool = False,
) -> None:
    """Write a picture, a generated one with its origin; equal arguments give equal bytes.

    Args:
        image: the picture; JPEG has no transparency, so it is laid on white there.
        path: its suffix (.png, .jpg, .jpeg, .webp, .tif or .tiff) chooses the format.
        metadata: stored as JSON, and the file is marked as made by a trained model (IPTC); None
            for a picture that no model made, which gets neither.
        force: replace an existing file.

    Raises:
        InputError: The suffix is unknown, the file exists, the folder cannot be written to, or the
            metadata is too long.
    """
    data = encode_image(image, Path(path).suffix, metadata=metadata, name=f"'{path}'")
    write_file(path, data, force=force)


def encode_image(
    image: Image.Image | PictureData,
    suffix: str,
    *,
    metadata: Mapping[str, str] | None,
    name: str = "The picture",
    quality: int | None = None,
) -> bytes:
    """Return the bytes that `save_image` would write to a file with this suffix.

    `quality`, 0 to 100, is that of JPEG and WebP; None: hardly any loss to be seen.

    Raises:
        InputError: The suffix is unknown or the metadata is too long.
    """
    file_format = format_of(suffix, name=name)
    pixels, profile, exif = image if isinstance(image, PictureData) else PictureData(image)
    notes = picture_notes(metadata, file_format, exif=exif, name=name)
    if profile:
        notes["icc_profile"] = profile
    plain = pixels.copy() if pixels.mode in {"L", "RGB", "RGBA"} else pixels.convert("RGB")
    plain.info = {}  # nothing of the input may travel along
    if file_format == "JPEG" and plain.mode == "RGBA":
        ground = Image.new("RGBA", plain.size, "white")
        plain = Image.alpha_composite(ground, plain).convert("RGB")
    buffer = io.BytesIO()
    chosen = {} if quality is None or file_format in LOSSLESS else {"quality": quality}
    plain.save(buffer, file_format, **{**QUALITY[file_format], **chosen}, **notes)
    return buffer.getvalue()


def read_metadata(source: Source) -> dict[str, str]:
    """Return what `save_image` stored in a picture; empty for pictures of other origin.

    So it is for more than `MAX_METADATA_BYTES`, which a small file can unpack to.

    Raises:
        ImageError: The file is missing or not a picture.
    """
    image = open_image(source)
    try:
        if image.format == "PNG":
            text = str(image.info.get(METADATA_KEY, ""))
        else:
            comment = image.getexif().get_ifd(EXIF_BLOCK).get(USER_COMMENT, b"")
            text = bytes(comment).removeprefix(ASCII_COMMENT).decode("ascii")
        stored = json.loads(text) if len(text.encode()) <= MAX_METADATA_BYTES else None
        found = {str(k): str(v) for k, v in stored.items()} if isinstance(stored, dict) else {}
        "".join([*found, *found.values()]).encode()  # fails for a half of a surrogate pair
    except DECODER_ERRORS:
        return {}
    return found


def check_image_target(path: str | Path, *, force: bool = False) -> None:
    """Refuse what `save_image` would refuse, before any work is done for it."""
    format_of(Path(path).suffix, name=f"'{path}'")
    check_target(path, force=force)


def format_of(suffix: str, *, name: str = "The picture") -> str:
    """Return Pillow's name of the format that a suffix chooses."""
    file_format = FORMAT_OF_SUFFIX.get(suffix.lower())
    if file_format is None:
        raise InputError(
            f"{name} does not end in a known suffix. Choose one of {', '.join(FORMAT_OF_SUFFIX)}."
        )
    return file_format


def picture_notes(
    metadata: Mapping[str, str] | None,
    file_format: str,
    *,
    exif: bytes = b"",
    name: str = "The picture",
) -> dict[str, Any]:
    """Return Pillow's arguments that store `metadata`, the mark of origin and EXIF data."""
    if metadata is None:
        return {"exif": exif} if exif else {}
    text = json.dumps(dict(metadata), sort_keys=True)
    if len(text) > MAX_METADATA_BYTES:
        raise InputError(
            f"The metadata for {name} has {len(text)} bytes. At most {MAX_METADATA_BYTES} fit "
            "into a picture. Shorten the prompt."
        )
    if file_format == "PNG":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(METADATA_KEY, text)
        chunks.add_itxt("XML:com.adobe.xmp", XMP)
        return {"pnginfo": chunks} | ({"exif": exif} if exif else {})
    words = Image.Exif()
    words.load(exif)
    words.get_ifd(EXIF_BLOCK)[USER_COMMENT] = ASCII_COMMENT + text.encode("ascii")
    if file_format == "TIFF":
        words[XMP_TAG] = XMP.encode()
    return {"exif": words.tobytes(), "xmp": XMP.encode()}
