"""Edits by a model that reads the picture itself, as tokens."""

from functools import partial

import torch

from swiftpie.backbones.components import FAMILIES, Components
from swiftpie.backbones.presets import PRESETS, RECIPES
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import as_rgb, mask_to_pil
from swiftpie.noise import draw_noise
from swiftpie.pipelines.choose import Choice
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.edit_region import Canvas, enter_canvas, in_hole
from swiftpie.pipelines.identity import identity_of_frames
from swiftpie.pipelines.inversion import finish_edit
from swiftpie.pipelines.settings import ResolvedScales
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.pipelines.techniques.personalize import (
    appearance_condition,
    read_null_text,
    read_prompts,
)


@torch.no_grad()
def prepare_edit(choice: Choice[EditRequest]) -> Plan:
    """Plan an edit that draws the picture anew from noise, with the old picture as a reference.

    Without a mask, all of the picture may change.

    Raises:
        CapabilityError: The model was not made to edit a picture that it reads as a reference.
        InputError: The edit has a further subject or a keyword, or a mask of a wrong shape.
    """
    components, request, clock = choice.components, in_hole(choice.request), choice.clock
    _check(components, request)
    _, region, canvas = enter_canvas(components, request)
    if region is None:
        region = torch.full((1, 1, *canvas.full), 255, dtype=torch.uint8)
    start = _start(components, request, canvas)
    clock.end_stage("prepare")
    finish = partial(finish_edit, request=request, canvas=canvas, region=region, clock=clock)
    return Plan(request, finish, start, region=lambda: mask_to_pil(region)[0])


def _start(components: Components, request: EditRequest, canvas: Canvas) -> Prepared:
    pixels = canvas.enter(as_rgb(request.picture)).to(components.device)
    shown = identity_of_frames(components, pixels, torch.ones_like(pixels[:, :1]))
    rows, columns = (side // components.preset.latent_cell_px for side in canvas.padded)
    components = components.sized((rows, columns))
    shape = (components.preset.latent_channels, rows, columns)
    noise = draw_noise([request.seed], shape).to(pixels)
    text = read_prompts(components, request.prompt, rows=1)
    condition = appearance_condition(
        components,
        shown,
        torch.ones_like(noise[:, :1]),
        scales=request.settings.scales.over(ResolvedScales()),
    )
    return Prepared(
        components=components,
        latents=components.schedule.initial_latents(noise),
        text=text,
        null_text=read_null_text(components, request, rows=1),
        condition=condition,
        fresh=noise.new_zeros(0, *noise.shape),
    )


def _check(components: Components, request: EditRequest) -> None:
    if not components.family.edits_by_reference:
        able = [
            name
            for name, recipe in RECIPES.all().items()
            if FAMILIES.get(PRESETS.get(recipe.preset).family).edits_by_reference
        ]
        raise CapabilityError(
            f"Preset {components.preset.name!r} was not made to edit a picture that it reads as a "
            f"reference. Leave `method=` out, or load one that was: the recipe {'|'.join(able)}."
        )
    if request.identity is not None or request.keyword:
        given = "a further subject" if request.identity is not None else "a keyword"
        raise InputError(
            f"{given.capitalize()} cannot be combined with an edit by reference: it reads only its "
            "picture and the prompt. Say in the prompt what changes, and mark the place by a mask."
        )
