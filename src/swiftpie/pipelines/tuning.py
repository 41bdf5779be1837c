"""Tunes a subject in scenes that the model draws: a look every few steps, and the best is kept.

A tuned subject is an identity like any other. What tuning changes acts through the subject's own
tokens, keys and values, which a call hands to the attention layers as values. So the weights of a
session stay as they are, and pictures without the subject stay the same, bit for bit.

What a picture should look like depends on the networks. Those that place a subject show its pixels
there. Of published ones it is not known where they draw a subject, so its box is that of its
reference, and the error is one of latents, which are the autoencoder's features.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError
from swiftpie.geometry.layout import Layout, to_affine, warp
from swiftpie.geometry.relief import height, turn
from swiftpie.geometry.shading import Lighting, relit
from swiftpie.imageio.images import bounding_box
from swiftpie.masks import resize_mask
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import predict_clean
from swiftpie.photo.compositing import blurred
from swiftpie.pipelines.choose import Clock
from swiftpie.pipelines.denoise import Prepared, decode, denoise
from swiftpie.pipelines.request import WORDS_ALONE, PersonalizeRequest, Subject
from swiftpie.pipelines.settings import MaskSource, TuneSettings
from swiftpie.pipelines.techniques.personalize import prepare_subjects
from swiftpie.types import Identity

CHECK_EVERY = 20  # steps
NUM_CHECKS = 2  # scenes in which the subject is looked at
PATIENCE = 3  # looks in a row without anything better, after which tuning stops
MANY = 3  # pictures from which on the last one is held out
SUBJECT_WEIGHT = 10.0  # The subject's pixels; latents around it count 1.
LEAST_GAIN = 0.01  # dB; less is no improvement
SHADING = 1 / 32  # A share of the side: what is coarser is light, and stays.
FAINT = 1e-3  # opacity below which a pixel has no colour of its own
PLACES = (
    "on a beach",
    "in a forest",
    "in a city at night",
    "on a meadow in winter",
    "at sea at sunset",
    "in a kitchen",
)
TOY, ANYTHING = "a toy", "a photo of it"  # What words call a subject; `mini` knows the first.
CHECK_SEED = 2**24  # Scenes that training does not see.
MOST_SECONDS = 60  # On an accelerator, if no other limit is given.
PASSES = 3  # A step takes about as long as so many pictures: its gradients take two.
# In half precision small gradients are 0: the loss begins larger, and shrinks where they overflow.
LOSS_SCALE, SHRINKS = 2.0**10, 1 / 16
LEAST_SPREAD = 1e-6  # of a variance, whose root has a steep gradient below


class Example(NamedTuple):
    """One picture of the subject in a scene, and what it should look like."""

    drawing: Prepared  # one row
    wanted: Tensor  # (1, 3, H, W) in [-1, 1]
    mask: Tensor  # (1, 1, H, W) where the subject is, in [0, 1]
    around: Tensor  # (1, 1, h, w) 1 = cell without any of the subject
    untuned: Tensor  # (1, C, h, w) latents of the model's own picture
    encoded: Tensor | None = None  # (1, C, h, w) latents of `wanted`; None: pixels are compared


class TuneEvent(NamedTuple):
    """What tuning tells at its start, after each step and at its end."""

    step: int
    steps: int
    # In dB, in scenes that training does not see, at the last look: of pixels, or of latents, whose
    # variance is about 1.
    psnr: float
    best_psnr: float
    first_psnr: float  # before the first step
    is_done: bool = False
    seconds_left: float = 0.0  # about, before the first step by the time of the first look


OnTune = Callable[[TuneEvent], bool | None]
"""Takes each event; returns True to end early with the best so far. May raise to stop."""


def tune(
    components: Components,
    identity: Identity,
    settings: TuneSettings,
    *,
    on_event: OnTune | None = None,
    prompts: Sequence[str] | None = None,
) -> Identity:
    """Return `identity` tuned, so that pictures show more of what its own pictures show.

    The subject is drawn in scenes of the model. Its pixels move towards its own pictures, placed
    and lit as the model places and lights them; latents around it stay as they are. A published
    one-step model draws it in the box of its reference, and its latents there move towards those of
    the reference. Of three or more pictures the last is held out: it is only looked at. The
    features that were best in scenes that training does not see are kept, so the result is never
    worse there.

    Args:
        components: The networks, whose weights stay as they are.
        identity: A subject from `encode_identity`.
        settings: Steps and others.
        on_event: Called at the start, after each step and at the end.
        prompts: Of the scenes; ours for a model that reads English.

    Raises:
        CapabilityError: The preset draws in several steps, the subject is a face, or the engine
            cannot train.
    """
    until = time.monotonic() + seconds_of(components, settings)
    _check_tunable(components, identity)
    trained, checked = trained_and_checked(identity)
    seed, examples_of = settings.seed, partial(draw_examples, components, identity, prompts=prompts)
    examples = examples_of(trained, count=settings.num_scenes, seed=seed)
    checks = examples_of(checked, count=NUM_CHECKS, seed=seed + CHECK_SEED)
    run = _Run(components, identity, settings.learning_rate, examples, checks)
    run.fit(settings.steps, on_event or (lambda _: None), until=until)
    return replace(run.best, tuned=f"{run.best_step} steps")


def seconds_of(components: Components, settings: TuneSettings) -> float:
    """Return how many seconds tuning may take."""
    usual = inf if components.device.type == "cpu" else MOST_SECONDS
    return usual if settings.seconds is None else settings.seconds


def trained_and_checked(identity: Identity) -> tuple[list[int], list[int]]:
    """Return which pictures of a subject are trained on, and which show how well."""
    every = list(range(len(identity.pixels)))
    return (every[:-1], every[-1:]) if len(every) >= MANY else (every, every)


class _Run:
    """What changes while a subject is tuned."""

    def __init__(
        self,
        components: Components,
        identity: Identity,
        rate: float,
        examples: Sequence[Example],
        checks: Sequence[Example],
    ) -> None:
        self._components = components
        self._examples, self._checks = examples, checks
        self._weights: list[Tensor] = []
        self._trained = identity.with_features(self._as_weight)
        self._optimizer = torch.optim.Adam(self._weights, lr=rate)
        self.best = identity
        self._best_psnr, self._first_psnr, self._psnr = -inf, -inf, -inf
        self._stale = 0
        self.best_step = 0
        weight: Tensor = next(components.denoiser.installation.network.parameters())
        self._scaler = torch.amp.GradScaler(
            weight.device.type,
            init_scale=LOSS_SCALE,
            backoff_factor=SHRINKS,
            enabled=weight.dtype is torch.float16,
        )

    def fit(self, steps: int, on_event: OnTune, *, until: float) -> None:
        """Train, look, and keep the best; `until` is a time of `time.monotonic`."""
        step, self._until, self._began = 0, until, time.monotonic()
        self._look(step)
        self._first_psnr = self._psnr
        looked, self._began = time.monotonic() - self._began, time.monotonic()
        self._guess = PASSES * looked / NUM_CHECKS
        is_over = bool(on_event(self._event(step, steps)))
        while not is_over and step < steps and self._stale < PATIENCE and time.monotonic() < until:
            self._train(self._examples[step % len(self._examples)])
            step += 1
            if step % CHECK_EVERY == 0 or step == steps:
                self._look(step)
            is_over = bool(on_event(self._event(step, steps)))
        if step % CHECK_EVERY and step < steps:  # it ended early, and may be better by now
            self._look(step)
        on_event(self._event(step, steps)._replace(is_done=True))

    def _as_weight(self, rows: Tensor) -> Tensor:
        self._weights.append(rows.detach().float().clone().requires_grad_())
        return self._weights[-1]

    def _event(self, step: int, steps: int) -> TuneEvent:
        now = time.monotonic()
        pace = (now - self._began) / step if step else self._guess
        seconds_left = min((steps - step) * pace, max(self._until - now, 0.0))
        scores = (self._psnr, self._best_psnr, self._first_psnr)
        return TuneEvent(step, steps, *scores, seconds_left=seconds_left)

    def _train(self, example: Example) -> None:
        latents = clean_latents(self._components, example, self._trained)
        if example.encoded is None:
            error = subject_error(self._components.autoencoder.decode(latents), example)
        else:
            error = latent_error(latents, example)
        moved = ((latents - example.untuned).square() * example.around).mean()
        loss = SUBJECT_WEIGHT * error + moved
        if not loss.requires_grad:
            raise CapabilityError(
                "The engine of this session passes no gradients on, and tuning needs them. Tune "
                "without `engine=`; every engine draws the result."
            )
        # Not by `backward`, which would leave gradients on weights that others share.
        # Published U-Nets do not read all that `mini` does.
        scaled = self._scaler.scale(loss)
        gradients = torch.autograd.grad(scaled, self._weights, allow_unused=True)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._scaler.step(self._optimizer)
        self._scaler.update()

    @torch.no_grad()
    def _look(self, step: int) -> None:
        self._psnr = fmean(self._nearness(example) for example in self._checks)
        self._stale += 1
        if self._psnr > self._best_psnr + LEAST_GAIN:
            self.best = self._trained.with_features(lambda rows: rows.detach().clone())
            self._best_psnr, self.best_step, self._stale = self._psnr, step, 0

    def _nearness(self, example: Example) -> float:
        """Return in dB how near the subject of now is to what an example wants."""
        latents = clean_latents(self._components, example, self._trained)
        if example.encoded is not None:
            return float(-10 * latent_error(latents, example).log10())
        return subject_psnr(self._components.autoencoder.decode(latents).clamp(-1, 1), example)


def _check_tunable(components: Components, identity: Identity) -> None:
    """Refuse a subject of which it is not known what a picture should look like."""
    name, num_steps = components.preset.name, len(components.schedule.steps)
    if identity.is_face:
        raise CapabilityError(
            "The subject is a face, of which adapters read a vector and no place in a picture, and "
            "tuning needs one. Give more pictures of the person instead. Or train a LoRA with the "
            "scripts of diffusers, and load it in a recipe."
        )
    if num_steps > 1 and not components.family.shows_own_pixels:
        raise CapabilityError(
            f"Preset {name!r} draws in {num_steps} steps, and tuning trains through a single one. "
            "Take a model of one step, such as sd-turbo, sdxl-turbo, sdxl-lightning-1 or mini. Or "
            "train a LoRA with the scripts of diffusers, and load it in a recipe."
        )


def draw_examples(
    components: Components,
    identity: Identity,
    frames: Sequence[int],
    *,
    count: int,
    seed: int,
    prompts: Sequence[str] | None = None,
) -> list[Example]:
    """Return `count` examples, which show the `frames` of `identity` in turn.

    Noise and prompt of each decide the scene, and with `mini` place, size, turn and light of the
    subject.
    """
    called = TOY if components.family.shows_own_pixels else ANYTHING
    texts = prompts or [f"{called} {place}" for place in PLACES]
    return [
        _example(
            components,
            identity,
            frame=frames[number % len(frames)],
            prompt=texts[(number + seed) % len(texts)],
            seed=seed + number,
        )
        for number in range(count)
    ]


@torch.no_grad()
def _example(
    components: Components, identity: Identity, *, frame: int, prompt: str, seed: int
) -> Example:
    reference = replace(
        identity,
        pixels=_first(identity.pixels, frame),
        mask=_first(identity.mask, frame),
        large=None,
    )
    is_placed = components.family.shows_own_pixels
    request = PersonalizeRequest(
        subjects=(Subject(reference, box=None if is_placed else bounding_box(reference.mask[:1])),),
        prompt=prompt,
        seeds=(seed,),
        scene=WORDS_ALONE,
        mask=MaskSource.NONE if is_placed else MaskSource.BOX,
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
    if is_placed:
        warped, mask = in_place(reference, drawing.layouts[0], drawing.lights[0], like=picture)
    else:
        warped, mask = reference.pixels[:1].to(picture), reference.mask[:1].to(picture)
    target, encoded = warped + picture * (1 - mask), None
    if is_placed:
        target = with_own_shading(target, picture, mask)
    else:
        encoded = components.autoencoder.encode(target)
    covers = F.adaptive_max_pool2d(mask, (untuned.shape[2], untuned.shape[3])) > 0
    return Example(drawing, target, mask, (~covers).to(untuned), untuned, encoded)


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
    warped = warp(frame, to_affine(layout), (like.shape[2], like.shape[3]))
    return warped[:, :3], warped[:, 3:].clamp(0, 1)


def with_own_shading(composite: Tensor, picture: Tensor, mask: Tensor) -> Tensor:
    """Return `composite` (1, 3, H, W) with the coarse shading of the model's own `picture`.

    The model corrects the light of a placed subject: what it adds stays, and what is finer comes
    from the subject's pictures.
    """
    deviation = SHADING * picture.shape[-1]
    shading = blurred((picture - composite) * mask, deviation)
    shading = shading / blurred(mask, deviation).clamp_min(FAINT)
    return (composite + shading * mask).clamp(-1, 1)


def conditioned(example: Example, identity: Identity) -> SubjectCondition:
    """Return what the denoiser reads in `example` of the subject, with its features of now."""
    condition = example.drawing.condition
    attention = condition.attention._replace(
        identity_tokens=identity.tokens[:, None],
        keys={name: rows[:, None] for name, rows in identity.keys.items()},
        values={name: rows[:, None] for name, rows in identity.values.items()},
    )
    return condition._replace(attention=attention, pooled=identity.pooled[:, None])


def clean_latents(components: Components, example: Example, identity: Identity) -> Tensor:
    """Return latents (1, C, h, w) after the first step, with gradients of the identity's."""
    drawing, schedule = example.drawing, components.schedule
    condition, step = conditioned(example, identity), schedule.steps[0]
    prediction = components.denoiser(drawing.latents, step.timestep, drawing.text, condition, {})
    return predict_clean(drawing.latents, prediction.sample, step, schedule.prediction_type)


