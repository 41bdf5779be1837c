"""The formulas of score distillation: tensors in, tensors out, for any denoiser.

Levels are (B, 1, 1, 1) in float64 and every conversion is done in float64, because an error of a
prediction grows by up to sigma / alpha, 14.6 at the last timestep, before two are subtracted.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.schedules import TRAIN_TIMESTEPS, PredictionType, Schedule, scaled_linear_step

LAST_TIMESTEP = TRAIN_TIMESTEPS - 1
MAX_SNR = 5.0  # above this signal-to-noise ratio a timestep weighs no more; arXiv:2303.09556


class Levels(NamedTuple):
    """How noisy each sample of a batch is."""

    timesteps: Tensor  # (B,) long
    alpha: Tensor  # (B, 1, 1, 1) signal factor, float64
    sigma: Tensor  # (B, 1, 1, 1) noise factor, float64


def levels_at(timesteps: Tensor, *, like: Tensor) -> Levels:
    """Return the levels of Stable Diffusion's schedule at `timesteps` (B,), where `like` is."""
    steps = [scaled_linear_step(timestep) for timestep in timesteps.tolist()]
    factors = torch.tensor([(s.alpha, s.sigma) for s in steps], dtype=torch.float64)
    alpha, sigma = factors.to(like.device).view(-1, 2, 1, 1, 1).unbind(1)
    return Levels(timesteps.to(like.device), alpha, sigma)


def draw_levels(
    generator: torch.Generator, *, like: Tensor, first: int = 0, last: int = LAST_TIMESTEP
) -> Levels:
    """Draw a timestep in [`first`, `last`] for each row of `like` (B, C, h, w)."""
    timesteps = torch.randint(first, last + 1, (len(like),), generator=generator)
    return levels_at(timesteps, like=like)


def add_noise(clean: Tensor, noise: Tensor, levels: Levels) -> Tensor:
    """Return `alpha * clean + sigma * noise`, all (B, C, h, w), in the type of `clean`."""
    return (levels.alpha * clean + levels.sigma * noise).to(clean.dtype)


def noised(
    clean: Tensor, generator: torch.Generator, *, first: int = 0, last: int = LAST_TIMESTEP
) -> tuple[Tensor, Levels]:
    """Return `clean` (B, C, h, w) with noise of a timestep in [`first`, `last`] a row."""
    noise = torch.randn(clean.shape, generator=generator).to(clean)
    levels = draw_levels(generator, like=clean, first=first, last=last)
    return add_noise(clean, noise, levels), levels


def clean_of(noisy: Tensor, prediction: Tensor, levels: Levels, kind: PredictionType) -> Tensor:
    """Return the clean latents (B, C, h, w) that `prediction` stands for, in float64.

    Raises:
        ValueError: A flow has other levels than these.
    """
    noisy, prediction = noisy.double(), prediction.double()
    match kind:
        case PredictionType.SAMPLE:
            return prediction
        case PredictionType.EPSILON:
            return (noisy - levels.sigma * prediction) / levels.alpha
        case PredictionType.V:
            return levels.alpha * noisy - levels.sigma * prediction
        case PredictionType.FLOW:
            raise ValueError("The levels here are those of a variance-preserving schedule.")


def noise_of(noisy: Tensor, clean: Tensor, levels: Levels) -> Tensor:
    """Return the noise (B, C, h, w) that is left when `clean` is taken from `noisy`, in float64."""
    return (noisy.double() - levels.alpha * clean.double()) / levels.sigma


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Return the prediction at guidance `scale`; 1 is the conditional one. arXiv:2207.12598.

    Noise, v and clean latents of one noisy batch are affine in each other, so guiding any of them
    guides all.
    """
    return unconditional + scale * (conditional - unconditional)


def vsd_gradient(teacher: Tensor, critic: Tensor, levels: Levels) -> Tensor:
    """Return the gradient of variational score distillation, (B, C, h, w).

    From arXiv:2312.05239 with the weight `sigma ** 2`. Both are guided noise predictions.
    """
    gradient = levels.sigma.square() * (teacher.double() - critic.double())
    return torch.nan_to_num(gradient)


def dmd_gradient(generated: Tensor, teacher: Tensor, critic: Tensor) -> Tensor:
    """Return the gradient of distribution matching, (B, C, h, w), normalised for each sample.

    From arXiv:2405.14867 (there for arXiv:2311.18828's loss), in terms of clean latents.

    Args:
        generated: What the student made, (B, C, h, w).
        teacher: The teacher's clean latents for a noised `generated`, with guidance.
        critic: The critic's clean latents for the same.
    """
    distance = (generated.double() - teacher.double()).abs().mean((1, 2, 3), keepdim=True)
    return torch.nan_to_num((critic.double() - teacher.double()) / distance)


def descend(generated: Tensor, gradient: Tensor) -> Tensor:
    """Return a loss whose gradient for `generated` is `gradient` over its number of elements."""
    target = (generated.double() - gradient).detach()
    return 0.5 * F.mse_loss(generated.double(), target)


def noise_loss(prediction: Tensor, noise: Tensor, levels: Levels) -> Tensor:
    """Return the squared error of predicted noise, each sample weighed by `alpha ** 2`.

    It is the loss of the low-rank teacher of arXiv:2312.05239.
    """
    return (levels.alpha * (prediction.double() - noise.double())).square().mean()


def clean_loss(prediction: Tensor, clean: Tensor, levels: Levels) -> Tensor:
    """Return the squared error of predicted clean latents, weighed by a capped ratio of signal.

    The plain loss of noise weighs clean latents by the signal-to-noise ratio: 1176 at timestep 0.
    Capped at `MAX_SNR`, from arXiv:2303.09556, Eq. 5.
    """
    weight = (levels.alpha / levels.sigma).square().clamp_max(MAX_SNR)
    return (weight * (prediction.double() - clean.double()).square()).mean()


def fool_loss(generated: Tensor) -> Tensor:
    """Return how easily logits (B, 1) of generated latents are told apart; for the student."""
    return F.softplus(-generated).mean()


def tell_apart_loss(generated: Tensor, real: Tensor) -> Tensor:
    """Return how badly logits (B, 1) tell generated from real latents; for the critic."""
    return (F.softplus(generated) + F.softplus(-real)).mean()


def shortfall(similarity: Tensor, threshold: float) -> Tensor:
    """Return how far similarities (B,) stay below `threshold`; nothing is gained above it.

    The clamp of arXiv:2408.14176: without it, pictures drift to what the judge likes best.
    """
    return F.relu(threshold - similarity).mean()


def faded(weight: float, *, step: int, last: int) -> float:
    """Return `weight` at `step`, falling linearly from step 0 to nothing at step `last`."""
    return weight * max(0.0, 1 - step / last)


@torch.no_grad()
def integrate(
    predict: Callable[[Tensor, float], Tensor], noise: Tensor, schedule: Schedule
) -> Tensor:
    """Return clean latents (B, C, h, w) after all steps of `schedule`, from `noise`.

    `predict` maps latents and a timestep to a prediction of the schedule's type.
    """
    latents = schedule.initial_latents(noise)
    for index, step in enumerate(schedule.steps):
        latents = schedule.advance(latents, predict(latents, step.timestep), index)
    return latents
