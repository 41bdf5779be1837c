"""Noise: how seeds draw it, what it says about a layout, and how schedules add and remove it.

Mini is trained on pictures that are a deterministic function of their noise. The renderer that
draws them and the network that imitates it take the same numbers from this module.

All latents keep their variance: `latents = alpha * clean + sigma * noise`, what networks are given.
Samplers that count in `sigma / alpha` instead differ from these by a factor alone. Euler's method
in that count is DDIM here, so there is one name for both.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.config import BetaSchedule, NoiseScale, Prediction, Renoise

COUPLED_CHANNELS = 16  # latent channels that are unfolded into four fields of twice the side
LAYOUT_FIELD = 3  # the fields before it are texture; this one only places things
NUM_STATISTICS = 48  # 16 block means of the noise, each through erf, and sine and cosine of that
_BLOCKS_A_SIDE = 4
_ANCHOR_NUMBERS = [5, 7, 8]  # which layout numbers place the horizon, the sun and a planet
_ANCHORS = [(0.42, 0.16), (0.15, 0.70), (0.10, 0.25)]  # smallest value, and what the number adds
TRAIN_TIMESTEPS = 1000  # Stable Diffusion's, and its distilled models'.
BETAS = (0.00085, 0.012)  # At the first and last timestep.
LCM_TIMESTEP_SCALE = 10.0  # makes the boundary of a consistency model sharp
LCM_SIGMA_DATA = 0.5  # the spread of clean latents that consistency models assume


def grain(noise: Tensor) -> Tensor:
    """Unfold the first half of latent `noise` (B, 32, h, w) into four fields (B, 4, 2h, 2w)."""
    return F.pixel_shuffle(noise[:, :COUPLED_CHANNELS], 2)


def share_of(noise: Tensor, channel: int = 0) -> float:
    """Return a uniform number in [0, 1] of `noise` (1, C, h, w)."""
    return float(torch.special.ndtr(noise[0, channel].sum() / noise[0, channel].numel() ** 0.5))


def block_normals(noise: Tensor) -> Tensor:
    """Return (B, 16) independent standard normals that decide the layout.

    Args:
        noise: Standard normal latents, (B, 32, h, w) with h and w even.
    """
    field = grain(noise)[:, LAYOUT_FIELD]
    height, width = (side // _BLOCKS_A_SIDE for side in field.shape[1:])
    blocks = field.reshape(-1, _BLOCKS_A_SIDE, height, _BLOCKS_A_SIDE, width)
    means = blocks.mean(dim=(2, 4)).flatten(1)
    # A mean of n normals has deviation 1 / sqrt(n).
    return means * math.sqrt(height * width)


def layout_uniforms(noise: Tensor) -> Tensor:
    """Return (B, 16) numbers in (0, 1), uniform and independent when `noise` is normal."""
    uniforms: Tensor = torch.special.ndtr(block_normals(noise))
    return uniforms


def noise_statistics(noise: Tensor) -> Tensor:
    """Return what the layout depends on in `noise` (B, C, h, w), as (B, 48) in [-1, 1]."""
    uniform = torch.erf(block_normals(noise) / math.sqrt(2))
    return torch.cat([uniform, torch.sin(math.pi * uniform), torch.cos(math.pi * uniform)], dim=1)


def anchors(uniforms: Tensor) -> Tensor:
    """Return positions of horizon, sun and planet (B, 3) as shares of the picture's side.

    Horizon and planet are measured from the top, the sun from the left.

    Args:
        uniforms: The numbers of `layout_uniforms`, (B, 16).
    """
    first, span = uniforms.new_tensor(_ANCHORS).unbind(1)
    return first + span * uniforms[:, _ANCHOR_NUMBERS]


def generator_of(seed: int) -> torch.Generator:
    """Return the generator of a seed, all of whose 63 bits count.

    PyTorch's own takes 32. Longer seeds are mixed to 32, so that none of their bits is lost.
    """
    seed %= 2**63
    if seed >= 2**32:
        seed = int.from_bytes(hashlib.blake2b(seed.to_bytes(8), digest_size=4).digest())
    return torch.Generator().manual_seed(seed)


def draw_noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Return standard normal noise (B, *shape), drawn on the CPU with one generator a seed.

    A row depends on its own seed alone, so a picture is the same in every batch and on each device.
    """
    return draw_step_noise(seeds, shape, count=1)[0]