def subject_psnr(pixels: Tensor, example: Example) -> float:
    """Return the PSNR of `pixels` (1, 3, H, W) to the example over the subject, in dB."""
    return float(-10 * (subject_error(pixels, example) / 4).log10())  # the range is 2 wide


def subject_error(pixels: Tensor, example: Example) -> Tensor:
    """Return the mean squared error of `pixels` (1, 3, H, W) over the subject."""
    error = (pixels - example.wanted).square() * example.mask
    return error.sum() / (3 * example.mask.sum()).clamp_min(1)


def latent_error(latents: Tensor, example: Example) -> Tensor:
    """Return how far latents (1, C, h, w) are from those of the example over the subject.

    Cells are compared, and how much each channel varies over the subject, as DISTS does with
    features. A model draws a subject where its noise wants it, and cells alone would make a blur
    the best guess.
    """
    assert example.encoded is not None, "pixels are compared otherwise"
    cover = resize_mask(example.mask, (latents.shape[2], latents.shape[3])).to(latents)
    share = cover / cover.sum().clamp_min(FAINT)
    cells = ((latents - example.encoded).square() * share).sum() / latents.shape[1]
    prediction, target = (_spread(rows, share) for rows in (latents, example.encoded))
    return cells + (prediction - target).square().mean()


def _spread(latents: Tensor, share: Tensor) -> Tensor:
    """Return the deviation of each channel (1, C) where `share` (1, 1, h, w), of sum 1, is."""
    mean = (latents * share).sum(dim=(2, 3), keepdim=True)
    return ((latents - mean).square() * share).sum(dim=(2, 3)).clamp_min(LEAST_SPREAD).sqrt()


def _first(rows: Tensor, number: int) -> Tensor:
    """Return the rows with that of `number` in front."""
    return torch.cat([rows[number : number + 1], rows[:number], rows[number + 1 :]])
