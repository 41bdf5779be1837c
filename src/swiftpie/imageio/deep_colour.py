"""Pictures of 16 bit a colour as PNG, and as TIFF with metadata; Pillow writes neither."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, TiffImagePlugin

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_COLOURS = {3: 2, 4: 6}  # the type of a picture by its number of channels
TIFF_START = b"II*\0\x08\0\0\0"  # little endian, tags at 8
TIFF_BLOCKS = (0x8769, 0x8825)  # EXIF data that are below others
DEFLATE, GREY, COLOUR, CLEAR = 8, 1, 2, 2  # as TIFF numbers them
XMP_TAG, PROFILE_TAG = 700, 34675


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
    chunks += [(one[0], one[1]) for one in (pnginfo.chunks if pnginfo else ())]
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
        if tag not in TIFF_BLOCKS:
            tags[tag] = value
    for block in TIFF_BLOCKS:
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
