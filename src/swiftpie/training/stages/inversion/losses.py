"""Loss terms of inversion networks; each is a scalar."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.noise import COUPLED_CHANNELS, grain, layout_uniforms
from swiftpie.schedules import PredictionType
from swiftpie.training.scores import Levels, add_noise, clean_of, descend, noise_of

SOFT_WIDTHS = (3, 5, 7)  # of the windows that clouds and hills are read from, in grain cells
LATTICES = (2, 4, 8)  # grain cells a side of the flat cells that stars and flowers are read from
UNIFORM_VARIANCE = 1 / 12
RAW_WEIGHT = 0.25  # single values of noise hardly show in a picture
FIRST_TIMESTEP, LAST_TIMESTEP = 20, 980  # where a teacher is asked, as in arXiv:2312.05239


class NoiseError(NamedTuple):
    """How far inverted noise is from the true one; 1 is no better than guessing its mean."""

    layout: Tensor  # numbers that place things
    texture: Tensor  # means over the windows that textures are read from
    raw: Tensor  # single values

    @property
    def total(self) -> Tensor:
        """All three, weighed by how much of each can be seen in a picture."""
        return self.layout + self.texture + RAW_WEIGHT * self.raw


def noise_error(guess: Tensor, truth: Tensor) -> NoiseError:
    """Compare what pictures are drawn from in two batches of noise (B, 32, h, w).

    Channels that no picture depends on are left out.
    """
    pairs = zip(window_means(guess), window_means(truth), strict=True)
    layout = F.mse_loss(layout_uniforms(guess), layout_uniforms(truth)) / UNIFORM_VARIANCE
    return NoiseError(
        layout=layout,
        texture=torch.stack([F.mse_loss(a, b) for a, b in pairs]).mean(),
        raw=F.mse_loss(guess[:, :COUPLED_CHANNELS], truth[:, :COUPLED_CHANNELS]),
    )


def window_means(noise: Tensor) -> list[Tensor]:
    """Return means of the grain of `noise` (B, 32, h, w) over many windows.

    Their variance is about 1; windows over the edge see some values twice, so it is 1.2 there.
    """
    fields = grain(noise)
    means = [fields.mean(dim) * math.sqrt(fields.shape[dim]) for dim in (2, 3)]
    means += [F.avg_pool2d(fields, side) * side for side in LATTICES]
    for width in SOFT_WIDTHS:
        padded = F.pad(fields, (width - 1,) * 4, mode="reflect")
        # Two boxes make a pyramid, whose deviation is 2 / 3 of the inverse width.
        means.append(F.avg_pool2d(F.avg_pool2d(padded, width, 1), width, 1) * (1.5 * width))
    return means


def score_pull(
    teach: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    noise: Tensor,
    *,
    levels: Levels,
    prediction_type: PredictionType,
    weight: float = 1.0,
) -> Tensor:
    """Return the regulariser that draws inverted noise to what a diffusion model calls noise.

    Its gradient for `noise` is `weight * (noise - seen)` over the number of values, where `seen`
    is the noise that the model finds in noised latents. The model's own derivative is left out,
    as in arXiv:2412.04301; the sign is the opposite of score distillation's, because here the
    noise is what changes.

    Args:
        teach: Noisy latents (B, C, h, w) and timesteps (B,) to the model's raw output.
        latents: Clean latents of pictures.
        noise: What was inverted from them, the same shape.
        levels: How much of the noise is added, for each picture.
        prediction_type: What the raw output means.
        weight: Of the difference.
    """
    with torch.no_grad():
        noisy = add_noise(latents, noise, levels)
        prediction = teach(noisy, levels.timesteps)
        seen = noise_of(noisy, clean_of(noisy, prediction, levels, prediction_type), levels)
        gradient = weight * (noise - seen)
    return descend(noise, gradient)
