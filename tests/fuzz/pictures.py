"""Pictures that want to break readers: damaged ones of every kind, and some made to be costly."""

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import PIL
from PIL import Image, ImageCms, TiffImagePlugin

from tests.fuzz.damage import damaged

SIZE = (24, 16)
READS_ALL = int(PIL.__version__.split(".")[0]) >= 13  # lower versions refuse two kinds of TIFF
COSTLY = 200  # one case in so many is made by hand; the others are damaged samples


def cases(seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes without end, the same for the same seed."""
    chance = random.Random(seed)
    known = samples()
    while True:
        if chance.randrange(COSTLY) == 0:
            name = chance.choice(sorted(HOSTILE))
            yield name, HOSTILE[name]()
        else:
            name = chance.choice(sorted(known))
            yield name, damaged(known[name], chance)


def samples() -> dict[str, bytes]:
    colour = gradient()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0words"
    metadata = {"exif": exif.tobytes(), "icc_profile": profile}
    modes = {mode: colour.convert(mode) for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "I", "F")}
    modes |= {"RGB": colour, "LAB": colour.convert("RGB"), "YCbCr": colour.convert("YCbCr")}
    modes["I;16"] = Image.fromarray(np.asarray(modes["L"]).astype(np.uint16) * 257)
    found = {f"png-{mode}": encoded(modes[mode]) for mode in ("1", "L", "LA", "P", "RGBA", "I;16")}
    found |= {
        "png-told": encoded(colour, **metadata),
        "png-palette-clear": encoded(modes["P"], transparency=bytes(range(200))),
        "png-16-bit": png((8, 8), bit_depth=16, colour_type=2),
        "png-16-bit-alpha": png((8, 8), bit_depth=16, colour_type=6),
        "png-16-bit-grey-alpha": png((8, 8), bit_depth=16, colour_type=4),
        "png-animated": encoded(colour, save_all=True, append_images=[modes["L"].convert("RGB")]),
        "jpeg": encoded(colour, "JPEG", **metadata),
        "jpeg-grey": encoded(modes["L"], "JPEG"),
        "jpeg-cmyk": encoded(modes["CMYK"], "JPEG"),
        "jpeg-progressive": encoded(colour, "JPEG", progressive=True),
        "jpeg-two": encoded(colour, "MPO", save_all=True, append_images=[colour]),
        "webp": encoded(colour, "WEBP", **metadata),
        "webp-lossless": encoded(modes["RGBA"], "WEBP", lossless=True),
        "webp-animated": encoded(colour, "WEBP", save_all=True, append_images=[modes["L"]]),
        "gif": encoded(colour, "GIF", comment=b"words"),
        "gif-animated": encoded(colour, "GIF", save_all=True, append_images=[modes["L"]]),
        "bmp": encoded(colour, "BMP"),
        "bmp-run-length": bmp_run_length((24, 16)),
    }
    found |= {
        f"tiff-{mode}": encoded(modes[mode], "TIFF")
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16")
    }
    found |= {
        f"tiff-{name}": encoded(colour, "TIFF", compression=name)
        for name in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    }
    found["tiff-told"] = encoded(colour, "TIFF", **metadata)
    found["tiff-group4"] = encoded(modes["1"], "TIFF", compression="group4")
    if READS_ALL:
        return found | {"tiff-premultiplied-grey": premultiplied_grey()}
    return {name: data for name, data in found.items() if name != "tiff-YCbCr"}


def png(
    size: tuple[int, int],
    *,
    bit_depth: int = 8,
    colour_type: int = 2,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    interlaced: bool = False,
) -> bytes:
    """Return a black PNG of any size, which takes next to nothing; `chunks` come before it."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    header = struct.pack(">IIBBBBB", *size, bit_depth, colour_type, 0, 0, interlaced)
    row = bytes(1 + (size[0] * bit_depth * channels + 7) // 8)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(row) for _ in range(size[1])) + packer.flush()
    inside = [(b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in inside)


def jpeg_of_scans(size: tuple[int, int], num_scans: int) -> bytes:
    data = encoded(Image.new("L", size, 128), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    while data[last - 2 : last] == b"\xff\xc4":
        last -= 2
    return data[:-2] + data[last:-2] * (num_scans - data.count(b"\xff\xda")) + b"\xff\xd9"


def jpeg_of_segments(segment: bytes, count: int) -> bytes:
    """Return a JPEG with an application segment, from its marker on, as often as is wanted."""
    data = encoded(gradient(), "JPEG")
    return data[:2] + segment * count + data[2:]


def gif_of_comments(length: int) -> bytes:
    data = encoded(gradient().convert("L"), "GIF")
    start = data.index(b",", 13 + 3 * 2 ** ((data[10] & 7) + 1))
    return data[:start] + b"!\xfe\x01x\x00" * (length // 5) + data[start:]


def bmp_run_length(size: tuple[int, int]) -> bytes:
    palette = b"".join(bytes([v, v, v, 0]) for v in range(256))
    runs = b"".join(b"\x01" + bytes([x % 256]) for x in range(size[0])) + b"\0\0"
    pixels = runs * size[1] + b"\0\1"
    start = 14 + 40 + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + len(pixels), 0, 0, start)
    info = struct.pack("<IiiHHIIiiII", 40, *size, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    return head + info + palette + pixels


def premultiplied_grey() -> bytes:
    """Return a TIFF of grey multiplied by its transparency, as some painters write it."""
    values = bytes(v for pixel in range(24 * 16) for v in (pixel % 100, 100 + pixel % 100))
    return tiff(values, samples=2, extra=1)


def tiff(values: bytes, *, samples: int, extra: int | None = None, **tags: object) -> bytes:
    """Return an uncompressed TIFF of 24 x 16 pixels of 8 bit; `tags` are t322=…, by number."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    ifd[256], ifd[257], ifd[258], ifd[259] = *SIZE, (8,) * samples, 1
    ifd[262], ifd[277], ifd[278] = (2 if samples > 2 else 1), samples, SIZE[1]
    ifd[279] = len(values)
    if extra is not None:
        ifd[338] = extra
    for name, value in tags.items():
        ifd[int(name[1:])] = value
    ifd.setdefault(273, 0)  # behind the tags, to which Pillow adds their length
    return b"II*\0\x08\0\0\0" + ifd.tobytes(8) + values


PALETTE = (b"PLTE", bytes(v for i in range(256) for v in (i, i, 255 - i)))


def _transparent(values: bytes) -> bytes:
    return png(SIZE, colour_type=3, chunks=(PALETTE, (b"tRNS", values)))


def _huge_tile() -> bytes:
    values = bytes(SIZE[0] * SIZE[1] * 3)
    return tiff(values, samples=3, t322=60_000, t323=60_000, t324=8, t325=len(values), t259=8)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "long transparency": lambda: _transparent(bytes(i % 256 for i in range(300))),
    "transparency beyond": lambda: _transparent(b"\xff" * 299 + b"\0"),
    "premultiplied grey": premultiplied_grey,
    "strip": lambda: png((12_000, 600)),
    "bits": lambda: png((8_000, 5_000), bit_depth=1, colour_type=0),
    "too wide": lambda: png((30_000, 4)),
    "many scans": lambda: jpeg_of_scans((2_000, 2_000), 1_000),
    "many small segments": lambda: jpeg_of_segments(b"\xff\xe5\0\2", 200_000),
    "overlapping exif": lambda: jpeg_of_segments(b"\xff\xe1\0\x09Exif\0\0x", 100_000),
    "junk": lambda: encoded(gradient(), "JPEG")[:2] + b"\xff\xe5\0\2" + b"x" * (2 << 20),
    "many comments": lambda: gif_of_comments(1 << 20),
    "many chunks": lambda: png(SIZE, chunks=((b"vpAg", b""),) * 100_000),
    "text bomb": lambda: png(
        SIZE, chunks=((b"zTXt", b"note\0\0" + zlib.compress(bytes(900_000), 9)),) * 100
    ),
    "huge tile": _huge_tile,
    "slow runs": lambda: bmp_run_length((2_000, 500)),
}


def gradient() -> Image.Image:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    values = np.stack([x * 10, y * 15, np.full_like(x, 128)], axis=-1)
    return Image.fromarray(values.astype(np.uint8))


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


@cache  # a profile says when it was made
def swapped_profile() -> bytes:
    """Return the profile of sRGB with red in place of blue."""
    swapped = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = swapped.find(b"rXYZ"), swapped.find(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(swapped)
