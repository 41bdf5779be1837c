"""Inserts subjects into photographs, removes things and replaces them: preparation and finish."""

import math
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image, ImageChops
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.geometry.shading import Lighting
from swiftpie.imageio.images import as_rgb, in_8_bits, mask_to_pil, plane, to_pil, to_tensor
from swiftpie.masks import Box, grow, resize_mask, subject_extent
from swiftpie.models.cutout import Search
from swiftpie.noise import draw_step_noise
from swiftpie.pipelines.drawing.denoise import Clock, Prepared
from swiftpie.pipelines.drawing.edit_region import (
    Canvas,
    PixelBox,
    blend_mask,
    given_mask,
    in_hole,
    square_around,
    touched,
)
from swiftpie.pipelines.drawing.inpainting import (
    PlacedSubject,
    inpainting_condition,
    unchanged_frame,
)
from swiftpie.pipelines.drawing.prepare import (
    light_on,
    num_draws,
    read_null_text,
    subject_condition,
)
from swiftpie.pipelines.drawing.request import RepaintRequest, resolved_scales
from swiftpie.pipelines.drawing.tiles import in_tiles, num_tiles
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.photographs.compositing import (
    CanvasDrawing,
    SubjectReference,
    composite_patch,
)
from swiftpie.pipelines.photographs.filling import BAND_PX, extrapolate, resized
from swiftpie.pipelines.photographs.removal import removal_mask
from swiftpie.pipelines.techniques import Plan, Technique
from swiftpie.schedules import add_noise
from swiftpie.types import EditResult, GenerationResult, Identity
from swiftpie.validation import Size

DEFAULT_PROMPT = "a photo of a subject"  # every model knows these words
NEAR_CHANGES_PX = 2  # on each side of a changed pixel: what is taken to change
ROOM = (0.3, 0.1, 0.3, 0.25)  # for shadows: left, above, right and below, in its longer side
PROPOSED_SIDE = 0.4  # of the picture's shorter side
PROPOSED_FLOOR = 0.94  # of the picture's height: where a subject without a box stands
CANDIDATES = (0.5, 0.4, 0.6, 0.3, 0.7)  # centres over the width; the first one wins a tie
CLUTTER_PX = 64  # side of the thumbnail in which free ground is found
MIN_EXTENT = 0.05  # of a frame, so that a thin mask has a size
MARGIN = 0.15  # around the change, in its longer side: context for compositing


class RepaintPlan(NamedTuple):
    """What remains of a repainting's preparation until it is finished."""

    original: Image.Image
    canvas: Canvas
    region: Tensor  # (1, 1, H, W) of bytes where pixels of the original may change
    box: Box | None  # where a subject is inserted
    pixels: Tensor  # (1, 3, h, w) in [-1, 1], the window on the canvas
    changes: Tensor  # (1, 1, h, w) in [0, 1], the region on the canvas
    gone: Tensor  # (1, 1, H, W) of bytes: the part of the region that is removed
    start: Prepared
    lighting: Lighting | None  # of the inserted subject, one row; None if unknown
    request: RepaintRequest


def prepare_repainting(components: Components, request: RepaintRequest, clock: Clock) -> Plan:
    """Prepare what is drawn in a window of the photograph; see `prepare`."""
    request = in_hole(request)
    plan = prepare(components, request, clock)
    return Plan(
        request,
        partial(finish, plan=plan, clock=clock),
        plan.start,
        region=lambda: mask_to_pil(plan.region)[0],
    )


@torch.no_grad()
def prepare(components: Components, request: RepaintRequest, clock: Clock) -> RepaintPlan:
    """Choose the window of the photograph that is redrawn, and encode what the model sees of it.

    Raises:
        CapabilityError: No identity adapter is loaded, or the preset cannot turn subjects.
        InputError: The mask has a wrong shape, or is empty.
    """
    preset, places = components.preset, components.layout_predictor is not None
    if request.view is not None and not places:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot turn subjects. Describe the view in the prompt, or "
            "give a picture with that view."
        )
    original = as_rgb(request.picture)
    size = (original.height, original.width)
    gone = torch.zeros(1, 1, *size, dtype=torch.uint8)
    if request.mask is not None:
        gone = _removed(request.mask, original)
        clock.lap("window")
    region, layout, box = gone.clone(), None, _box_of(request, gone, original)
    if box is not None:
        left, top, right, bottom = _room_for(box, size)
        region[..., top:bottom, left:right] = 255
    canvas = _square_canvas(size, touched(region), preset.image_size_px)
    clock.lap("window")
    pixels = canvas.enter(original).to(components.device)
    clock.lap("window")
    changes, removed = (canvas.enter_mask(mask).to(pixels) for mask in (region, gone))
    if request.identity is not None and box is not None and places:
        layout = _standing(request.identity, box, canvas, view=request.view or (0.0, 0.0))
        layout = Layout(*(values.to(pixels) for values in layout))
    clock.lap("window")
    start, lighting = _start(
        components, request, pixels, changes=changes, removed=removed, layout=layout
    )
    clock.lap("prepare")
    if request.identity is not None and layout is None:
        gone = region  # the model draws all of it
    return RepaintPlan(
        original, canvas, region, box, pixels, changes, gone, start, lighting, request
    )


