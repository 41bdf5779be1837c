"""Subjects and a sentence to a picture, called as a diffusers pipeline."""

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.images import mask_to_pil
from swiftpie.masks import resize_mask
from swiftpie.pipelines.denoise import Clock, denoise
from swiftpie.pipelines.hub.base import ModulesPipeline
from swiftpie.pipelines.hub.call import (
    PersonalizeCall,
    check,
    draw,
    read_text,
    size_of,
    subjects_of,
)
from swiftpie.pipelines.hub.calling import SwiftPiePipelineOutput, finish, spelled_as
from swiftpie.pipelines.hub.pictures import Pictures, pictured_subjects
from swiftpie.pipelines.personalize import prepare, source_of
from swiftpie.types import Identity


class SwiftPiePipeline(ModulesPipeline):
    """Draws subjects into the scene of a prompt, in one denoising step (arXiv:2605.01510)."""

    @spelled_as(PersonalizeCall)
    def __call__(self, call: PersonalizeCall) -> SwiftPiePipelineOutput | tuple[object, ...]:
        """Draw `num_images_per_prompt` pictures a prompt; see `PersonalizeCall` for the arguments.

        Subjects are given in one way of three: `subjects`, `ip_adapter_image` or
        `ip_adapter_image_embeds`.

        Raises:
            InputError: Something is missing, does not fit, or cannot be honoured.
        """
        components = self.to_components()
        check(call, components, self._callback_tensor_inputs)
        return self._answer(call, lambda: self._draw(call, components))

    def encode_prompt(self, prompt: str | list[str]) -> tuple[Tensor, Tensor]:
        """Return `prompt_embeds` (P, T, D), 0 where a prompt has ended, and pooled ones (P, D)."""
        self._wake("text_encoder")
        with torch.no_grad():
            text = self.to_components().text.encode([prompt] if isinstance(prompt, str) else prompt)
        return text.hidden_states * text.attention_mask[..., None].to(text.pooled), text.pooled

    def prepare_ip_adapter_image_embeds(
        self, ip_adapter_image: Pictures, *, masks: Tensor | list[Tensor] | None = None
    ) -> list[Identity]:
        """Return the subjects of `ip_adapter_image`, encoded once for any number of calls.

        Raises:
            InputError: A picture cannot be used, or a subject cannot be found in it.
        """
        self._wake("text_encoder", "vae", "unet")
        found = pictured_subjects(self.to_components(), ip_adapter_image, masks)
        return [subject.identity for subject in found]

    def _draw(self, call: PersonalizeCall, components: Components) -> SwiftPiePipelineOutput:
        clock = Clock()
        if call.ip_adapter_image is not None:
            self._wake("text_encoder", "vae", "unet")
        subjects = subjects_of(call, components)
        clock.lap("identity")
        self._wake("text_encoder")
        text, words = read_text(call, components, [subject.name for subject in subjects])
        clock.lap("text")
        noise, seeds = draw(call, components, size_of(call, components))
        self._stop_if_asked()
        self._wake("vae", "unet")
        prepared = prepare(
            components,
            subjects,
            text,
            noise=noise,
            class_tokens=words,
            scales=call.scales,
            source=source_of(call.mask),
        )
        clock.lap("place")
        self._stop_if_asked()
        with self.progress_bar(total=len(components.schedule.steps)) as bar:
            denoised = denoise(
                components,
                prepared.latents,
                text,
                prepared.condition,
                fresh=prepared.fresh,
                on_step=self._on_step(call, bar.update),
            )
        clock.lap("denoise")
        self._wake("vae")
        images, size = finish(denoised.latents, components, call.output_type)
        clock.lap("decode")
        masks = mask_to_pil(resize_mask(denoised.subject_mask, size)) if call.return_masks else None
        return SwiftPiePipelineOutput(
            images=images, masks=masks, seeds=seeds, timings=clock.timings()
        )
