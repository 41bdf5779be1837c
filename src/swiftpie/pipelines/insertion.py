"""A change of a photograph: what goes, where a subject comes, how it stands, and the result."""

import logging
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.geometry.ground import LEANS, at_borders, height_seen, thing_in
from swiftpie.imageio.images import as_rgb, bounding_box, in_unit, mask_to_pil, to_pil, to_tensor
from swiftpie.library import subject_library
from swiftpie.masks import Box, hole_of, resize_mask, subject_extent
from swiftpie.noise import draw_step_noise
from swiftpie.photo.compositing import BAND_PX, OnBand
from swiftpie.photo.ground import box_on_ground, own_height
from swiftpie.photo.removal import ends_with_thing, removal_of
from swiftpie.photo.search import Search
from swiftpie.photo.stance import Orientation, is_flat, stance_of
from swiftpie.pipelines.choose import Choice, Clock
from swiftpie.pipelines.edit_region import (
    Canvas,
    blend_mask,
    extent_or_whole,
    given_mask,
    in_hole,
    square_around,
    where_changed,
)
from swiftpie.pipelines.request import cells_of
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.types import EditedImage, Identity, IdentityBranch
from swiftpie.validation import PixelBox, Size

logger = logging.getLogger(__name__)

WORD = re.compile("[a-z]+")
DEFAULT_PROMPT = "a photo of a subject"  # every model knows these words
ROOM = (0.3, 0.1, 0.3, 0.25)  # for shadows, by eye: left, above, right, below, in its longer side
THINGS = frozenset((4, 5, 6, 7))  # groups of emojibase: food, vehicles, games and objects
MIN_EXTENT = 0.05  # A share of the frame, so that a thin mask has a size.
MARGIN = 0.15  # around the change, in its longer side: context for compositing


class Posture(NamedTuple):
    """How a subject comes into a photograph; by default as its own photograph shows it."""

    stance: Orientation | None = None  # how it is turned onto its base
    lean: float | None = None  # by how much taller than flat what lies is seen; None: it stands


AS_SHOWN = Posture()


class InsertedSubject(NamedTuple):
    """What comes into a photograph, where, and how."""

    identity: Identity
    box: Box
    posture: Posture = AS_SHOWN


class Insertion(NamedTuple):
    """A change of a photograph: what goes, what comes, and what the networks see of it."""

    request: RetouchRequest
    original: Image.Image  # in RGB
    hole: Tensor  # (1, 1, H, W) of bytes: what is removed
    subject: InsertedSubject | None
    room: Tensor  # (1, 1, H, W) of bytes where pixels of the original may change
    canvas: Canvas
    pixels: Tensor  # (1, 3, h, w) in [-1, 1], the window on the canvas
    changes: Tensor  # (1, 1, h, w) in [0, 1], the room on the canvas
    cells: Size  # rows and columns of the canvas in latents
    patch: PixelBox  # the part of the photograph that is pasted back
    hole_box: PixelBox | None  # the part from which the hole is filled; None: nothing goes

    @property
    def prompt(self) -> str:
        """What is drawn, in words that every model knows."""
        return self.request.prompt or ("" if self.subject is None else DEFAULT_PROMPT)

    def region(self) -> Image.Image:
        """Return what may change, white in mode L."""
        return mask_to_pil(self.room)[0]


