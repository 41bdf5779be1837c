"""Insertions: by a denoiser that sees what stays, and into scenes for models that draw none."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.geometry.shading import Lighting, as_dark_as
from swiftpie.imageio.images import in_unit, mask_to_pil, plane, shrunk_to, to_bytes, to_tensor
from swiftpie.masks import Box, in_frame, resize_mask
from swiftpie.mini.placing import own_light
from swiftpie.mini.scene import SceneRow, facts_of, scene_rows
from swiftpie.models.denoiser import SubjectCondition, read_references
from swiftpie.photo.filling import CanvasDrawing, inpaint
from swiftpie.photo.search import Search
from swiftpie.photo.stance import Stance, laid_flat, turned_upright
from swiftpie.pipelines.choose import Technique, resolved_scales
from swiftpie.pipelines.denoise import Clock, Plan, Prepared
from swiftpie.pipelines.edit_region import in_hole
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.settings import ResolvedScales, Scales
from swiftpie.pipelines.tasks import RepaintRequest
from swiftpie.pipelines.techniques import repaint
from swiftpie.pipelines.techniques.personalize import (
    check_subjects,
    read_null_text,
    subject_condition,
)
from swiftpie.pipelines.techniques.repaint import (
    Patch,
    RepaintPlan,
    extent_in_frame,
    finish,
    noise_of,
    open_window,
    posture_of,
    prepare_repainting,
)
from swiftpie.places.own_pixels import composite_patch, own_pixels
from swiftpie.types import DecodedImages, EditedImage, Identity

logger = logging.getLogger(__name__)

# Of six removals of more than a half, four of 51 to 57 % were fair, and larger ones are a smear.
MOST_REMOVED = 0.6
# How doubtful a filling may be: of 74 removals by a click 42 are above the first, 37 of them bad by
# eye, of three between both two are bad, and of 29 below also two.
HOPELESS, DOUBTED = 0.88, 0.76
# A drawing of this side tells the light on a subject and its ground, and no details of either.
CANVAS_PX = 128
# By how much a newcomer may exceed the box of what it replaces, as it hides what is guessed there.
LARGER = 1.1
AT_BORDER = 0.02  # What ends so near to a border, as a share of the picture's side, ends at it.
GREY, VARIED = 0.005, 0.2  # greatest and least deviation of black and white photographs, in [-1, 1]
SMALL_PX = 64  # longer side of a photograph whose light is measured


class PlacedSubject(NamedTuple):
    """A subject that is drawn where a picture changes."""

    identity: Identity
    layout: Layout  # a row for each of the batch
    lighting: Lighting | None = None  # a row for each; None keeps the light of the reference


def inpainting_condition(
    components: Components,
    pixels: Tensor,
    changes: Tensor,
    *,
    subject: PlacedSubject | None,
    shows: Sequence[float],
    class_tokens: Tensor,
    scales: ResolvedScales,
) -> SubjectCondition:
    """Return the condition of a denoiser that places subjects, with the unchanged part in place.

    The unchanged part of the picture is one more subject, in the frame of the picture itself,
    weighed by `background_scale`. It has detail only together with a subject that has; its
    aligned latents say nearly as much.

    Args:
        components: The networks.
        pixels: The picture on its canvas, (1, 3, H, W) in [-1, 1].
        changes: Where it changes, (1, 1, H, W) in [0, 1].
        subject: What is drawn there, if anything.
        shows: For each row of the batch 1 with the subject, and 0 without it.
        class_tokens: The words that name each subject, (S, T); those of the picture are last.
        scales: Strengths of the branches.
    """
    cell = components.preset.latent_cell_px
    cells = (pixels.shape[2] // cell, pixels.shape[3] // cell)
    region = resize_mask(changes, cells)
    first = [] if subject is None else [subject]
    text = components.text.encode([""]) if any(each.identity.keys for each in first) else None
    square, stays = unchanged_frame(components, pixels, changes).split((3, 1), dim=1)
    networks = components.denoiser, components.image_encoder, components.autoencoder
    read = read_references(*networks, pixels=square, mask=stays, empty_text=text)
    by = {"preset": components.preset.name, "fingerprint": components.fingerprint}
    rows = region.new_tensor(shows).view(-1, 1, 1, 1)
    return subject_condition(
        components,
        [*(each.identity for each in first), read.as_identity(square, stays, **by)],
        [*(each.layout for each in first), whole_frame(rows)],
        regions=[*(region * rows for _ in first), (1 - region).expand(len(rows), -1, -1, -1)],
        lights=[*(each.lighting for each in first), None],
        class_tokens=class_tokens,
        scales=replace(
            scales,
            identity_scale=scales.background_scale,
            detail_scale=scales.background_scale,
            background_scale=scales.identity_scale,
        ),
        shares=[1.0] * (len(first) + 1),
    )


def unchanged_frame(components: Components, pixels: Tensor, changes: Tensor) -> Tensor:
    """Return the unchanged part of a picture as a reference frame, pixels and mask (1, 4, S, S).

    `pixels` are (1, 3, H, W) in [-1, 1]; the frame is 0 where `changes` (1, 1, H, W) is 1.
    """
    size = (components.preset.image_size_px,) * 2
    stays = resize_mask(1 - changes, size)
    square = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return torch.cat([square * stays, stays], dim=1)


def begin_in_place(components: Components, plan: RepaintPlan) -> RepaintPlan:
    """Return the plan of networks that see the unchanged part as one more subject.

    They were trained to complete it. They draw once with the inserted subject and, in the same
    call, once without.
    """
    request, pixels, changes = plan.request, plan.pixels, plan.changes
    noise, identity = noise_of(components, plan), request.identity
    assert identity is not None, "a subject comes"
    assert plan.box is not None, "it has a box"
    if request.box is None and request.mask is not None:
        _check_borders(identity, plan.box)
    text = components.text.encode([plan.prompt, ""])
    start = components.schedule.initial_latents(noise[0]).expand(2, -1, -1, -1)
    is_free = request.box is None and request.mask is None and request.view is None
    stance, lean = posture_of(identity, request.prompt) if is_free else (None, None)
    layout = _standing(plan, identity, plan.box, stance, lies=lean is not None)
    layout = Layout(*(values.to(pixels).expand(2, *values.shape[1:]) for values in layout))
    given = unchanged_frame(components, pixels, changes)
    scene = components.own.layout_predictor.light_there(start, text.pooled, given=given)
    size = shrunk_to(SMALL_PX, (plan.original.height, plan.original.width))[::-1]
    small = to_tensor(plan.original.resize(size, Image.Resampling.BOX, reducing_gap=2.0))
    scene = as_dark_as(scene, small.to(pixels), plan.box)
    lighting = Lighting(own_light(components, identity).expand(2), scene)
    condition = inpainting_condition(
        components,
        pixels,
        changes,
        subject=PlacedSubject(identity, layout, lighting),
        shows=(1.0, 0.0),
        class_tokens=components.text.find_words(plan.prompt, ["", ""]),
        scales=resolved_scales(components.preset, request),
    )
    null = read_null_text(components, request.negative_prompt, guidance=request.guidance, rows=2)
    fresh = noise[1:].expand(-1, 2, -1, -1, -1)
    prepared = Prepared(components, start, text, null, condition, fresh=fresh, layouts=(layout,))
    return plan._replace(start=prepared, lighting=lighting.select(slice(1)))


def compose_in_place(plan: RepaintPlan, patch: Patch, clock: Clock, drawn: DecodedImages) -> Tensor:
    """Return the patch with the inserted subject, its own pixels in the light of the drawing."""
    after, alone = in_unit(drawn.pixels.float().cpu()).split(1)
    one, start, lighting = plan.request.identity, plan.start, plan.lighting
    assert one is not None, "a subject was drawn"
    assert start is not None, "from noise"
    assert lighting is not None, "in a light"
    layout = Layout(*(value[:1].float().cpu() for value in start.layouts[0]))
    scene, (left, top, right, bottom) = lighting.scene.on_cpu(), patch.place
    height, width = patch.pixels.shape[2:]
    own = own_pixels(start.components, one, lighting.own)
    picture_px = round(max(height / (bottom - top), width / (right - left)))
    masks = [mask.float().cpu() for mask in (plan.changes, drawn.subject_mask[:1])]
    finished = composite_patch(
        patch.pixels,
        CanvasDrawing(in_unit(plan.pixels).float().cpu(), after, alone, *masks),
        own.standing(layout, scene, picture_px=picture_px),
        gone=patch.gone,
        place=patch.place,
        seed=plan.request.seed,
        on_band=clock.check,
        on_doubt=partial(_heed, plan.request),
    )
    points = to_tensor(plan.original.resize((SMALL_PX, SMALL_PX), Image.Resampling.NEAREST))
    is_grey = points.std(dim=1).max() < GREY and points.std() > VARIED
    return finished.mean(dim=1, keepdim=True).expand_as(finished) if is_grey else finished


@torch.no_grad()
def prepare_removal(components: Components, request: RepaintRequest, clock: Clock) -> Plan:
    """Prepare to continue a photograph from around what is removed, which takes no network.

    Raises:
        InputError: Most of it is to go.
    """
    plan = open_window(components, in_hole(request), clock)
    share = (plan.gone > 0).float().mean().item()
    if share > MOST_REMOVED:
        raise InputError(
            f"The area to remove covers {share:.0%} of the picture. At most {MOST_REMOVED:.0%} can "
            "be filled from the rest. Mark less by a mask or a box, or take a picture that shows "
            "more around the object."
        )
    join = partial(finish, plan=plan, compose=_continued, clock=clock)
    return Plan(plan.request, join, region=lambda: mask_to_pil(plan.region)[0])


def _continued(plan: RepaintPlan, patch: Patch, clock: Clock) -> Tensor:
    """Return the patch with what goes inpainted from its surroundings."""
    on_band, on_doubt = clock.check, partial(_heed, plan.request)
    return inpaint(patch.pixels, patch.gone, on_band=on_band, on_doubt=on_doubt).clamp_(0, 1)


def _heed(request: RepaintRequest, doubt: float) -> None:
    """Refuse a smear in place of what a click or a box finds, and warn of what is in doubt."""
    if doubt > HOPELESS and isinstance(request.mask, Search):
        raise InputError(
            "The background of the object cannot be filled from around it, or a part of the object "
            "would stay as a smear. Add points on the rest of it, crop the picture to one surface, "
            "or paint what goes as a mask, as for `--mask`, which is used exactly."
        )
    if doubt > DOUBTED:
        logger.warning(
            "The background of the object is uneven, so its filling is a guess: edges may break "
            "off or run on. Add points on parts of the object that are left, or use a smaller mask."
        )


def _check_borders(identity: Identity, box: Box) -> None:
    """Refuse what a border of its photograph cuts off where what it replaces ends at none."""
    away = {"left": box[0], "top": box[1], "right": 1 - box[2], "bottom": 1 - box[3]}
    cuts = [*identity.cut_at.split(), *["bottom"][: identity.is_cut]]
    if hangs := " ".join(border for border in cuts if away[border] > AT_BORDER):
        raise InputError(
            f"The subject is cut off in its photograph (border: {hangs}), but the replaced object "
            "does not end there. Give a picture of the whole subject, or a mask up to that border."
        )


def _standing(
    plan: RepaintPlan, identity: Identity, box: Box, stance: Stance | None, *, lies: bool
) -> Layout:
    """Return the layout on the canvas of a subject that fits into `box`, feet at the bottom.

    What replaces a thing is larger where one side has room. What `lies` is squeezed to the box.
    """
    canvas, is_found = plan.canvas, isinstance(plan.request.mask, Search)
    height, width = canvas.full
    left, right, top, bottom = box[0] * width, box[2] * width, box[1] * height, box[3] * height
    wide, tall = extent_in_frame(identity) if stance is None else stance.extent
    side, high = (right - left) / wide, (bottom - top) / tall  # of the frame in pixels
    larger = LARGER if is_found and plan.request.box is None else 1.0
    fits = min(max(side, high), larger * min(side, high))
    share, side = (high / side, side) if lies else (1.0, fits)
    x, y = (left + right) / 2, bottom - side * tall / 2
    reach = (SUBJECT_FILL if stance is None else max(wide, tall)) * side / 2
    around = canvas.shares_of((x - reach, y - reach, x + reach, y + reach))
    layout = from_box(around, view=plan.request.view or (0.0, 0.0))
    layout = layout if stance is None else turned_upright(layout, stance)
    foot = canvas.shares_of((left, top, right, bottom))[3]
    return laid_flat(layout, foot=foot, share=share) if lies else layout


REPAINT = Technique(
    RepaintRequest,
    partial(prepare_repainting, begin=begin_in_place, compose=compose_in_place, side_px=CANVAS_PX),
    lambda _, request: request.identity is not None and not request.keep_pose,
)
REMOVE = Technique(
    RepaintRequest,
    prepare_removal,
    lambda _, request: request.identity is None and not request.keep_pose,
    follows_seed=lambda _, __: False,
    advice=lambda _, __: iter(()),
)


def prepare_insertions(components: Components, request: PersonalizeRequest, clock: Clock) -> Plan:
    """Choose and light the scenes, and prepare the first subject of each picture.

    Raises:
        CapabilityError: The request asks for latents, or the networks insert no subjects.
        InputError: There is no such scene, or it is combined with noise or encoded prompts.
    """
    check_subjects(components, request)
    if request.has_style:
        raise CapabilityError(
            "A style picture cannot be combined with a scene: preset "
            f"{components.preset.name!r} inserts subjects into scenes as into photographs, whose "
            "style stays. Leave one of them out."
        )
    rows = scene_rows(components, request)
    clock.end_stage("scene")
    return _insert(components, request, rows, clock, [row.place for row in rows])


def _insert(
    components: Components,
    request: PersonalizeRequest,
    rows: Sequence[SceneRow],
    clock: Clock,
    places: Sequence[Image.Image],
    number: int = 0,
) -> Plan:
    """Return the plan that puts subjects, from a `number` on, into the places of all pictures."""
    subject, scales = request.subjects[number], request.scales

    def finish(*changes: EditedImage) -> DecodedImages | Plan:
        clock.end_stage("insert")
        if number + 1 < len(request.subjects):
            places = [change.image for change in changes]
            return _insert(components, request, rows, clock, places, number + 1)
        return _behind_weather(rows, changes)

    insertions = (
        RepaintRequest(
            image=place,
            seed=row.seed,
            source=subject.identity,
            prompt=row.reading.photo_prompt,
            box=in_frame(row.boxes[number]) if subject.box is None else subject.box,
            view=subject.view,
            scales=Scales(
                identity_scale=scales.identity_scale,
                text_scale=scales.text_scale,
                balance=scales.balance,
                energy_cap=scales.energy_cap,
            ),
            guidance=request.guidance,
            shaping=request.shaping,
            negative_prompt=request.negative_prompt,
        )
        for row, place in zip(rows, places, strict=True)
    )
    parts = tuple(repaint.TECHNIQUE.prepare(components, each, clock) for each in insertions)
    return Plan(request, finish, parts=parts)


def _behind_weather(rows: Sequence[SceneRow], changes: Sequence[EditedImage]) -> DecodedImages:
    """Return the pictures that were changed last, with rain, flakes and fog before everything."""
    pictures = [row.finished(to_bytes(each.image)) for row, each in zip(rows, changes, strict=True)]
    return DecodedImages(
        torch.cat(pictures),
        torch.cat([plane(each.region) for each in changes]),
        regions=torch.cat([each.latent_region for each in changes]),
        branches=changes[0].branches,
        facts=facts_of(rows),
    )
