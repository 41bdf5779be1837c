"""Pictures: PIL outside, pixels (B, 3, H, W) in [-1, 1] inside, and files with their origin."""

import importlib.resources
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps, PngImagePlugin
from torch import Tensor
from torch.nn import functional as F

from swiftpie.deep import encode_png, encode_tiff
from swiftpie.errors import ImageError, InputError
from swiftpie.files import (
    ASCII_COMMENT,
    BAND_PIXELS,
    EXIF_BLOCK,
    METADATA_KEY,
    USER_COMMENT,
    check_target,
    write_file,
)
from swiftpie.files import Source as Source
from swiftpie.files import load_image as load_image
from swiftpie.files import read_metadata as read_metadata

FORMAT_OF_SUFFIX = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
MAX_METADATA_BYTES = 60_000  # a JPEG's EXIF block holds 64 KiB at most
QUALITY: Mapping[str, Mapping[str, int]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 92},
}
DEEP: Mapping[str, Callable[..., bytes]] = {"PNG": encode_png, "TIFF": encode_tiff}  # 16 bit
CAPTION_PX = 18
MAX_FRAME_PX = 2048  # side of a square that is cut out of a photo; larger ones are shrunk first

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


def to_tensor(image: Image.Image) -> Tensor:
    """Return pixels (1, 3, H, W) in [-1, 1]; transparency is ignored."""
    values = np.array(image.convert("RGB"), dtype=np.float32)
    return torch.from_numpy(values).permute(2, 0, 1)[None].contiguous() / 127.5 - 1


def alpha_of(image: Image.Image) -> Tensor | None:
    """Return opacity (1, 1, H, W) in [0, 1], or None for a picture that is opaque everywhere."""
    alpha = plane(image.getchannel("A")) if "A" in image.getbands() else None
    return alpha if alpha is not None and alpha.min() < 1 else None


def plane(image: Image.Image) -> Tensor:
    """Return a picture of one 8-bit channel as (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32))[None, None].div_(255)


def to_pil(pixels: Tensor) -> list[Image.Image]:
    """Return one RGB picture for each row of `pixels` (B, 3, H, W) in [-1, 1]."""
    values = pixels.detach().float().clamp(-1, 1).add_(1).mul_(127.5).round_().to(torch.uint8)
    # Pillow weaves planes together sooner than PyTorch does.
    return [
        Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
        for planes in values.cpu().numpy()
    ]


def mask_to_pil(mask: Tensor) -> list[Image.Image]:
    """Return one greyscale picture for each row of `mask` (B, 1, H, W) in [0, 1]."""
    return [Image.fromarray(v) for v in in_8_bits(mask)[:, 0].contiguous().cpu().numpy()]


def in_8_bits(mask: Tensor) -> Tensor:
    """Return `mask` (B, 1, H, W) in [0, 1] as a picture file holds it, in 0..255."""
    if mask.dtype == torch.uint8:
        return mask
    told = torch.empty_like(mask, dtype=torch.uint8)
    rows = max(1, BAND_PIXELS // mask.shape[-1])  # a large mask fills memory and no cache
    for given, written in zip(mask.split(rows, dim=-2), told.split(rows, dim=-2), strict=True):
        written.copy_(given.detach().float().clamp(0, 1).mul_(255).round_())
    return told


def from_8_bits(mask: Tensor) -> Tensor:
    """Return `mask` of bytes in [0, 1]; one of floats as it is."""
    return mask.float().div_(255) if mask.dtype == torch.uint8 else mask


def extent_of(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom in pixels of `mask` (1, 1, H, W) above 0.5, if any is."""
    solid = mask[0, 0] > 0.5
    rows, columns = solid.any(dim=1).nonzero(), solid.any(dim=0).nonzero()
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def fit_square(pixels: Tensor, mask: Tensor, *, size_px: int, fill: float) -> tuple[Tensor, Tensor]:
    """Cut the square around the subject: the reference frame of `swiftpie.layout`.

    Args:
        pixels: photo (1, 3, H, W) in [-1, 1].
        mask: where the subject is, (1, 1, H, W) in [0, 1].
        size_px: side S of the result.
        fill: share of the side that the longer side of the subject's bounding box covers.

    Returns:
        Pixels (1, 3, S, S), grey (0) beyond the photo, and mask (1, 1, S, S), 0 beyond it.

    Raises:
        ImageError: The mask is empty.
    """
    assert pixels.shape[-2:] == mask.shape[-2:], "photo and mask differ in size"
    left, top, right, bottom = _square_around(mask, fill)
    height, width = mask.shape[-2:]
    pad = (-left, right - width, -top, bottom - height)
    frame = F.pad(torch.cat([pixels, mask], dim=1), pad)  # negative padding crops
    frame = F.interpolate(
        frame, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
    )
    return frame[:, :3], frame[:, 3:]


