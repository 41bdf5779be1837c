"""Loss terms shared by the stages; each returns a scalar."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import Layout
from swiftpie.models.layout_predictor import LayoutScores

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
    """Return how far a predicted layout is from the true one, each part weighed by its effect."""
    guess = scores.layout
    centre = guess.centre - truth.centre
    scale = guess.scale.log() - truth.scale.log()
    rotation = guess.rotation - truth.rotation
    squared = 25 * centre.square().mean() + 5 * (scale.square() + rotation.square()).mean()
    absolute = 2 * centre.abs().mean() + 0.5 * (scale.abs() + rotation.abs()).mean()
    flip = F.binary_cross_entropy_with_logits(scores.flip_logit, truth.flip)
    return squared + absolute + 0.2 * flip


def map_loss(maps: list[Tensor], mask: Tensor) -> Tensor:
    """Return how badly identity attention maps (B, S, h, w) cover the `mask` of each subject.

    From arXiv:2605.01510, localisation; it is what makes inline masks meaningful.
    """
    terms = []
    for one in maps:
        target = F.interpolate(mask, size=one.shape[-2:], mode="area")
        terms.append(F.binary_cross_entropy(one.float().clamp(1e-4, 1 - 1e-4), target))
    return torch.stack(terms).mean()
