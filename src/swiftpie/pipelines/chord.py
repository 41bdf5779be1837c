"""ChordEdit: edits by a one-step model alone, without training or inversion (arXiv:2602.19083).

The model predicts clean latents from the noised picture under the source prompt and under the
target prompt. With the same noise in both, the difference of the predictions is the way from the
picture to the edit. The mean of such differences at two times is smoother than one. The mask of the
change is ours: it is where the first difference is large.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import CapabilityError, InputError
from swiftpie.imageio.images import mask_to_pil
from swiftpie.masks import from_noise_difference
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import (
    TRAIN_TIMESTEPS,
    Step,
    add_noise,
    draw_step_noise,
    flow_step,
    predict_clean,
    scaled_linear_step,
)
from swiftpie.pipelines.choose import Choice, resolved_scales
from swiftpie.pipelines.denoise import Plan, check_latents, check_pixels, decode
from swiftpie.pipelines.draw import acting_branches
from swiftpie.pipelines.edit_region import (
    Canvas,
    EditRegion,
    enter_canvas,
    in_hole,
    joined,
    known_mask,
    region_of,
    widened_region,
)
from swiftpie.pipelines.methods.chord import ChordForm, ChordOptions
from swiftpie.pipelines.style import with_style
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.pipelines.techniques.personalize import appearance_condition, text_condition
from swiftpie.types import EditedImage, TextCondition


class ChordSchedule(NamedTuple):
    """The times at which prompts are compared, as shares: 0 is the picture, 1 is noise."""

    times: tuple[float, ...]
    weights: tuple[float, ...]  # Weights of the differences there; they sum to 1.
    refined_at: float | None  # None: what they give is not refined


SCHEDULES: Mapping[ChordForm, ChordSchedule] = MappingProxyType(
    {
        # The later of the two times of the paper alone, which nearly equals both
        # (arXiv:2606.14042).
        ChordForm.FAST: ChordSchedule((0.75,), (1.0,), None),
        # The paper's times t = 0.9 and t - d with d = 0.15, whose weights are d and t.
        ChordForm.CHORD: ChordSchedule((0.90, 0.75), (0.15 / 1.05, 0.90 / 1.05), 0.30),
        # Times t = 0.4 and 1 - t, weighted by themselves (arXiv:2606.14042, symmetric).
        ChordForm.FAITHFUL: ChordSchedule((0.40, 0.60), (0.40, 0.60), 0.20),
    }
)


@torch.no_grad()
def prepare_edit(choice: Choice[EditRequest]) -> Plan:
    """Encode the picture; the model is called as its own steps are."""
    choice = replace(choice, request=in_hole(choice.request))
    components, request = choice.components, choice.request
    _check(components, request)
    original, mask, canvas = enter_canvas(components, request)
    latents = components.autoencoder.encode(canvas.enter(original).to(components.device)).float()
    noise = draw_step_noise([request.seed], latents.shape[1:], count=1)[0].to(latents)
    choice.clock.end_stage("encode")
    edit = ChordEdit(choice, original, canvas, mask, latents, noise)
    return Plan(request, edit.finish, region=edit.shown)


def step_at(components: Components, time: float) -> Step:
    """Return signal and noise at a share of the model's times: 0 is the picture, 1 is noise."""
    if components.schedule.noise_scale == "flow":
        return flow_step(TRAIN_TIMESTEPS * time)
    return scaled_linear_step(round((TRAIN_TIMESTEPS - 1) * time))


