"""Bounded decoding of pictures that come from strangers.

Reading decides by content, never by the file's name, and looks at the header before it decodes a
pixel. The result is plain: upright, sRGB, 8 bit, RGB or RGBA, without the file's metadata.

The cost of decoding is bounded by what a file says and by how often Pillow reads from it, never by
a clock.
"""

import io
import os
import re
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    ImageChops,
    ImageCms,
    ImageOps,
    WebPImagePlugin,  # noqa: F401 - else Pillow imports forty formats to find this one
)

from swiftpie.errors import ImageError, short_reason, system_reason

Source: TypeAlias = str | Path | bytes | bytearray | Image.Image | BinaryIO | NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # few decoders, few holes; JPEG has MPO
MAX_ENCODED_MIB = 20
MAX_PIXELS = 40_000_000
MAX_SIDE_PX = 12_000
MAX_ASPECT = 20
MAX_ICC_MIB = 4  # larger colour profiles are ignored
MAX_KEPT_ICC_BYTES = (1 << 20) - 1  # Pillow reads no larger profile of a PNG
MAX_EXIF_BYTES = 1 << 16  # JPEG's limit; entries may overlap, and memory grows by the square
# Sum over all scans of a JPEG, of which usual files have 1 or 10.
MAX_SCANNED_PIXELS = 16 * MAX_PIXELS
MAX_JPEG_SEGMENTS = 10_000
MAX_HEADER_READS = 10_000  # Pillow joins some blocks of a header one by one, in quadratic time
MAX_HEADER_BYTES = (MAX_ICC_MIB + 2) << 20
# Before an identity file that was compressed: it lacks what networks compute from its pictures.
# Read as the length of a header of safetensors, these bytes are far beyond the limit.
SMALL = b"\xffspid1\x00\xff"
MAX_TENSOR_HEADER_BYTES = 4 << 20  # a real one is a few hundred KiB; a huge one is an attack
MAX_READS = 400_000  # limit per file; a run-length encoded BMP is read byte by byte
LEAST_TILE_PIXELS = 1 << 20  # what a tile of a TIFF may have whatever the picture's size
PLAIN = "is_plain"  # an attribute of pictures of which nothing is left to decode
BAND_PIXELS = 1 << 20  # what goes over all pixels more than once does it in bands of so many

LFS_POINTER = b"version https://git-lfs"  # what a clone without Git LFS has in place of large files
ADDRESS = re.compile(r"(?:^|/)(?:(?:https?|ftp|s3|gs|file):/|data:image/)", re.IGNORECASE)
PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
STARTS = {PNG_START: "PNG", JPEG_START[:2]: "JPEG", b"GIF8": "GIF"}
STARTS |= {b"II*\0": "TIFF", b"MM\0*": "TIFF"}
PACKED_CHUNKS = (b"zTXt", b"iTXt", b"iCCP")  # of a PNG, which Pillow refuses where they are long
# Pictures that are not read, by their first bytes, as a refusal names them.
FOREIGN = {
    "in AVIF": re.compile(rb"....ftyp(?=.{0,64}avi[fs])", re.S),
    "in HEIC": re.compile(rb"....ftyp(?:hei|hev|mif1|msf1)", re.S),
    "in JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "),
    "an SVG drawing": re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg\b|(?=[?!]).{0,2000}<svg\b)", re.S),
    "a PDF": re.compile(rb"%PDF-"),
}
JPEG_MARKER = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")  # those with a length, and the end
JPEG_SCAN, JPEG_END, JPEG_EXIF = 0xDA, 0xD9, 0xE1
TIFF_TILE = (322, 323)  # tags: width and height
TIFF_STRIPS, TIFF_TILES = (273, 279), (324, 325)  # where they begin, and how long they are

BUILT_IN = (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError)
MORE = (RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error)
DECODER_ERRORS = (*BUILT_IN, *MORE)  # everything that Pillow's decoders raise on broken bytes


