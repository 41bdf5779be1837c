"""The only sampling loop, and the decoding that follows it."""

import torch
from torch import Tensor

from swiftpie.backbones.components import Components
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.types import Denoised, TextCondition


@torch.no_grad()
def denoise(
    components: Components, noise: Tensor, text: TextCondition, condition: SubjectCondition
) -> Denoised:
    """Return clean latents (B, C, h, w) and the subject's mask for `noise` (B, C, h, w)."""
    schedule = components.schedule
    latents = noise
    mask = noise.new_zeros(len(noise), 1, *noise.shape[-2:])
    for index, step in enumerate(schedule.steps):
        prediction = components.denoiser(latents, step.timestep, text, condition, {})
        latents = schedule.advance(latents, prediction.sample, index)
        mask = prediction.mask
    return Denoised(latents=latents, mask=mask)


@torch.no_grad()
def decode(components: Components, latents: Tensor) -> Tensor:
    """Return pixels (B, 3, H, W) in [-1, 1] of clean `latents` (B, C, h, w)."""
    return components.autoencoder.decode(latents).clamp(-1, 1)
