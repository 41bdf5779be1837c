"""Writing picture files with their origin, and reading it back; loads no tensor library."""

import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

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
EXIF_BLOCK, GPS_BLOCK = 0x8769, 0x8825
USER_COMMENT = 0x9286
ASCII_COMMENT = b"ASCII\0\0\0"  # EXIF's way to say how the comment is encoded
MAX_METADATA_BYTES = 60_000  # a JPEG's EXIF block holds 64 KiB at most
QUALITY: Mapping[str, Mapping[str, int]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 92},
}
DEEP_FORMATS = ("PNG", "TIFF")  # hold 16 bits a colour; Pillow writes neither so
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {3: 2, 4: 6}  # the type of a picture by its number of channels
TIFF_START = b"II*\0\x08\0\0\0"  # little endian, tags at 8
DEFLATE, GREY, COLOUR, CLEAR = 8, 1, 2, 2  # as TIFF numbers them
XMP_TAG, PROFILE_TAG = 700, 34675

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

    pixels: Image.Image | NDArray[np.uint16]  # RGB or RGBA, or such of 16 bit (H, W, 3 or 4)
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
    if isinstance(pixels, np.ndarray) and file_format in DEEP_FORMATS:
        return (encode_png if file_format == "PNG" else encode_tiff)(pixels, **notes)
    image = _in_8_bits(pixels) if isinstance(pixels, np.ndarray) else pixels
    plain = image.copy() if image.mode in {"L", "RGB", "RGBA"} else image.convert("RGB")
    plain.info = {}  # nothing of the input may travel along
    if file_format == "TIFF":
        return encode_tiff(np.asarray(plain), **notes)
    if file_format == "JPEG" and plain.mode == "RGBA":
        ground = Image.new("RGBA", plain.size, "white")
        plain = Image.alpha_composite(ground, plain).convert("RGB")
    buffer = io.BytesIO()
    chosen = {} if quality is None or file_format == "PNG" else {"quality": quality}
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
    return {"exif": words, "xmp": XMP.encode()}


def _in_8_bits(values: NDArray[np.uint16]) -> Image.Image:
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def encode_png(
    values: NDArray[np.uint16],
    *,
    pnginfo: PngImagePlugin.PngInfo | None = None,
    icc_profile: bytes = b"",
    exif: bytes = b"",
) -> bytes:
    """Return a PNG of colours (H, W, 3 or 4); all else is as Pillow takes it."""
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, PNG_COLOURS[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if icc_profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc_profile)))
    chunks += [(chunk[0], chunk[1]) for chunk in (pnginfo.chunks if pnginfo else ())]
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    packer, above = zlib.compressobj(), np.zeros(2 * width * channels, dtype=np.uint8)
    rows = []
    for row in values:
        line = row.astype(">u2").view(np.uint8).ravel()
        rows.append(packer.compress(b"\2" + (line - above).tobytes()))  # the difference to above
        above = line
    chunks += [(b"IDAT", b"".join(rows) + packer.flush()), (b"IEND", b"")]
    return PNG_START + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def encode_tiff(
    values: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    exif: Image.Exif | bytes = b"",
    xmp: bytes = b"",
    icc_profile: bytes = b"",
) -> bytes:
    """Return a TIFF of grey (H, W) or colours (H, W, 3 or 4) of 8 or 16 bit, packed."""
    words = exif if isinstance(exif, Image.Exif) else Image.Exif()
    if isinstance(exif, bytes):
        words.load(exif)
    channels = values.shape[2] if values.ndim == 3 else 1
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in words.items():
        if tag not in (EXIF_BLOCK, GPS_BLOCK):
            tags[tag] = value
    for block in (EXIF_BLOCK, GPS_BLOCK):
        if entries := words.get_ifd(block):
            tags[block] = entries
    packer, rows = zlib.compressobj(), values.astype(values.dtype.newbyteorder("<"), copy=False)
    data = b"".join(packer.compress(row.tobytes()) for row in rows) + packer.flush()
    tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH] = values.shape[1::-1]
    tags[TiffImagePlugin.BITSPERSAMPLE] = (8 * values.itemsize,) * channels
    tags[TiffImagePlugin.COMPRESSION] = DEFLATE
    tags[TiffImagePlugin.PHOTOMETRIC_INTERPRETATION] = GREY if channels == 1 else COLOUR
    tags[TiffImagePlugin.SAMPLESPERPIXEL] = channels
    if channels == 4:
        tags[TiffImagePlugin.EXTRASAMPLES] = CLEAR
    tags[TiffImagePlugin.ROWSPERSTRIP] = len(values)
    tags[TiffImagePlugin.STRIPOFFSETS] = 0  # behind the tags, whose length Pillow adds
    tags[TiffImagePlugin.STRIPBYTECOUNTS] = len(data)
    for tag, value in ((XMP_TAG, xmp), (PROFILE_TAG, icc_profile)):
        if value:
            tags[tag] = value
    return TIFF_START + tags.tobytes(len(TIFF_START)) + data
