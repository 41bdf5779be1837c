"""SwiftEdit: prepares a picture and a prompt for denoising, and finishes the edited picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import SUBJECT_FILL, Layout, from_box, whole_frame
from swiftpie.imageio.images import fit_square, mask_to_pil
from swiftpie.masks import Box, bounding_box, resize_mask, subject_extent
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import draw_noise, draw_step_noise
from swiftpie.pipelines.drawing.denoise import Clock, Prepared
from swiftpie.pipelines.drawing.edit_region import (
    Canvas,
    Compared,
    InvertedImage,
    blend_mask,
    canvas_for,
    given_mask,
    invert,
    touched,
    without_change,
)
from swiftpie.pipelines.drawing.prepare import light_on, read_null_text, subject_condition
from swiftpie.pipelines.drawing.request import EditRequest, resolved_scales
from swiftpie.pipelines.drawing.settings import (
    EditMethod,
    EditMode,
    EditSettings,
    EditStart,
    ResolvedScales,
)
from swiftpie.pipelines.identity import (
    appearance_of_frame,
    identity_of_frames,
    whole_picture_identity,
)
from swiftpie.scenes import change_of
from swiftpie.schedules import add_noise
from swiftpie.types import Cutout, GenerationResult, Identity, IdentityBranch, TextCondition

if TYPE_CHECKING:
    from swiftpie.geometry.shading import Lighting
    from swiftpie.library import Named

SURROUNDINGS_SHARE = 0.5  # of the picture; an edit of more than this changes the surroundings
MIN_SUBJECT_SHARE = 0.005  # of the picture; a smaller subject is an error of the mask


@dataclass(frozen=True)
class EditResult:
    """An edited picture and how it came about; all pictures are as large as the given one."""

    image: Image.Image
    region: Image.Image  # mode L, 255 = may change; 0 pixels are the given picture's own
    edited: Image.Image  # before the original pixels outside the mask are restored
    reconstruction: Image.Image | None  # the released mode's first row
    blend: Image.Image  # mode L, how much of `edited` shows in each pixel of `image`
    latent_region: Tensor  # (1, 1, h, w) in [0, 1], the same as attention used it
    branches: tuple[IdentityBranch, ...]  # active ones; scales of others had no effect
    cutouts: tuple[tuple[Cutout, ...], ...]  # of the pictures of a new subject, if there is one
    seed: int
    timings_ms: Mapping[str, float]  # by stage: encode, invert, prepare, denoise, decode, join
    scales: Mapping[str, float]  # that a denoiser was given, if the edit took one
    origin: Mapping[str, str]  # the recipe, an automatic decoder, names of the library
    named: "tuple[Named, ...]" = ()  # the new subject, if it is of the library
    box: Box | None = None  # where a subject was inserted into a photograph; None without one


class EditPlan(NamedTuple):
    """What remains of an edit's preparation until it is finished."""

    original: Image.Image
    canvas: Canvas
    region: Tensor  # (1, 1, H, W) of bytes where pixels of the original may change
    start: Prepared  # a row a prompt; the last is the edit
    request: EditRequest


class PlacedSubject(NamedTuple):
    """A subject that is drawn where the picture changes."""

    identity: Identity
    layout: Layout  # a row for each of `shows`
    shows: tuple[float, ...] = (1.0,)  # by row of the batch, 1 with the subject and 0 without it
    lighting: "Lighting | None" = None  # a row each; None keeps the light of the reference


class EncodedPicture(NamedTuple):
    """A picture on its canvas, and what an edit says of it."""

    original: Image.Image
    canvas: Canvas
    pixels: Tensor  # (1, 3, H, W) in [-1, 1]
    latents: Tensor  # (1, C, h, w)
    prompts: Compared
    mask: Tensor | None  # (1, 1, H, W) of bytes, if one is given


@torch.no_grad()
def prepare(
    components: Components,
    request: EditRequest,
    picture: EncodedPicture,
    inverted: InvertedImage,
    clock: Clock,
) -> EditPlan:
    """Find what is drawn where an inverted picture changes.

    Raises:
        CapabilityError: The preset has no image encoder.
    """
    original, canvas, pixels, latents, prompts, _ = picture
    is_released = request.settings.mode is EditMode.RELEASED
    text = prompts.text if is_released else components.text.encode([request.prompt])
    rows = len(text.pooled)
    condition = _condition(components, request, canvas, pixels, inverted, text)
    noise = _varied(components, inverted, request)
    schedule = components.schedule
    start = (
        schedule.initial_latents(noise)
        if request.settings.start is EditStart.NOISE
        else add_noise(latents, noise, schedule.steps[0])
    )
    prepared = Prepared(
        components=components.released if is_released else components,
        latents=start.expand(rows, -1, -1, -1),
        text=text,
        null_text=read_null_text(
            components, request.negative_prompt, guidance=request.guidance, rows=rows
        ),
        condition=condition,
        fresh=_fresh_noise(components, start, request.seed).expand(-1, rows, -1, -1, -1),
    )
    clock.lap("prepare")
    return EditPlan(original, canvas, inverted.region.pixels, prepared, request)


