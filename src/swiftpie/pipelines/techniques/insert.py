"""Inserts, replaces and removes by networks that draw a part of a photograph from noise."""

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import extrapolate, in_unit, to_pil
from swiftpie.masks import resize_mask
from swiftpie.noise import add_noise
from swiftpie.photo.compositing import CanvasDrawing, draw_over, without_model_error
from swiftpie.pipelines.choose import Choice, Clock, Technique, resolved_scales
from swiftpie.pipelines.denoise import Plan, Prepared
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.pipelines.insertion import Insertion, insertion_of, noise_of, pasted, patch_of
from swiftpie.pipelines.style import with_style
from swiftpie.pipelines.tasks import RetouchRequest
from swiftpie.pipelines.techniques.personalize import appearance_condition, read_null_text
from swiftpie.types import DecodedImages, EditedImage


@torch.no_grad()
def prepare_insert(choice: Choice[RetouchRequest]) -> Plan:
    """Prepare what networks draw in a window of the photograph, of which they see all that stays.

    Raises:
        CapabilityError: The networks have no adapter, or cannot turn a subject.
    """
    components, name = choice.components, choice.components.preset.name
    if choice.request.view is not None:
        raise CapabilityError(
            f"Preset {name!r} cannot turn subjects. Describe the view in the prompt, or give a "
            "picture with that view."
        )
    if not components.family.takes_adapters:
        raise CapabilityError(
            f"Preset {name!r} has no adapters, which would show it a subject in a photograph. Say "
            "in the prompt of an edit what is to be there, and give the place as its mask: "
            "`edit(photo, prompt, mask=…)`."
        )
    insertion = insertion_of(choice)
    start = _start(components, insertion)
    # All of the room is drawn, that of a subject's shadow as well.
    insertion = insertion._replace(hole=insertion.room, patch=insertion.canvas.window)
    clock = choice.clock
    clock.end_stage("prepare")

    def finish(drawn: DecodedImages) -> EditedImage:
        return pasted(insertion, _drawing(insertion, clock, drawn), clock, branches=drawn.branches)

    return Plan(insertion.request, finish, start, region=insertion.region)


def _start(components: Components, insertion: Insertion) -> Prepared:
    """Return the noised photograph without what goes, and what shows the networks the subject."""
    request, pixels = insertion.request, insertion.pixels
    removed = insertion.canvas.enter_mask(insertion.hole).to(pixels)
    filled = extrapolate(pixels, (removed <= 0).to(pixels))
    identity = request.identity or whole_picture_identity(components, to_pil(filled)[0])
    region = resize_mask(insertion.changes, insertion.cells)
    scales = resolved_scales(components.preset, request)
    condition = appearance_condition(components, identity, region, scales=scales)
    noise = noise_of(components, insertion)
    return Prepared(
        components,
        add_noise(components.autoencoder.encode(filled), noise[0], components.schedule.steps[0]),
        components.text.encode([insertion.prompt]),
        read_null_text(components, request, rows=1),
        with_style(condition, components, request),
        fresh=noise[1:],
    )


def _drawing(insertion: Insertion, clock: Clock, drawn: DecodedImages) -> Tensor:
    """Return the patch with the drawing in it, (1, 3, H, W) in [0, 1]."""
    patch, changes = patch_of(insertion, clock), insertion.changes.float().cpu()
    before, after = (in_unit(part.float().cpu()) for part in (insertion.pixels, drawn.pixels))
    drawing = CanvasDrawing(before, after, after, changes)
    return draw_over(
        *(patch.pixels, without_model_error(drawing).alone),
        hole=patch.hole,
        place=patch.place,
        seed=insertion.request.seed,
        on_band=clock.check,
    ).clamp(0, 1)


TECHNIQUE = Technique(RetouchRequest, prepare_insert, draws_style=True)
