"""SwiftEdit: a picture and a sentence to the edited picture, by one-step inversion."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.attention.released import install_released
from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.images import mask_to_pil
from swiftpie.masks import Box, composite
from swiftpie.models.denoiser import Denoiser, SubjectCondition
from swiftpie.models.latents import HasPosterior
from swiftpie.noise import draw_noise, draw_step_noise
from swiftpie.pipelines.canvas import Canvas, canvas_for
from swiftpie.pipelines.denoise import Clock, OnStep, finish
from swiftpie.pipelines.edit_condition import (
    Drawn,
    appearance_condition,
    kept_subject,
    new_subject,
    repainting_condition,
    whole_picture_identity,
)
from swiftpie.pipelines.edit_place import Place
from swiftpie.pipelines.edit_search import Found, find
from swiftpie.pipelines.request import EditMode, EditSettings, Scales
from swiftpie.schedules import add_noise
from swiftpie.types import GenerationResult, Identity

logger = logging.getLogger(__name__)


class _Picture(NamedTuple):
    """What is edited, and how the networks see it."""

    original: Image.Image
    canvas: Canvas
    pixels: Tensor  # on the canvas, (1, 3, H, W) in [-1, 1]


@dataclass(frozen=True)
class EditResult:
    """An edited picture and how it came about; all pictures are as large as the given one."""

    image: Image.Image
    region: Image.Image  # mode L, 255 = may change; 0 pixels are the given picture's own
    edited: Image.Image  # before pixels outside the mask are put back
    reconstruction: Image.Image | None  # the released mode's first row
    latent_region: Tensor  # (1, 1, h, w) in [0, 1], the same as attention used it
    seed: int
    timings_ms: Mapping[str, float]  # by stage: encode, invert, prepare, denoise, decode, join


@dataclass(frozen=True, eq=False)
class PlannedEdit:
    """An edit between inversion and denoising."""

    original: Image.Image
    canvas: Canvas
    place: Place
    start: Tensor  # (1, C, h, w) what enters the first step
    prompts: list[str]  # a row each; the last is the edit
    condition: SubjectCondition
    settings: EditSettings
    clock: Clock


@torch.no_grad()
def edit(
    components: Components,
    image: Image.Image,
    prompt: str,
    *,
    source_prompt: str = "",
    keyword: str = "",
    mask: Tensor | Box | None = None,
    identity: Identity | None = None,
    settings: EditSettings | None = None,
) -> EditResult:
    """Change `image` so that it fits `prompt`. From arXiv:2412.04301.

    Args:
        components: The loaded networks, one of them for inversion.
        image: Any shape; transparency is ignored.
        prompt: What the picture shall show; not empty.
        source_prompt: What it shows now; may be empty.
        keyword: What in the picture shall change, as in "cat". The mask is then found between
            this word and no words, instead of between the two prompts.
        mask: Where to change it, (1, 1, H, W) in [0, 1] over the picture, or a box; found if not
            given.
        identity: A subject that replaces the picture itself as image condition.
        settings: Everything else.

    Raises:
        CapabilityError: The preset has no inversion network or no image encoder.
        InputError: The prompt is empty, or a number is out of range.
    """
    planned = plan_edit(
        components,
        image,
        prompt,
        source_prompt=source_prompt,
        keyword=keyword,
        mask=mask,
        identity=identity,
        settings=settings or EditSettings(),
    )
    return carry_out(components, planned)


@torch.no_grad()
def plan_edit(
    components: Components,
    image: Image.Image,
    prompt: str,
    *,
    source_prompt: str,
    keyword: str,
    mask: Tensor | Box | None,
    identity: Identity | None,
    settings: EditSettings,
) -> PlannedEdit:
    """Invert `image` and find where it shall change; the arguments are those of `edit`.

    Raises:
        CapabilityError: The preset has no inversion network or no image encoder.
        InputError: The prompt is empty, or a number is out of range.
    """
    _check(components, prompt)
    clock, original = Clock(), image.convert("RGB")
    canvas = _canvas(components, original, settings.size_px)
    pixels = canvas.enter(original).to(components.device)
    latents = _encode(components, pixels, settings)
    clock.lap("encode")
    prompts = (source_prompt, prompt)
    rule = settings.rule
    found = find(components, latents, prompts, keyword=keyword, mask=mask, canvas=canvas, rule=rule)
    clock.lap("invert")
    start = add_noise(latents, found.noise, components.schedule.steps[0])
    drawn = prompts if settings.mode is EditMode.RELEASED else prompts[1:]
    condition = _condition(
        components,
        _Picture(original, canvas, pixels),
        found,
        prompts=prompts,
        rows=len(drawn),
        identity=identity,
        settings=settings,
    )
    return PlannedEdit(
        original=original,
        canvas=canvas,
        place=found.place,
        start=start,
        prompts=list(drawn),
        condition=condition,
        settings=settings,
        clock=clock,
    )


@torch.no_grad()
def carry_out(
    components: Components, planned: PlannedEdit, *, on_step: OnStep | None = None
) -> EditResult:
    """Draw a planned edit and put it into its picture."""
    return _put_back(_draw(components, planned, on_step), planned)


def _check(components: Components, prompt: str) -> None:
    """Refuse what cannot be edited, before any work.

    Raises:
        CapabilityError: The preset has no inversion network.
        InputError: The prompt is empty.
    """
    components.inverter()
    if not prompt.strip():
        raise InputError("The prompt is empty. Say what the picture shall show: 'a dog on grass'.")


def _canvas(components: Components, image: Image.Image, size_px: int | None) -> Canvas:
    """Return the canvas for `image`.

    Raises:
        InputError: The size is out of range or no multiple of what a latent cell needs.
    """
    preset = components.preset
    side_px = size_px or preset.image_size_px
    components.cells_of((side_px, side_px))
    unit_px = 2 * preset.latent_cell_px
    return canvas_for((image.height, image.width), side_px=side_px, unit_px=unit_px)


def _encode(components: Components, pixels: Tensor, settings: EditSettings) -> Tensor:
    """Return latents (1, C, h, w): the mean, or, as released, a draw from the posterior."""
    autoencoder = components.autoencoder
    if settings.mode is EditMode.PAPER:
        return autoencoder.encode(pixels)
    if not isinstance(autoencoder, HasPosterior):
        logger.warning("This autoencoder has no posterior to draw from; its mean is used.")
        return autoencoder.encode(pixels)
    mean, deviation = autoencoder.posterior(pixels)
    _, channels, rows, columns = mean.shape
    noise = draw_noise([settings.seed], (channels, rows, columns)).to(mean)
    return mean + deviation * noise


def _condition(
    components: Components,
    picture: _Picture,
    found: Found,
    *,
    prompts: tuple[str, str],
    rows: int,
    identity: Identity | None,
    settings: EditSettings,
) -> SubjectCondition:
    """Return what the denoiser reads, `rows` of it."""
    scales = settings.scales or Scales.for_edit(
        components.preset, mode=settings.mode, has_reference=identity is not None
    )
    place = found.place
    if components.layout_predictor is not None:
        changes = picture.canvas.enter_mask(place.allowed).to(components.device)
        if identity is not None:
            subject: Drawn | None = new_subject(identity, changes)
        else:
            subject = kept_subject(
                components, picture.pixels, changes, found=found, prompts=prompts
            )
        names = [""] * (1 if subject is None else 2)
        return repainting_condition(
            components,
            picture.pixels,
            changes,
            subject=subject,
            class_tokens=components.text.find_words(prompts[-1], names),
            scales=scales,
        )
    is_released = settings.mode is EditMode.RELEASED
    return appearance_condition(
        components,
        identity or whole_picture_identity(components, picture.original),
        (place.region > 0.5).to(place.region) if is_released else place.region,
        rows=rows,
        class_tokens=components.text.find_words(prompts[-1], [""]),
        scales=scales,
    )


def _draw(components: Components, planned: PlannedEdit, on_step: OnStep | None) -> GenerationResult:
    """Return a picture a prompt, all from the latents that the plan starts with."""
    rows, settings = len(planned.prompts), planned.settings
    text = components.text.encode(planned.prompts)
    serving = _serving(components, settings.mode)
    planned.clock.lap("prepare")
    fresh = _fresh_noise(components, planned.start, settings.seed)
    return finish(
        serving,
        planned.start.expand(rows, -1, -1, -1),
        text,
        planned.condition,
        fresh=fresh.expand(-1, rows, -1, -1, -1),
        clock=planned.clock,
        on_step=on_step,
    )


def _put_back(drawn: GenerationResult, planned: PlannedEdit) -> EditResult:
    """Return the finished edit: the last picture drawn, joined with the original."""
    settings, allowed = planned.settings, planned.place.allowed
    *others, edited = (planned.canvas.leave(one) for one in drawn.images)
    joined = composite(edited, planned.original, allowed) if settings.keeps_outside else edited
    planned.clock.lap("join")
    return EditResult(
        image=joined,
        region=mask_to_pil(allowed)[0],
        edited=edited,
        reconstruction=others[0] if others else None,
        latent_region=drawn.regions[-1:],
        seed=settings.seed,
        timings_ms=planned.clock.timings(),
    )


def _fresh_noise(components: Components, latents: Tensor, seed: int) -> Tensor:
    """Return noise (n, 1, C, h, w) for schedules that want it; n is 0 for others."""
    _, channels, height, width = latents.shape
    if not components.schedule.needs_noise:
        return latents.new_zeros(0, 1, channels, height, width)
    count = len(components.schedule.steps) - 1
    return draw_step_noise([seed], (channels, height, width), count=count).to(latents)


def _serving(components: Components, mode: EditMode) -> Components:
    """Return components whose denoiser follows `mode`; the given ones keep serving others."""
    if mode is EditMode.PAPER:
        return components
    twin = _share_weights(components.denoiser)
    install_released(twin.installation)
    return replace(components, denoiser=twin)


def _share_weights(denoiser: Denoiser) -> Denoiser:
    """Return a second denoiser around the same weights, so that threads may share the first."""
    assert isinstance(denoiser, nn.Module), "denoisers are modules"
    weights = [*denoiser.parameters(), *denoiser.buffers()]
    return copy.deepcopy(denoiser, {id(one): one for one in weights})
