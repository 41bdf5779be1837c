"""The multi-step baseline: deterministic inversion (DDIM, arXiv:2010.02502), then generation."""

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.evaluation.edits.editor import Edited, Task
from swiftpie.evaluation.edits.editors import PresetEditor
from swiftpie.evaluation.generate import NO_SUBJECT
from swiftpie.images import to_pil
from swiftpie.layout import whole_frame
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.pipelines.condition import subject_condition
from swiftpie.pipelines.denoise import Clock, decode, denoise
from swiftpie.pipelines.edit_region import canvas_for
from swiftpie.pipelines.identity import whole_picture_identity
from swiftpie.schedules import CLEAN, predict_clean
from swiftpie.types import TextCondition


@dataclass(frozen=True, eq=False)
class DdimEditor(PresetEditor):
    """Walks from the picture up to noise under the source prompt, and down under the target's.

    It has no mask: what it keeps, the noise keeps. Both ways take every step of the preset.
    """

    @property
    def name(self) -> str:
        """The preset and its steps."""
        return f"DDIM inversion, {self.session.components.preset.name}: {self.num_steps} steps"

    @torch.no_grad()
    def __call__(self, task: Task) -> Edited:
        """Invert once; generate the target and, outside of the clock, the source again."""
        components, clock = self.session.components, Clock()
        preset = components.preset
        canvas = canvas_for(
            (task.source.height, task.source.width),
            side_px=preset.image_size_px,
            unit_px=2 * preset.latent_cell_px,
        )
        latents = components.autoencoder.encode(canvas.enter(task.source).to(components.device))
        clock.lap("encode")
        alone = nobody(components, task.source, latents)
        source, target = (
            components.text.encode([prompt]) for prompt in (task.source_prompt, task.target_prompt)
        )
        noisy = invert(components, latents, source, alone)
        clock.lap("invert")
        edited = self._draw(noisy, target, alone)
        clock.lap("denoise")
        return Edited(
            canvas.leave(edited),
            None,
            clock.timings(),
            canvas.leave(self._draw(noisy, source, alone)),
        )

    def _draw(self, noisy: Tensor, text: TextCondition, alone: SubjectCondition) -> Image.Image:
        components = self.session.components
        fresh = noisy.new_zeros(0, *noisy.shape)
        clean = denoise(components, noisy, text, alone, fresh=fresh).latents
        return to_pil(decode(components, clean))[0]


def invert(
    components: Components, latents: Tensor, text: TextCondition, condition: SubjectCondition
) -> Tensor:
    """Return the noisy latents (B, C, h, w) from which all steps would lead back to `latents`.

    Each step up adds the noise that is predicted as if it had been taken already.
    """
    schedule, at = components.schedule, CLEAN
    current = latents.float()
    for to in reversed(schedule.steps):
        raw = components.denoiser(current, to.timestep, text, condition, {}).sample
        clean = predict_clean(current, raw, to, schedule.prediction_type)
        noise = (current - to.alpha * clean) / to.sigma
        current = to.alpha * (current - at.sigma * noise) / at.alpha + to.sigma * noise
        at = to
    return current


def nobody(components: Components, picture: Image.Image, latents: Tensor) -> SubjectCondition:
    """Return the condition of a picture that only the prompt describes."""
    return subject_condition(
        components,
        [whole_picture_identity(components, picture)],
        [whole_frame(latents)],
        regions=[torch.ones_like(latents[:, :1])],
        class_tokens=torch.zeros(1, 1),
        scales=NO_SUBJECT,
        shares=[1.0],
    )
