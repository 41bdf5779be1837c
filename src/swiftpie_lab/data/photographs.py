"""Photos for training: listed, decoded, cut out, cropped, changed, and drawn by number."""

import hashlib
import logging
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from swiftpie.errors import ImageError, InputError, short_reason
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie.masks import grow, load_mask
from swiftpie.photo.cutout import cut_out
from swiftpie.pipelines.identity import crop_subject, frame_of
from swiftpie_world.subjects import Split

logger = logging.getLogger(__name__)

MAX_TRIES = 100  # draws in a row that may hit broken photos before there is nothing to train on
ROW_STRIDE = 1_000_003  # rows of one batch are draws of their own; no batch is that large
SURFACE_PX = 512  # the shorter side of a photo as surfaces are cut from it
_KEPT_SHARE, _KEPT_REST = 5, 1  # a photo in five is kept from training, the package's own is one
GREY = torch.tensor([0.299, 0.587, 0.114])  # luma of red, green and blue, Rec. 601
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
MASK_SUFFIX = ".mask.png"
MAX_TEXT_BYTES = 65_536  # limit of a caption file; no text encoder reads a thousandth of it


@dataclass(frozen=True)
class PhotoEntry:
    """One photo of one subject."""

    name: str  # how messages call it
    subject: str
    picture: Path
    mask: Path | None = None  # None: by transparency, or found
    caption: str = ""  # empty: made from the subject's name


def caption_of(entry: PhotoEntry) -> str:
    """Return the caption, or a plain one from the subject's name."""
    return entry.caption or f"a photo of a {words_of(entry.subject)}"


def words_of(subject: str) -> str:
    """Return the words in a subject's name: `red_vase2` is a red vase."""
    text = re.sub(r"[\W_]+|\d+", " ", Path(subject).name).strip()
    return text or "thing"


def list_folder(folder: Path) -> tuple[PhotoEntry, ...]:
    """List `folder/<subject>/<name>.jpg`; photos right in `folder` show one subject.

    `<name>.mask.png` next to a photo is its mask, and `<name>.txt` its caption.
    """
    subjects = [(folder.resolve().name, folder)]
    subjects += [(path.name, path) for path in _sorted(folder) if path.is_dir()]
    return tuple(
        PhotoEntry(
            name=photo.relative_to(folder).as_posix(),
            subject=subject,
            picture=photo,
            mask=mask_beside(photo),
            caption=_caption_beside(photo),
        )
        for subject, place in subjects
        for photo in photos_in(place)
    )


def photos_in(folder: Path) -> list[Path]:
    """Return the photos right in a folder, by name and without their masks."""
    return [
        path
        for path in _sorted(folder)
        if path.suffix.lower() in SUFFIXES
        and not path.name.lower().endswith(MASK_SUFFIX)
        and path.is_file()
    ]


def mask_beside(photo: Path) -> Path | None:
    """Return the file with the mask of a photo, if there is one."""
    mask = photo.with_name(photo.stem + MASK_SUFFIX)
    return mask if mask.is_file() else None


def _caption_beside(photo: Path) -> str:
    """Return the caption on one line, without bytes that are no text."""
    text = photo.with_suffix(".txt")
    if not text.is_file():
        return ""
    with text.open("rb") as file:
        return " ".join(file.read(MAX_TEXT_BYTES).decode("utf-8", errors="ignore").split())


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


class Photo(NamedTuple):
    """One photo as training sees it, 8 bit; the fourth channel is the subject's mask."""

    tile: Tensor  # (4, S, S) uint8, the square of the photo around the subject
    frame: Tensor  # (4, S, S) uint8, the reference frame: subject centred, grey outside