@dataclass(frozen=True, eq=False)
class ChordEdit:
    """One edit of a picture."""

    choice: Choice[EditRequest]
    original: Image.Image
    canvas: Canvas
    mask: Tensor | None  # (1, 1, H, W) of bytes, if one is given
    latents: Tensor  # (1, C, h, w) of the picture
    noise: Tensor  # (1, C, h, w), the same for all prompts and times

    @property
    def form(self) -> ChordForm:
        """The form that is chosen."""
        return self.choice.request.settings.of(ChordOptions).chord or ChordForm.CHORD

    @property
    def schedule(self) -> ChordSchedule:
        """The times of that form."""
        return SCHEDULES[self.form]

    @cached_property
    def pairs(self) -> tuple[Tensor, ...]:
        """What source and target prompt make of the picture, (2, C, h, w) for each time."""
        prompts = (self.choice.request.source_prompt, self.choice.request.prompt)
        return self.clean(self.latents, self.schedule.times, prompts, shows=(0.0, 1.0)).split(2)

    @cached_property
    def region(self) -> EditRegion:
        """Where the picture changes: the given region, or where the prompts or the keyword act."""
        request, mask = self.choice.request, self.mask
        if mask is None and request.has_style and not request.keyword:  # it is of all the picture
            mask = torch.full((1, 1, *self.canvas.full), 255, dtype=torch.uint8)
        draws_anew = request.identity is not None or request.has_style
        _, contrast, mask = known_mask(self.choice, mask, self.canvas, draws_anew=draws_anew)
        if mask is None:
            pair, times = self.pairs[0], self.schedule.times[:1]
            if request.keyword:
                pair = self.clean(self.latents, times, contrast.prompts, shows=(0.0, 0.0))
            latent = from_noise_difference(*pair.split(1))
            mask = widened_region(self.choice, latent, self.canvas)
        return region_of(mask, self.canvas, like=self.latents)

    @torch.no_grad()
    def shown(self) -> Image.Image:
        """Return what may change, white in mode L."""
        return mask_to_pil(self.region.pixels)[0]

    @torch.no_grad()
    def finish(self) -> EditedImage:
        """Return the edited picture; outside of the mask it is as it was."""
        components, clock = self.choice.components, self.choice.clock
        region, schedule = self.region, self.schedule
        parts = zip(schedule.weights, self.pairs, strict=True)
        way = torch.stack([weight * (pair[1:] - pair[:1]) for weight, pair in parts]).sum(dim=0)
        moved = self.latents + region.latent * way
        clock.end_stage("drift")
        if schedule.refined_at is not None:
            prompts = [self.choice.request.prompt]
            refined = self.clean(moved, [schedule.refined_at], prompts, shows=[1.0])
            moved = torch.lerp(moved, refined, region.latent)
            clock.end_stage("refine")
        check_latents(components, moved)
        pixels = decode(components, moved)
        check_pixels(components, pixels)
        clock.end_stage("decode")
        return joined(
            *(self.original, self.canvas.leave(pixels, self.original), region.pixels, clock),
            latent_region=region.latent,
            branches=acting_branches(components, self._condition(moved, [1.0])),
            facts={"method": "chord", "chord": self.form},
        )

    def clean(
        self,
        latents: Tensor,
        times: Sequence[float],
        prompts: Sequence[str],
        *,
        shows: Sequence[float],
    ) -> Tensor:
        """Return clean latents by one call, for each time a row a prompt.

        A subject and a style act in rows of prompts whose share is 1.
        """
        components, count = self.choice.components, len(prompts)
        steps = [step_at(components, time) for time in times]
        noisy = torch.cat(
            [add_noise(latents, self.noise, step).expand(count, -1, -1, -1) for step in steps]
        )
        known = components.text.encode(list(prompts))
        text = TextCondition(*(part.repeat(len(times), *[1] * (part.ndim - 1)) for part in known))
        condition = self._condition(noisy, [*shows] * len(times))
        at = noisy.new_tensor([step.timestep for step in steps]).repeat_interleave(count)
        timestep = at if len(times) > 1 else steps[0].timestep
        predicted = components.denoiser(noisy, timestep, text, condition, {}).sample
        kind = components.schedule.prediction_type
        parts = zip(noisy.split(count), predicted.split(count), steps, strict=True)
        return torch.cat([predict_clean(*part, kind) for part in parts])

    def _condition(self, noisy: Tensor, shows: Sequence[float]) -> SubjectCondition:
        components, shown = self.choice.components, self.choice.request.identity
        shares = noisy.new_tensor(shows)
        if shown is None:
            condition = text_condition(components, noisy)
        else:
            region = shares.view(-1, 1, 1, 1).expand(-1, 1, *noisy.shape[2:])
            scales = resolved_scales(components.preset, self.choice.request)
            condition = appearance_condition(components, shown, region, scales=scales)
        return with_style(condition, components, self.choice.request, shares)


def _check(components: Components, request: EditRequest) -> None:
    """Refuse what a model or the method cannot do."""
    if not components.family.knows_all_times:
        raise CapabilityError(
            f"Preset {components.preset.name!r} draws at the times of its own steps alone, and "
            "ChordEdit compares prompts at other times. Leave `method=chord` out, or load a "
            "full-size model: the recipe sd-turbo."
        )
    if request.guidance is not None or request.shaping is not None or request.negative_prompt:
        raise InputError(
            "ChordEdit compares two prompts without guidance. Leave identity guidance, guidance, "
            "shaping and the negative prompt out, or edit with `method=inversion`."
        )
