"""What tuning trains on: the subject's own pictures, in scenes that the model draws."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.geometry.shading import Lighting, relit
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition, read_notes
from swiftpie.pipelines.denoise import Clock, Prepared, decode, denoise
from swiftpie.pipelines.filling import blurred
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject
from swiftpie.pipelines.techniques.personalize import prepare_subjects
from swiftpie.schedules import predict_clean
from swiftpie.tuning.change import Features, Start
from swiftpie.types import Identity

SHADING = 1 / 32  # of the picture's side: what is coarser is light, and stays as the model draws it
FAINT = 1e-3  # opacity below which a pixel has no colour of its own
PROMPTS = (
    "a toy on a beach",
    "a toy in a forest",
    "a toy in a city at night",
    "a toy on a meadow in winter",
    "a toy at sea at sunset",
    "a toy in a kitchen",
)
CHECK_SEED = 2**24  # of the scenes that training does not see, far from those that it does


class Example(NamedTuple):
    """One picture of the subject in a scene, and what it should look like."""

    drawing: Prepared  # one row
    wanted: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: Tensor  # (1, 1, H, W) where the subject is, in [0, 1]
    around: Tensor  # (1, 1, h, w) 1 = cell without any of the subject
    untuned: Tensor  # (1, C, h, w) latents of the model's own picture


def start_of(components: Components, identity: Identity) -> Start:
    """Return a subject ready to be tuned.

    Raises:
        CapabilityError: The preset does not place subjects, so what a picture should look like is
            not known; or the identity has no pictures, as those of faces.
    """
    if components.layout_predictor is None or identity.is_face:
        raise CapabilityError(
            f"Preset {components.preset.name!r} does not place the pictures of this subject, and "
            "tuning needs to know where they go. Tune with mini. Or train a LoRA with the scripts "
            "of diffusers, and load it in a recipe."
        )
    notes = read_notes(
        components.denoiser,
        components.autoencoder,
        pixels=identity.pixels,
        mask=identity.mask,
        empty_text=components.text.encode([""]),
    )
    return Start(identity, notes, components.denoiser.installation)


def draw_examples(
    components: Components, identity: Identity, frames: Sequence[int], *, count: int, seed: int
) -> list[Example]:
    """Return `count` examples, which show the `frames` of `identity` in turn.

    Noise and prompt of each decide the scene, and place, size, turn and light of the subject.
    """
    numbers = range(count)
    return [
        _example(
            components,
            identity,
            frame=frames[number % len(frames)],
            prompt=PROMPTS[(number + seed) % len(PROMPTS)],
            seed=seed + number,
        )
        for number in numbers
    ]


@torch.no_grad()
def _example(
    components: Components, identity: Identity, *, frame: int, prompt: str, seed: int
) -> Example:
    shown = replace(
        identity,
        pixels=_first(identity.pixels, frame),
        mask=_first(identity.mask, frame),
        large=None,
    )
    request = PersonalizeRequest(
        subjects=(Subject(shown),), prompt=prompt, seeds=(seed,), scene=WORDS_ALONE
    )
    drawing = prepare_subjects(components, request, Clock())
    attention = drawing.condition.attention
    cells = (attention.coverage.shape[-2], attention.coverage.shape[-1])
    # Keys stay in the order of the identity's pictures, whichever of them is placed.
    coverage = resize_mask(identity.mask, cells).transpose(0, 1)[None].to(attention.coverage)
    condition = drawing.condition._replace(attention=attention._replace(coverage=coverage))
    drawing = drawing._replace(condition=condition)
    untuned = denoise(drawing).latents
    picture = decode(components, untuned)
    placed, mask = in_place(shown, drawing.layouts[0], drawing.lights[0], like=picture)
    covers = F.adaptive_max_pool2d(mask, (untuned.shape[2], untuned.shape[3])) > 0
    wanted = with_own_shading(placed + picture * (1 - mask), picture, mask)
    return Example(drawing, wanted, mask, around=(~covers).to(untuned), untuned=untuned)


def in_place(
    identity: Identity, layout: Layout, light: Lighting | None, *, like: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the first frame where a picture shows it: premultiplied pixels and mask.

    `like` (1, 3, H, W) gives the size.
    """
    pixels, mask = identity.pixels[:1], identity.mask[:1]
    if light is not None:
        pixels = relit(pixels, mask, light, layout)
    frame = torch.cat([pixels, mask], dim=1)
    if bool(layout.pose.any()):
        frame = turn(frame, height(mask), layout.pose).frame
    placed = warp(frame, to_affine(layout), (like.shape[2], like.shape[3]))
    return placed[:, :3], placed[:, 3:].clamp(0, 1)


def with_own_shading(composite: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """Return `composite` (1, 3, H, W) with the coarse shading of the model's own `picture`.

    The model corrects the light of a placed subject: what it adds stays, and what is finer comes
    from the subject's pictures.
    """
    deviation = SHADING * picture.shape[-1]
    shading = blurred((picture - composite) * mask, deviation)
    shading = shading / blurred(mask, deviation).clamp_min(FAINT)
    return (composite + shading * mask).clamp(-1, 1)


def conditioned(example: Example, features: Features) -> SubjectCondition:
    """Return what the denoiser reads of the subject in `example`, with these `features`."""
    condition = example.drawing.condition
    attention = condition.attention._replace(
        identity_tokens=features.tokens[:, None],
        keys={name: rows[:, None] for name, rows in features.keys.items()},
        values={name: rows[:, None] for name, rows in features.values.items()},
    )
    return condition._replace(attention=attention, pooled=features.pooled[:, None])


def clean_latents(components: Components, example: Example, features: Features) -> Tensor:
    """Return latents (1, C, h, w) after the first step with these `features`, with gradients."""
    drawing, schedule = example.drawing, components.schedule
    condition, step = conditioned(example, features), schedule.steps[0]
    found = components.denoiser(drawing.latents, step.timestep, drawing.text, condition, {})
    return predict_clean(drawing.latents, found.sample, step, schedule.prediction_type)


def subject_psnr(pixels: Tensor, example: Example) -> float:
    """Return the PSNR of `pixels` (1, 3, H, W) to the example over the subject, in dB."""
    return float(-10 * (subject_error(pixels, example) / 4).log10())  # the range is 2 wide


def subject_error(pixels: Tensor, example: Example) -> Tensor:
    """Return the mean squared error of `pixels` (1, 3, H, W) over the subject."""
    error = (pixels - example.wanted).square() * example.mask
    return error.sum() / (3 * example.mask.sum()).clamp_min(1)


def _first(rows: Tensor, number: int) -> Tensor:
    """Return the rows with that of `number` in front."""
    return torch.cat([rows[number : number + 1], rows[:number], rows[number + 1 :]])