class Photos:
    """A collection of photos by subject, decoded on demand and kept in a bounded cache."""

    def __init__(
        self, entries: Sequence[PhotoEntry], *, size_px: int, cache_mib: int, name: str
    ) -> None:
        self.entries = entries
        self.size_px = size_px
        self.name = name
        self.skipped: dict[str, str] = {}  # reasons by name
        # Photo by number, or None where it cannot be used; the reason is then in `skipped`.
        self.get = lru_cache(max(1, (cache_mib << 20) // (8 * size_px**2)))(self._open)
        self.subjects: dict[str, list[int]] = {}
        for number, entry in enumerate(self.entries):
            self.subjects.setdefault(entry.subject, []).append(number)
        if not self.entries:
            raise InputError(
                f"There is no photo in '{self.name}'. A folder for each subject with PNG or JPEG "
                "photos is needed. Check the path."
            )

    def _open(self, number: int) -> Photo | None:
        entry = self.entries[number]
        if entry.name in self.skipped:
            return None
        try:
            return open_photo(entry, self.size_px)
        except (ImageError, OSError) as error:
            self.skipped[entry.name] = short_reason(error)
            logger.warning("Photo '%s' is left out: %s", entry.name, error)
            return None


def open_photos(path: Path, *, size_px: int, cache_mib: int = 1024) -> Photos:
    """Open a folder of photos, or raise InputError if it holds none."""
    if not path.is_dir():
        raise InputError(f"There is no folder '{path}'. One with photos is needed. Check the path.")
    return Photos(list_folder(path), size_px=size_px, cache_mib=cache_mib, name=str(path))


def open_photo(entry: PhotoEntry, size_px: int) -> Photo:
    """Decode one photo and cut its subject out."""
    image = load_image(entry.picture)
    given = entry.mask
    mask = cut_out(image).mask if given is None else load_mask(given, image.size)
    return Photo(
        tile=_pack(*square_around(to_tensor(image), mask, size_px=size_px)),
        frame=_pack(*frame_of(crop_subject(image, mask), size_px)[:2]),
    )


def square_around(pixels: Tensor, mask: Tensor, *, size_px: int) -> tuple[Tensor, Tensor]:
    """Cut the largest square of a photo, moved to show as much of its subject as it can.

    Photo (1, 3, H, W) and mask (1, 1, H, W) become (1, 3, S, S) and (1, 1, S, S), S = `size_px`.
    """
    height, width = pixels.shape[-2:]
    side = min(height, width)
    rows, columns = torch.nonzero(mask[0, 0] > 0.5, as_tuple=True)
    top, left = _start(rows, side, height), _start(columns, side, width)
    both = torch.cat([pixels, mask], dim=1)[..., top : top + side, left : left + side]
    both = F.interpolate(
        both, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
    )
    return both[:, :3], both[:, 3:]


@dataclass(frozen=True)
class Augmentation:
    """How far a reference may differ from what it shows; chances and amounts.

    A subject survives these changes, and copying the reference is not enough then.
    """

    flip: float = 0.5
    rotation_deg: float = 15.0
    smallest: float = 0.7  # least size of the subject in its frame
    largest: float = 1.2
    jitter: float = 0.15  # change of brightness, contrast and saturation, either way
    halo: float = 0.3  # chance that a rim of another background shows, as in a rough cut-out
    halo_px: int = 4  # its width, for a frame of 512 px


def augment(
    pixels: Tensor,
    mask: Tensor,
    background: Tensor,
    *,
    settings: Augmentation,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return a changed reference frame and its mask, grey (0) outside.

    Args:
        pixels: Reference frame (1, 3, S, S) in [-1, 1].
        mask: The subject in it (1, 1, S, S).
        background: Another photo (1, 3, S, S), for the halo.
        settings: How much.
        generator: Decides; the number of draws from it is always the same.
    """
    draws = torch.rand(8, generator=generator)
    layout = Layout(
        centre=torch.full((1, 2), 0.5),
        scale=settings.smallest + (settings.largest - settings.smallest) * draws[1:2],
        rotation=math.radians(settings.rotation_deg) * (2 * draws[0:1] - 1),
        flip=(draws[2:3] < settings.flip).float(),
        pose=torch.zeros(1, 4),
    )
    size = (pixels.shape[2], pixels.shape[3])
    moved = warp(torch.cat([pixels, mask], dim=1), to_affine(layout), size)
    pixels, mask = moved[:, :3], moved[:, 3:].clamp(0, 1)
    pixels = jitter_colours(pixels, mask, amounts=settings.jitter * (2 * draws[3:6] - 1))
    if float(draws[6]) < settings.halo:
        radius = max(1, round(settings.halo_px * size[0] / 512))
        pixels, mask = torch.lerp(background, pixels, mask), grow(mask, radius)
    return pixels * mask, mask


def jitter_colours(pixels: Tensor, mask: Tensor, *, amounts: Tensor) -> Tensor:
    """Change brightness, contrast and saturation of a subject by `amounts` (3,), 0 = unchanged."""
    brightness, contrast, saturation = (float(amount) for amount in amounts)
    mean = (pixels * mask).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp_min(1)
    changed = (pixels - mean) * (1 + contrast) + mean + brightness
    grey = (changed * GREY.to(changed).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (grey + (changed - grey) * (1 + saturation)).clamp(-1, 1)


class PhotoBatch(NamedTuple):
    """Photos, and references of the subjects they show."""

    pixels: Tensor  # (B, 3, S, S) in [-1, 1]
    mask: Tensor  # (B, 1, S, S) the subject in them
    reference: Tensor  # (B, 3, S, S) reference frames, grey (0) outside of the subject
    reference_mask: Tensor  # (B, 1, S, S)
    captions: list[str]
    names: list[str]  # words for the subject


@dataclass(frozen=True)
class PhotoViews:
    """Draws photos with references; any draw can be had at any time, so resuming is exact."""

    photos: Photos
    augmentation: Augmentation = field(default_factory=Augmentation)
    cross_view: float = 0.5  # share of references that are another photo, where there is one

    def batch(self, size: int, draw: int) -> PhotoBatch:
        rows = [self._row(draw * ROW_STRIDE + row) for row in range(size)]
        return PhotoBatch(
            pixels=torch.stack([row.pixels for row in rows]),
            mask=torch.stack([row.mask for row in rows]),
            reference=torch.stack([row.reference for row in rows]),
            reference_mask=torch.stack([row.reference_mask for row in rows]),
            captions=[caption for row in rows for caption in row.captions],
            names=[name for row in rows for name in row.names],
        )

    def _row(self, draw: int) -> PhotoBatch:
        """Return row number `draw` of all that can be drawn, without the axis B."""
        generator = torch.Generator().manual_seed(draw % 2**63)
        subjects = self.photos.subjects
        number, photo = self._pick(subjects, generator)
        entry = self.photos.entries[number]
        others = [view for view in subjects[entry.subject] if view != number]
        is_crossing = float(torch.rand((), generator=generator)) < self.cross_view
        other = self._try({entry.subject: others}, generator) if is_crossing and others else None
        background, _ = _unpack(self._pick(subjects, generator)[1].tile)
        frame, framed = _unpack(photo.frame if other is None else other[1].frame)
        reference, reference_mask = augment(
            frame, framed, background, settings=self.augmentation, generator=generator
        )
        pixels, mask = _unpack(photo.tile)
        return PhotoBatch(
            pixels=pixels[0],
            mask=mask[0],
            reference=reference[0],
            reference_mask=reference_mask[0],
            captions=[caption_of(entry)],
            names=[words_of(entry.subject)],
        )

    def _pick(
        self, subjects: Mapping[str, list[int]], generator: torch.Generator
    ) -> tuple[int, Photo]:
        found = self._try(subjects, generator)
        if found is None:
            skipped = self.photos.skipped
            raise InputError(
                f"{MAX_TRIES} draws in a row hit photos in '{self.photos.name}' that cannot be "
                f"used ({len(skipped)} left out; {skipped.popitem()[1]}). Most have to be "
                "readable and show a subject. Check them."
            )
        return found

    def _try(
        self, subjects: Mapping[str, list[int]], generator: torch.Generator
    ) -> tuple[int, Photo] | None:
        names = list(subjects)
        for _ in range(MAX_TRIES):
            first, second = torch.randint(2**31, (2,), generator=generator).tolist()
            views = subjects[names[first % len(names)]]
            number = views[second % len(views)]
            photo = self.photos.get(number)
            if photo is not None:
                return number, photo
        return None


@dataclass(frozen=True)
class WholePhotos:
    """Whole photos with captions, decoded on demand, without annotated subjects."""

    entries: tuple[PhotoEntry, ...]
    size_px: int

    def batch(self, size: int, draw: int) -> tuple[Tensor, list[str]]:
        """Return the middle squares (B, 3, S, S) in [-1, 1] of chosen photos, and captions."""
        random = Random(draw)
        chosen = [random.choice(self.entries) for _ in range(size)]
        pixels = [to_tensor(self._square(entry)) for entry in chosen]
        return torch.cat(pixels), [entry.caption for entry in chosen]

    def _square(self, entry: PhotoEntry) -> Image.Image:
        image = load_image(entry.picture).convert("RGB")
        return ImageOps.fit(image, (self.size_px, self.size_px), Image.Resampling.BICUBIC)


def open_whole_photos(folder: Path, *, size_px: int) -> WholePhotos:
    """List the photos in `folder`, with captions from `<name>.txt`, or raise InputError."""
    entries = list_folder(folder) if folder.is_dir() else ()
    if not entries:
        raise InputError(
            f"There are no photos in '{folder}'. JPEG, PNG or WebP files are needed, with captions "
            "next to them if there are any. Check the path."
        )
    return WholePhotos(entries, size_px)


def is_photo_held_out(data: bytes) -> bool:
    """Tell the side of the split from a photo's file alone, so that it never changes."""
    return int(hashlib.sha256(data).hexdigest(), 16) % _KEPT_SHARE == _KEPT_REST


def photos_of(paths: Iterable[Path], split: Split) -> list[Path]:
    """Return which of some files are photos of one side of the split, by name."""
    return [
        path
        for path in sorted(paths)
        if path.suffix.lower() in SUFFIXES
        and is_photo_held_out(path.read_bytes()) == (split == "held_out")
    ]


def load_photos(folder: Path, split: Split) -> list[Tensor]:
    """Return the photos of one side of the split, by name, as `load_photo` does.

    What training cuts surfaces from is no place to judge its models in.
    """
    return [load_photo(path) for path in photos_of(folder.iterdir(), split)]


def load_photo(path: Path) -> Tensor:
    """Return a photo as (3, H, W) in 8 bit, its shorter side 512 px long."""
    with Image.open(path) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    zoom = SURFACE_PX / min(photo.size)
    photo = photo.resize((round(photo.width * zoom), round(photo.height * zoom)))
    data = torch.frombuffer(bytearray(photo.tobytes()), dtype=torch.uint8)
    return data.view(photo.height, photo.width, 3).movedim(2, 0)


def _pack(pixels: Tensor, mask: Tensor) -> Tensor:
    both = torch.cat([(pixels + 1) * 127.5, mask * 255], dim=1)[0]
    return both.round().clamp(0, 255).to(torch.uint8)


def _unpack(packed: Tensor) -> tuple[Tensor, Tensor]:
    values = packed[None].float()
    return values[:, :3] / 127.5 - 1, values[:, 3:] / 255


def _start(places: Tensor, side: int, length: int) -> int:
    middle = (int(places.min()) + int(places.max()) + 1) // 2
    return max(0, min(middle - side // 2, length - side))
