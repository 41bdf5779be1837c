"""The algebra between noisy and clean latents; pure functions and frozen values."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class PredictionType(StrEnum):
    """What a denoiser's raw output means."""

    EPSILON = "epsilon"
    V = "v_prediction"
    SAMPLE = "sample"


@dataclass(frozen=True)
class Step:
    """One denoising step of a schedule."""

    timestep: int
    alpha: float  # signal factor of the latents that enter the step
    sigma: float  # noise factor of the latents that enter the step


@dataclass(frozen=True)
class Schedule:
    """The steps from pure noise to clean latents, first to last."""

    steps: tuple[Step, ...]
    prediction_type: PredictionType

    def advance(self, latents: Tensor, prediction: Tensor, index: int) -> Tensor:
        """Return the latents after step `index`; clean ones after the last.

        Deterministic DDIM update, from arXiv:2010.02502, Eq. 12 with eta 0.
        """
        step = self.steps[index]
        clean = predict_clean(latents, prediction, step, self.prediction_type)
        if index + 1 == len(self.steps):
            return clean
        following = self.steps[index + 1]
        noise = (latents.float() - step.alpha * clean) / step.sigma
        return following.alpha * clean + following.sigma * noise


def predict_clean(
    latents: Tensor, prediction: Tensor, step: Step, prediction_type: PredictionType
) -> Tensor:
    """Solve `latents = alpha * clean + sigma * noise` for `clean`, in float32 (B, C, h, w).

    Float32 because an error of an epsilon prediction grows by sigma / alpha, 14.6 at the last
    timestep of Stable Diffusion.
    """
    latents, prediction = latents.float(), prediction.float()
    match prediction_type:
        case PredictionType.EPSILON:
            return (latents - step.sigma * prediction) / step.alpha
        case PredictionType.V:
            return step.alpha * latents - step.sigma * prediction
        case PredictionType.SAMPLE:
            return prediction


def add_noise(clean: Tensor, noise: Tensor, step: Step) -> Tensor:
    """Return `alpha * clean + sigma * noise`, all (B, C, h, w)."""
    return step.alpha * clean + step.sigma * noise


def scaled_linear_step(timestep: int) -> Step:
    """Return signal and noise at `timestep` of Stable Diffusion's training schedule.

    Betas rise from 0.00085 to 0.012, linear in their square roots, over 1000 timesteps.
    """
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = float(torch.cumprod(1 - betas, dim=0)[timestep])
    return Step(timestep=timestep, alpha=kept**0.5, sigma=(1 - kept) ** 0.5)