def finish(drawn: GenerationResult, plan: RepaintPlan, clock: Clock) -> EditResult:
    """Return the photograph with the drawing in it; pixels outside of the region stay exact."""
    original, canvas, request = plan.original, plan.canvas, plan.request
    after, *alone = (_in_unit(to_tensor(image)) for image in drawn.images)
    subject, reference = torch.zeros_like(plan.changes), None
    if plan.start.layouts:
        assert request.identity is not None, "a placed subject has an identity"
        subject = plane(drawn.subject_masks[0])
        one = request.identity
        layout = Layout(*(value[:1] for value in plan.start.layouts[0]))
        reference = SubjectReference(one.pixels[:1], one.mask[:1], one.large, layout, plan.lighting)
    before = _in_unit(plan.pixels).float().cpu()
    masks = [mask.float().cpu() for mask in (plan.changes, subject)]
    is_whole = plan.start.components.layout_predictor is None  # the model draws the whole region
    if is_whole:
        after = _with_detail(after, plan)
        size = (after.shape[2], after.shape[3])
        if size != (before.shape[2], before.shape[3]):
            before, masks = resized(before, size), [resize_mask(mask, size) for mask in masks]
            clock.lap("tiles")
    drawing = CanvasDrawing(before, after, alone[0] if alone else after, *masks)
    removes = bool(plan.gone.any())
    patch = canvas.window if removes else _around(touched(plan.region), canvas)
    left, top, right, bottom = patch
    pixels = _in_unit(to_tensor(original.crop(patch)))
    clock.lap("join")
    finished = composite_patch(
        pixels,
        drawing,
        reference,
        gone=(plan.gone[..., top:bottom, left:right] > 0).float(),
        place=canvas.shares_of(patch),
        seed=request.seed,
        is_trusted=is_whole,
        on_band=partial(clock.lap, "join"),
    )
    clock.lap("join")
    rows, columns = drawn.regions.shape[-2:]
    edited, blend = original.copy(), blend_mask(plan.region)
    clock.lap("join")
    if removes:  # the filling meets its border, and nothing of the original may show through
        blend = ImageChops.lighter(blend, mask_to_pil(plan.gone)[0])
    result = original.copy()
    for start in range(top, bottom, BAND_PX):
        here = (left, start, right, min(bottom, start + BAND_PX))
        inner = to_pil(2 * finished[..., start - top : here[3] - top, :] - 1)[0]
        edited.paste(inner, here[:2])
        result.paste(inner, here[:2], blend.crop(here))
        clock.lap("join")
    region = _changed_in(result, plan, patch)
    clock.lap("join")
    return EditResult(
        image=result,
        region=region,
        edited=edited,
        reconstruction=None,
        blend=ImageChops.darker(blend, region),
        latent_region=resize_mask(plan.changes, (rows, columns)),
        branches=drawn.branches,
        cutouts=drawn.cutouts,
        named=drawn.named,
        seed=request.seed,
        timings_ms=clock.timings(),
        scales=drawn.scales,
        origin=drawn.origin,
        box=plan.box,
    )


def _changed_in(
    result: Image.Image, plan: RepaintPlan, patch: tuple[int, int, int, int]
) -> Image.Image:
    """Return the part of the region that a result changes, and all that goes, white in mode L.

    Nothing changes outside of the `patch`.
    """
    apart = ImageChops.difference(result.crop(patch), plan.original.crop(patch).convert("RGB"))
    changed = ImageChops.lighter(*apart.split()[:2])
    changed = ImageChops.lighter(changed, apart.split()[2]).point(lambda value: 255 * (value > 0))
    near = grow(in_8_bits(plane(changed)), NEAR_CHANGES_PX)
    left, top, right, bottom = patch
    region, gone = (mask[..., top:bottom, left:right] for mask in (plan.region, plan.gone))
    whole = Image.new("L", result.size)
    whole.paste(mask_to_pil(torch.maximum(torch.minimum(near, region), gone))[0], patch[:2])
    return whole


