"""Pictures as tensors: PIL outside, pixels (B, 3, H, W) in [-1, 1] inside."""

import importlib.resources
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor
from torch.nn import functional as F

from swiftpie.arguments import checked
from swiftpie.errors import InputError, NoSubject
from swiftpie.validation import Box

CAPTION_PX = 18
MAX_FRAME_PX = 2048  # side of a square that is cut out of a photo; larger ones are shrunk first
CACHED_PIXELS = 1 << 16  # of a band that stays in a cache
SURE = 1e-3  # weight below which a pixel counts as unknown


def shrunk_to(side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return `size` with its longer side at most `side`, in its shape, no side below one pixel."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def to_tensor(image: Image.Image) -> Tensor:
    """Return pixels (1, 3, H, W) in [-1, 1]; transparency is ignored."""
    return from_bytes(to_bytes(image))


def in_unit(pixels: Tensor) -> Tensor:
    """Return pixels in [-1, 1] as values in [0, 1]."""
    return (pixels + 1) / 2


def to_bytes(image: Image.Image) -> Tensor:
    """Return a picture as bytes (1, 3, H, W), as they lie in memory; transparency is ignored."""
    return torch.from_numpy(np.array(as_rgb(image))).permute(2, 0, 1)[None]


def from_bytes(pixels: Tensor) -> Tensor:
    """Return pixels of bytes (B, 3, H, W) in [-1, 1]; those of floats unchanged."""
    if pixels.dtype != torch.uint8:
        return pixels
    # Bytes are woven apart sooner than numbers four times as long.
    return pixels.contiguous().float().div_(127.5).sub_(1)


def in_bytes(pixels: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [-1, 1] in 0..255; those of bytes unchanged."""
    if pixels.dtype == torch.uint8:
        return pixels
    return _in_bands(pixels, lambda band: band.clamp(-1, 1).add_(1).mul_(127.5))


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture without transparency."""
    return image if image.mode == "RGB" else image.convert("RGB")


def alpha_of(image: Image.Image) -> Tensor | None:
    """Return opacity (1, 1, H, W) in [0, 1], or None for a picture that is opaque everywhere."""
    alpha = plane(image.getchannel("A")) if "A" in image.getbands() else None
    return alpha if alpha is not None and alpha.min() < 1 else None


def plane(image: Image.Image) -> Tensor:
    """Return a picture of one 8-bit channel as (1, 1, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image, dtype=np.float32))[None, None].div_(255)


def luma(pixels: Tensor) -> Tensor:
    """Return the luma (B, 1, H, W) of pixels (B, 3, H, W)."""
    return (pixels * pixels.new_tensor((0.299, 0.587, 0.114)).view(1, 3, 1, 1)).sum(1, keepdim=True)


def to_pil(pixels: Tensor) -> list[Image.Image]:
    """Return one RGB picture for each row of `pixels` (B, 3, H, W), in [-1, 1] or bytes."""
    pictures = []
    for planes in in_bytes(pixels).cpu():
        if (woven := planes.permute(1, 2, 0)).is_contiguous():
            pictures.append(Image.fromarray(woven.numpy()))
        else:  # Pillow weaves planes together sooner than PyTorch does.
            bands = [Image.fromarray(plane) for plane in planes.numpy()]
            pictures.append(Image.merge("RGB", bands))
    return pictures


def mask_to_pil(mask: Tensor) -> list[Image.Image]:
    """Return one greyscale picture for each row of `mask` (B, 1, H, W) in [0, 1]."""
    return [Image.fromarray(v) for v in in_8_bits(mask)[:, 0].contiguous().cpu().numpy()]


def in_8_bits(mask: Tensor) -> Tensor:
    """Return `mask` (B, 1, H, W) in [0, 1] as a picture file holds it, in 0..255."""
    if mask.dtype == torch.uint8:
        return mask
    return _in_bands(mask, lambda band: band.clamp(0, 1).mul_(255))


def _in_bands(values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what `change` makes of bands of rows, rounded to bytes.

    Large values fill memory, and bands a cache.
    """
    scaled = torch.empty_like(values, dtype=torch.uint8)
    rows = max(1, CACHED_PIXELS // values.shape[-1])
    for given, written in zip(values.split(rows, dim=-2), scaled.split(rows, dim=-2), strict=True):
        written.copy_(change(given.detach().float()).round_())
    return scaled


def from_8_bits(mask: Tensor) -> Tensor:
    """Return `mask` of bytes in [0, 1]; one of floats unchanged."""
    return mask.float().div_(255) if mask.dtype == torch.uint8 else mask


def extent_of(mask: Tensor) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom in pixels of `mask` (1, 1, H, W) above 0.5, if any is."""
    solid = mask[0, 0] > 0.5
    rows, columns = solid.any(dim=1).nonzero(), solid.any(dim=0).nonzero()
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@checked
def bounding_box(mask: Tensor) -> Box:
    """Return what is just around `mask` (1, 1, H, W) above 0.5; the whole picture if nothing is."""
    height, width = mask.shape[-2:]
    left, top, right, bottom = extent_of(mask) or (0, 0, width, height)
    return left / width, top / height, right / width, bottom / height


def fit_square(pixels: Tensor, mask: Tensor, *, size_px: int, fill: float) -> tuple[Tensor, Tensor]:
    """Cut the square around the subject: the reference frame of `swiftpie.geometry.layout`.

    Args:
        pixels: photo (1, 3, H, W) in [-1, 1].
        mask: where the subject is, (1, 1, H, W) in [0, 1].
        size_px: side S of the result.
        fill: share of the side that the longer side of the subject's bounding box covers.

    Returns:
        Pixels (1, 3, S, S), grey (0) beyond the photo, and mask (1, 1, S, S), 0 beyond it.

    Raises:
        NoSubject: The mask is empty.
    """
    assert pixels.shape[-2:] == mask.shape[-2:], "photo and mask differ in size"
    left, top, right, bottom = subject_square(mask, fill)
    height, width = mask.shape[-2:]
    pad = (-left, right - width, -top, bottom - height)
    frame = F.pad(torch.cat([pixels, mask], dim=1), pad)  # negative padding crops
    if frame.shape[-1] != size_px:
        frame = F.interpolate(
            frame, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
        )
    return frame[:, :3], frame[:, 3:]


def side_px(mask: Tensor, fill: float) -> int:
    """Return the side of the square around the subject, in pixels of `mask` (1, 1, H, W)."""
    left, _, right, _ = subject_square(mask, fill)
    return right - left


def crop_square(photo: Image.Image, mask: Tensor, *, fill: float) -> tuple[Tensor, Tensor]:
    """Return all of a photo of any size that its `fit_square` shows: pixels and mask.

    A square that is larger than any encoder looks at is shrunk by a whole number.

    Raises:
        NoSubject: The mask is empty.
    """
    assert (photo.height, photo.width) == mask.shape[-2:], "photo and mask differ in size"
    left, top, right, bottom = subject_square(mask, fill)
    times = math.ceil((right - left) / MAX_FRAME_PX)
    left, top = max(0, left), max(0, top)
    right, bottom = min(photo.width, right), min(photo.height, bottom)
    box, cover = (left, top, right, bottom), mask[..., top:bottom, left:right]
    if times > 1:
        part, cover = photo.reduce(times, box), _reduce(cover, times)
    else:
        part = photo.crop(box)
    return to_tensor(part), cover


@checked
def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], *, cell_px: int, captions: Sequence[str] = ()
) -> Image.Image:
    """Return one white picture with all `rows`, each picture fitted into a cell.

    Args:
        rows: pictures; transparency shows the white ground.
        cell_px: width of a cell, and its height at most; a row is as high as its highest picture.
        captions: words above the columns.
    """
    header, side = CAPTION_PX if captions else 0, (cell_px, cell_px)
    num_columns = max((len(row) for row in rows), default=1)
    cells = [
        [ImageOps.contain(image.convert("RGBA"), side, Image.Resampling.LANCZOS) for image in row]
        for row in rows
    ]
    heights = [max((cell.height for cell in row), default=0) for row in cells]
    sheet = Image.new("RGB", (num_columns * cell_px, header + sum(heights)), "white")
    draw = ImageDraw.Draw(sheet)
    for column, caption in enumerate(captions):
        draw.text((column * cell_px + 4, 3), caption, fill="black")
    top = header
    for row, height in zip(cells, heights, strict=True):
        for x, cell in enumerate(row):
            margin_x, margin_y = (cell_px - cell.width) // 2, (height - cell.height) // 2
            sheet.paste(cell, (x * cell_px + margin_x, top + margin_y), cell)
        top += height
    return sheet


def subject_square(mask: Tensor, fill: float) -> tuple[int, int, int, int]:
    """Return the square around the subject of `mask` (1, 1, H, W), as `fit_square` cuts it.

    Its left, top, right and bottom in pixels may lie beyond the photo.

    Raises:
        NoSubject: The mask is empty.
    """
    extent = extent_of(mask)
    if extent is None:
        raise NoSubject(
            "The mask shows no subject. It has to be white where the subject is.",
            "Supply another mask.",
        )
    left, top, right, bottom = extent
    side = max(1, round(max(bottom - top, right - left) / fill))
    top, left = (top + bottom - side) // 2, (left + right - side) // 2
    return left, top, left + side, top + side


def _reduce(mask: Tensor, times: int) -> Tensor:
    """Shrink `mask` as Pillow's `reduce` does pictures; a line too thin for that stays whole."""
    small = F.avg_pool2d(mask, times, ceil_mode=True)
    return small if small.max() > 0.5 else F.max_pool2d(mask, times, ceil_mode=True)


def extrapolate(values: Tensor, weight: Tensor) -> Tensor:
    """Return `values` (1, C, H, W) extrapolated to where `weight` (1, 1, H, W) is 0.

    Each coarser level of a pyramid fills the unknown part of the finer one.
    """
    if values.shape[-2:] == (1, 1):
        return values
    return torch.lerp(carried_on(values, weight), values, weight)


def carried_on(values: Tensor, weight: Tensor) -> Tensor:
    """Return what `extrapolate` finds where the weight is 0, everywhere."""
    known = halved(weight)
    coarse = extrapolate(halved(values * weight) / known.clamp_min(SURE), (4 * known).clamp(max=1))
    return resized(coarse, (values.shape[2], values.shape[3]), mode="bilinear")


def resized(values: Tensor, size: tuple[int, int], *, mode: str = "bicubic") -> Tensor:
    """Return `values` (B, C, H, W) in `size`, enlarged smoothly or shrunk by means."""
    if size[0] <= values.shape[2] and size[1] <= values.shape[3]:
        return F.interpolate(values, size, mode="area")
    return F.interpolate(values, size, mode=mode, align_corners=False)


def halved(values: Tensor) -> Tensor:
    """Return the means of 2 x 2 pixels; an odd last row or column stands for itself."""
    return F.avg_pool2d(values, 2, ceil_mode=True, count_include_pad=False)


def sample_pictures(count: int) -> list[Path]:
    """Return the first pictures of subjects in the package."""
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / "samples"
    return sorted(folder.glob("*.webp"))[:count]


class Recorded(Image.Image):
    """A picture whose files say how it was made, also those that Pillow's `save` writes."""

    record: Mapping[str, str] = MappingProxyType({})
    # Notebooks, which show the PNG, would store this as well.
    _repr_jpeg_ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, image: Image.Image, record: Mapping[str, str]) -> "Recorded":
        """Return the same pixels with the metadata of `save_image`."""
        made = cls()
        vars(made).update(vars(image), record=dict(record))
        return made

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002, ANN401 - as of Pillow
        """Write the picture as Pillow does, with its record where the format can keep that."""
        from swiftpie.imageio.credentials import SOURCE_TYPE
        from swiftpie.imageio.writing import FORMAT_OF_SUFFIX, LOSSLESS, QUALITY, picture_notes

        name = getattr(fp, "name", fp) if format is None else f"_.{format}"
        suffix = Path(name).suffix if isinstance(name, str | Path) else ""
        known = FORMAT_OF_SUFFIX.get(suffix.lower())
        notes: Mapping[str, Any] = {}
        if self.record and known is not None:
            try:
                notes = picture_notes(self.record, known)
            except InputError:  # too long; the mark of origin fits in any case
                kind = {name: self.record[name] for name in self.record.keys() & {SOURCE_TYPE}}
                notes = picture_notes(kind, known)
            if known in LOSSLESS:
                notes = {**notes, **QUALITY[known]}
        elif self.record and suffix.lower() == ".gif":
            notes = {"comment": json.dumps(dict(self.record), sort_keys=True).encode()}
        super().save(fp, format, **{**notes, **params})

    def _new(self, im: Any) -> Image.Image:  # noqa: ANN401 - Pillow's pixels
        """Return a picture that is made of this one, such as a crop."""
        made: Image.Image = super()._new(im)
        return Recorded.of(made, self.record) if self.record else made
