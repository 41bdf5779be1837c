"""What the denoiser is shown of a picture that is edited."""

from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.images import fit_square, to_tensor
from swiftpie.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.masks import bounding_box, resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.layout_predictor import subject_extent
from swiftpie.pipelines.condition import subject_condition
from swiftpie.pipelines.edit_region import Inverted
from swiftpie.pipelines.identity import appearance_of_frame, identity_of_frames
from swiftpie.pipelines.request import Scales
from swiftpie.types import Identity

SURROUNDINGS_SHARE = 0.5  # of the picture; an edit of more than this is not about its subject
LEAST_SUBJECT = 0.005  # of the picture; what is smaller is a mistake of the mask


def whole_picture_identity(components: Components, image: Image.Image) -> Identity:
    """Return all of a picture as an identity without detail, as SwiftEdit conditions on it.

    Raises:
        CapabilityError: No identity adapter is loaded.
    """
    side = components.preset.image_size_px
    square = image.resize((side, side), Image.Resampling.BICUBIC)
    pixels = to_tensor(square).to(components.device)
    return appearance_of_frame(components, pixels, torch.ones_like(pixels[:, :1]))


def appearance_condition(
    components: Components,
    identity: Identity,
    region: Tensor,
    *,
    rows: int,
    class_tokens: Tensor,
    scales: Scales,
) -> SubjectCondition:
    """Return SwiftEdit's condition: one appearance, weighed inside and outside of `region`.

    Args:
        components: The loaded networks.
        identity: Whose semantic tokens are shown.
        region: Where the picture changes, (1, 1, h, w).
        rows: How many prompts are drawn at once.
        class_tokens: Words that name the subject, (1, T).
        scales: The factors.
    """
    return subject_condition(
        components,
        [identity.without_detail()],
        [whole_frame(region.expand(rows, -1, -1, -1))],
        regions=[region],
        class_tokens=class_tokens,
        scales=scales,
        shares=[1.0],
    )


class PlacedSubject(NamedTuple):
    """A subject that is drawn where a picture changes."""

    identity: Identity
    layout: Layout


def repainting_condition(
    components: Components,
    pixels: Tensor,
    changes: Tensor,
    *,
    subject: PlacedSubject | None,
    class_tokens: Tensor,
    scales: Scales,
) -> SubjectCondition:
    """Return the condition of a denoiser that knows places: it is shown what stays, in place.

    What stays is one more subject, in the frame of the picture itself; `background` weighs it. It
    has detail only beside a subject that does, as its aligned latents tell nearly as much.

    Args:
        components: The loaded networks.
        pixels: The picture on its canvas, (1, 3, H, W) in [-1, 1].
        changes: Where it changes, (1, 1, H, W) in [0, 1].
        subject: Who is drawn where the picture changes, if anyone.
        class_tokens: Words that name each subject, (S, T), the picture last.
        scales: The factors.
    """
    cell = components.preset.latent_cell_px
    cells = (pixels.shape[2] // cell, pixels.shape[3] // cell)
    region = resize_mask(changes, cells)
    has_detail = subject is not None and bool(subject.identity.keys)
    read = identity_of_frames if has_detail else appearance_of_frame
    subjects, regions = [read(components, *_what_stays(components, pixels, changes))], [1 - region]
    layouts = [whole_frame(pixels)]
    if subject is not None:
        subjects.insert(0, subject.identity)
        layouts.insert(0, subject.layout)
        regions.insert(0, region)
    return subject_condition(
        components,
        subjects,
        layouts,
        regions=regions,
        class_tokens=class_tokens,
        scales=replace(
            scales,
            identity_scale=scales.background_scale,
            detail_scale=scales.background_scale,
            background_scale=scales.identity_scale,
        ),
        shares=[1.0] * len(subjects),
    )


def _what_stays(components: Components, pixels: Tensor, changes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the part of the picture that does not change as a frame with its mask."""
    side = components.preset.image_size_px
    mask = resize_mask(1 - changes, (side, side))
    square = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
    return square * mask, mask


def new_subject(identity: Identity, changes: Tensor) -> PlacedSubject:
    """Return a subject that fills the bounding box of what changes, (1, 1, H, W)."""
    return PlacedSubject(identity, _box_layout(changes))


def kept_subject(
    components: Components,
    pixels: Tensor,
    changes: Tensor,
    *,
    inverted: Inverted,
    prompts: tuple[str, str],
) -> PlacedSubject | None:
    """Return the picture's own subject if it has to be drawn, or shown what is drawn around it.

    Where its surroundings change it keeps its place. Where itself changes, and the new prompt is
    about it still, it moves as far as the words move it.

    Args:
        components: The loaded networks.
        pixels: The picture on its canvas, (1, 3, H, W) in [-1, 1].
        changes: Where it changes, (1, 1, H, W) in [0, 1].
        inverted: What is known of the picture.
        prompts: What it shows and what it shall show.
    """
    mask = resize_mask(inverted.subject_mask, (pixels.shape[2], pixels.shape[3])).to(pixels)
    subject = mask > 0.5
    if subject.float().mean() < LEAST_SUBJECT:
        return None
    is_drawn = bool(changes[subject].mean() > 0.5)
    if is_drawn and inverted.keeps_subject:
        frame = _frame_of(components, pixels, mask)
        layout = _moved(
            components, _box_layout(mask), frame.mask, noise=inverted.noise, prompts=prompts
        )
        return PlacedSubject(frame, layout)
    if not is_drawn and changes.mean() > SURROUNDINGS_SHARE:
        return PlacedSubject(_frame_of(components, pixels, mask), _box_layout(mask))
    return None


def _frame_of(components: Components, pixels: Tensor, mask: Tensor) -> Identity:
    """Return the part of the picture in `mask`, both (1, ?, H, W), as an identity."""
    side = components.preset.image_size_px
    frame, cut = fit_square(pixels.cpu(), mask.cpu(), size_px=side, fill=SUBJECT_FILL)
    frame, cut = frame.to(pixels), cut.to(pixels)
    return appearance_of_frame(components, frame * cut, cut)


def _moved(
    components: Components, layout: Layout, cut: Tensor, *, noise: Tensor, prompts: tuple[str, str]
) -> Layout:
    """Return `layout` as different as the predicted layouts of the two prompts are."""
    predict = components.layout_predictor
    assert predict is not None, "only a model that knows places moves subjects"
    text, extent = components.text.encode(list(prompts)), subject_extent(cut)
    both: Layout = predict(noise.expand(2, -1, -1, -1), text.pooled, extent.expand(2, -1)).layout
    growth = both.scale[1:] / both.scale[:1]
    return layout._replace(
        centre=layout.centre + both.centre[1:] - both.centre[:1], scale=layout.scale * growth
    )


def _box_layout(mask: Tensor) -> Layout:
    """Return the layout that fills the bounding box of `mask` (1, 1, H, W)."""
    layout = from_box(bounding_box(mask))
    return Layout(*(value.to(mask) for value in layout))
