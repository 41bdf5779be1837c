"""What the scores of a personalised teacher and of the fake score say about generated latents."""

import torch
from torch import Tensor

from swiftpie.training.low_rank import without_low_rank
from swiftpie.training.scores import clean_loss, dmd_gradient, guide, noised
from swiftpie.training.stages.adapter.matching.teacher import Teacher, Told

FIRST, LAST = 20, 980  # timesteps between which teacher and fake score are compared
NOISE_SEED = 2**31  # apart from what a batch and its chances are drawn with


def noise_generator(draw: int) -> torch.Generator:
    """Return randomness for `draw` that its batch has no part in."""
    return torch.Generator().manual_seed((NOISE_SEED + draw) % 2**63)


@torch.no_grad()
def score_difference(
    teacher: Teacher, generated: Tensor, told: Told, nothing: Told, generator: torch.Generator
) -> Tensor:
    """Return the gradient for `generated` (B, C, h, w) at a random timestep a sample, in float64.

    From arXiv:2405.14867. Differs from the paper: the teacher wears an adapter, and guidance
    strengthens prompt and subject together, away from `nothing`.

    Args:
        teacher: Wears the fake score's low-rank change.
        generated: The student's latents.
        told: What the student was told.
        nothing: The same without prompt and subject.
        generator: Decides timesteps and noise.
    """
    noisy, levels = noised(generated, generator, first=FIRST, last=LAST)
    fake = teacher.clean(noisy, levels, told)
    with without_low_rank(teacher.denoiser.unet):
        real = teacher.clean(noisy, levels, told)
        if teacher.settings.guidance != 1.0:
            blank = teacher.clean(noisy, levels, nothing)
            real = guide(real, blank, teacher.settings.guidance)
    return dmd_gradient(generated, real, fake)


def fake_loss(
    teacher: Teacher, generated: Tensor, told: Told, generator: torch.Generator
) -> Tensor:
    """Return how badly the fake score denoises `generated` (B, C, h, w), at any timestep.

    Differs from arXiv:2405.14867: the loss of noise is capped where there is little of it.
    """
    noisy, levels = noised(generated.detach(), generator)
    clean = teacher.clean(noisy, levels, told)
    return clean_loss(clean, generated.detach(), levels).float()
