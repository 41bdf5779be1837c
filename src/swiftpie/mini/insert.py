"""Inserts subjects into photographs: by a denoiser that sees what stays, in their own pixels."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.geometry.shading import Lighting, match_exposure
from swiftpie.imageio.images import in_unit, shrunk_to, to_tensor
from swiftpie.masks import resize_mask
from swiftpie.mini.layout_predictor import own_light
from swiftpie.mini.remove import removed
from swiftpie.models.denoiser import SubjectCondition, read_references
from swiftpie.photo.filling import CanvasDrawing
from swiftpie.photo.search import Search
from swiftpie.photo.stance import lay_on_ground, turned_upright
from swiftpie.pipelines.choose import Choice, Clock, Technique, resolved_scales
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.insertion import (
    InsertedSubject,
    Insertion,
    extent_in_frame,
    insertion_of,
    noise_of,
    pasted,
    patch_of,
)
from swiftpie.pipelines.settings import ResolvedScales
from swiftpie.pipelines.tasks import RepaintRequest
from swiftpie.pipelines.techniques.personalize import read_null_text, subject_condition
from swiftpie.places.own_pixels import composite_patch, own_pixels
from swiftpie.types import DecodedImages, EditedImage, Identity, TextCondition

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


@torch.no_grad()
def prepare_insert(choice: Choice[RepaintRequest], *, side_px: int = CANVAS_PX) -> Plan:
    """Prepare the drawing of a subject in a window of the photograph, on a canvas of `side_px`.

    The networks see the unchanged part as one more subject: they were trained to complete it. They
    draw once with the inserted subject and, in the same call, once without.

    Raises:
        InputError: The subject is cut off where it would not end at a border of the photograph.
    """
    components, request, clock = choice.components, choice.request, choice.clock
    insertion = insertion_of(choice, side_px=side_px)
    noise, text = noise_of(components, insertion), components.text.encode([insertion.prompt, ""])
    latents = components.schedule.initial_latents(noise[0]).expand(2, -1, -1, -1)
    placed = _placed(components, insertion, latents, text)
    start = Prepared(
        *(components, latents, text),
        read_null_text(components, request.negative_prompt, guidance=request.guidance, rows=2),
        insertion_condition(
            components,
            insertion.pixels,
            insertion.changes,
            subject=placed,
            shows=(1.0, 0.0),
            class_tokens=components.text.find_words(insertion.prompt, ["", ""]),
            scales=resolved_scales(components.preset, request),
        ),
        fresh=noise[1:].expand(-1, 2, -1, -1, -1),
    )

    def finish(drawn: DecodedImages) -> EditedImage:
        emptied = insertion
        if insertion.hole is not None and not bool(insertion.gone.all()):
            emptied = insertion._replace(original=removed(insertion, clock).image)
        composite = partial(_composite, components, insertion, emptied, placed, clock)
        return pasted(emptied, composite(drawn), clock, branches=drawn.branches)

    clock.end_stage("prepare")
    return Plan(insertion.request, finish, start, region=insertion.region)


def _placed(
    components: Components, insertion: Insertion, latents: Tensor, text: TextCondition
) -> PlacedSubject:
    """Return the subject in its place on the canvas and in the light there, two rows of each."""
    subject, photograph = insertion.subject, insertion.original
    assert subject is not None, "one comes"
    if insertion.request.box is None and insertion.request.mask is not None:
        _check_borders(subject)
    layout = layout_of(insertion, subject)
    layout = Layout(*(values.to(latents).expand(2, *values.shape[1:]) for values in layout))
    given = unchanged_frame(components, insertion.pixels, insertion.changes)
    scene = components.own.layout_predictor.light_there(latents, text.pooled, given=given)
    size = shrunk_to(SMALL_PX, (photograph.height, photograph.width))[::-1]
    small = to_tensor(photograph.resize(size, Image.Resampling.BOX, reducing_gap=2.0))
    scene = match_exposure(scene, small.to(latents), subject.box)
    lighting = Lighting(own_light(components, subject.identity).expand(2), scene)
    return PlacedSubject(subject.identity, layout, lighting)


def layout_of(insertion: Insertion, subject: InsertedSubject) -> Layout:
    """Return the layout on the canvas of a subject that fits into its box, feet at the bottom.

    What replaces a thing is larger where one side has room. What lies is squeezed to the box.
    """
    canvas, request, (stance, lean) = insertion.canvas, insertion.request, subject.posture
    (height, width), (wide, tall) = canvas.full, extent_in_frame(subject.identity, subject.posture)
    left, right = subject.box[0] * width, subject.box[2] * width
    top, bottom = subject.box[1] * height, subject.box[3] * height
    side, high = (right - left) / wide, (bottom - top) / tall  # of the frame in pixels
    x, fits = (left + right) / 2, min(side, high)
    if isinstance(request.mask, Search) and request.box is None:
        # It leaves the picture no more than the thing did.
        in_picture = min(bottom / tall, 2 * min(x, width - x) / wide)
        fits = max(fits, min(max(side, high), LARGER * fits, in_picture))
    share, side = (1.0, fits) if lean is None else (high / side, side)
    y = bottom - side * tall / 2
    reach = (SUBJECT_FILL if stance is None else max(wide, tall)) * side / 2
    around = canvas.shares_of((x - reach, y - reach, x + reach, y + reach))
    layout = from_box(around, view=request.view or (0.0, 0.0))
    layout = layout if stance is None else turned_upright(layout, stance)
    foot = canvas.shares_of((left, top, right, bottom))[3]
    return layout if lean is None else lay_on_ground(layout, foot=foot, share=share)


def _check_borders(subject: InsertedSubject) -> None:
    """Refuse what a border of its photograph cuts off where what it replaces ends at none."""
    identity, box = subject.identity, subject.box
    away = {"left": box[0], "top": box[1], "right": 1 - box[2], "bottom": 1 - box[3]}
    cuts = [*identity.cut_at.split(), *["bottom"][: identity.is_cut]]
    if hangs := " ".join(border for border in cuts if away[border] > AT_BORDER):
        raise InputError(
            f"The subject is cut off in its photograph (border: {hangs}), but the replaced object "
            "does not end there. Give a picture of the whole subject, or a mask up to that border."
        )


def _composite(
    components: Components,
    insertion: Insertion,
    emptied: Insertion,
    placed: PlacedSubject,
    clock: Clock,
    drawn: DecodedImages,
) -> Tensor:
    """Return the patch with the subject's own pixels in the light of the drawing.

    What goes is gone from the `emptied` photograph. The patch is grey all over if that is.
    """
    patch, lighting = patch_of(insertion, clock), placed.lighting
    assert lighting is not None, "it was measured"
    ground = patch.pixels if emptied is insertion else patch_of(emptied, clock).pixels
    after, alone = in_unit(drawn.pixels.float().cpu()).split(1)
    layout = Layout(*(value[:1].float().cpu() for value in placed.layout))
    light, (left, top, right, bottom) = lighting.select(slice(1)), patch.place
    height, width = patch.pixels.shape[2:]
    own = own_pixels(components, placed.identity, light.own)
    picture_px = round(max(height / (bottom - top), width / (right - left)))
    masks = [mask.float().cpu() for mask in (insertion.changes, drawn.subject_mask[:1])]
    composite = composite_patch(
        patch.pixels,
        CanvasDrawing(in_unit(insertion.pixels).float().cpu(), after, alone, *masks),
        own.standing(layout, light.scene.on_cpu(), picture_px=picture_px),
        ground=None if bool(patch.gone.all()) else ground,
        place=patch.place,
        seed=insertion.request.seed,
        on_band=clock.check,
    )
    points = to_tensor(insertion.original.resize((SMALL_PX,) * 2, Image.Resampling.NEAREST))
    is_grey = points.std(dim=1).max() < GREY and points.std() > VARIED
    return composite.mean(dim=1, keepdim=True).expand_as(composite) if is_grey else composite


def insertion_condition(
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
    text = components.text.encode([""]) if any(placed.identity.keys for placed in first) else None
    square, stays = unchanged_frame(components, pixels, changes).split((3, 1), dim=1)
    networks = components.denoiser, components.image_encoder, components.autoencoder
    read = read_references(*networks, pixels=square, mask=stays, empty_text=text)
    by = {"preset": components.preset.name, "fingerprint": components.fingerprint}
    rows = region.new_tensor(shows).view(-1, 1, 1, 1)
    return subject_condition(
        components,
        [*(placed.identity for placed in first), read.as_identity(square, stays, **by)],
        [*(placed.layout for placed in first), whole_frame(rows)],
        regions=[*(region * rows for _ in first), (1 - region).expand(len(rows), -1, -1, -1)],
        lights=[*(placed.lighting for placed in first), None],
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


INSERT = Technique(
    RepaintRequest,
    prepare_insert,
    lambda _, request: request.identity is not None and not request.keep_pose,
)
