"""Loss terms of the adapter stage, from one pass of the student."""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.layout import warp
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.training.clip import PromptJudge
from swiftpie.training.losses import map_loss
from swiftpie.training.scores import shortfall
from swiftpie.training.stages.adapter.examples import Examples
from swiftpie.training.stages.adapter.forward import Outcome
from swiftpie.training.stages.adapter.perceptual import Compare, masked_mean
from swiftpie.training.stages.adapter.settings import Weights

CROP_MARGIN = 1.1  # side of a crop over the longer side of its subject
CROP_PX = 224


def latent_term(outcome: Outcome, examples: Examples) -> Tensor:
    """Return the squared error of latents."""
    return F.mse_loss(outcome.clean, examples.latents.float())


def map_term(outcome: Outcome, examples: Examples) -> Tensor:
    """Return how badly identity attention covers the subject."""
    return map_loss(outcome.maps, examples.mask)


def picture_terms(
    drawn: Tensor,
    examples: Examples,
    *,
    weights: Weights,
    compare: Compare,
    judge: ClipIdentityEncoder,
) -> dict[str, Tensor]:
    """Return the terms that compare pictures.

    Args:
        drawn: Pixels (b, 3, S, S) of the first b examples.
        examples: What they should show.
        weights: Factors; terms of factor 0 are left out.
        compare: Perceptual distance.
        judge: Image encoder without projector, to its vector of a picture.
    """
    count = len(drawn)
    truth, mask = examples.pixels[:count], examples.mask[:count]
    terms: dict[str, Tensor] = {}
    if weights.subject or weights.whole:
        maps = compare(drawn, truth)
        terms["subject"] = weights.subject * masked_mean(maps, mask)
        terms["whole"] = weights.whole * masked_mean(maps, torch.ones_like(mask))
    if weights.identity:
        cosine = identity_cosine(judge, drawn, truth, mask=mask)
        terms["identity"] = weights.identity * (1 - cosine).mean()
    return terms


def prompt_term(
    drawn: Tensor, captions: list[str], *, judge: PromptJudge, threshold: float
) -> Tensor:
    """Return how far pictures stay below `threshold` in likeness to what they were told to show.

    Args:
        drawn: Pixels (b, 3, S, S) of the first b samples.
        captions: Of all samples; where it is empty the student was told nothing.
        judge: Its cosine counts.
        threshold: Nothing is gained above it, and no gradient flows.
    """
    told = [row for row in range(len(drawn)) if captions[row]]
    if not told:
        return 0 * drawn.sum()  # with a gradient, because it may be the only term
    return shortfall(judge.cosine(drawn[told], [captions[row] for row in told]), threshold)


def identity_cosine(
    judge: ClipIdentityEncoder, drawn: Tensor, truth: Tensor, *, mask: Tensor
) -> Tensor:
    """Return how alike the encoder finds the subjects of two pictures, (B,) in [-1, 1].

    Both are cropped and masked where the true subject is; only `drawn` gets a gradient.
    """
    affine = crop_around(mask)
    size = (CROP_PX, CROP_PX)
    region = warp(mask, affine, size).clamp(0, 1)
    with torch.no_grad():
        wanted = judge(warp(truth, affine, size), region)
    return F.cosine_similarity(judge(warp(drawn, affine, size), region), wanted, dim=1)


def crop_around(mask: Tensor) -> Tensor:
    """Return maps (B, 2, 3) from a square crop around each subject to the picture (B, 1, H, W)."""
    rows = []
    height, width = mask.shape[-2:]
    for one in mask[:, 0] > 0.5:
        places = one.nonzero() if one.any() else torch.ones_like(one).nonzero()
        low, high = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
        side = CROP_MARGIN * max((high[0] - low[0]) / height, (high[1] - low[1]) / width)
        x, y = (low[1] + high[1]) / width - 1, (low[0] + high[0]) / height - 1
        rows.append([[side, 0.0, x], [0.0, side, y]])
    return torch.tensor(rows, device=mask.device)