def load_image(source: Source, *, most_px: int | None = None) -> Image.Image:
    """Return a picture as upright sRGB, mode RGB, or RGBA where it has transparency.

    Args:
        source: a path, encoded bytes, an open binary file, a PIL image, or an array of bytes
            (H, W), (H, W, 3) or (H, W, 4); of an animation the first frame is taken.
        most_px: a longer side is shrunk to this; a JPEG is then never decoded at its full size.

    Raises:
        ImageError: It is missing, no picture, broken, or over one of the limits of this module.
    """
    image = open_image(source)
    with image_errors(describe(source)):
        if most_px is not None and image is not source:
            image.draft(None, (most_px, most_px))  # JPEG alone can do that
        image.load()
        if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
            info, image = image.info, ImageChops.invert(image)
            image.info = info  # Pillow takes each for one of Adobe's, which count from white
        image = to_upright(image, is_ours=image is not source)
        image = _to_srgb(to_straight(image))  # each step lets go of the one before
        image = to_plain(image)
        if most_px is not None:
            image.thumbnail((most_px, most_px))
        return image


def open_image(source: Source) -> Image.Image:
    """Return a picture whose header is read and within the limits; its pixels are not decoded."""
    name = describe(source)
    if isinstance(source, np.ndarray):
        source = _from_array(source)
    if isinstance(source, Image.Image):
        _check_size(source.size, name=name)
        return source
    data = read_bytes(source)
    num_scans = _count_scans(data, 0, len(data), name=name) if data.startswith(JPEG_START) else 0
    image, file = _opened(data, name=name)
    _check_size(image.size, name=name)
    if image.format == "TIFF":
        with image_errors(name):
            num_scans = _check_tiff(image, data, name=name)
    if num_scans * image.width * image.height > MAX_SCANNED_PIXELS:
        raise ImageError(_too_slow(name, f"{num_scans} scans of all its pixels"))
    _forget_large_exif(image)
    file.allow_pixels()
    return image


def _opened(
    data: bytes, *, name: str, profile: bytes | None = None
) -> tuple[Image.Image, "_Metered"]:
    """Return a picture whose header is read, and its file; `profile` is that of `_plain_png`."""
    file = _Metered(data, name=name)
    try:
        with QUIET:
            image = Image.open(file, formats=FORMATS)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(_too_large(name, "far more")) from error
    except DECODER_ERRORS as error:
        if data.startswith(PNG_START) and profile is None:
            plain, profile = _plain_png(data)
            return _opened(plain, name=name, profile=profile)
        raise ImageError(f"{name} {_unreadable(data)}") from error
    if profile:
        image.info["icc_profile"] = profile
    return image, file


def _unreadable(data: bytes) -> str:
    """Return what a message says after the name of what Pillow does not open."""
    if data.startswith(LFS_POINTER):
        return "is a pointer of Git LFS, not the picture. Run `git lfs pull` there."
    if kind := next((kind for start, kind in STARTS.items() if data.startswith(start)), None):
        return f"is a damaged {kind}. A complete picture is needed. Download or export it again."
    kind = next((kind for kind, start in FOREIGN.items() if start.match(data)), None)
    what = f"is {kind}, which is not read" if kind else "is not a readable picture"
    return (
        f"{what}. One of {', '.join(FORMATS)} is needed, whatever the file is called. Convert it "
        "to PNG or JPEG."
    )


def _plain_png(data: bytes) -> tuple[bytes, bytes]:
    """Return a PNG without chunks that viewers skip and Pillow refuses, and its colour profile."""
    kept, place, profile = [data[: len(PNG_START)]], len(PNG_START), b""
    for _ in range(MAX_HEADER_READS):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        if end > len(data):
            break
        kind, body = data[place + 4 : place + 8], data[place + 8 : end - 4]
        is_needed = not kind[0] & 0x20  # the case of its first letter says so
        is_sound = is_needed or zlib.crc32(kind + body) == int.from_bytes(data[end - 4 : end])
        if is_sound and kind not in PACKED_CHUNKS:
            kept.append(data[place:end])
        elif is_sound and kind == b"iCCP":
            with suppress(zlib.error):
                packed = body.partition(b"\0")[2][1:]
                profile = zlib.decompressobj().decompress(packed, (MAX_ICC_MIB << 20) + 1)
        place = end
    return b"".join([*kept, data[place:]]), profile


def as_plain(source: Source) -> Image.Image:
    """Return what `load_image` returns; a picture that it has returned already stays the same."""
    if isinstance(source, Image.Image) and getattr(source, PLAIN, False):
        return source
    return load_image(source)