@torch.no_grad()
def encode_picture(components: Components, request: EditRequest, clock: Clock) -> EncodedPicture:
    """Return a picture as the inversion network reads it.

    Raises:
        CapabilityError: The preset has no inversion network or no such mode.
        InputError: The size is not possible, or the mask has a wrong shape.
    """
    components.inverter()
    settings, original = request.settings, as_rgb(request.image)
    preset = components.preset
    is_released = settings.mode is EditMode.RELEASED
    if is_released and components.layout_predictor is not None:
        raise CapabilityError(
            f"Preset {preset.name!r} cannot edit in the released mode, whose attention cannot "
            "show it the unchanged part of a picture in place. Use the paper's mode "
            "(`mode=EditMode.PAPER`), or a Stable Diffusion preset."
        )
    side_px = settings.size_px or preset.image_size_px
    components.cells_of((side_px, side_px))
    unit_px = 2 * preset.latent_cell_px
    size = (original.height, original.width)
    mask = None if request.mask is None else given_mask(request.mask, size)
    # A model that places subjects composes whole pictures; in a window it would draw another one.
    composes = components.layout_predictor is not None
    changes = None if mask is None or composes else touched(mask)
    canvas = canvas_for(size, side_px=side_px, unit_px=unit_px, changes=changes)
    pixels = canvas.enter(original).to(components.device)
    latents = _encode(components, pixels, request)
    clock.lap("encode")
    prompts = Compared(components.text, (request.source_prompt, request.prompt))
    return EncodedPicture(original, canvas, pixels, latents, prompts, mask)


@torch.no_grad()
def invert_picture(
    components: Components, request: EditRequest, picture: EncodedPicture, clock: Clock
) -> InvertedImage:
    """Return what the inversion network finds in a picture by both prompts."""
    settings, mask = request.settings, picture.mask
    if mask is not None and request.identity is None and settings.variation == 0:
        mask = without_change(picture.prompts, mask)
    inverted = invert(
        components,
        picture.latents,
        picture.prompts,
        keyword=request.keyword,
        mask=mask,
        canvas=picture.canvas,
        rule=settings.rule,
    )
    clock.lap("invert")
    return inverted


def is_by_chord(components: Components, request: EditRequest) -> bool:
    """Whether an edit follows ChordEdit: as asked, or as the model has no inversion network."""
    method = request.settings.method
    if method is not None:
        return method is EditMethod.CHORD
    family = components.family
    return components.inversion is None and family.knows_all_times and not family.edits_by_reference


def is_by_reference(components: Components, request: EditRequest) -> bool:
    """Whether an edit shows the model its picture: as asked, or as the model was made for it."""
    method = request.settings.method
    return method is EditMethod.REFERENCE or (
        method is None and components.inversion is None and components.family.edits_by_reference
    )


def changes_all(
    components: Components, prompt: str, *, source_prompt: str = "", keyword: str = ""
) -> bool:
    """Whether a prompt asks a model of scenes for time, weather, season and art alone."""
    texts = {"source_prompt": source_prompt, "keyword": keyword}
    return components.layout_predictor is not None and change_of(prompt, **texts) is not None


def only_changes_all(components: Components, request: EditRequest) -> bool:
    """Whether an edit changes time, weather, season and art, and nothing else."""
    texts = {"source_prompt": request.source_prompt, "keyword": request.keyword}
    return request.identity is None and changes_all(components, request.prompt, **texts)


def follows_seed(components: Components, settings: EditSettings) -> bool:
    """Whether an edit is random, so that another seed gives another picture."""
    schedule = components.schedule
    if settings.method not in {None, EditMethod.INVERSION} or components.inversion is None:
        return True
    has_fresh = schedule.needs_noise and len(schedule.steps) > 1
    mode = settings.in_mode_of(components.preset).mode
    return settings.variation > 0 or mode is EditMode.RELEASED or has_fresh


def finish(drawn: GenerationResult, plan: EditPlan, clock: Clock) -> EditResult:
    """Return the finished edit: the last row, composited with the original picture."""
    canvas, original = plan.canvas, plan.original
    *others, edited = (canvas.leave_onto(original, canvas.leave(image)) for image in drawn.images)
    joined, blend = edited, Image.new("L", edited.size, 255)
    if plan.request.settings.keeps_outside:
        blend = blend_mask(plan.region)
        joined = Image.composite(edited, original, blend)
    clock.lap("join")
    return EditResult(
        image=joined,
        region=mask_to_pil(plan.region)[0],
        edited=edited,
        reconstruction=others[0] if others else None,
        blend=blend,
        latent_region=drawn.regions[-1:],
        branches=drawn.branches,
        cutouts=drawn.cutouts,
        named=drawn.named,
        seed=plan.request.seed,
        timings_ms=clock.timings(),
        scales=drawn.scales,
        origin=drawn.origin,
    )


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture without transparency."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _encode(components: Components, pixels: Tensor, request: EditRequest) -> Tensor:
    """Return latents (1, C, h, w): the mean, or in the released mode a sample of the posterior."""
    if request.settings.mode is EditMode.PAPER:
        return components.autoencoder.encode(pixels)
    mean, deviation = components.autoencoder.posterior(pixels)
    _, channels, rows, columns = mean.shape
    noise = draw_noise([request.seed], (channels, rows, columns)).to(mean)
    return mean + deviation * noise


