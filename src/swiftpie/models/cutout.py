"""Finds the subject of a photo: a small U-Net guesses, colours and edges sharpen."""

import functools
import importlib.resources
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.errors import InputError, NoSubject
from swiftpie.imageio.cutout import (
    CUTOUT_PX,
    DOUBTFUL,
    KEPT,
    MAX_SHARE,
    MIN_SHARE,
    WORK_SIDE_PX,
    Area,
    CutoutMethod,
    area_of,
    around,
    averaged,
    centred,
    outlined,
    shrunk_to,
)
from swiftpie.imageio.images import alpha_of, plane, to_tensor
from swiftpie.masks import Box, bounding_box, box_mask, check_box, parse_box
from swiftpie.models import rembg
from swiftpie.types import Cutout

logger = logging.getLogger(__name__)

ASSETS = "assets/cutout"
NUMBER = r"-?(?:\d+\.?\d*|\.\d+)"
PLACE = re.compile(f"(?P<not>not:)?(?P<numbers>{NUMBER}(?:,{NUMBER})+)")  # a box or a point
VIEW_SHARES = (1.0, 0.75, 0.5)  # of each side of a photo, in views around points
POINT_REACH = 0.03  # of a view's smaller side, within which all is as a point says
BORDER, BORDER_GUESS = 0.92, 8.0  # beyond this share of the way out all is background