def draw_step_noise(seeds: Sequence[int], shape: Sequence[int], *, count: int) -> Tensor:
    """Return `count` draws (count, B, *shape) of fresh noise, the first that of `draw_noise`."""
    generators = [generator_of(seed) for seed in seeds]
    draws = [
        [torch.randn(shape, generator=generator) for generator in generators] for _ in range(count)
    ]
    return torch.stack([torch.stack(rows) for rows in draws])


@dataclass(frozen=True)
class Step:
    """One denoising step of a schedule."""

    timestep: float  # the input of the denoiser; an integer except for flows
    alpha: float  # signal factor of the latents that enter the step
    sigma: float  # noise factor of the latents that enter the step


CLEAN = Step(timestep=0, alpha=1.0, sigma=0.0)


class Transition(NamedTuple):
    """The latents that leave a step, as factors of what is known there."""

    clean: float  # Factor of the predicted clean latents.
    noise: float  # Factor of the predicted noise.
    fresh: float  # Factor of new standard normal noise.


@dataclass(frozen=True)
class Schedule:
    """The steps from pure noise to clean latents, first to last."""

    steps: tuple[Step, ...]
    prediction_type: Prediction
    noise_scale: NoiseScale = "unit"
    renoise: Renoise = "ddim"
    eta: float = 0.0  # in [0, 1], how much of a TCD step is fresh noise; others ignore it

    @property
    def needs_noise(self) -> bool:
        """Whether `advance` needs fresh noise at any step; the last step never does."""
        return any(self.transition(index).fresh > 0 for index in range(len(self.steps)))

    @property
    def num_draws(self) -> int:
        """How many draws of noise a picture needs: one, or one a step if steps add noise."""
        return len(self.steps) if self.needs_noise else 1

    def through(self, steps: Sequence[Step]) -> "Schedule":
        return replace(self, steps=tuple(steps))

    def initial_latents(self, noise: Tensor) -> Tensor:
        """Return what enters the first step, from standard normal `noise` (B, C, h, w)."""
        return self.steps[0].sigma * noise if self.noise_scale == "sigma" else noise

    def advance(
        self, latents: Tensor, prediction: Tensor, index: int, *, noise: Tensor | None = None
    ) -> Tensor:
        """Return the latents after step `index` in float32; clean ones after the last.

        After the last step of TCD the noise of timestep 0 remains, 0.03, as it was trained with.

        Args:
            latents: What entered the step, (B, C, h, w).
            prediction: The denoiser's raw output for them, (B, C, h, w).
            index: Which step.
            noise: Standard normal, (B, C, h, w), if `needs_noise`; drawn outside, by seed.
        """
        step = self.steps[index]
        to = self.transition(index)
        clean = predict_clean(latents, prediction, step, self.prediction_type)
        result = to.clean * clean
        if to.noise:
            result = result + to.noise * (latents.float() - step.alpha * clean) / step.sigma
        if to.fresh:
            assert noise is not None, f"{self.renoise} needs noise at step {index}"
            result = result + to.fresh * noise.float()
        return result

    def transition(self, index: int) -> Transition:
        """Return how the latents that leave step `index` are put together."""
        step = self.steps[index]
        is_last = index + 1 == len(self.steps)
        following = CLEAN if is_last else self.steps[index + 1]
        match self.renoise:
            case "ddim":
                return Transition(clean=following.alpha, noise=following.sigma, fresh=0.0)
            case "euler_ancestral":
                return _ancestral(step, following)
            case "lcm":
                return _consistency(step, following)
            case "tcd":
                return _trajectory(scaled_linear_step(0) if is_last else following, self.eta)


def build_schedule(
    timesteps: Sequence[float],
    prediction_type: Prediction,
    *,
    noise_scale: NoiseScale = "unit",
    betas: BetaSchedule = "scaled_linear",
    renoise: Renoise = "ddim",
    eta: float = 0.0,
) -> Schedule:
    """Return the schedule through `timesteps`, falling, with the noise of Stable Diffusion.

    Args:
        timesteps: Inputs of the denoiser, in [0, 999]; in (0, 1000] for a flow.
        prediction_type: What the denoiser's output means.
        noise_scale: What it wants to see first; `FLOW` also takes a flow's noise.
        betas: How noise rises with time, but for flows.
        renoise: How one step leads to the next.
        eta: Share of fresh noise in [0, 1], for TCD.
    """
    is_linear = betas == "linear"
    noise_at = linear_step if is_linear else scaled_linear_step
    if noise_scale == "flow":
        noise_at = flow_step
    return Schedule(
        steps=tuple(noise_at(timestep) for timestep in timesteps),
        prediction_type=prediction_type,
        noise_scale=noise_scale,
        renoise=renoise,
        eta=eta,
    )


