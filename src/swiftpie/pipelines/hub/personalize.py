"""Subjects and a sentence to a picture, called as a diffusers pipeline."""

from dataclasses import replace

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.errors import InputError
from swiftpie.images import mask_to_pil, to_pil
from swiftpie.masks import resize_mask
from swiftpie.pipelines.denoise import Clock, decode, denoise
from swiftpie.pipelines.hub.base import Interrupted, ModulesPipeline
from swiftpie.pipelines.hub.call import (
    MASKS,
    PersonalizeCall,
    check,
    draw,
    read_text,
    size_of,
)
from swiftpie.pipelines.hub.output import Images, SwiftPiePipelineOutput, nothing, to_output
from swiftpie.pipelines.hub.pictures import Pictures, known_subjects, pictured_subjects
from swiftpie.pipelines.hub.spelling import spelled_as
from swiftpie.pipelines.personalize import Subject, as_subjects, prepare, source_of
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
        self._interrupt = False
        components, clock = self.to_components(), Clock()
        check(call, components, self._callback_tensor_inputs)
        self._warn_of_guidance(call)
        try:
            with torch.no_grad():
                output = self._draw(call, components, clock)
        except Interrupted:
            output = nothing()
        finally:
            self.maybe_free_model_hooks()
        return output if call.return_dict else output.to_tuple()

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
        self._wake("text_encoder", "vae")
        found = pictured_subjects(self.to_components(), ip_adapter_image, masks)
        return [subject.identity for subject in found]

    def _draw(
        self, call: PersonalizeCall, components: Components, clock: Clock
    ) -> SwiftPiePipelineOutput:
        subjects = self._subjects(call, components)
        clock.lap("identity")
        self._wake("text_encoder")
        text, words = read_text(call, components, [subject.name for subject in subjects])
        clock.lap("text")
        noise, seeds = draw(call, components, size_of(call, components))
        self._stop_if_asked()
        self._wake("vae")
        prepared = prepare(
            components,
            subjects,
            text,
            noise=noise,
            class_tokens=words,
            strength=call.strength,
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
        images, size = self._finish(denoised.latents, components, call.output_type)
        clock.lap("decode")
        masks = mask_to_pil(resize_mask(denoised.mask, size)) if call.return_masks else None
        return SwiftPiePipelineOutput(
            images=images, masks=masks, seeds=seeds, timings=clock.timings()
        )

    def _subjects(self, call: PersonalizeCall, components: Components) -> list[Subject]:
        """Return who shall appear.

        Raises:
            InputError: Nobody, or in two ways at once.
        """
        pictures, identities = call.ip_adapter_image, call.ip_adapter_image_embeds
        if sum(one is not None for one in (call.subjects, pictures, identities)) != 1:
            raise InputError(
                "A picture needs its subjects in one way: `ip_adapter_image`, "
                "`ip_adapter_image_embeds` or `subjects`. Give exactly one."
            )
        masks = (call.cross_attention_kwargs or {}).get(MASKS)
        if masks is not None and (call.subjects is not None or isinstance(call.mask, Tensor)):
            raise InputError(
                f"{MASKS} came with `mask` or `subjects`, which also say where the subjects act. "
                "Give one of them."
            )
        if call.subjects is not None:
            return as_subjects(call.subjects, call.mask, call.box)
        if pictures is not None:
            self._wake("text_encoder", "vae")
            found = pictured_subjects(components, pictures, masks)
        else:
            assert identities is not None, "one of three was given"
            found = known_subjects(identities, masks)
        if len(found) == 1 and masks is None:
            return as_subjects(found[0].identity, call.mask, call.box)
        if len(found) == 1:
            return [replace(found[0], box=call.box)]
        return as_subjects(found, call.mask, call.box)

    def _finish(
        self, latents: Tensor, components: Components, output_type: str
    ) -> tuple[Images, tuple[int, int]]:
        """Return the pictures in the wanted form, and their height and width."""
        cell_px = components.preset.latent_cell_px
        size = (cell_px * latents.shape[2], cell_px * latents.shape[3])
        if output_type == "latent":
            return latents, size
        self._wake("vae")
        pixels = decode(components, latents)
        return to_pil(pixels) if output_type == "pil" else to_output(pixels, output_type), size