def insertion_of(choice: Choice[RetouchRequest], *, side_px: int | None = None) -> Insertion:
    """Return what goes from a photograph and what comes, in a window on a canvas of `side_px`.

    None is the side of the pictures that the networks were trained on.
    """
    choice = replace(choice, request=in_hole(choice.request))
    components, request, clock = choice.components, choice.request, choice.clock
    original = as_rgb(request.picture)
    size, thing_box = (original.height, original.width), None
    hole = torch.zeros(1, 1, *size, dtype=torch.uint8)
    if request.mask is not None:
        clock.check()
        hole, thing_box = _removal_mask(request, original, clock.check)
    subject = _subject_of(choice, original, request.box or thing_box)
    room = hole.clone()
    clock.check()
    if subject is not None:
        left, top, right, bottom = _room_for(subject.box, size)
        room[..., top:bottom, left:right] = 255
    net_px = components.preset.image_size_px
    side_px = side_px or net_px
    window = square_around(extent_or_whole(room), size, least_px=side_px)
    shown = (window[3] - window[1], window[2] - window[0])
    content = tuple(max(1, round(length * side_px / max(shown))) for length in shown)
    canvas = Canvas(size, (content[0], content[1]), (side_px, side_px), window)
    clock.check()
    pixels = canvas.enter(original).to(components.device)
    clock.check()
    changes = canvas.enter_mask(room).to(pixels)
    clock.end_stage("window")
    # As large whatever comes there, so that what can be removed can be replaced.
    hole_box = square_around(extent_or_whole(hole), size, least_px=net_px) if hole.any() else None
    return Insertion(
        *(request, original, hole, subject, room, canvas, pixels, changes),
        cells=cells_of(components.preset, canvas.padded),
        patch=_around(extent_or_whole(room), window),
        hole_box=hole_box,
    )


def _subject_of(
    choice: Choice[RetouchRequest], original: Image.Image, box: Box | None
) -> InsertedSubject | None:
    """Return the subject that comes, in a box or where it would stand."""
    request = choice.request
    if (identity := request.identity) is None:
        return None
    if box is not None:
        return InsertedSubject(identity, box)
    posture = posture_of(identity, request.prompt) if request.view is None else AS_SHOWN
    box = proposed_box(original, identity, request.prompt, posture, warn=choice.warn)
    return InsertedSubject(identity, box, posture)


def noise_of(components: Components, insertion: Insertion) -> Tensor:
    """Return the noise of a drawing in the window and of its steps, (n, 1, C, h, w)."""
    shape = (components.preset.latent_channels, *insertion.cells)
    count = components.schedule.num_draws
    return draw_step_noise([insertion.request.seed], shape, count=count).to(insertion.pixels)


class Patch(NamedTuple):
    """The part of a photograph that is pasted back."""

    pixels: Tensor  # (1, 3, H, W) in [0, 1], of the photograph
    hole: Tensor  # (1, 1, H, W) 0 or 1, what is removed
    place: Box  # on the canvas


def patch_of(insertion: Insertion, clock: Clock) -> Patch:
    """Return the part of the photograph that is pasted back, as it is before the change."""
    left, top, right, bottom = patch = insertion.patch
    hole = (insertion.hole[..., top:bottom, left:right] > 0).float()
    clock.check()
    pixels = torch.empty(1, 3, bottom - top, right - left)
    for start in range(top, bottom, BAND_PX):
        end = min(bottom, start + BAND_PX)
        band = in_unit(to_tensor(insertion.original.crop((left, start, right, end))))
        pixels[..., start - top : end - top, :] = band
        clock.check()
    return Patch(pixels, hole, insertion.canvas.shares_of(patch))


def pasted(
    insertion: Insertion,
    drawing: Tensor,
    clock: Clock,
    *,
    branches: tuple[IdentityBranch, ...] = (),
) -> EditedImage:
    """Return the photograph with the drawing of its patch, (1, 3, H, W) in [0, 1], in its room.

    Pixels outside of the room stay exact.
    """
    original, (left, top, right, bottom) = insertion.original, insertion.patch
    clock.check()
    edited, blend = original.copy(), blend_mask(insertion.room)
    clock.check()
    if insertion.hole.any():  # the filling meets its border, and nothing may show through
        blend = ImageChops.lighter(blend, mask_to_pil(insertion.hole)[0])
    for start in range(top, bottom, BAND_PX):
        end = min(bottom, start + BAND_PX)
        edited.paste(to_pil(2 * drawing[..., start - top : end - top, :] - 1)[0], (left, start))
        clock.check()
    del drawing  # of a large picture it fills memory
    result = Image.composite(edited, original, blend)
    clock.check()
    changed = where_changed(original.crop(insertion.patch), result.crop(insertion.patch))
    clock.check()
    room, hole = (mask[..., top:bottom, left:right] for mask in (insertion.room, insertion.hole))
    region = Image.new("L", result.size)
    region.paste(mask_to_pil(torch.maximum(torch.minimum(changed, room), hole))[0], (left, top))
    clock.end_stage("join")
    return EditedImage(
        *(result, edited, ImageChops.darker(blend, region), region),
        latent_region=resize_mask(insertion.changes, insertion.cells),
        branches=branches,
        box=None if insertion.subject is None else insertion.subject.box,
    )