def predict_clean(
    latents: Tensor, prediction: Tensor, step: Step, prediction_type: Prediction
) -> Tensor:
    """Solve `latents = alpha * clean + sigma * noise` for `clean`, in float32 (B, C, h, w).

    Float32 because an error of an epsilon prediction grows by sigma / alpha, 14.6 at the last
    timestep of Stable Diffusion.
    """
    latents, prediction = latents.float(), prediction.float()
    match prediction_type:
        case "epsilon":
            return (latents - step.sigma * prediction) / step.alpha
        case "v_prediction":
            return step.alpha * latents - step.sigma * prediction
        case "sample":
            return prediction
        case "flow":
            return latents + step.sigma * prediction


def add_noise(clean: Tensor, noise: Tensor, step: Step) -> Tensor:
    """Return `alpha * clean + sigma * noise`, all (B, C, h, w)."""
    return step.alpha * clean + step.sigma * noise


def scaled_linear_step(timestep: float) -> Step:
    """Return signal and noise at a whole `timestep` of Stable Diffusion's training schedule.

    Betas rise from 0.00085 to 0.012, linear in their square roots, over 1000 timesteps.
    """
    roots = _line(*(beta**0.5 for beta in BETAS))
    return _step_of(roots.square(), timestep)


def linear_step(timestep: float) -> Step:
    """Return signal and noise at a whole `timestep` of AnimateDiff's training schedule.

    Its betas have the same ends as Stable Diffusion's, and are linear themselves.
    """
    return _step_of(_line(*BETAS), timestep)


def _line(first: float, last: float) -> Tensor:
    steps = TRAIN_TIMESTEPS
    return torch.linspace(first, last, steps, dtype=torch.float64, device="cpu")  # never on meta


def _step_of(betas: Tensor, timestep: float) -> Step:
    kept = float(torch.cumprod(1 - betas, dim=0)[int(timestep)])
    return Step(timestep=timestep, alpha=kept**0.5, sigma=(1 - kept) ** 0.5)


def flow_step(timestep: float) -> Step:
    """Return signal and noise on the straight line from data at 0 to noise at `timestep` 1000."""
    share = timestep / TRAIN_TIMESTEPS
    return Step(timestep=timestep, alpha=1 - share, sigma=share)


def _ancestral(step: Step, following: Step) -> Transition:
    """Go further down than `following` and come back up with fresh noise, keeping its variance."""
    ratio = (following.sigma / following.alpha) / (step.sigma / step.alpha)
    return Transition(
        clean=following.alpha,
        noise=following.sigma * ratio,
        fresh=following.sigma * math.sqrt(1 - ratio**2),
    )


def _consistency(step: Step, following: Step) -> Transition:
    """Mix a little of the latents into the clean ones, then add new noise.

    The mix makes the network an identity at timestep 0, from arXiv:2303.01469, Eq. 5; it is
    2e-8 at timestep 399.
    """
    time = step.timestep * LCM_TIMESTEP_SCALE
    spread = time**2 + LCM_SIGMA_DATA**2
    skip, out = LCM_SIGMA_DATA**2 / spread, time / math.sqrt(spread)
    return Transition(
        clean=following.alpha * (out + skip * step.alpha),
        noise=following.alpha * skip * step.sigma,
        fresh=following.sigma,
    )


def _trajectory(following: Step, eta: float) -> Transition:
    """Go down to a share `1 - eta` of the next timestep, then up to it with fresh noise."""
    lowest = scaled_linear_step(math.floor((1 - eta) * following.timestep))
    ratio = following.alpha / lowest.alpha
    return Transition(
        clean=following.alpha, noise=ratio * lowest.sigma, fresh=math.sqrt(1 - ratio**2)
    )


def smoothed(noise: Tensor) -> Tensor:
    """Return 3 x 3 and 5 x 5 sums and row and column means of the coupled channels, (B, 4c, h, w).

    Each is scaled to unit variance where the noise is Gaussian.
    """
    coupled = noise[:, :COUPLED_CHANNELS]
    boxes = [
        F.avg_pool2d(F.pad(coupled, (reach,) * 4, mode="reflect"), 2 * reach + 1, stride=1)
        * (2 * reach + 1)
        for reach in (1, 2)
    ]
    by_column = coupled.mean(2, keepdim=True).expand_as(coupled) * coupled.shape[2] ** 0.5
    by_row = coupled.mean(3, keepdim=True).expand_as(coupled) * coupled.shape[3] ** 0.5
    return torch.cat([*boxes, by_column, by_row], dim=1)