class ConvBlock(nn.Module):
    """Two normalised 3 x 3 convolutions added to their input."""

    def __init__(self, channels: int, groups: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        added: Tensor = hidden + self.layers(hidden)
        return added


class CutoutNet(ModelMixin, ConfigMixin):
    """Pictures (B, 3, 128, 128) in [-1, 1] to logits (B, 1, 128, 128) of the subject's mask.

    Which of several things is the subject is decided on the coarsest level, where attention sees
    the whole picture; the way up brings the outline back.
    """

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (20, 44, 72, 96)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, widths[0], 3, padding=1))
        levels = list(pairwise(widths))
        self.encoders = nn.ModuleList(ConvBlock(wide, groups=4) for wide in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in levels)
        self.middle = nn.Sequential(ConvBlock(widths[-1], groups=4), _Attention(widths[-1]))
        self.ups = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(levels))
        self.decoders = nn.ModuleList(ConvBlock(wide, groups=4) for wide in reversed(widths[:-1]))
        self.head = nn.Sequential(
            nn.GroupNorm(4, widths[0]),
            nn.SiLU(),
            nn.Conv2d(widths[0], 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Return the features of each level, (B, C, h, w), the finest first."""
        hidden, levels = self.stem(pixels), []
        for encode, down in zip(self.encoders, self.downs, strict=True):
            levels.append(encode(hidden))
            hidden = down(levels[-1])
        return [*levels, self.middle(hidden)]

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (B, 1, 128, 128)."""
        *skips, hidden = self.levels(pixels)
        for up, decode in zip(self.ups, self.decoders, strict=True):
            enlarged = F.interpolate(up(hidden), scale_factor=2, mode="nearest")
            hidden = decode(enlarged + skips.pop())
        logits: Tensor = self.head(hidden).float()
        return logits


Point = tuple[float, float]
"""Across and down, in [0, 1]."""


@dataclass(frozen=True)
class Search:
    """How to look for the subject of a picture that comes without a mask."""

    way: CutoutMethod | None = (
        None  # REMBG, NONE, or None: transparency, else our network, else colour
    )
    model: str = rembg.DEFAULT  # of rembg
    box: Box | None = None  # left, top, right and bottom in [0, 1]: the subject is inside of it
    points: tuple[Point, ...] = ()  # on the subject
    beside: tuple[Point, ...] = ()  # on what is not the subject

    def __post_init__(self) -> None:
        if self.box is not None:
            check_box(self.box)
        for point in (*self.points, *self.beside):
            if not all(0 <= number <= 1 for number in point):
                raise InputError(
                    f"The point {point} lies beyond the picture. Give fractions of its width and "
                    "height from 0 to 1, for example 0.5,0.4."
                )
        has_points = bool(self.points or self.beside)
        if (self.way is CutoutMethod.NONE and self.has_hints) or (
            self.way is CutoutMethod.REMBG and has_points
        ):
            raise InputError(
                f"`cutout={self.way}` came with {'points' if has_points else 'a box'}, which it "
                "does not read. Our own network reads both, and rembg a box. Leave one out."
            )

    @property
    def has_hints(self) -> bool:
        """Whether somebody says where the subject is."""
        return self.box is not None or bool(self.points or self.beside)

    def __str__(self) -> str:
        way = {None: "auto", CutoutMethod.REMBG: f"rembg:{self.model}"}.get(self.way, str(self.way))
        places = [] if self.box is None else [self.box]
        spelled = [",".join(map(str, place)) for place in (*places, *self.points)]
        return " ".join([way, *spelled, *(f"not:{x},{y}" for x, y in self.beside)])


ANYWHERE = Search()


def parse_search(text: str) -> Search | None:
    """Read "auto", "none", "rembg" or "rembg:MODEL", and then, or alone, where the subject is.

    That is "left,top,right,bottom" for a box, "x,y" for a point on the subject and "not:x,y" for
    one beside it, apart by spaces. Returns None for what begins like nothing of this.

    Raises:
        InputError: It begins so, and goes on in another way.
    """
    words = text.split()
    way, _, model = words[0].partition(":") if words else ("", "", "")
    known: dict[str, CutoutMethod | None] = {
        "auto": None,
        "none": CutoutMethod.NONE,
        "rembg": CutoutMethod.REMBG,
    }
    if way in known and (way == "rembg" or not model):
        words = words[1:]
    elif not words or PLACE.fullmatch(words[0]) is None:
        return None
    else:
        way, model = "auto", ""  # "not:" begins a point
    boxes: list[Box] = []
    points: dict[bool, list[Point]] = {True: [], False: []}
    for word in words:
        found = PLACE.fullmatch(word)
        numbers = tuple(map(float, found["numbers"].split(","))) if found else ()
        if found and len(numbers) == 2:
            points[not found["not"]].append((numbers[0], numbers[1]))
        elif found and len(numbers) == 4 and not found["not"] and not boxes:
            boxes.append((numbers[0], numbers[1], numbers[2], numbers[3]))
        else:
            raise InputError(
                f"{word!r} does not say where a subject is. Give one box L,T,R,B, points X,Y on "
                "the subject, or not:X,Y beside it, as fractions from 0 to 1, for example "
                "'0.2,0.1,0.8,0.95' or '0.5,0.5 not:0.1,0.9'."
            )
    return Search(
        known[way],
        model=rembg.named(model or rembg.DEFAULT).name,
        box=boxes[0] if boxes else None,
        points=tuple(points[True]),
        beside=tuple(points[False]),
    )


def search_of(text: str | Search) -> Search:
    """Return the search that `text` is, or spells as `parse_search` reads it.

    Raises:
        InputError: It spells none.
    """
    search = text if isinstance(text, Search) else parse_search(text)
    if search is None:
        raise InputError(
            f"cutout={text!r} is no way to cut a subject out. 'auto', 'rembg', 'none', a box or "
            "points are needed, as in '0.2,0.1,0.8,0.95'. A mask goes into `masks=`."
        )
    return search


def search_at(points: Sequence[str], *, box: str | None = None) -> Search:
    """Return the search for the thing at `points`, each "x,y" on it or "not:x,y" beside it.

    Raises:
        InputError: A text is no point, or `box` is no box.
    """
    for point in points:
        found = PLACE.fullmatch(point)
        if found is None or found["numbers"].count(",") != 1:
            raise InputError(
                f"{point!r} is not a point. Give x,y as fractions of the picture, each from 0 to "
                "1, for example 0.2,0.65, or not:0.4,0.9 for a point on what stays."
            )
    search = search_of(" ".join(points))
    return search if box is None else replace(search, box=parse_box(box))


class CutOut(NamedTuple):
    """A subject in its picture."""

    mask: Tensor  # (1, 1, H, W) in [0, 1]
    how: Cutout


def subject_mask(image: Image.Image) -> Tensor:
    """Return where the subject is (1, 1, H, W), looked for as `cut_out` does by default.

    Raises:
        NoSubject: Next to nothing or nearly everything is found.
    """
    return cut_out(image).mask


def cut_out(image: Image.Image, search: str | Search = ANYWHERE, *, name: str = "") -> CutOut:
    """Return where the subject of `image` is, which way that was found, and how sure it is.

    A warning tells that what was found may be wrong.

    Args:
        image: photo, mode RGB or RGBA. One subject is looked for, large and near the middle, or
            where `search` says.
        search: how to look for it; a string is read as by `search_of`.
        name: what a warning calls the picture, such as its file.

    Raises:
        InputError: The string describes no search.
        NoSubject: Next to nothing or nearly everything is found.
        MissingExtra: rembg is needed and not installed.
        WeightsError: rembg's model is not here.
    """
    search = search_of(search)
    if search.way is CutoutMethod.NONE:
        whole = torch.ones(1, 1, image.height, image.width)
        return CutOut(whole, Cutout(CutoutMethod.NONE, None))
    alpha = None if search.way is CutoutMethod.REMBG or search.has_hints else alpha_of(image)
    if alpha is not None:
        if not alpha.any():
            raise NoSubject(*_not_found(0.0))
        return CutOut(alpha, Cutout(CutoutMethod.TRANSPARENCY, 1.0))
    if search.way is CutoutMethod.REMBG:
        found = _by_rembg(image, search)
    else:
        mask = find_with(packaged(), image, search)
        sure = confidence_with(packaged(), image, search)
        found = CutOut(mask, Cutout(CutoutMethod.NETWORK, round(sure, 4)))
        if not _is_usable(mask, search):
            found = CutOut(_by_colour(image, search), Cutout(CutoutMethod.COLOUR, None))
    if not _is_usable(found.mask, search):
        raise NoSubject(*_not_found(found.mask.mean().item()))
    _warn(found.how, search, name)
    return found


def find(image: Image.Image) -> Tensor:
    """Return the mask (1, 1, H, W) in [0, 1] of the subject of `image`."""
    return find_with(packaged(), image)


@torch.no_grad()
def find_with(network: CutoutNet, image: Image.Image, search: Search = ANYWHERE) -> Tensor:
    """Return the mask (1, 1, H, W) in [0, 1] of the subject that `network` finds in `image`.

    A box is looked at with some of what is around it, and nothing beyond it is the subject. Else
    the network looks at larger and smaller views, around points or from the middle, and what it
    says of each place in them is averaged, as nobody knows how large the subject is. What it finds
    without any hint it looks at once more, closely.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    if search.has_hints:
        return _seen(network, photo, _views(photo.size, search), search)
    whole = (0, 0, *photo.size)
    mask = _seen(network, photo, [whole, *centred(photo.size)], search)
    if not _is_usable(mask, search):
        return mask
    return _seen(network, photo, [around(bounding_box(mask), photo.size)], search)


@torch.no_grad()
def find_as_guessed(network: CutoutNet, image: Image.Image, guess: Tensor) -> Tensor:
    """Return the mask (1, 1, H, W) of the subject that `network` and another guess agree upon.

    The `guess`, log-odds (1, 1, h, w) over the picture, counts as much as the network's own.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    whole = (0, 0, *photo.size)
    views = [whole, *centred(photo.size)]
    logits = averaged(guesses(network, photo, views), views)
    other = F.interpolate(guess.float().cpu(), logits.shape, mode="bilinear", antialias=True)
    return _outlined(photo, whole, logits + other[0, 0].numpy(), ANYWHERE)


@torch.no_grad()
def find_around(network: CutoutNet, image: Image.Image, guess: Tensor, box: Box) -> Tensor:
    """Return the mask (1, 1, H, W) of the thing at `box`, as `find_as_guessed` has it.

    What is around the box is looked at, too. The `guess`, log-odds (1, 1, h, w), is about the whole
    picture.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    area = around(box, photo.size)
    whole = Image.fromarray(guess[0, 0].float().cpu().numpy())
    across, down = whole.width / photo.width, whole.height / photo.height
    part = (area[0] * across, area[1] * down, area[2] * across, area[3] * down)
    other = np.asarray(whole.resize((CUTOUT_PX,) * 2, Image.Resampling.BILINEAR, box=part))
    return _outlined(photo, area, guesses(network, photo, [area])[0] + other, ANYWHERE)


@torch.no_grad()
def guesses(network: CutoutNet, photo: Image.Image, views: Sequence[Area]) -> NDArray[np.float32]:
    """Return the log-odds (V, n, n) of the subject in each view."""
    # Each view squeezed to a square: what lies at its edges tells what the subject is.
    squares = [photo.resize((CUTOUT_PX,) * 2, Image.Resampling.BOX, box=view) for view in views]
    pixels = torch.cat([*map(to_tensor, squares)]).contiguous(memory_format=torch.channels_last)
    logits: NDArray[np.float32] = network(pixels)[:, 0].numpy()
    return logits


def _seen(network: CutoutNet, photo: Image.Image, views: Sequence[Area], search: Search) -> Tensor:
    """Return the mask (1, 1, H, W) that `network` finds by `views`, the first of which has all."""
    return _outlined(photo, views[0], averaged(guesses(network, photo, views), views), search)


def _by_colour(image: Image.Image, search: Search) -> Tensor:
    """Return what lies within the picture, or the box, and differs in colour from its border."""
    photo = image.convert("RGB")
    area = _views(photo.size, search)[0]
    rows = torch.linspace(-1, 1, CUTOUT_PX).abs()
    reach = torch.maximum(rows[:, None], rows[None])  # 0 in the middle, 1 at the border
    logits = -BORDER_GUESS * (reach > BORDER).float()  # within it, colours alone tell
    return _outlined(photo, area, logits.numpy(), search)


def _by_rembg(image: Image.Image, search: Search) -> CutOut:
    area = _views(image.size, search)[0]
    seen = plane(rembg.find(image.convert("RGB").crop(area), search.model))
    mask = torch.zeros(1, 1, image.height, image.width)
    mask[..., area[1] : area[3], area[0] : area[2]] = seen
    if search.box is not None:
        mask *= box_mask(search.box, height=image.height, width=image.width)
    solid = (mask > 0.5).float()  # what is clear-cut agrees with itself made hard
    sure = torch.minimum(mask, solid).sum() / torch.maximum(mask, solid).sum().clamp_min(1e-6)
    return CutOut(mask, Cutout(f"{CutoutMethod.REMBG} {search.model}", round(sure.item(), 4)))


def _outlined(
    photo: Image.Image, area: Area, logits: NDArray[np.float32], search: Search
) -> Tensor:
    """Return the mask (1, 1, H, W) that colours and edges of `area` make of a guess about it."""
    view = photo if area == (0, 0, *photo.size) else photo.crop(area)
    size = shrunk_to(WORK_SIDE_PX, view.size)
    seeds = _seeds(photo.size, area, size, search) if search.has_hints else None
    mask = torch.from_numpy(outlined(view, logits, seeds))[None, None]
    if view is photo:
        return mask
    left, top, right, bottom = area
    return F.pad(mask, (left, photo.width - right, top, photo.height - bottom))


def _views(size: tuple[int, int], search: Search) -> list[Area]:
    """Return what of a photo of (width, height) the network shall look at, in pixels."""
    width, height = size
    if search.box is not None:
        return [around(search.box, size)]
    if not search.points:
        return [(0, 0, width, height)]
    x, y = (sum(numbers) / len(search.points) for numbers in zip(*search.points, strict=True))
    views = []
    for share in VIEW_SHARES:
        left, top = (min(max(0.0, centre - share / 2), 1 - share) for centre in (x, y))
        views.append(area_of((left, left + share, width), (top, top + share, height)))
    return views


def _seeds(
    photo: tuple[int, int], area: Area, size: tuple[int, int], search: Search
) -> NDArray[np.float32]:
    """Return what is known of each pixel of `area` at `size`: 1 subject, -1 not, 0 to be found."""
    left, top, right, bottom = area
    across = ((np.arange(size[0]) + 0.5) / size[0] * (right - left) + left) / photo[0]
    down = ((np.arange(size[1]) + 0.5) / size[1] * (bottom - top) + top) / photo[1]
    seeds = np.zeros(size[::-1], dtype=np.float32)
    if search.box is not None:
        low_x, low_y, high_x, high_y = search.box
        inside_x, inside_y = (
            (across >= low_x) & (across <= high_x),
            (down >= low_y) & (down <= high_y),
        )
        seeds[~(inside_y[:, None] & inside_x[None])] = -1
    reach = POINT_REACH * min((right - left) / photo[0], (bottom - top) / photo[1])
    for sign, points in ((1, search.points), (-1, search.beside)):
        for x, y in points:
            apart = np.hypot(across[None] - x, down[:, None] - y)
            seeds[apart <= max(reach, float(apart.min()))] = sign
    return seeds


def _is_usable(mask: Tensor, search: Search) -> bool:
    """Whether a mask is neither next to nothing nor nearly everything of where one looked."""
    height, width = mask.shape[-2:]
    left, top, right, bottom = _views((width, height), search)[-1]
    share = mask[..., top:bottom, left:right].mean().item()
    return MIN_SHARE < share <= (1 if search.has_hints else MAX_SHARE)


def _not_found(share: float) -> tuple[str, str]:
    return (
        f"The subject could not be separated from its background: {share:.0%} of the picture was "
        "found. One subject that stands out is needed.",
        "Supply a mask, or a box around it such as 0.2,0.1,0.8,0.95.",
    )


def _warn(how: Cutout, search: Search, name: str) -> None:
    which = f"The subject of '{name}'" if name else "The subject"
    remedy = "give a mask, or a box around it"
    if not search.has_hints:
        remedy += ", as in `cutout=0.2,0.1,0.8,0.95`"
    if how.way == CutoutMethod.COLOUR:
        logger.warning(
            "%s was cut out by colour alone, as the network saw none. If it is wrong, %s.",
            *(which, remedy),
        )
    elif how.is_doubtful:
        logger.warning(
            "%s may be cut out badly (confidence %.2f; below %.2f most are). If it is, %s.",
            *(which, how.confidence, DOUBTFUL, remedy),
        )


def confidence_with(network: CutoutNet, image: Image.Image, search: Search = ANYWHERE) -> float:
    """Return how well guesses about several views of `image` agree about its subject, in [0, 1].

    The views are the mirrored picture and its lower corners. The least agreement with the guess
    about the whole counts, a soft intersection over union. What the network is wrongly sure of
    stays hidden. With a box the whole is what is around it; around points it is the mean of all
    views that the network looks at.
    """
    photo = image if image.mode == "RGB" else image.convert("RGB")
    views = _views(photo.size, search)
    return sum(_agreement(network, photo, view) for view in views) / len(views)


@torch.no_grad()
def _agreement(network: CutoutNet, photo: Image.Image, area: Area) -> float:
    side = 2 * CUTOUT_PX
    square = to_tensor(photo.resize((side, side), Image.Resampling.BOX, box=area))
    edge, cells = round(KEPT * side), round(KEPT * CUTOUT_PX)
    lower = square[..., -edge:, :]
    views = (square, square.flip(-1), lower[..., :edge], lower[..., -edge:])
    small = [F.interpolate(view, (CUTOUT_PX, CUTOUT_PX), mode="area") for view in views]
    whole, mirrored, *corners = torch.sigmoid(network(torch.cat(small))).split(1)
    left, right = (F.interpolate(corner, (cells, cells), mode="bilinear") for corner in corners)
    seen = whole[..., -cells:, :]
    pairs = ((mirrored.flip(-1), whole), (left, seen[..., :cells]), (right, seen[..., -cells:]))
    return min(float(torch.minimum(*pair).sum() / torch.maximum(*pair).sum()) for pair in pairs)


@functools.cache
def packaged() -> CutoutNet:
    """Return the network that ships with the package."""
    with importlib.resources.as_file(importlib.resources.files("swiftpie") / ASSETS) as folder:
        return load(folder)


def load(folder: Path) -> CutoutNet:
    """Return the network that training exported to `folder`."""
    network: CutoutNet = CutoutNet.from_pretrained(folder, use_safetensors=True)
    return network.float().eval().requires_grad_(False)


class _Attention(nn.Module):
    """Attention among the 8 x 8 cells, which know their place."""

    def __init__(self, channels: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(4, channels)
        self.place = nn.Parameter(torch.zeros(1, channels, 8, 8))
        self.read = nn.Conv2d(channels, 3 * channels, 1)
        self.write = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        parts = self.read(self.norm(hidden) + self.place).flatten(2)
        query, key, value = parts.unflatten(1, (3, self.heads, -1)).transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(-1, -2)
        added: Tensor = hidden + self.write(mixed.flatten(1, 2).unflatten(2, hidden.shape[2:]))
        return added
