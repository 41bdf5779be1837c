"""Photos decoded, cut out and cropped, kept in a bounded cache."""

import logging
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.data.real.entries import Entry, Listing, bytes_of
from swiftpie.data.real.folder import list_folder
from swiftpie.data.real.shards import list_shards
from swiftpie.errors import ImageError, InputError, short_reason
from swiftpie.images import alpha_of, load_image, to_tensor
from swiftpie.masks import load_mask, subject_mask
from swiftpie.pipelines.identity import canonical_frame

logger = logging.getLogger(__name__)

CHECKED = 100  # collections up to this size are decoded at the start, to tell what is wrong
NAMED = 5  # files that a message lists


class Shot(NamedTuple):
    """One photo as training sees it, 8 bit; the fourth channel is the subject's mask."""

    tile: Tensor  # (4, S, S) uint8, the square of the photo around the subject
    frame: Tensor  # (4, S, S) uint8, the reference frame: subject centred, grey outside
    is_cut: bool  # the mask was found by colour


class Photos:
    """A collection of photos by subject, decoded when asked for."""

    def __init__(self, listing: Listing, *, size_px: int, cache_mib: int, name: str) -> None:
        """Take a listing.

        Args:
            listing: What there is.
            size_px: Side S of tiles and frames.
            cache_mib: Bound of what stays decoded.
            name: How messages call the collection.

        Raises:
            InputError: It is empty, or no photo can be used.
        """
        self.entries = listing.entries
        self.size_px = size_px
        self.name = name
        self.skipped = dict(listing.skipped)
        self.cut: set[str] = set()  # photos without a mask, whose subject was found by colour
        self._kept: OrderedDict[int, Shot] = OrderedDict()
        self._capacity = max(1, (cache_mib << 20) // (8 * size_px**2))
        self.subjects: dict[str, list[int]] = {}
        for number, entry in enumerate(self.entries):
            self.subjects.setdefault(entry.subject, []).append(number)
        if not self.entries:
            raise InputError(self._nothing())

    def shot(self, number: int) -> Shot | None:
        """Return photo `number`, or None if it cannot be used; the reason is in `skipped`."""
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        entry = self.entries[number]
        if entry.name in self.skipped:
            return None
        try:
            shot = open_shot(entry, self.size_px)
        except (ImageError, OSError) as error:
            self.skipped[entry.name] = short_reason(error)
            logger.warning("Photo '%s' is left out: %s", entry.name, error)
            return None
        if shot.is_cut:
            self.cut.add(entry.name)
        self._kept[number] = shot
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)
        return shot

    def check(self) -> str:
        """Decode the first photos and return a report on what can be used.

        Raises:
            InputError: None can.
        """
        looked_at = min(len(self.entries), CHECKED)
        good = [number for number in range(looked_at) if self.shot(number) is not None]
        if not good:
            raise InputError(self._nothing())
        report = f"{self.name}: {len(self.entries)} photos of {len(self.subjects)} subjects"
        if looked_at < len(self.entries):
            report += f", the first {looked_at} looked at"
        if self.cut:
            report += (
                f"; {len(self.cut)} without a mask were cut out by colour ({_some(self.cut)}): "
                "look at them in samples.png"
            )
        if self.skipped:
            report += f"; {len(self.skipped)} left out ({_some(self.skipped)})"
        return report + "."

    def _nothing(self) -> str:
        reasons = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:NAMED])
        return (
            f"There is no usable photo in '{self.name}' ({len(self.skipped)} left out"
            f"{'; ' if reasons else ''}{reasons}). A folder for each subject with PNG or JPEG "
            "photos is needed, or tars. Check the path."
        )


def open_photos(path: Path, *, size_px: int, cache_mib: int = 1024) -> Photos:
    """Open a folder of photos, one tar, or a folder of tars.

    Raises:
        InputError: The path does not exist or holds no photo.
    """
    if not path.exists():
        raise InputError(
            f"'{path}' does not exist. A folder with photos, or a tar, is needed. Check the path."
        )
    is_shards = path.is_file() or any(path.glob("*.tar"))
    listing = list_shards(path) if is_shards else list_folder(path)
    return Photos(listing, size_px=size_px, cache_mib=cache_mib, name=str(path))


def open_shot(entry: Entry, size_px: int) -> Shot:
    """Decode one photo and cut its subject out.

    Raises:
        ImageError: Photo or mask are broken, or the subject cannot be found.
    """
    image = load_image(bytes_of(entry.picture))
    if entry.mask is not None:
        mask = load_mask(bytes_of(entry.mask), image.size)
    else:
        mask = subject_mask(image)
    pixels, framed = canonical_frame(image, mask, size_px)
    return Shot(
        tile=_pack(*square_around(to_tensor(image), mask, size_px=size_px)),
        frame=_pack(pixels, framed),
        is_cut=entry.mask is None and not _is_transparent(image),
    )


def square_around(pixels: Tensor, mask: Tensor, *, size_px: int) -> tuple[Tensor, Tensor]:
    """Cut the largest square of a photo, moved to show as much of its subject as it can.

    Args:
        pixels: Photo (1, 3, H, W) in [-1, 1].
        mask: Its subject (1, 1, H, W).
        size_px: Side S of the result.

    Returns:
        Pixels (1, 3, S, S) and mask (1, 1, S, S).
    """
    height, width = pixels.shape[-2:]
    side = min(height, width)
    rows, columns = torch.nonzero(mask[0, 0] > 0.5, as_tuple=True)
    top = _start(rows, side, height)
    left = _start(columns, side, width)
    both = torch.cat([pixels, mask], dim=1)[..., top : top + side, left : left + side]
    both = F.interpolate(
        both, size=(size_px, size_px), mode="bilinear", align_corners=False, antialias=True
    )
    return both[:, :3], both[:, 3:]


def unpack(shots: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return packed pictures (4, S, S) as pixels (B, 3, S, S) and masks (B, 1, S, S)."""
    values = torch.stack(shots).float()
    return values[:, :3] / 127.5 - 1, values[:, 3:] / 255


def _pack(pixels: Tensor, mask: Tensor) -> Tensor:
    both = torch.cat([(pixels + 1) * 127.5, mask * 255], dim=1)[0]
    return both.round().clamp(0, 255).to(torch.uint8)


def _start(places: Tensor, side: int, length: int) -> int:
    """Return where a window of `side` starts whose middle is that of `places`."""
    middle = (int(places.min()) + int(places.max()) + 1) // 2
    return max(0, min(middle - side // 2, length - side))


def _is_transparent(image: Image.Image) -> bool:
    alpha = alpha_of(image)
    return alpha is not None and float(alpha.min()) < 1


def _some(names: set[str] | dict[str, str]) -> str:
    first = sorted(names)[:NAMED]
    return ", ".join(first) + (", …" if len(names) > NAMED else "")
