"""Loss terms, and the formulas of score distillation: tensors in, tensors out, for any denoiser.

Levels are (B, 1, 1, 1) in float64, as all that is computed with them.

Terms without a source are ours. The full text of SwiftPie's paper (arXiv:2605.01510) is not
public, so no loss here is its formula; its abstract and a figure name some of them.
"""

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.config import Prediction
from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import Layout, pixel_grid
from swiftpie.geometry.shading import Illumination, Lighting, brightness
from swiftpie.masks import resize_mask
from swiftpie.mini.layout_predictor import LayoutScores, LightVotes, illumination
from swiftpie.models.autoencoder import LatentAutoencoder, PatchAutoencoder
from swiftpie.noise import TRAIN_TIMESTEPS, scaled_linear_step

LAST_TIMESTEP = TRAIN_TIMESTEPS - 1
FIRST_COMPARED, LAST_COMPARED = 20, 980  # timesteps where scores are compared; arXiv:2312.05239
# Least brightness of a surface; references are lightened by its inverse at most.
LEAST_BRIGHTNESS = 0.15
COVERED = 0.4  # share of a cell that a thing has to cover to tell the light there
BALL_CELLS, BALL_EDGE = 8, 0.97  # surfaces that face aside by more are hardly seen
TINY = 1e-12  # least mean size of a gradient that is divided by
CHARBONNIER = 1e-3  # squared width of the quadratic bottom of the robust loss


