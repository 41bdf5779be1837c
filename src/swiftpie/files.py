"""Files at the border: read pictures nobody vouches for, and write files whole or not at all.

Reading decides by content, never by the file's name, and looks at the header before it decodes a
pixel. What comes out is plain: upright, sRGB, 8 bit, RGB or RGBA, without the file's metadata.
"""

import io
import os
import secrets
import shutil
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    ImageCms,
    ImageOps,
    WebPImagePlugin,  # noqa: F401 - else Pillow imports forty formats to find this one
)

from swiftpie.errors import ImageError, InputError

Source: TypeAlias = str | Path | bytes | Image.Image | BinaryIO

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # few decoders, few holes; JPEG has MPO
MAX_ENCODED_MIB = 20
MAX_PIXELS = 40_000_000
MAX_SIDE_PX = 12_000
MAX_ASPECT = 20
MAX_ICC_MIB = 4  # larger colour profiles are ignored

TEMPORARY = ".swiftpie-*.tmp"  # what is being written; a crash may leave it

DECODER_ERRORS = (  # everything Pillow's decoders raise on broken bytes
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def load_image(source: Source) -> Image.Image:
    """Return a picture as upright sRGB, mode RGB, or RGBA where it has transparency.

    Args:
        source: a path, encoded bytes, an open binary file, or a PIL image; of an animation the
            first frame is taken.

    Raises:
        ImageError: It is missing, no picture, broken, or over one of the limits of this module.
    """
    name = describe(source)
    with warnings.catch_warnings(action="ignore"):  # what matters is raised as an error instead
        image = open_image(source)
        try:
            image.load()
        except (*DECODER_ERRORS, Image.DecompressionBombError) as error:
            raise ImageError(
                f"{name} is broken or cut off ({error}). A complete picture is needed. "
                "Download or export it again."
            ) from error
        return _to_plain(_to_srgb(_to_upright(image)))


def open_image(source: Source) -> Image.Image:
    """Return a picture whose header is read and within the limits; its pixels are not decoded.

    Raises:
        ImageError: It is missing, no picture, or over one of the limits of this module.
    """
    name = describe(source)
    if isinstance(source, Image.Image):
        _check_size(source.size, name=name)
        return source
    data = _read(source, name=name)
    with warnings.catch_warnings(action="ignore"):
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise ImageError(_too_large(name, "far more")) from error
        except DECODER_ERRORS as error:
            raise ImageError(
                f"{name} is not a readable picture. One of {', '.join(FORMATS)} is needed, "
                "whatever the file is called. Convert it to PNG or JPEG."
            ) from error
    _check_size(image.size, name=name)
    return image


def write_file(path: str | Path, data: bytes, *, force: bool = False) -> None:
    """Write `data` so that `path` holds either all of it or what it held before.

    Raises:
        InputError: `path` exists and `force` is not set, or its folder cannot be written to.
    """
    path = Path(path)
    check_target(path, force=force)
    try:
        with atomic_file(path) as temporary, temporary.open("xb") as file:
            file.write(data)
    except (OSError, ValueError) as error:
        raise InputError(_unwritable(path, _reason(error))) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a name beside `path`; what is written there replaces `path` at the end, in one step.

    If the block fails, `path` stays as it was. Afterwards all bytes are on the disk.
    """
    temporary = _temporary(path)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`, which takes that name at the end, in one step.

    A `path` that exists by then stays as it is. What is left of the empty folder goes, also if the
    block fails.
    """
    temporary = _temporary(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if not path.exists():
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(path: str | Path, *, force: bool = False) -> None:
    """Refuse what `write_file` would refuse, before any work is done for it.

    Raises:
        InputError: `path` exists and `force` is not set, or its folder cannot be written to.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder. A file name is needed. Add one to the path.")
        if path.exists() and not force:
            raise InputError(
                f"'{path}' exists already. A new name is needed. Choose one, or replace it with "
                "`force=True`."
            )
        if not path.parent.is_dir():
            raise InputError(_unwritable(path, "its folder does not exist"))
        if not os.access(path.parent, os.W_OK):
            raise InputError(_unwritable(path, "its folder is read-only"))
    except OSError as error:
        raise InputError(_unwritable(path, _reason(error))) from error


def describe(source: Source) -> str:
    """Return how messages call `source`."""
    if isinstance(source, str | Path):
        return f"'{source}'"
    if isinstance(source, bytes):
        return f"The picture of {len(source)} bytes"
    name = getattr(source, "filename", None) or getattr(source, "name", None)
    return f"'{name}'" if isinstance(name, str) and name else "The picture"


def _temporary(path: Path) -> Path:
    return path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))


def _unwritable(path: Path, reason: str) -> str:
    return (
        f"'{path}' cannot be written ({reason}). A folder that exists and is writable is "
        "needed. Create it or choose another one."
    )


def _reason(error: Exception) -> str:
    """Return the operating system's words for `error`, without the path."""
    return getattr(error, "strerror", None) or str(error)


def _read(source: str | Path | bytes | BinaryIO, *, name: str) -> bytes:
    limit = MAX_ENCODED_MIB << 20
    if isinstance(source, str | Path):
        data = _read_path(Path(source), limit=limit, name=name)
    else:
        data = source if isinstance(source, bytes) else source.read(limit + 1)
    if len(data) > limit:
        raise ImageError(
            f"{name} has more than {MAX_ENCODED_MIB} MiB. At most {MAX_ENCODED_MIB} MiB are read. "
            "Save it smaller or with stronger compression."
        )
    if not data:
        raise ImageError(f"{name} is empty (0 bytes). A picture is needed. Check the download.")
    return data


def _read_path(path: Path, *, limit: int, name: str) -> bytes:
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(limit + 1)  # one byte too many tells that there are more
        problem = "is not a file" if path.exists() else "does not exist"
    except (OSError, ValueError) as error:
        problem = f"cannot be read ({_reason(error)})"
    raise ImageError(f"{name} {problem}. A picture file is needed. Check the path.")


def _check_size(size: tuple[int, int], *, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name} has no pixels. A picture is needed. Export it again.")
    if max(size) > MAX_SIDE_PX or width * height > MAX_PIXELS:
        raise ImageError(_too_large(name, f"{width}x{height}"))
    if max(size) > MAX_ASPECT * min(size):
        raise ImageError(
            f"{name} is {width}x{height} px. The longer side may be at most {MAX_ASPECT} times "
            "the shorter one. Crop it."
        )


def _too_large(name: str, found: str) -> str:
    return (
        f"{name} is too large ({found} px). At most {MAX_SIDE_PX} px a side and "
        f"{MAX_PIXELS // 1_000_000} million pixels are read. Shrink it first."
    )


def _to_upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except DECODER_ERRORS:
        return image.copy()


def _to_srgb(image: Image.Image) -> Image.Image:
    """Apply an embedded colour profile; one that is broken or of another mode is ignored."""
    profile = image.info.get("icc_profile")
    if not isinstance(profile, bytes) or not 0 < len(profile) <= MAX_ICC_MIB << 20:
        return image
    if image.mode not in {"RGB", "RGBA", "L", "LA", "CMYK"} or "transparency" in image.info:
        return image
    colours = image.convert({"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))
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


def _to_plain(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        image = Image.fromarray(_to_8_bit(np.asarray(image), image.mode))
    plain = image.convert("RGBA" if image.has_transparency_data else "RGB")
    plain = plain.copy() if plain is image else plain
    plain.info = {}
    return plain


def _to_8_bit(values: NDArray[np.generic], mode: str) -> NDArray[np.uint8]:
    """Scale greyscale of 16 or 32 bit (h, w) to 0..255 by the smallest usual range that holds it.

    Mode `I;16` is 0..65535 by definition; `I` and `F` do not say, so the brightest pixel decides.
    """
    clean = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0).clip(0)
    brightest = clean.max()
    ranges = {"F": (1.0, 255.0, 65535.0), "I": (255.0, 65535.0)}.get(mode, (65535.0,))
    top = next((limit for limit in ranges if brightest <= limit), brightest)
    return np.rint(clean / top * 255).astype(np.uint8)