def posture_of(identity: Identity, text: str) -> Posture:
    """Return how a thing that `text` names stands upright or lies in a photograph."""
    library, words = subject_library(), WORD.findall(text.lower())
    if not words or identity.named is not None or identity.is_cut:
        return AS_SHOWN
    kind = next((kind for kind in map(library.meant_by, words) if kind is not None), None)
    is_thing = kind is None or library.entry(kind.name).group in THINGS
    mask, is_whole, lean = identity.mask[:1], identity.is_whole, LEANS.get(thing_in(words))
    stance = stance_of(mask, is_mirrored=kind is None or not is_whole) if is_thing else None
    lies = is_whole and (lean or (lean == 0 and is_flat(mask, extent_in_frame(identity))))
    return Posture(stance, lean if lies else None)


def proposed_box(
    photograph: Image.Image,
    identity: Identity,
    prompt: str = "",
    posture: Posture = AS_SHOWN,
    *,
    warn: Callable[[str], object] = logger.warning,
) -> Box:
    """Return a box for a subject without one: on the ground, at the usual height of its name.

    The name is that of the library, or the first in the prompt; without one the height is
    estimated. What a border of its photograph cuts off stands at that of this one, as in a
    portrait, beside what this one shows from near.
    """
    text = prompt if identity.named is None else identity.named.name
    extent = extent_in_frame(identity, posture)
    height_m = height_seen(WORD.findall(text.lower()), extent)
    height_m = height_m or own_height(identity.pixels[:1], identity.mask[:1])
    box = box_on_ground(
        photograph, extent, height_m, lean=posture.lean, is_cut=identity.is_cut, warn=warn
    )
    left, top, right, bottom = at_borders(box, identity.cut_at)
    return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)


def extent_in_frame(identity: Identity, posture: Posture = AS_SHOWN) -> tuple[float, float]:
    """Return width and height of a subject as shares of its frame, in which it may be turned."""
    if posture.stance is not None:
        return posture.stance.extent
    wide, tall = subject_extent(identity.mask[:1])[0].clamp_min(MIN_EXTENT).tolist()
    return wide, tall


def _removal_mask(
    request: RetouchRequest, original: Image.Image, on_band: OnBand
) -> tuple[Tensor, Box]:
    """Return what goes, with edge and shadow if a mask is an outline, and the box of the thing."""
    place = request.mask  # its soft edges count fully
    if isinstance(place, Search):
        return removal_of(original, place, on_band=on_band)
    mask = given_mask(place, (original.height, original.width))
    if not mask.any():
        raise InputError("The mask is nowhere white. Paint what is to be removed in white.")
    hole = 255 * (mask > 0).to(torch.uint8)
    if isinstance(place, tuple):
        return hole, place
    if hole_of(request.picture) is not None or not ends_with_thing(original, hole):
        return hole, bounding_box(hole)
    logger.warning(
        "The mask ends where the thing does, so what is around it goes, too: its edge and its "
        "shadow. A mask that is wider all around is taken exactly."
    )
    surroundings, box = removal_of(original, hole, on_band=on_band)
    return torch.maximum(hole, surroundings), box


def _room_for(box: Box, size: Size) -> PixelBox:
    """Return the pixels of a picture of `size` that a subject in `box` may change."""
    height, width = size
    longer = max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
    left, above, right, below = (share * longer for share in ROOM)
    low = max(0, math.floor(box[0] * width - left)), max(0, math.floor(box[1] * height - above))
    high = math.ceil(box[2] * width + right), math.ceil(box[3] * height + below)
    return (*low, min(width, high[0]), min(height, high[1]))


def _around(changes: PixelBox, window: PixelBox) -> PixelBox:
    """Return the part of a window with the change and its margin."""
    left, top, right, bottom = changes
    margin = math.ceil(MARGIN * max(right - left, bottom - top))
    low = max(window[0], left - margin), max(window[1], top - margin)
    return (*low, min(window[2], right + margin), min(window[3], bottom + margin))
