"""Inserts subjects into photographs: by a denoiser that sees what stays, in their own pixels."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.geometry.shading import (
    Lighting,
    Part,
    cast_on_ground,
    contact_shadow,
    match_exposure,
    usual_shadow,
)
from swiftpie.imageio.images import SURE, extent_of, in_unit, luma, shrunk_to, to_tensor
from swiftpie.masks import resize_mask
from swiftpie.mini.layout_predictor import own_light
from swiftpie.mini.remove import removed
from swiftpie.models.denoiser import SubjectCondition, read_references
from swiftpie.photo import compositing
from swiftpie.photo.compositing import CanvasDrawing, OnBand, match_sharpness, matching_grain
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
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.pipelines.techniques.personalize import read_null_text, subject_condition
from swiftpie.places.own_pixels import PlacedSprite, own_pixels
from swiftpie.types import DecodedImages, EditedImage, Identity, TextCondition
from swiftpie.validation import Box, Size

# A drawing of this side tells the light on a subject and its ground, and no details of either.
CANVAS_PX = 128
# By how much a subject may exceed the box of what it replaces, as it hides what is guessed there.
LARGER = 1.1
AT_BORDER = 0.02  # What ends so near to a border, as a share of the picture's side, ends at it.
# The greatest deviation between the colours of a black and white photograph, and the least of its
# tones, in [-1, 1].
GREY, VARIED = 0.005, 0.2
SMALL_PX = 64  # longer side of a photograph whose light is measured
# Chosen by eye: natural logarithms of the light on a subject up to which the predicted light wins
# over the drawn one, and of the greatest change by the drawn one.
UNEXPECTED_LIGHT, MOST_RELIGHTING = 0.3, 1.0
SHADOW_SCALE = 4  # A shadow has so many pixels a side of the canvas's: at feet it is narrow.
EDGE_PX, LIGHT_PX = 2.0, 2.0  # deviations of blurs of edges and of light, on the canvas
INSIDE = (0.6, 0.95)  # opacities between which a drawn colour comes to be the subject's alone
AROUND = 0.1  # share of a subject's longer side within which the photograph around it counts
NUM_OCTAVES = 2  # finest octaves, in which cameras differ by focus and grain

Span = tuple[int, int]  # first and last row or column


class PlacedSubject(NamedTuple):
    """A subject that is drawn where a picture changes."""

    identity: Identity
    layout: Layout  # a row for each of the batch
    lighting: Lighting | None = None  # a row for each; None keeps the light of the reference


@torch.no_grad()
def prepare_insert(choice: Choice[RetouchRequest], *, side_px: int = CANVAS_PX) -> Plan:
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
    subject = _place_subject(components, insertion, latents, text)
    start = Prepared(
        *(components, latents, text),
        read_null_text(components, request, rows=2),
        insertion_condition(
            components,
            insertion.pixels,
            insertion.changes,
            subject=subject,
            shows=(1.0, 0.0),
            class_tokens=components.text.find_words(insertion.prompt, ["", ""]),
            scales=resolved_scales(components.preset, request),
        ),
        fresh=noise[1:].expand(-1, 2, -1, -1, -1),
    )

    def finish(drawing: DecodedImages) -> EditedImage:
        emptied = insertion
        if insertion.hole_box is not None and not bool(insertion.hole.all()):
            emptied = insertion._replace(original=removed(insertion, clock).image)
        patch = _composite(components, insertion, emptied, subject, clock, drawing)
        return pasted(emptied, patch, clock, branches=drawing.branches)

    clock.end_stage("prepare")
    return Plan(insertion.request, finish, start, region=insertion.region)


def _place_subject(
    components: Components, insertion: Insertion, latents: Tensor, text: TextCondition
) -> PlacedSubject:
    """Return the subject in its place on the canvas and in the light there, two rows of each."""
    subject, photograph = insertion.subject, insertion.original
    assert subject is not None, "one comes"
    if insertion.request.box is None and insertion.request.mask is not None:
        _check_borders(subject)
    layout = layout_of(insertion, subject)
    layout = Layout(*(values.to(latents).expand(2, *values.shape[1:]) for values in layout))
    stays = unchanged_frame(components, insertion.pixels, insertion.changes)
    scene = components.own.layout_predictor.light_there(latents, text.pooled, given=stays)
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
    subjects = [] if subject is None else [subject]
    has_detail = any(subject.identity.keys for subject in subjects)
    text = components.text.encode([""]) if has_detail else None
    square, stays = unchanged_frame(components, pixels, changes).split((3, 1), dim=1)
    networks = components.denoiser, components.image_encoder, components.autoencoder
    features = read_references(*networks, pixels=square, mask=stays, empty_text=text)
    by = {"preset": components.preset.name, "fingerprint": components.fingerprint}
    rows = region.new_tensor(shows).view(-1, 1, 1, 1)
    return subject_condition(
        components,
        [*(subject.identity for subject in subjects), features.as_identity(square, stays, **by)],
        [*(subject.layout for subject in subjects), whole_frame(rows)],
        regions=[*(region * rows for _ in subjects), (1 - region).expand(len(rows), -1, -1, -1)],
        lights=[*(subject.lighting for subject in subjects), None],
        class_tokens=class_tokens,
        scales=replace(
            scales,
            identity_scale=scales.background_scale,
            detail_scale=scales.background_scale,
            background_scale=scales.identity_scale,
        ),
        shares=[1.0] * (len(subjects) + 1),
    )


def unchanged_frame(components: Components, pixels: Tensor, changes: Tensor) -> Tensor:
    """Return the unchanged part of a picture as a reference frame, pixels and mask (1, 4, S, S).

    `pixels` are (1, 3, H, W) in [-1, 1]; the frame is 0 where `changes` (1, 1, H, W) is 1.
    """
    size = (components.preset.image_size_px,) * 2
    stays = resize_mask(1 - changes, size)
    square = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return torch.cat([square * stays, stays], dim=1)


def _composite(
    components: Components,
    insertion: Insertion,
    emptied: Insertion,
    subject: PlacedSubject,
    clock: Clock,
    drawing: DecodedImages,
) -> Tensor:
    """Return the patch with the subject's own pixels in the light of the drawing.

    What goes is gone from the `emptied` photograph. The patch is grey all over if that is.
    """
    patch, lighting = patch_of(insertion, clock), subject.lighting
    assert lighting is not None, "it was measured"
    ground = patch.pixels if emptied is insertion else patch_of(emptied, clock).pixels
    before, changes = in_unit(insertion.pixels).float().cpu(), insertion.changes.float().cpu()
    after, alone = in_unit(drawing.pixels.float().cpu()).split(1)
    layout = Layout(*(value[:1].float().cpu() for value in subject.layout))
    light, (left, top, right, bottom) = lighting.select(slice(1)), patch.place
    height, width = patch.pixels.shape[2:]
    frame = own_pixels(components, subject.identity, light.own)
    picture_px = round(max(height / (bottom - top), width / (right - left)))
    composite = composite_patch(
        patch.pixels,
        CanvasDrawing(before, after, alone, changes),
        frame.sprite_at(layout, light.scene.on_cpu(), picture_px=picture_px),
        ground=None if bool(patch.hole.all()) else ground,
        place=patch.place,
        seed=insertion.request.seed,
        on_band=clock.check,
    )
    samples = to_tensor(insertion.original.resize((SMALL_PX,) * 2, Image.Resampling.NEAREST))
    is_grey = samples.std(dim=1).max() < GREY and samples.std() > VARIED
    return composite.mean(dim=1, keepdim=True).expand_as(composite) if is_grey else composite


def composite_patch(
    patch: Tensor,
    drawing: CanvasDrawing,
    sprite: PlacedSprite,
    *,
    ground: Tensor | None,
    place: Box,
    seed: int,
    on_band: OnBand = int,
) -> Tensor:
    """Return a `patch` of the photograph, at `place` on the canvas, with a subject in it.

    The `ground` is the same without what goes; None: that is all of it, and the drawing shows. It
    keeps its pixels, in the shadow of the subject.
    """
    size = (patch.shape[2], patch.shape[3])
    drawing = compositing.without_model_error(drawing)
    if ground is None:
        hole = torch.ones_like(patch[:, :1])
        ground = compositing.draw_over(
            patch, drawing.alone, hole=hole, place=place, seed=seed, on_band=on_band
        )
    shade = _shade(drawing.changes, sprite).exp()
    ground = ground * compositing.enlarged_part(shade, place, size, on_band=on_band)
    on_band()
    subject = _lit_subject(drawing, sprite, place=place, size=size, on_band=on_band)
    if subject is None:
        return ground.clamp(0, 1)
    part, alpha, colours = subject
    around, valid = patch[part], torch.ones_like(alpha)
    colours = match_sharpness(around, colours, alpha, num_octaves=NUM_OCTAVES, on_band=on_band)
    on_band()
    colours += matching_grain(around, valid, num_octaves=NUM_OCTAVES, seed=seed, is_even=True)
    on_band()
    width_px = size[1] / (place[2] - place[0])
    contact_shadow(colours, ground[part], alpha, sprite.layout, width_px)
    ground[part] = torch.lerp(ground[part], colours, alpha)
    return ground.clamp(0, 1)


def _shade(changes: Tensor, sprite: PlacedSprite) -> Tensor:
    """Return the log change of the ground's brightness by the subject, (1, 1, H, W).

    It is the shadow on flat ground of the predicted light, and fades to nothing at the edge of
    what `changes` on the canvas. Shades that a network draws are further from the truth.
    """
    inner = (2 * compositing.blurred(changes, EDGE_PX) - 1).clamp(0, 1)
    inner = F.interpolate(inner, scale_factor=SHADOW_SCALE, mode="bilinear", align_corners=False)
    opacity, _ = sprite.outline_in((inner.shape[2], inner.shape[3]))
    return (1 - cast_on_ground(opacity, sprite.layout, usual_shadow(sprite.scene))).log() * inner


def _lit_subject(
    drawing: CanvasDrawing, sprite: PlacedSprite, *, place: Box, size: Size, on_band: OnBand
) -> tuple[Part, Tensor, Tensor] | None:
    """Return a part of the patch of `size` at `place`, and opacity and colours there.

    Colours (1, 3, h, w) are in the light of the drawing. None: the patch shows nothing of it.
    """
    small = sprite.render((drawing.after.shape[2], drawing.after.shape[3]))
    spans = _spans_around(small[:, 3:], place, size)
    if spans is None:
        return None
    low, high = INSIDE
    inside = ((small[:, 3:] - low) / (high - low)).clamp(0, 1)
    inside = (
        inside * compositing.blurred(inside, LIGHT_PX).square()
    )  # thin parts are mixed with the ground
    light = compositing.log_ratio(
        luma(drawing.after), luma(compositing.colours_of(small)), inside, LIGHT_PX
    )
    light = light.clamp(-MOST_RELIGHTING, MOST_RELIGHTING)
    # Small values become 0, large ones stay: the garrote, https://doi.org/10.1080/00401706.1995.10484371
    light = light * (1 - (UNEXPECTED_LIGHT / light.abs().clamp_min(UNEXPECTED_LIGHT)).square())
    (top, bottom), (left, right) = spans
    wide, tall = (place[2] - place[0]) / size[1], (place[3] - place[1]) / size[0]
    start = (place[0] + left * wide, place[1] + top * tall)
    place = (*start, place[0] + right * wide, place[1] + bottom * tall)
    size = (bottom - top, right - left)
    large = sprite.render(size, place, on_band=on_band)
    on_band()
    colours = compositing.colours_of(large)
    on_band()
    colours *= compositing.enlarged_part(light.exp(), place, size, on_band=on_band)
    return (..., slice(top, bottom), slice(left, right)), large[:, 3:], colours


def _spans_around(alpha: Tensor, place: Box, size: Size) -> tuple[Span, Span] | None:
    """Return first and last row and column of a patch that `alpha` (1, 1, h, w) on canvas needs."""
    extent = extent_of((alpha > SURE).to(alpha))
    if extent is None:
        return None
    left, top, right, bottom = extent
    margin = 1 + AROUND * max(right - left, bottom - top)
    spans = ((top - margin, bottom + margin), (left - margin, right + margin))
    ends = []
    for side, (span, count) in enumerate(zip(spans, size, strict=True)):
        first, last = place[1 - side], place[3 - side]
        low, high = ((end / alpha.shape[2 + side] - first) / (last - first) * count for end in span)
        ends.append((max(0, math.floor(low)), min(count, math.ceil(high))))
    return (ends[0], ends[1]) if all(low < high for low, high in ends) else None


INSERT = Technique(
    RetouchRequest,
    prepare_insert,
    lambda _, request: request.identity is not None and not request.keep_pose,
)