def robust_and_squared(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the mean of Charbonnier and squared error, weighted; all broadcast together.

    The first keeps edges, the second keeps means.
    """
    square = (prediction - target).square()
    return (0.5 * ((square + CHARBONNIER).sqrt() + square) * weight).mean()


def gradient_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of horizontal and vertical pixel steps."""
    error = prediction - target
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def layout_loss(scores: LayoutScores, truth: Layout) -> Tensor:
    """Return how far a predicted layout is from the true one, each part weighed by its effect.

    A pose is not predicted, so it counts for nothing.
    """
    guess = scores.layout
    centre = guess.centre - truth.centre
    scale = guess.scale.log() - truth.scale.log()
    turn = guess.rotation - truth.rotation
    rotation = torch.atan2(turn.sin(), turn.cos())  # upside down is the same by either way
    pose = guess.pose - truth.pose
    squared = 25 * centre.square().mean() + 5 * (scale.square() + rotation.square()).mean()
    squared = squared + 5 * pose.square().sum(dim=1).mean()
    absolute = 2 * centre.abs().mean() + 0.5 * (scale.abs() + rotation.abs()).mean()
    absolute = absolute + 0.5 * pose.abs().sum(dim=1).mean()
    flip = F.binary_cross_entropy_with_logits(scores.flip_logit, truth.flip)
    return squared + absolute + 0.2 * flip


def light_loss(found: Lighting, truth: Lighting) -> Tensor:
    """Return how far lights are off in what they do to surfaces that face anywhere in front.

    A reference's own light is divided by, so its error counts as a share of it.
    """
    normal = _hemisphere(like=truth.scene.ambient)
    scene, right = (brightness(normal, light) for light in (found.scene, truth.scene))
    own, taken = (
        brightness(normal, light).clamp_min(LEAST_BRIGHTNESS).log()
        for light in (found.own, truth.own)
    )
    return (scene - right).abs().mean() + (own - taken).abs().mean()


def vote_loss(votes: LightVotes, truth: Illumination, shows: Tensor) -> Tensor:
    """Return how wrong cells are about the light `truth` of pictures, where they can see it.

    `shows` (B, 1, H, W) in [0, 1] are objects in that light. Cells that cover one should be right
    and confident, all others unconfident.
    """
    covered = resize_mask(shows, (votes.numbers.shape[2], votes.numbers.shape[3]))
    can_know = covered[:, 0] > COVERED
    doubt = F.binary_cross_entropy_with_logits(votes.confidence[:, 0], can_know.float())
    rows = can_know.nonzero()[:, 0]
    if len(rows) == 0:
        return doubt
    found = illumination(votes.numbers.movedim(1, -1)[can_know])
    right = Illumination(*(value[rows] for value in truth))
    normal = _hemisphere(like=shows)
    return doubt + (brightness(normal, found) - brightness(normal, right)).abs().mean()


def _hemisphere(like: Tensor) -> Tensor:
    """Return normals (1, 3, n, n) of the visible half of a ball, evenly over its picture."""
    points = pixel_grid(BALL_CELLS, BALL_CELLS, like=like).movedim(-1, 0)
    flat = points * BALL_EDGE / points.norm(dim=0).clamp_min(BALL_EDGE)  # corners lie on the rim
    front = (1 - flat.square().sum(dim=0, keepdim=True)).sqrt()
    return torch.cat([flat, front])[None]


def map_loss(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return how badly identity attention maps (B, S, h, w) cover the `mask` of each subject.

    It is what makes inline masks meaningful. A stand-in for the localisation that arXiv:2605.01510
    names; its formula is not public.
    """
    terms = []
    for attention in maps:
        target = F.interpolate(mask, size=attention.shape[-2:], mode="area")
        terms.append(F.binary_cross_entropy(attention.float().clamp(1e-4, 1 - 1e-4), target))
    return torch.stack(terms).mean()


class Levels(NamedTuple):
    """How noisy each sample of a batch is."""

    timesteps: Tensor  # (B,) long
    alpha: Tensor  # (B, 1, 1, 1) signal factor, float64
    sigma: Tensor  # (B, 1, 1, 1) noise factor, float64


def levels_at(timesteps: Tensor, *, like: Tensor) -> Levels:
    """Return the levels of Stable Diffusion's schedule at `timesteps` (B,), where `like` is."""
    alpha, sigma = _factors()[timesteps.cpu()].to(like.device).view(-1, 2, 1, 1, 1).unbind(1)
    return Levels(timesteps.to(like.device), alpha, sigma)


@cache
def _factors() -> Tensor:
    steps = [scaled_linear_step(timestep) for timestep in range(TRAIN_TIMESTEPS)]
    return torch.tensor([(step.alpha, step.sigma) for step in steps], dtype=torch.float64)


def draw_levels(generator: torch.Generator, *, like: Tensor) -> Levels:
    """Draw a timestep at which scores are compared for each row of `like` (B, C, h, w)."""
    timesteps = torch.randint(FIRST_COMPARED, LAST_COMPARED + 1, (len(like),), generator=generator)
    return levels_at(timesteps, like=like)


def add_noise_at(clean: Tensor, noise: Tensor, levels: Levels) -> Tensor:
    """Return `alpha * clean + sigma * noise`, all (B, C, h, w), in the type of `clean`."""
    return (levels.alpha * clean + levels.sigma * noise).to(clean.dtype)


def noise_seen(noisy: Tensor, prediction: Tensor, levels: Levels, kind: Prediction) -> Tensor:
    """Return the noise (B, C, h, w) that `prediction` says is in `noisy` latents, in float64."""
    match kind:
        case "epsilon":
            return prediction.double()
        case "v_prediction":
            return levels.alpha * prediction.double() + levels.sigma * noisy.double()
        case _:
            raise ConfigError(
                f"A teacher that predicts {kind} cannot say what is noise. One that predicts "
                "epsilon or v is needed. Choose another stage.teacher."
            )


def clean_seen(noisy: Tensor, prediction: Tensor, levels: Levels, kind: Prediction) -> Tensor:
    """Return the clean latents (B, C, h, w) that `prediction` says are in `noisy`, in float64."""
    noise = noise_seen(noisy, prediction, levels, kind)
    return (noisy.double() - levels.sigma * noise) / levels.alpha


def loss_of_gradient(generated: Tensor, gradient: Tensor) -> Tensor:
    """Return a loss whose gradient for `generated` is `gradient` over its number of elements."""
    target = (generated.double() - gradient).detach()
    return 0.5 * F.mse_loss(generated.double(), target)


def score_regulariser(
    teach: Callable[[Tensor, Tensor], Tensor],
    latents: Tensor,
    noise: Tensor,
    *,
    levels: Levels,
    prediction_type: Prediction,
) -> Tensor:
    """Return the regulariser that draws inverted noise to what a diffusion model calls noise.

    Its gradient for `noise` is `noise - seen` over the number of values, where `seen`
    is the noise that the model finds in noised latents. The model's own derivative is left out,
    as in arXiv:2412.04301; the sign is the opposite of score distillation's, because here the
    noise is what changes: what was inverted from clean `latents`, both (B, C, h, w). `teach` maps
    noisy latents and timesteps (B,) to the model's raw output, of `prediction_type`.
    """
    with torch.no_grad():
        noisy = add_noise_at(latents, noise, levels)
        prediction = teach(noisy, levels.timesteps)
        gradient = noise - noise_seen(noisy, prediction, levels, prediction_type)
    return loss_of_gradient(noise, gradient)


def matching_loss(
    teach: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    noise: Tensor,
    *,
    levels: Levels,
    prediction_type: Prediction,
) -> Tensor:
    """Return a loss that draws `clean` latents to what a diffusion model makes of them.

    Both are (B, C, h, w). The gradient is `clean - believed` over its mean size in each sample, as
    in arXiv:2311.18828, Eq. 8, where `believed` is what the model denoises noised latents to, and
    over the number of values. Differs from the paper: without a critic, so the model's own mode
    draws, as in score distillation (arXiv:2209.14988). The model's derivative is left out.
    """
    with torch.no_grad():
        noisy = add_noise_at(clean, noise, levels)
        believed = clean_seen(noisy, teach(noisy, levels.timesteps), levels, prediction_type)
        gap = clean.double() - believed
        gradient = gap / gap.abs().mean((1, 2, 3), keepdim=True).clamp_min(TINY)
    return loss_of_gradient(clean, gradient)


def psnr_db(pixels: Tensor, truth: Tensor) -> float:
    """Return the mean peak signal-to-noise ratio of pictures (B, 3, H, W) in [-1, 1]."""
    error = (pixels - truth).square().mean((1, 2, 3)) / 4  # the range of pixels is 2 wide
    return float(-10 * error.clamp_min(1e-12).log10().mean())


def masked_psnr_db(pixels: Tensor, truth: Tensor, where: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratios (B,) of what `where` (B, 1, H, W) in [0, 1] chooses.

    Pixels (B, 3, H, W) lie in [-1, 1]. No picture has more than 90 dB.
    """
    error = ((pixels - truth).square() * where).sum((1, 2, 3)) / 4
    return -10 * (error / (3 * where.sum((1, 2, 3))).clamp_min(1)).clamp_min(1e-9).log10()


Compare: TypeAlias = Callable[[Tensor, Tensor], list[Tensor]]
"""Takes two batches of pixels (B, 3, H, W) in [-1, 1], returns distance maps (B, 1, h, w) >= 0 of
any sizes; the first batch gets the gradient."""

Extract: TypeAlias = Callable[[Tensor], list[Tensor]]


def feature_distance(extract: Extract) -> Compare:
    """Return the squared distance of features (B, C, h, w) brought to unit length in each place."""

    def compare(prediction: Tensor, target: Tensor) -> list[Tensor]:
        with torch.no_grad():
            wanted = extract(target)
        pairs = zip(extract(prediction), wanted, strict=True)
        units = [[F.normalize(x.float(), dim=1, eps=1e-6) for x in pair] for pair in pairs]
        return [(a - b).square().sum(1, keepdim=True) for a, b in units]

    return compare


def masked_mean(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return the mean of maps (B, 1, h, w) where `mask` (B, 1, H, W) is, averaged over maps."""
    means = []
    for distance in maps:
        weight = resize_mask(mask, (distance.shape[2], distance.shape[3]))
        means.append((distance * weight).sum() / weight.sum().clamp_min(1e-6))
    return torch.stack(means).mean()


def compare_in_autoencoder(autoencoder: LatentAutoencoder) -> Compare:
    """Compare in what the encoder sees at each of its scales."""
    encoder = autoencoder.network.encoder
    if autoencoder.is_tiny:
        every = _outputs_of(encoder.layers, prepare=nn.Identity())
        # The last of each size.
        return feature_distance(lambda pixels: [*{f.shape[-1]: f for f in every(pixels)}.values()])
    return feature_distance(_outputs_of(encoder.down_blocks, prepare=encoder.conv_in))


def _outputs_of(layers: Iterable[nn.Module], *, prepare: Callable[[Tensor], Tensor]) -> Extract:
    def extract(pixels: Tensor) -> list[Tensor]:
        hidden, features = prepare(pixels), []
        for layer in layers:
            hidden = layer(hidden)
            features.append(hidden)
        return features

    return extract


def channel_weights(autoencoder: PatchAutoencoder) -> Tensor:
    """Return how much a unit of each latent channel moves the pixels, mean 1, (1, C, 1, 1)."""
    size = autoencoder.linear_decoder.weight.flatten(1).norm(dim=0) * autoencoder.scale.flatten()
    return (size / size.mean()).view(1, -1, 1, 1)
