"""What a denoiser that places subjects sees of a picture of which a part changes."""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.geometry.shading import Lighting
from swiftpie.imageio.images import fit_square
from swiftpie.masks import bounding_box, resize_mask, subject_extent
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.drawing.edit_region import InvertedImage
from swiftpie.pipelines.drawing.prepare import subject_condition
from swiftpie.pipelines.drawing.settings import ResolvedScales
from swiftpie.pipelines.identity import appearance_of_frame, identity_of_frames
from swiftpie.types import Identity

SURROUNDINGS_SHARE = 0.5  # of the picture; an edit of more than this changes the surroundings
MIN_SUBJECT_SHARE = 0.005  # of the picture; a smaller subject is an error of the mask


class PlacedSubject(NamedTuple):
    """A subject that is drawn where the picture changes."""

    identity: Identity
    layout: Layout  # a row for each of `shows`
    shows: tuple[float, ...] = (1.0,)  # by row of the batch, 1 with the subject and 0 without it
    lighting: Lighting | None = None  # a row each; None keeps the light of the reference


def inpainting_condition(
    components: Components,
    pixels: Tensor,
    changes: Tensor,
    *,
    subject: PlacedSubject | None,
    class_tokens: Tensor,
    scales: ResolvedScales,
) -> SubjectCondition:
    """Return the condition of a denoiser that places subjects, with the unchanged part in place.

    The unchanged part of the picture is one more subject, in the frame of the picture itself,
    weighed by `background_scale`. It has detail only beside a subject with detail; its aligned
    latents say nearly as much.

    Args:
        components: The networks.
        pixels: The picture on its canvas, (1, 3, H, W) in [-1, 1].
        changes: Where it changes, (1, 1, H, W) in [0, 1].
        subject: The subject to draw there, if any.
        class_tokens: The words that name each subject, (S, T); those of the picture are last.
        scales: Strengths of the branches.
    """
    cell = components.preset.latent_cell_px
    cells = (pixels.shape[2] // cell, pixels.shape[3] // cell)
    region = resize_mask(changes, cells)
    has_detail = subject is not None and bool(subject.identity.keys)
    read = identity_of_frames if has_detail else appearance_of_frame
    square, stays = unchanged_frame(components, pixels, changes).split((3, 1), dim=1)
    shows = region.new_tensor((0.0,) if subject is None else subject.shows).view(-1, 1, 1, 1)
    subjects = [read(components, square, stays)]
    regions, layouts = [(1 - region).expand(len(shows), -1, -1, -1)], [whole_frame(shows)]
    lights: list[Lighting | None] = [None]
    if subject is not None:
        lights.insert(0, subject.lighting)
        subjects.insert(0, subject.identity)
        layouts.insert(0, subject.layout)
        regions.insert(0, region * shows)
    return subject_condition(
        components,
        subjects,
        layouts,
        regions=regions,
        lights=lights,
        class_tokens=class_tokens,
        scales=replace(
            scales,
            identity_scale=scales.background_scale,
            detail_scale=scales.background_scale,
            background_scale=scales.identity_scale,
        ),
        shares=[1.0] * len(subjects),
    )


def unchanged_frame(components: Components, pixels: Tensor, changes: Tensor) -> Tensor:
    """Return the unchanged part of a picture as a reference frame, pixels and mask (1, 4, S, S).

    `pixels` are (1, 3, H, W) in [-1, 1]; the frame is 0 where `changes` (1, 1, H, W) is 1.
    """
    size = (components.preset.image_size_px,) * 2
    stays = resize_mask(1 - changes, size)
    square = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return torch.cat([square * stays, stays], dim=1)


def new_subject(identity: Identity, changes: Tensor) -> PlacedSubject:
    """Return a subject that fills the bounding box of `changes` (1, 1, H, W)."""
    return PlacedSubject(identity, _box_layout(changes))


def original_subject(
    components: Components,
    pixels: Tensor,
    changes: Tensor,
    *,
    inverted: InvertedImage,
    prompts: tuple[str, str],
) -> PlacedSubject | None:
    """Return the picture's own subject if the edit has to draw it or its surroundings.

    If the surroundings change, the subject keeps its place. If the subject changes and the new
    prompt is still about it, it moves as far as the prompts differ. `pixels` (1, 3, H, W) in
    [-1, 1] are the picture on its canvas, `changes` (1, 1, H, W) in [0, 1] says where it changes,
    and `prompts` are the source prompt and the target prompt.
    """
    mask = resize_mask(inverted.subject_mask, (pixels.shape[2], pixels.shape[3])).to(pixels)
    subject_changes = _subject_changes(inverted, changes)
    if subject_changes is None:
        return None
    if subject_changes and inverted.keeps_subject:
        frame = _frame_of(components, pixels, mask)
        layout = _moved(
            components, _box_layout(mask), frame.mask, noise=inverted.noise, prompts=prompts
        )
        return PlacedSubject(frame, layout)
    if not subject_changes and changes.mean() > SURROUNDINGS_SHARE:
        return PlacedSubject(_frame_of(components, pixels, mask), _box_layout(mask))
    return None


def _frame_of(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    side = components.preset.image_size_px
    frame, cut = fit_square(pixels.cpu(), mask.cpu(), size_px=side, fill=SUBJECT_FILL)
    frame, cut = frame.to(pixels), cut.to(pixels)
    return appearance_of_frame(components, frame * cut, cut)


def _moved(
    components: Components, layout: Layout, cut: Tensor, *, noise: Tensor, prompts: tuple[str, str]
) -> Layout:
    """Return `layout` moved and scaled by the difference of the two prompts' predictions."""
    predictor = components.layout_predictor
    assert predictor is not None, "only a model that places subjects moves them"
    text, extent = components.text.encode(list(prompts)), subject_extent(cut)
    rows = (noise.expand(2, -1, -1, -1), text.pooled, extent.expand(2, -1))
    both = predictor.place(*rows)
    growth = (both.scale[1:] / both.scale[:1]).view(1, *[1] * (layout.scale.ndim - 1))
    return layout._replace(
        centre=layout.centre + both.centre[1:] - both.centre[:1], scale=layout.scale * growth
    )


def _box_layout(mask: Tensor) -> Layout:
    layout = from_box(bounding_box(mask), size=(mask.shape[2], mask.shape[3]))
    return Layout(*(value.to(mask) for value in layout))


def _subject_changes(inverted: InvertedImage, changes: Tensor) -> bool | None:
    """Whether most of the picture's subject changes; None if the picture has no subject."""
    mask = resize_mask(inverted.subject_mask, (changes.shape[2], changes.shape[3])).to(changes)
    subject = mask > 0.5
    if subject.float().mean() < MIN_SUBJECT_SHARE:
        return None
    return bool(changes[subject].mean() > 0.5)
