"""Inserts subjects into photographs, removes things and replaces them: preparation and finish."""

import logging
import math
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.ground import LEANS, at_borders, height_seen, thing_in
from swiftpie.geometry.shading import Lighting
from swiftpie.imageio.images import (
    as_rgb,
    bounding_box,
    extrapolate,
    in_unit,
    mask_to_pil,
    to_pil,
    to_tensor,
)
from swiftpie.library import subject_library
from swiftpie.masks import Box, hole_of, resize_mask, subject_extent
from swiftpie.noise import add_noise, draw_step_noise
from swiftpie.photo.filling import (
    BAND_PX,
    Area,
    CanvasDrawing,
    OnBand,
    draw_over,
    without_model_error,
)
from swiftpie.photo.ground import box_on_ground, own_height
from swiftpie.photo.removal import ends_with_thing, removal_of
from swiftpie.photo.search import Search
from swiftpie.photo.stance import Stance, is_flat, stance_of
from swiftpie.pipelines.choose import Technique, resolved_scales
from swiftpie.pipelines.denoise import Clock, Plan, Prepared
from swiftpie.pipelines.edit_region import (
    Canvas,
    PixelBox,
    blend_mask,
    given_mask,
    in_hole,
    square_around,
    touched,
    where_changed,
)
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.request import cells_of
from swiftpie.pipelines.style import with_style
from swiftpie.pipelines.tasks import RepaintRequest
from swiftpie.pipelines.techniques.personalize import appearance_condition, read_null_text
from swiftpie.types import DecodedImages, EditedImage, Identity
from swiftpie.validation import Size

logger = logging.getLogger(__name__)

DEFAULT_PROMPT = "a photo of a subject"  # every model knows these words
ROOM = (0.3, 0.1, 0.3, 0.25)  # for shadows: left, above, right and below, in its longer side
THINGS = frozenset((4, 5, 6, 7))  # groups of emojibase: food, vehicles, games and objects
MIN_EXTENT = 0.05  # A share of the frame, so that a thin mask has a size.
MARGIN = 0.15  # around the change, in its longer side: context for compositing


class Patch(NamedTuple):
    """The part of a photograph that is pasted back."""

    pixels: Tensor  # (1, 3, H, W) in [0, 1], of the photograph
    gone: Tensor  # (1, 1, H, W) 0 or 1, what is removed
    place: Area  # on the canvas


class RepaintPlan(NamedTuple):
    """What remains of a repainting's preparation until it is finished."""

    original: Image.Image
    canvas: Canvas
    region: Tensor  # (1, 1, H, W) of bytes where pixels of the original may change
    box: Box | None  # where a subject is inserted
    pixels: Tensor  # (1, 3, h, w) in [-1, 1], the window on the canvas
    changes: Tensor  # (1, 1, h, w) in [0, 1], the region on the canvas
    gone: Tensor  # (1, 1, H, W) of bytes: the part of the region that is removed
    request: RepaintRequest
    cells: Size  # rows and columns of the canvas in latents
    start: Prepared | None = None
    lighting: Lighting | None = None  # The inserted subject's, one row; None if unknown.

    @property
    def prompt(self) -> str:
        """What is drawn, in words that every model knows."""
        return self.request.prompt or ("" if self.request.identity is None else DEFAULT_PROMPT)


Begin = Callable[[Components, RepaintPlan], RepaintPlan]
"""Returns a plan with what the denoiser starts from."""
Compose = Callable[..., Tensor]
"""Takes a plan, a patch, a clock, and a `DecodedImages` unless no network drew; returns the patch
(1, 3, H, W) in [0, 1] with what comes there."""


@torch.no_grad()
def prepare_repainting(
    components: Components,
    request: RepaintRequest,
    clock: Clock,
    *,
    begin: Begin,
    compose: Compose,
    side_px: int | None = None,
) -> Plan:
    """Prepare what is drawn in a window of the photograph, on a canvas of `side_px`.

    None is the side of the pictures that the networks were trained on.
    """
    request = in_hole(request)
    plan = begin(components, open_window(components, request, clock, side_px=side_px))
    clock.end_stage("prepare")
    return Plan(
        request,
        partial(finish, plan=plan, compose=compose, clock=clock),
        plan.start,
        region=lambda: mask_to_pil(plan.region)[0],
    )


def open_window(
    components: Components, request: RepaintRequest, clock: Clock, *, side_px: int | None = None
) -> RepaintPlan:
    """Choose the window of the photograph that is redrawn, on a canvas of `side_px`."""
    original = as_rgb(request.picture)
    size = (original.height, original.width)
    gone, box = torch.zeros(1, 1, *size, dtype=torch.uint8), request.box
    if request.mask is not None:
        clock.check()
        gone, around = _removed(request, original, clock.check)
        box = box or around
        clock.check()
    if request.identity is None:
        box = None
    elif box is None:
        box = proposed_box(original, request.identity, request.prompt, is_free=request.view is None)
    region = gone.clone()
    clock.check()
    if box is not None:
        left, top, right, bottom = _room_for(box, size)
        region[..., top:bottom, left:right] = 255
    side_px = side_px or components.preset.image_size_px
    window = square_around(touched(region), size, least_px=side_px)
    shown = (window[3] - window[1], window[2] - window[0])
    content = tuple(max(1, round(length * side_px / max(shown))) for length in shown)
    canvas = Canvas(size, (content[0], content[1]), (side_px, side_px), window)
    clock.check()
    pixels = canvas.enter(original).to(components.device)
    clock.check()
    changes = canvas.enter_mask(region).to(pixels)
    clock.end_stage("window")
    cells = cells_of(components.preset, (side_px, side_px))
    return RepaintPlan(original, canvas, region, box, pixels, changes, gone, request, cells)