def _with_detail(after: Tensor, plan: RepaintPlan) -> Tensor:
    """Return the drawing, redrawn in tiles if the photograph shows it larger than the canvas."""
    count = num_tiles(plan.start.components, times=plan.canvas.enlargement)
    if count == 1:
        return after
    seed = plan.request.seed
    return _in_unit(
        in_tiles(plan.start, 2 * after - 1, plan.changes.float().cpu(), count=count, seed=seed)
    )


def proposed_box(photograph: Image.Image, identity: Identity) -> Box:
    """Return a box for a subject without one: low in the picture, on free ground.

    The subject takes two fifths of the shorter side and stands in the middle, or beside it where
    the picture has less detail. Depth is unknown: place a distant subject by hand.
    """
    width, height = photograph.size
    extent = _extent(identity)
    side = PROPOSED_SIDE * min(width, height) / max(extent)
    wide, tall = side * extent[0] / width, side * extent[1] / height
    small = photograph.convert("L").resize((CLUTTER_PX, CLUTTER_PX), Image.Resampling.BOX)
    clutter = plane(small).diff(dim=-1).abs()[0, 0]
    rows = slice(int((PROPOSED_FLOOR - tall / 2) * CLUTTER_PX), CLUTTER_PX)

    def clutter_at(middle: float) -> float:
        columns = slice(
            max(0, int((middle - wide / 2) * CLUTTER_PX)),
            max(1, math.ceil((middle + wide / 2) * CLUTTER_PX)),
        )
        return float(clutter[rows, columns].mean())

    fitting = [x for x in CANDIDATES if wide / 2 <= x <= 1 - wide / 2]
    middle = min(fitting or [0.5], key=clutter_at)
    return (
        max(0.0, middle - wide / 2),
        max(0.0, PROPOSED_FLOOR - tall),
        min(1.0, middle + wide / 2),
        PROPOSED_FLOOR,
    )


def _start(
    components: Components,
    request: RepaintRequest,
    pixels: Tensor,
    *,
    changes: Tensor,
    removed: Tensor,
    layout: Layout | None,
) -> tuple[Prepared, Lighting | None]:
    """Return the inputs of denoising and the light on the inserted subject.

    A model that places subjects sees the unchanged part of `pixels` as one more subject, and was
    trained to complete it. It draws once with the inserted subject and, in the same call, once
    without.
    """
    shape = (components.preset.latent_channels, *components.cells_of(None))
    noise = draw_step_noise([request.seed], shape, count=num_draws(components)).to(pixels)
    prompt = request.prompt or ("" if request.identity is None else DEFAULT_PROMPT)
    if components.layout_predictor is None:
        return _start_from_noise(components, request, pixels, changes, removed, noise, prompt), None
    is_placed = request.identity is not None and layout is not None
    prompts = [prompt, ""] if is_placed else [prompt]
    text, rows = components.text.encode(prompts), len(prompts)
    start = components.schedule.initial_latents(noise[0]).expand(rows, -1, -1, -1)
    placed, lighting = None, None
    if request.identity is not None and layout is not None:
        given = unchanged_frame(components, pixels, changes)
        lighting = light_on(components, request.identity, start, text, given=given)
        layout = Layout(*(values.expand(2, *values.shape[1:]) for values in layout))
        placed = PlacedSubject(request.identity, layout, shows=(1.0, 0.0), lighting=lighting)
    condition = inpainting_condition(
        components,
        pixels,
        changes,
        subject=placed,
        class_tokens=components.text.find_words(prompt, [""] * (1 if placed is None else 2)),
        scales=resolved_scales(components.preset, request),
    )
    prepared = Prepared(
        components,
        start,
        text,
        read_null_text(components, request.negative_prompt, guidance=request.guidance, rows=rows),
        condition,
        fresh=noise[1:].expand(-1, rows, -1, -1, -1),
        layouts=() if layout is None else (layout,),
    )
    return prepared, None if lighting is None else lighting.select(slice(1))