def cut_square(
    photo: Image.Image, mask: Tensor, *, size_px: int, fill: float
) -> tuple[Tensor, Tensor]:
    """Return the `fit_square` of a photo of any size, of which no more is held than it takes.

    A square that is larger than any encoder looks at is shrunk by a whole number first.

    Raises:
        ImageError: The mask is empty.
    """
    assert (photo.height, photo.width) == mask.shape[-2:], "photo and mask differ in size"
    left, top, right, bottom = _square_around(mask, fill)
    times = math.ceil((right - left) / MAX_FRAME_PX)
    left, top = max(0, left), max(0, top)
    right, bottom = min(photo.width, right), min(photo.height, bottom)
    box, cover = (left, top, right, bottom), mask[..., top:bottom, left:right]
    if times > 1:
        part, cover = photo.reduce(times, box), _reduce(cover, times)
    else:
        part = photo.crop(box)
    return fit_square(to_tensor(part), cover, size_px=size_px, fill=fill)


class Stored(NamedTuple):
    """A picture with what else of it a file can hold."""

    pixels: Image.Image | NDArray[np.uint16]  # RGB or RGBA, or such of 16 bit (H, W, 3 or 4)
    profile: bytes = b""  # ICC, of these colours; empty for sRGB
    exif: bytes = b""


def save_image(
    image: Image.Image | Stored,
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
    image: Image.Image | Stored,
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
    pixels, profile, exif = image if isinstance(image, Stored) else Stored(image)
    notes = _notes(metadata, file_format, exif=exif, name=name)
    if profile:
        notes["icc_profile"] = profile
    if isinstance(pixels, np.ndarray) and file_format in DEEP:
        return DEEP[file_format](pixels, **notes)
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


def check_image_target(path: str | Path, *, force: bool = False) -> None:
    """Refuse what `save_image` would refuse, before any work is done for it.

    Raises:
        InputError: The suffix is unknown, the file exists, or the folder cannot be written to.
    """
    format_of(Path(path).suffix, name=f"'{path}'")
    check_target(path, force=force)


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], *, cell_px: int, captions: Sequence[str] = ()
) -> Image.Image:
    """Return one white picture with all `rows`, each picture fitted into a square cell.

    Args:
        rows: pictures; transparency shows the white ground.
        cell_px: side of a cell.
        captions: words above the columns.
    """
    header = CAPTION_PX if captions else 0
    num_columns = max((len(row) for row in rows), default=1)
    sheet = Image.new("RGB", (num_columns * cell_px, header + len(rows) * cell_px), "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.text((column * cell_px + 4, 3), caption, fill="black")
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            size = (cell_px, cell_px)
            cell = ImageOps.contain(image.convert("RGBA"), size, Image.Resampling.LANCZOS)
            margin_x, margin_y = (cell_px - cell.width) // 2, (cell_px - cell.height) // 2
            sheet.paste(cell, (x * cell_px + margin_x, header + y * cell_px + margin_y), cell)
    return sheet


def _square_around(mask: Tensor, fill: float) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom in pixels, which may lie beyond the photo.

    Raises:
        ImageError: The mask is empty.
    """
    extent = extent_of(mask)
    if extent is None:
        raise ImageError(
            "The mask shows no subject. It has to be white where the subject is. "
            "Supply another mask, as in photo.jpg:mask.png."
        )
    left, top, right, bottom = extent
    side = max(1, round(max(bottom - top, right - left) / fill))
    top, left = (top + bottom - side) // 2, (left + right - side) // 2
    return left, top, left + side, top + side


def _reduce(mask: Tensor, times: int) -> Tensor:
    """Shrink `mask` as Pillow's `reduce` does pictures; a line too thin for that stays whole."""
    small = F.avg_pool2d(mask, times, ceil_mode=True)
    return small if small.max() > 0.5 else F.max_pool2d(mask, times, ceil_mode=True)


def format_of(suffix: str, *, name: str = "The picture") -> str:
    """Return Pillow's name of the format that a suffix chooses.

    Raises:
        InputError: It chooses none.
    """
    file_format = FORMAT_OF_SUFFIX.get(suffix.lower())
    if file_format is None:
        raise InputError(
            f"{name} does not end in a known suffix. One of {', '.join(FORMAT_OF_SUFFIX)} is "
            "needed. Rename the output."
        )
    return file_format


def _notes(
    metadata: Mapping[str, str] | None, file_format: str, *, exif: bytes, name: str
) -> dict[str, Any]:
    # These are Pillow's arguments that store `metadata`, the mark of origin and EXIF data.
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


def sample_pictures(count: int) -> list[Path]:
    """Return the first pictures of subjects in the package."""
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / "samples"
    return sorted(folder.glob("*.webp"))[:count]