def _condition(
    components: Components,
    request: EditRequest,
    canvas: Canvas,
    pixels: Tensor,
    inverted: InvertedImage,
    text: TextCondition,
) -> SubjectCondition:
    """Return what the denoiser sees besides the noise and the prompt."""
    region, mode = inverted.region, request.settings.mode
    if components.layout_predictor is not None:
        changes = canvas.enter_mask(region.pixels).to(components.device)
        subject = _choose_subject(components, request, pixels, changes, inverted)
        if subject is not None:
            given = unchanged_frame(components, pixels, changes)
            lighting = light_on(components, subject.identity, inverted.noise, text, given=given)
            subject = subject._replace(lighting=lighting)
        names = [""] * (1 if subject is None else 2)
        return inpainting_condition(
            components,
            pixels,
            changes,
            subject=subject,
            class_tokens=components.text.find_words(request.prompt, names),
            scales=resolved_scales(components.preset, request),
        )
    shown = request.identity or whole_picture_identity(components, as_rgb(request.image))
    is_released = mode is EditMode.RELEASED
    latent = (region.latent > 0.5).to(region.latent) if is_released else region.latent
    return subject_condition(  # one appearance, weighed inside and outside of the region
        components,
        [shown.without_detail()],
        [whole_frame(latent.expand(2 if is_released else 1, -1, -1, -1))],
        regions=[latent],
        class_tokens=components.text.find_words(request.prompt, [""]),
        scales=resolved_scales(components.preset, request),
        shares=[1.0],
    )


def _choose_subject(
    components: Components,
    request: EditRequest,
    pixels: Tensor,
    changes: Tensor,
    inverted: InvertedImage,
) -> "PlacedSubject | None":
    """Return the subject to draw, if any: the given one, or that of the picture."""
    if request.identity is not None:
        return new_subject(request.identity, changes)
    prompts = (request.source_prompt, request.prompt)
    return original_subject(components, pixels, changes, inverted=inverted, prompts=prompts)


def _subject_changes(inverted: InvertedImage, changes: Tensor) -> bool | None:
    """Whether most of the picture's subject changes; None if the picture has no subject."""
    mask = resize_mask(inverted.subject_mask, (changes.shape[2], changes.shape[3])).to(changes)
    subject = mask > 0.5
    if subject.float().mean() < MIN_SUBJECT_SHARE:
        return None
    return bool(changes[subject].mean() > 0.5)


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
    predict = components.layout_predictor
    assert predict is not None, "only a model that places subjects moves them"
    text, extent = components.text.encode(list(prompts)), subject_extent(cut)
    both: Layout = predict(noise.expand(2, -1, -1, -1), text.pooled, extent.expand(2, -1)).layout
    growth = (both.scale[1:] / both.scale[:1]).view(1, *[1] * (layout.scale.ndim - 1))
    return layout._replace(
        centre=layout.centre + both.centre[1:] - both.centre[:1], scale=layout.scale * growth
    )


def _box_layout(mask: Tensor) -> Layout:
    layout = from_box(bounding_box(mask), size=(mask.shape[2], mask.shape[3]))
    return Layout(*(value.to(mask) for value in layout))


def _varied(components: Components, inverted: InvertedImage, request: EditRequest) -> Tensor:
    """Return the inverted noise, mixed with new noise of the same variance by `variation`."""
    noise, share = inverted.noise, request.settings.variation * inverted.region.latent
    if request.settings.variation == 0:
        return noise
    # Earlier draws belong to the posterior and the steps.
    count = len(components.schedule.steps) + 1
    _, channels, rows, columns = noise.shape
    new = draw_step_noise([request.seed], (channels, rows, columns), count=count)[-1].to(noise)
    return (1 - share.square()).sqrt() * noise + share * new


def _fresh_noise(components: Components, latents: Tensor, seed: int) -> Tensor:
    """Return noise (n, 1, C, h, w) for the later steps; n is 0 if the schedule needs none."""
    _, channels, height, width = latents.shape
    if not components.schedule.needs_noise:
        return latents.new_zeros(0, 1, channels, height, width)
    count = len(components.schedule.steps) - 1
    return draw_step_noise([seed], (channels, height, width), count=count).to(latents)