def _start_from_noise(
    components: Components,
    request: RepaintRequest,
    pixels: Tensor,
    changes: Tensor,
    removed: Tensor,
    noise: Tensor,
    prompt: str,
) -> Prepared:
    """Return the inputs of a model that sees the unchanged part in its noise only.

    Raises:
        CapabilityError: No adapter can show it a subject there.
    """
    if not components.family.takes_adapters:
        raise CapabilityError(
            f"Preset {components.preset.name!r} has no adapters, which would show it a subject in "
            "a photograph. Say in the prompt of an edit what is to be there, and give the place as "
            "its mask: `edit(photo, prompt, mask=…)`."
        )
    filled = extrapolate(pixels, (removed <= 0).to(pixels))
    shown = request.identity or whole_picture_identity(components, to_pil(filled)[0])
    known = components.autoencoder.encode(filled)
    region = resize_mask(changes, (known.shape[2], known.shape[3]))
    condition = subject_condition(
        components,
        [shown.without_detail()],
        [whole_frame(region)],
        regions=[region],
        class_tokens=components.text.find_words(prompt, [""]),
        scales=resolved_scales(components.preset, request),
        shares=[1.0],
    )
    return Prepared(
        components,
        add_noise(known, noise[0], components.schedule.steps[0]),
        components.text.encode([prompt]),
        read_null_text(components, request.negative_prompt, guidance=request.guidance, rows=1),
        condition,
        fresh=noise[1:],
    )


def _removed(place: object, original: Image.Image) -> Tensor:
    """Return the mask of what is removed, (1, 1, H, W) of bytes; soft edges count fully.

    Raises:
        InputError: The mask is empty.
        NoSubject: The search finds nothing that stands out.
    """
    if isinstance(place, Search):
        return removal_mask(original, place)
    mask = given_mask(place, (original.height, original.width))
    if not mask.any():
        raise InputError("The mask is nowhere white. Paint what is to be removed in white.")
    return 255 * (mask > 0).to(torch.uint8)


def _box_of(request: RepaintRequest, gone: Tensor, original: Image.Image) -> Box | None:
    """Return the box of the inserted subject; None without one."""
    if request.identity is None:
        return None
    if request.box is not None:
        return request.box
    if request.mask is None:
        return proposed_box(original, request.identity)
    if isinstance(request.mask, tuple):
        return request.mask
    width, height = original.size
    left, top, right, bottom = touched(gone)
    return left / width, top / height, right / width, bottom / height


def _room_for(box: Box, size: Size) -> PixelBox:
    """Return the pixels of a picture of `size` that a subject in `box` may change."""
    height, width = size
    longer = max((box[2] - box[0]) * width, (box[3] - box[1]) * height)
    left, above, right, below = (share * longer for share in ROOM)
    return (
        max(0, math.floor(box[0] * width - left)),
        max(0, math.floor(box[1] * height - above)),
        min(width, math.ceil(box[2] * width + right)),
        min(height, math.ceil(box[3] * height + below)),
    )


def _square_canvas(size: Size, changes: PixelBox, side: int) -> Canvas:
    """Return the square canvas of the window around `changes`."""
    window = square_around(changes, size, least_px=side)
    shown = (window[3] - window[1], window[2] - window[0])
    content = [max(1, round(length * side / max(shown))) for length in shown]
    return Canvas(full=size, content=(content[0], content[1]), padded=(side, side), window=window)


def _standing(identity: Identity, box: Box, canvas: Canvas, *, view: tuple[float, float]) -> Layout:
    """Return the layout on the canvas of a subject that fits into `box`, feet at the bottom."""
    height, width = canvas.full
    left, top, right, bottom = (
        value * side for value, side in zip(box, (width, height, width, height), strict=True)
    )
    wide, tall = _extent(identity)
    side = min((right - left) / wide, (bottom - top) / tall)  # of the frame, in pixels
    x, y = (left + right) / 2, bottom - side * tall / 2
    reach = SUBJECT_FILL * side / 2
    return from_box(canvas.shares_of((x - reach, y - reach, x + reach, y + reach)), view=view)


def _extent(identity: Identity) -> tuple[float, float]:
    """Return width and height of a subject as shares of its frame."""
    wide, tall = subject_extent(identity.mask[:1])[0].clamp_min(MIN_EXTENT).tolist()
    return wide, tall


def _around(changes: PixelBox, canvas: Canvas) -> PixelBox:
    """Return the part of the window with the change and its margin."""
    left, top, right, bottom = changes
    margin = math.ceil(MARGIN * max(right - left, bottom - top))
    first, above, last, below = canvas.window
    return (
        max(first, left - margin),
        max(above, top - margin),
        min(last, right + margin),
        min(below, bottom + margin),
    )


def _in_unit(pixels: Tensor) -> Tensor:
    return (pixels + 1) / 2


TECHNIQUE = Technique(RepaintRequest, prepare_repainting)
