"""ChordEdit: edits by a one-step model alone, without training or inversion (arXiv:2602.19083).

The model predicts clean latents from the noised picture under the source prompt and under the
target prompt. With the same noise in both, the difference of the predictions is the way from the
picture to the edit. The mean of such differences at two times is smoother than one. The mask of the
change is ours: it is where the first difference is large.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import as_rgb, mask_to_pil, to_pil
from swiftpie.masks import from_noise_difference
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import (
    TRAIN_TIMESTEPS,
    NoiseScale,
    Step,
    add_noise,
    draw_step_noise,
    flow_step,
    predict_clean,
    scaled_linear_step,
)
from swiftpie.pipelines.denoise import Clock, check_latents, check_pixels, decode
from swiftpie.pipelines.draw import Plan, Technique, acting_branches, facts_of
from swiftpie.pipelines.edit_region import (
    Canvas,
    Compared,
    EditRegion,
    enter_canvas,
    found_region,
    in_hole,
    joined,
    method_of,
    region_of,
    says_the_same,
    without_change,
)
from swiftpie.pipelines.request import EditRequest, resolved_scales
from swiftpie.pipelines.settings import ChordForm, EditMethod
from swiftpie.pipelines.techniques.personalize import appearance_condition, text_condition
from swiftpie.types import EditResult, TextCondition


class Course(NamedTuple):
    """The times at which prompts are compared, as shares: 0 is the picture, 1 is noise."""

    times: tuple[float, ...]
    weights: tuple[float, ...]  # of the differences there; together 1
    refined_at: float | None  # None: what they give is not refined


COURSES: Mapping[ChordForm, Course] = MappingProxyType(
    {
        # The later of the two times of the paper alone, which nearly equals both
        # (arXiv:2606.14042).
        ChordForm.FAST: Course((0.75,), (1.0,), None),
        # The paper's times t = 0.9 and t - d with d = 0.15, whose weights are d and t.
        ChordForm.CHORD: Course((0.90, 0.75), (0.15 / 1.05, 0.90 / 1.05), 0.30),
        # Times t = 0.4 and 1 - t, weighted by themselves (arXiv:2606.14042, symmetric).
        ChordForm.FAITHFUL: Course((0.40, 0.60), (0.40, 0.60), 0.20),
    }
)


class Drift(NamedTuple):
    """How far two prompts lie apart, for one picture at one time; each (1, C, h, w)."""

    source: Tensor  # clean latents under the source prompt
    target: Tensor  # and under the target prompt

    @property
    def difference(self) -> Tensor:
        """The way from the source to the target."""
        return self.target - self.source


def claims(components: Components, request: EditRequest) -> bool:
    """Whether an edit follows ChordEdit, as the settings or the networks decide."""
    return method_of(components, request.settings) is EditMethod.CHORD


@torch.no_grad()
def prepare_edit(components: Components, request: EditRequest, clock: Clock) -> Plan:
    """Encode the picture; the model is called as its own steps are."""
    request = in_hole(request)
    start = _begin(components, request)
    clock.lap("encode")
    finish = partial(_edit, components, request, start, clock)
    return Plan(request, finish, region=partial(_shown_region, request, start))


@torch.no_grad()
def _edit(
    components: Components, request: EditRequest, start: "_Start", clock: Clock
) -> EditResult:
    """Return the edited photograph of a request; outside of the mask it is as it was."""
    canvas, latents, region, predictor = start
    original, course = as_rgb(request.picture), _course(request)
    drifts = predictor.drifts(latents, course.times)
    if region is None:
        region = _found(predictor, latents, drifts[0], canvas)
    parts = zip(course.weights, drifts, strict=True)
    way = torch.stack([weight * drift.difference for weight, drift in parts]).sum(dim=0)
    moved = latents + region.latent * way
    clock.lap("drift")
    if course.refined_at is not None:
        refined = predictor.clean(moved, [course.refined_at], [request.prompt], shows=[1.0])
        moved = torch.lerp(moved, refined, region.latent)
        clock.lap("refine")
    check_latents(components, moved)
    pixels = decode(components, moved)
    check_pixels(components, pixels)
    clock.lap("decode")
    edited = canvas.leave(to_pil(pixels)[0], original)
    facts = facts_of(components, request)
    return joined(
        *(original, edited, region.pixels, clock),
        latent_region=region.latent,
        branches=acting_branches(components, predictor.condition(moved, [1.0])),
        seed=request.seed,
        **{**facts, "origin": {**facts["origin"], "method": "chord"}},
    )


@torch.no_grad()
def _shown_region(request: EditRequest, start: "_Start") -> Image.Image:
    """Return what an edit may change, white in mode L, by at most one call of the model."""
    canvas, latents, region, predictor = start
    if region is None:
        (first,) = predictor.drifts(latents, _course(request).times[:1])
        region = _found(predictor, latents, first, canvas)
    return mask_to_pil(region.pixels)[0]


def step_at(components: Components, time: float) -> Step:
    """Return signal and noise at a share of the model's times: 0 is the picture, 1 is noise."""
    if components.schedule.noise_scale is NoiseScale.FLOW:
        return flow_step(TRAIN_TIMESTEPS * time)
    return scaled_linear_step(round((TRAIN_TIMESTEPS - 1) * time))