def is_picture(value: object) -> bool:
    """Whether a value is of a kind that `load_image` reads."""
    if isinstance(value, np.ndarray):
        return bool(value.dtype in (np.uint8, np.bool_))
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image)
    return isinstance(value, kinds) or hasattr(value, "read")


def _from_array(array: NDArray[Any]) -> Image.Image:
    """Return an array of bytes, or of what is true, as a picture; a mask has no third dimension."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or not is_picture(array):
        raise _no_picture(array)
    if not array.size:
        _check_size(array.shape[1::-1], name="The array")
    values = array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array
    return Image.fromarray(values[:, :, 0] if array.ndim == 3 and channels == 1 else values)


def _no_picture(given: object) -> ImageError:
    found, shape = type(given).__name__, getattr(given, "shape", None)
    if shape is not None:
        found = f"{found} of shape {tuple(shape)} and {getattr(given, 'dtype', 'no type')}"
    scaled = " `(array * 255).round().astype('uint8')` makes bytes of numbers from 0 to 1."
    return ImageError(
        f"A picture was given as {'None' if given is None else found}. A PIL image, a path, bytes, "
        "an open file or an array of bytes (H, W, 3) is needed. Convert it."
        f"{'' if shape is None or is_picture(given) else scaled}"
    )


@contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Raise every error of a decoder inside the block as an ImageError about `name`."""
    try:
        with QUIET:
            yield
    except ImageError:
        raise
    except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
        raise ImageError(
            f"{name} is broken or cut off ({short_reason(error)}). A complete picture is needed. "
            "Download or export it again."
        ) from error