def finish(*drawn: DecodedImages, plan: RepaintPlan, compose: Compose, clock: Clock) -> EditedImage:
    """Return the photograph with the drawing in it; pixels outside of the region stay exact."""
    original, canvas = plan.original, plan.canvas
    removes = bool(plan.gone.any())
    patch = canvas.window if removes else _around(touched(plan.region), canvas)
    left, top, right, bottom = patch
    gone = (plan.gone[..., top:bottom, left:right] > 0).float()
    clock.check()
    shown = Patch(_pixels_in(original, patch, clock), gone, canvas.shares_of(patch))
    finished = compose(plan, shown, clock, *drawn)
    clock.check()
    edited, blend = original.copy(), blend_mask(plan.region)
    clock.check()
    if removes:  # the filling meets its border, and nothing of the original may show through
        blend = ImageChops.lighter(blend, mask_to_pil(plan.gone)[0])
    for start in range(top, bottom, BAND_PX):
        here = (left, start, right, min(bottom, start + BAND_PX))
        inner = to_pil(2 * finished[..., start - top : here[3] - top, :] - 1)[0]
        edited.paste(inner, here[:2])
        clock.check()
    del finished, shown, gone  # of a large picture each fills memory
    result = Image.composite(edited, original, blend)
    clock.check()
    region = _changed_in(result, plan, patch, clock)
    clock.end_stage("join")
    return EditedImage(
        *(result, edited, ImageChops.darker(blend, region), region),
        latent_region=resize_mask(plan.changes, plan.cells),
        branches=tuple(branch for each in drawn for branch in each.branches),
        box=plan.box,
    )


def _pixels_in(photograph: Image.Image, patch: PixelBox, clock: Clock) -> Tensor:
    """Return a part of a photograph, (1, 3, H, W) in [0, 1]."""
    left, top, right, bottom = patch
    pixels = torch.empty(1, 3, bottom - top, right - left)
    for start in range(top, bottom, BAND_PX):
        end = min(bottom, start + BAND_PX)
        band = in_unit(to_tensor(photograph.crop((left, start, right, end))))
        pixels[..., start - top : end - top, :] = band
        clock.check()
    return pixels


def _changed_in(
    result: Image.Image, plan: RepaintPlan, patch: PixelBox, clock: Clock
) -> Image.Image:
    """Return the part of the region that a result changes, and all that goes, white in mode L.

    Nothing changes outside of the `patch`.
    """
    near = where_changed(plan.original.crop(patch), result.crop(patch))
    clock.check()
    left, top, right, bottom = patch
    region, gone = (mask[..., top:bottom, left:right] for mask in (plan.region, plan.gone))
    whole = Image.new("L", result.size)
    whole.paste(mask_to_pil(torch.maximum(torch.minimum(near, region), gone))[0], patch[:2])
    return whole


def posture_of(identity: Identity, text: str) -> tuple[Stance | None, float | None]:
    """Return how a thing that `text` names stands upright, and how it lies, of `LEANS`; or None."""
    known, words = subject_library(), _words(text)
    if not words or identity.named is not None or identity.is_cut:
        return None, None
    kind = next((kind for kind in map(known.meant_by, words) if kind is not None), None)
    is_thing = kind is None or known.entry(kind.name).group in THINGS
    mask, is_whole, lean = identity.mask[:1], identity.is_whole, LEANS.get(thing_in(words))
    stance = stance_of(mask, is_mirrored=kind is None or not is_whole) if is_thing else None
    lies = is_whole and (lean or (lean == 0 and is_flat(mask, extent_in_frame(identity))))
    return stance, lean if lies else None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def proposed_box(
    photograph: Image.Image, identity: Identity, prompt: str = "", *, is_free: bool = True
) -> Box:
    """Return a box for a subject without one: on the ground, at the usual height of its name.

    The name is that of the library, or the first in the prompt; without one the height is
    estimated. What a border of its photograph cuts off stands at that of this one, as in a
    portrait, beside what this one shows from near. What lies flat does so if it `is_free` to be
    turned.
    """
    text = prompt if identity.named is None else identity.named.name
    stance, lean = posture_of(identity, text) if is_free else (None, None)
    extent = extent_in_frame(identity) if stance is None else stance.extent
    height_m = height_seen(_words(text), extent)
    height_m = height_m or own_height(identity.pixels[:1], identity.mask[:1])
    box = box_on_ground(photograph, extent, height_m, lean=lean, is_cut=identity.is_cut)
    left, top, right, bottom = at_borders(box, identity.cut_at)
    return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)