class _Predictor:
    """Predicts clean latents of noised ones, for both prompts of a request."""

    def __init__(self, components: Components, request: EditRequest, noise: Tensor) -> None:
        self.components, self.request = components, request
        self.noise = noise  # (1, C, h, w), the same for all prompts and times
        self.prompts = (request.source_prompt, request.prompt)

    def drifts(
        self,
        latents: Tensor,
        times: Sequence[float],
        *,
        prompts: tuple[str, str] | None = None,
        shows: tuple[float, float] = (0.0, 1.0),
    ) -> list[Drift]:
        """Return what two prompts, by default both, make of `latents` (1, C, h, w) at each time."""
        rows = self.clean(latents, times, prompts or self.prompts, shows=shows)
        return [Drift(*pair.split(1)) for pair in rows.split(2)]

    def clean(
        self,
        latents: Tensor,
        times: Sequence[float],
        prompts: Sequence[str],
        *,
        shows: Sequence[float],
    ) -> Tensor:
        """Return clean latents by one call, for each time a row a prompt.

        A subject is shown in rows of prompts whose share is 1.
        """
        components, count = self.components, len(prompts)
        steps = [step_at(components, time) for time in times]
        noisy = torch.cat(
            [add_noise(latents, self.noise, step).expand(count, -1, -1, -1) for step in steps]
        )
        known = components.text.encode(list(prompts))
        text = TextCondition(*(part.repeat(len(times), *[1] * (part.ndim - 1)) for part in known))
        condition = self.condition(noisy, [*shows] * len(times))
        at = noisy.new_tensor([step.timestep for step in steps]).repeat_interleave(count)
        timestep = at if len(times) > 1 else steps[0].timestep
        predicted = components.denoiser(noisy, timestep, text, condition, {}).sample
        kind = components.schedule.prediction_type
        parts = zip(noisy.split(count), predicted.split(count), steps, strict=True)
        return torch.cat([predict_clean(*part, kind) for part in parts])

    def condition(self, noisy: Tensor, shows: Sequence[float]) -> SubjectCondition:
        components, shown = self.components, self.request.identity
        if shown is None:
            return text_condition(components, noisy)
        region = noisy.new_tensor(shows).view(-1, 1, 1, 1).expand(-1, 1, *noisy.shape[2:])
        scales = resolved_scales(components.preset, self.request)
        return appearance_condition(components, shown, region, scales=scales)


class _Start(NamedTuple):
    """What an edit begins with."""

    canvas: Canvas
    latents: Tensor  # (1, C, h, w) of the picture
    region: EditRegion | None  # None where it has to be found
    predictor: _Predictor


def _begin(components: Components, request: EditRequest) -> _Start:
    _check(components, request)
    original, mask, canvas = enter_canvas(components, request)
    latents = components.autoencoder.encode(canvas.enter(original).to(components.device)).float()
    noise = draw_step_noise([request.seed], latents.shape[1:], count=1)[0].to(latents)
    region = _given_region(components, request, mask, canvas, latents)
    return _Start(canvas, latents, region, _Predictor(components, request, noise))


def _course(request: EditRequest) -> Course:
    return COURSES[request.settings.chord or ChordForm.CHORD]


def _given_region(
    components: Components,
    request: EditRequest,
    mask: Tensor | None,
    canvas: Canvas,
    latents: Tensor,
) -> EditRegion | None:
    """Return the region that is known before anything is drawn; None if it has to be found."""
    prompts = (request.source_prompt, request.prompt)
    if mask is not None:
        if request.identity is None:
            mask = without_change(Compared(components.text, prompts), mask)
        return region_of(mask, canvas, like=latents)
    compared = ("", request.keyword) if request.keyword else prompts
    if says_the_same(Compared(components.text, compared)):
        return region_of(torch.zeros(1, 1, *canvas.full, dtype=torch.uint8), canvas, like=latents)
    return None


def _found(predictor: _Predictor, latents: Tensor, drift: Drift, canvas: Canvas) -> EditRegion:
    """Return where the prompts differ, by the difference that is followed, or the keyword's."""
    if predictor.request.keyword:
        words, times = ("", predictor.request.keyword), _course(predictor.request).times[:1]
        (drift,) = predictor.drifts(latents, times, prompts=words, shows=(0.0, 0.0))
    found = from_noise_difference(drift.source, drift.target)
    return region_of(found_region(found, canvas), canvas, like=latents)


def _check(components: Components, request: EditRequest) -> None:
    """Refuse what a model or the method cannot do."""
    if not components.family.knows_all_times:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws at the times of its own steps alone, and "
            "ChordEdit compares prompts at other times. Edit with `method=inversion`, or by a "
            "full-size model: `--recipe sd-turbo`."
        )
    settings = request.settings
    if request.guidance is not None or request.shaping is not None or request.negative_prompt:
        raise InputError(
            "ChordEdit compares two prompts without guidance. Leave identity guidance, guidance, "
            "shaping and the negative prompt out, or edit with `method=inversion`."
        )
    if settings.variation:
        raise InputError(
            f"`variation={settings.variation}` belongs to edits by inversion. With ChordEdit "
            "another seed gives another edit: set `seed=`."
        )


TECHNIQUE = Technique(EditRequest, prepare_edit, claims)