class _Quiet:
    """Ignores warnings of Pillow while any thread reads a picture.

    What matters is raised as an error instead. A process has one list of filters for all of its
    threads, so the first to come changes it and the last to go puts it back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._before = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._num_inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._before.__exit__(None, None, None)


QUIET = _Quiet()


class _Metered(io.BytesIO):
    """A file in memory that bounds the number of reads and the bytes read."""

    def __init__(self, data: bytes, *, name: str) -> None:
        super().__init__(data)
        self._name, self._length = name, len(data)
        self._reads_left, self._bytes_left = MAX_HEADER_READS, MAX_HEADER_BYTES

    def allow_pixels(self) -> None:
        """Allow for what pixels take, which are read once."""
        self._reads_left = MAX_READS
        self._bytes_left = MAX_HEADER_BYTES + 2 * self._length

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._reads_left -= 1
        if size is not None and size >= 0:  # else a decoder of C gets the whole file at once
            self._bytes_left -= len(data)
        if self._reads_left < 0 or self._bytes_left < 0:
            raise ImageError(_too_slow(self._name, "far more blocks than a picture needs"))
        return data


def describe(source: Source) -> str:
    """Return how messages call `source`."""
    if isinstance(source, str | os.PathLike):
        return f"'{source}'"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"The picture of {len(source)} bytes"
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return f"'{name}'" if isinstance(name, str) and name else "The picture"


def read_bytes(source: Source) -> bytes:
    """Return an encoded picture, of which nothing is looked at; a file from its beginning."""
    name, limit = describe(source), MAX_ENCODED_MIB << 20
    if isinstance(source, str | os.PathLike):
        data = _read_path(Path(source), limit=limit, name=name)
    elif isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
    else:
        data = _read_file(source, limit=limit, name=name)
    if len(data) > limit:
        raise ImageError(
            f"{name} has more than {MAX_ENCODED_MIB} MiB. At most {MAX_ENCODED_MIB} MiB are read. "
            "Save it smaller or with stronger compression."
        )
    if not data:
        raise ImageError(f"{name} is empty (0 bytes). A picture is needed. Check the download.")
    return data


def _read_path(path: Path, *, limit: int, name: str) -> bytes:
    if ADDRESS.search(path.as_posix()):
        raise ImageError(
            f"{name} is an address, and addresses are never fetched. Download the picture, and "
            "give its file or its bytes."
        )
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(limit + 1)  # one byte more than allowed shows that there are more
        problem = "is not a file" if path.exists() else "does not exist"
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({system_reason(error)})"
    raise ImageError(f"{name} {problem}. A picture file is needed. Check the path.")


def _read_file(file: Any, *, limit: int, name: str) -> bytes:  # noqa: ANN401 - of any class
    """Return the bytes of an open file from its beginning, wherever others have left it."""
    if not hasattr(file, "read"):
        raise _no_picture(file)
    data, reason = None, "is open as text"
    try:
        if file.seekable():
            file.seek(0)
        data = file.read(limit + 1)
    except UnicodeDecodeError:
        pass
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = f"cannot be read ({system_reason(error)})"
    if not isinstance(data, bytes):
        raise ImageError(f"{name} {reason}. A file of bytes is needed. Use open(path, 'rb').")
    return data


def _check_size(size: tuple[int, int], *, name: str) -> None:
    if min(size) < 1:
        raise ImageError(f"{name} has no pixels. A picture is needed. Export it again.")
    if max(size) > MAX_SIDE_PX or size[0] * size[1] > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{size[0]}x{size[1]}"))
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {size[0]}x{size[1]} px. The longer side may be at most {MAX_ASPECT} times "
            "the shorter one. Crop it."
        )


def _too_large(name: str, found: str) -> str:
    return (
        f"{name} is too large ({found} px). At most {MAX_SIDE_PX} px a side and "
        f"{MAX_PIXELS // 1_000_000} million pixels are read. Shrink it first."
    )


def _too_slow(name: str, found: str) -> str:
    return f"{name} has {found}, so reading takes too long. Save it again as PNG or plain JPEG."


def _count_scans(data: bytes, start: int, stop: int, *, name: str) -> int:
    """Return how often a JPEG in `data[start:stop]` goes over its pixels."""
    place, num_scans, exif_bytes = start + 2, 0, 0
    for _ in range(MAX_JPEG_SEGMENTS):
        found = JPEG_MARKER.search(data, place, stop)
        if found is None or found[1][0] == JPEG_END:
            return num_scans
        length = int.from_bytes(data[found.end() : found.end() + 2])
        place = found.end() + length
        num_scans += found[1][0] == JPEG_SCAN
        if found[1][0] == JPEG_EXIF and data.startswith(b"Exif", found.end() + 2):
            exif_bytes += length
        if exif_bytes > MAX_EXIF_BYTES:
            break
    raise ImageError(_too_slow(name, "more segments or EXIF data than a JPEG needs"))


def _check_tiff(image: Image.Image, data: bytes, *, name: str) -> int:
    """Refuse tiles far beyond the picture, and return how often JPEGs inside go over pixels."""
    tags = image.tag_v2  # type: ignore[attr-defined]  # only a TIFF has tags
    width, height = (int(tags.get(tag, 0)) for tag in TIFF_TILE)
    if width * height > max(LEAST_TILE_PIXELS, 4 * image.width * image.height):
        raise ImageError(_too_slow(name, f"tiles of {width}x{height} px"))
    if image.info.get("compression") not in {"jpeg", "tiff_jpeg"}:
        return 1
    starts, lengths = next(
        ((tags[a], tags[b]) for a, b in (TIFF_STRIPS, TIFF_TILES) if a in tags and b in tags),
        ((0,), (len(data),)),
    )
    if len(starts) != len(lengths) or sum(lengths) > len(data):
        raise ImageError(_too_slow(name, "strips that overlap"))
    places = zip(starts, lengths, strict=True)
    return max(_count_scans(data, a, a + length, name=name) for a, length in places)


def _forget_large_exif(image: Image.Image) -> None:
    for key in ("exif", "Raw profile type exif"):
        if len(image.info.get(key, b"")) > MAX_EXIF_BYTES:
            del image.info[key]


def to_upright(image: Image.Image, *, is_ours: bool) -> Image.Image:
    """Rotate a picture by its EXIF orientation, in place if it `is_ours`, else as a copy."""
    _forget_large_exif(image)  # a PNG may have it at its end
    try:
        if not is_ours:
            return ImageOps.exif_transpose(image)
        ImageOps.exif_transpose(image, in_place=True)
    except DECODER_ERRORS:
        return image if is_ours else image.copy()
    return image


def colour_profile(image: Image.Image) -> bytes:
    """Return the profile of a picture's red, green and blue; empty if there is none to be kept."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_KEPT_ICC_BYTES:
        return b""
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space
    except (*DECODER_ERRORS, ImageCms.PyCMSError):
        return b""
    return profile if space.strip() == "RGB" else b""


