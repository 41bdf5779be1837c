"""Whether a subject belongs into a photograph, or is gone from it: light, shadow, seams, ghosts.

All compare a picture with its exact answer, the truth; the source is the photograph before.
Pictures are (1, 3, H, W) in [-1, 1] and square, a side is theirs, and masks of subjects are
(1, 1, H, W) in [0, 1].
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.masks import grow
from swiftpie_lab.evaluation.case import Metric, of
from swiftpie_lab.evaluation.metrics.pixels import LEAST_GRADIENT, inner, psnr, sharpness_ratio

RING = 16  # parts of the side: as wide is what is looked at around a subject
SHADE = 8  # the same for shadows, wherever they fall
CELL = 32  # parts of the side: in cells of that size textures average out, but not shapes
STEP = 64  # parts of the side: so far apart are pixels on the two sides of a border
LEAST_PIXELS = 64  # least pixels of a subject whose light is measured
VISIBLE = 4 / 127.5  # two pixels that differ by less than four levels look the same
LEAST_LIGHT = 0.02  # light that changes a subject by less, in [0, 1], has no direction to miss
LEAST_COLOUR = 0.05  # a subject darker than this in a colour, in [0, 1], shows no light in it
LEAST_SHADOW = 0.0005  # less darkness, as the mean of all pixels in [0, 1], is none


def light_error(picture: Tensor, truth: Tensor, unlit: Tensor, mask: Tensor) -> float | None:
    """Return how far the light on a subject is off, over what the true light does to the subject.

    Light is what multiplies the unlit subject, as far as it changes evenly across it: in each
    colour the plane of brightness that fits the pixels best. 0 is exact and 1 as good as no light;
    light from the other side is beyond. None where true light does next to nothing.
    """
    rows, columns = torch.nonzero(inner(mask)[0, 0], as_tuple=True)
    if len(rows) < LEAST_PIXELS:
        return None
    places = torch.stack([columns, rows]).double()
    places = (places - places.mean(1, keepdim=True)) / places.std(1, keepdim=True).clamp_min(1)
    plane = torch.cat([torch.ones_like(places[:1]), places]).T  # (N, 3)
    drawn, right, plain = (
        (pixels[0, :, rows, columns].double() + 1) / 2 for pixels in (picture, truth, unlit)
    )
    off, whole = 0.0, 0.0
    for colour in range(3):
        # What the plane cannot explain, as detail and noise, is no light.
        basis = torch.linalg.svd(plane * plain[colour, :, None], full_matrices=False)
        kept = basis.U[:, basis.S / len(rows) ** 0.5 > LEAST_COLOUR]
        off += float((kept.T @ (drawn - right)[colour]).square().sum())
        whole += float((kept.T @ (right - plain)[colour]).square().sum())
    is_lit = (whole / (3 * len(rows))) ** 0.5 >= LEAST_LIGHT
    return (off / whole) ** 0.5 if is_lit else None


def shadow_error(picture: Tensor, truth: Tensor, source: Tensor, mask: Tensor) -> float | None:
    """Return how much of what shades the ground is in one of two pictures alone, 0 to 1.

    It is the dissimilarity of Bray and Curtis. 0 is exact; 1 is no shadow, or one that lies where
    the true one does not. None where there is next to no shadow.
    """
    near = grow((mask > 0).to(mask), mask.shape[-1] // SHADE)
    ground = torch.maximum(near, changed(truth, source, mask)) * (mask <= 0)
    if float(((truth - source) / 2 * ground).abs().mean()) < LEAST_SHADOW:
        return None
    both = _in_cells(source - truth, ground) + _in_cells(source - picture, ground)
    return _in_cells(picture - truth, ground) / both


def ghost(picture: Tensor, truth: Tensor, source: Tensor, mask: Tensor) -> float:
    """Return how much differs from the true background, over the same of the untouched picture.

    In cells and within the mask and its ring, so it counts shapes and shadows that stay or come,
    and hardly textures. 0 is exact, 1 as bad as to remove nothing. The mask is not empty.
    """
    where = torch.maximum((mask > 0).to(mask), ring(mask))
    return _in_cells(picture - truth, where) / _in_cells(source - truth, where)


def seam(picture: Tensor, truth: Tensor, claimed: Tensor) -> float | None:
    """Return the step across the border of the region that changed, over that of the truth there.

    A step is the mean difference of two pixels, four apart in a picture of 256, that the border
    separates. One level is added to both steps, so that smooth ground counts as well. 1 is right;
    more is a visible seam, less a washed out one. The region is where `claimed` is above 0.
    """
    region, apart = claimed > 0, claimed.shape[-1] // STEP
    steps, count = torch.zeros(2), 0.0
    for dim in (2, 3):
        length = claimed.shape[dim] - apart
        first, second = (region.narrow(dim, start, length) for start in (0, apart))
        crosses = first != second
        both = torch.cat([picture, truth])
        change = (both.narrow(dim, 0, length) - both.narrow(dim, apart, length)).abs()
        steps += (change * crosses).sum((1, 2, 3))
        count += 3 * float(crosses.sum())
    if not count:
        return None
    drawn, right = (steps / count + LEAST_GRADIENT).tolist()
    return drawn / right


def ring(mask: Tensor) -> Tensor:
    """Return what is around `mask` (1, 1, H, W), 0 or 1."""
    inside = (mask > 0).to(mask)
    return grow(inside, mask.shape[-1] // RING) - inside


def changed(truth: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Return where a subject changes a photograph, itself and its shadow, (1, 1, H, W) 0 or 1."""
    difference = (truth - source).abs().amax(dim=1, keepdim=True)
    return torch.maximum((mask > 0).to(mask), (difference > VISIBLE).to(mask))


def _ring_psnr(picture: Tensor, truth: Tensor, mask: Tensor) -> float:
    return psnr(picture, truth, ring(mask))


def _in_cells(difference: Tensor, where: Tensor) -> float:
    """Return the mean amount of what is left of a difference when cells are averaged."""
    side = difference.shape[-1] // CELL
    return float(F.avg_pool2d(difference * where, side).abs().mean())


ANSWERED, PLACED = ("picture", "truth", "source", "mask"), ("picture", "truth", "mask")

METRICS = {
    "ring-psnr": Metric("PSNR around the subject", of(_ring_psnr, *PLACED), "dB"),
    "light-error": Metric(
        "light error", of(light_error, "picture", "truth", "unlit", "mask"), higher_is_better=False
    ),
    "shadow-error": Metric("shadow error", of(shadow_error, *ANSWERED), higher_is_better=False),
    "ghost": Metric("ghost", of(ghost, *ANSWERED), higher_is_better=False),
    "seam": Metric(
        "step across the border, of the truth's",
        of(seam, "picture", "truth", "claimed"),
        higher_is_better=None,
    ),
    "sharpness-inside": Metric(
        "sharpness inside", of(sharpness_ratio, "picture", "truth", "inside"), higher_is_better=None
    ),
}