def begin_from_noise(components: Components, plan: RepaintPlan) -> RepaintPlan:
    """Return the plan of networks that see the unchanged part in their noise only."""
    request, pixels, preset = plan.request, plan.pixels, components.preset
    if request.view is not None:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot turn subjects. Describe the view in the prompt, or "
            "give a picture with that view."
        )
    if not components.family.takes_adapters:
        raise CapabilityError(
            f"Preset {preset.name!r} has no adapters, which would show it a subject in a "
            "photograph. Say in the prompt of an edit what is to be there, and give the place as "
            "its mask: `edit(photo, prompt, mask=…)`."
        )
    removed = plan.canvas.enter_mask(plan.gone).to(pixels)
    filled = extrapolate(pixels, (removed <= 0).to(pixels))
    shown = request.identity or whole_picture_identity(components, to_pil(filled)[0])
    known = components.autoencoder.encode(filled)
    region = resize_mask(plan.changes, plan.cells)
    scales = resolved_scales(preset, request)
    condition = appearance_condition(components, shown, region, scales=scales)
    condition = with_style(condition, components, request)
    noise = noise_of(components, plan)
    start = Prepared(
        components,
        add_noise(known, noise[0], components.schedule.steps[0]),
        components.text.encode([plan.prompt]),
        read_null_text(components, request.negative_prompt, guidance=request.guidance, rows=1),
        condition,
        fresh=noise[1:],
    )
    gone = plan.gone if request.identity is None else plan.region  # all of it is drawn
    return plan._replace(start=start, gone=gone)


def noise_of(components: Components, plan: RepaintPlan) -> Tensor:
    """Return the noise of a drawing in the window and of its steps, (n, 1, C, h, w)."""
    shape = (components.preset.latent_channels, *plan.cells)
    noise = draw_step_noise([plan.request.seed], shape, count=components.schedule.num_draws)
    return noise.to(plan.pixels)


def _compose_whole(plan: RepaintPlan, patch: Patch, clock: Clock, drawn: DecodedImages) -> Tensor:
    """Return the patch with the drawing in all of the region."""
    before, after = (in_unit(each.float().cpu()) for each in (plan.pixels, drawn.pixels))
    changes = plan.changes.float().cpu()
    drawing = CanvasDrawing(before, after, after, changes, torch.zeros_like(changes))
    return draw_over(
        *(patch.pixels, without_model_error(drawing).alone),
        gone=patch.gone,
        place=patch.place,
        seed=plan.request.seed,
        on_band=clock.check,
    ).clamp(0, 1)


def _removed(request: RepaintRequest, original: Image.Image, on_band: OnBand) -> tuple[Tensor, Box]:
    """Return what goes, with edge and shadow if a mask is an outline, and the box of the thing."""
    place = request.mask  # its soft edges count fully
    if isinstance(place, Search):
        return removal_of(original, place, on_band=on_band)
    mask = given_mask(place, (original.height, original.width))
    if not mask.any():
        raise InputError("The mask is nowhere white. Paint what is to be removed in white.")
    gone = 255 * (mask > 0).to(torch.uint8)
    if isinstance(place, tuple):
        return gone, place
    if hole_of(request.picture) is not None or not ends_with_thing(original, gone):
        return gone, bounding_box(gone)
    logger.warning(
        "The mask ends where the thing does, so what is around it goes, too: its edge and its "
        "shadow. A mask that is wider all around is taken exactly."
    )
    found, box = removal_of(original, gone, on_band=on_band)
    return torch.maximum(gone, found), box


def _room_for(box: Box, size: Size) -> PixelBox:
    """Return the pixels of a picture of `size` that a subject in `box` may change."""
    height, width = size
    longer = max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
    left, above, right, below = (share * longer for share in ROOM)
    low = max(0, math.floor(box[0] * width - left)), max(0, math.floor(box[1] * height - above))
    high = math.ceil(box[2] * width + right), math.ceil(box[3] * height + below)
    return (*low, min(width, high[0]), min(height, high[1]))


def extent_in_frame(identity: Identity) -> tuple[float, float]:
    """Return width and height of a subject as shares of its frame."""
    wide, tall = subject_extent(identity.mask[:1])[0].clamp_min(MIN_EXTENT).tolist()
    return wide, tall


def _around(changes: PixelBox, canvas: Canvas) -> PixelBox:
    """Return the part of the window with the change and its margin."""
    left, top, right, bottom = changes
    margin = math.ceil(MARGIN * max(right - left, bottom - top))
    first, above, last, below = canvas.window
    low = max(first, left - margin), max(above, top - margin)
    return (*low, min(last, right + margin), min(below, bottom + margin))


TECHNIQUE = Technique(
    RepaintRequest,
    partial(prepare_repainting, begin=begin_from_noise, compose=_compose_whole),
    draws_style=True,
)