def to_straight(image: Image.Image) -> Image.Image:
    """Divide colours by the transparency that they were multiplied with."""
    straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode)
    return image if straight is None else image.convert(straight)


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply an embedded colour profile; one that is broken or of another mode is ignored."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_ICC_MIB << 20:
        return image
    image = _in_plain_mode(image)
    if image.mode not in {"RGB", "RGBA", "L", "LA", "CMYK"}:
        return image
    opaque = {"RGBA": "RGB", "LA": "L"}.get(image.mode)
    colours = image if opaque is None else image.convert(opaque)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(colours, source, target, outputMode="RGB")
    except (*DECODER_ERRORS, ImageCms.PyCMSError):
        return image
    assert converted is not None  # only in-place conversion returns nothing
    if image.mode in {"RGBA", "LA"}:
        converted.putalpha(image.getchannel("A"))
    return converted


def to_plain(image: Image.Image) -> Image.Image:
    """Return a copy in mode RGB, or RGBA where there is transparency, with nothing but pixels."""
    image = _in_plain_mode(image)
    plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    plain = plain.copy() if plain is image else plain
    plain.info = {}
    if plain.mode == "RGBA":
        _cover_hidden(plain)
    vars(plain).pop("record", None)  # pictures that were drawn here have a record
    setattr(plain, PLAIN, True)
    return plain


def _in_plain_mode(image: Image.Image) -> Image.Image:
    """Return a picture of wide greys, of a palette or with a clear colour as one of bytes."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(np.asarray(image), image.mode))
    if image.mode == "P":
        _fit_transparency(image)
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if "transparency" in image.info and image.mode in {"L", "RGB"}:
        return image.convert("LA" if image.mode == "L" else "RGBA")
    return image


def _cover_hidden(image: Image.Image) -> None:
    """Carry visible colours of an RGBA picture on to where it is fully transparent, in place.

    What a file hides there then acts nowhere. Each half as large picture covers the larger one.
    """
    alpha = image.getchannel("A")
    seen = alpha.point(lambda value: 255 * (value > 0))
    if seen.getextrema() == (255, 255):
        return
    if seen.getbbox() is None:
        image.paste((0, 0, 0, 0), (0, 0, *image.size))
        return
    image.putalpha(seen)
    small = image.reduce(2)  # the mean of the colours that are seen
    _cover_hidden(small)
    colours = small.convert("RGB").resize(image.size, Image.Resampling.BILINEAR)
    image.paste(Image.composite(image.convert("RGB"), colours, seen))
    image.putalpha(alpha)


def _fit_transparency(image: Image.Image) -> None:
    """Leave out what is said about the transparency of colours that no palette has."""
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        image.info["transparency"] = transparency[:256]
    elif isinstance(transparency, int) and transparency > 255:
        del image.info["transparency"]


def _to_8_bit(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Scale greyscale of 16 or 32 bit (h, w) to 0..255 by the smallest usual range that holds it.

    Mode `I;16` is 0..65535 by definition; `I` and `F` do not say, so the brightest pixel decides.
    """
    rows = max(1, BAND_PIXELS // values.shape[1])
    bands = [slice(first, first + rows) for first in range(0, values.shape[0], rows)]

    def clean(band: slice) -> NDArray[np.float64]:
        return np.nan_to_num(values[band].astype(np.float64), posinf=0, neginf=0).clip(0)

    brightest = max(clean(band).max() for band in bands)
    ranges = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(mode, (65535.0,))
    top = next((limit for limit in ranges if brightest <= limit), brightest)
    scaled = np.empty(values.shape, dtype=np.uint8)
    for band in bands:
        scaled[band] = np.rint(clean(band) / top * 255)
    return scaled


def is_safetensors(path: str | Path) -> bool:
    """Whether `path` holds safetensors, plain or `SMALL`, and not a picture, by its first bytes."""
    with suppress(OSError, ValueError):
        if Path(path).is_file():  # a pipe would be waited for
            with Path(path).open("rb") as file:
                start = file.read(9)
            is_plain, size = start[8:] == b"{", int.from_bytes(start[:8], "little")
            return start.startswith(SMALL) or (is_plain and size <= MAX_TENSOR_HEADER_BYTES)
    return False
