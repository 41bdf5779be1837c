"""How much a picture keeps of the subject of photographs, and how much of it is a copy."""

import itertools
from collections.abc import Callable
from functools import partial
from statistics import fmean

from PIL import Image
from torch import Tensor

from swiftpie_lab.evaluation.case import ImageEmbedder, Metric, Reference, of
from swiftpie_lab.evaluation.copies import CopyVerdict
from swiftpie_lab.evaluation.judges import Lpips


def likeness(
    network: ImageEmbedder,
    picture: Image.Image,
    references: tuple[Reference, ...],
    *,
    is_masked: bool,
) -> float | None:
    """Return the mean cosine of a picture and all references that the network can see."""
    seen = (reference.seen_by(network, is_masked=is_masked) for reference in references)
    others = [vector for vector in seen if vector is not None]
    if not others:
        return None
    mine = network.picture(picture)
    return fmean(float((mine * other).sum()) for other in others)


def verdict(wanted: CopyVerdict) -> Callable[[CopyVerdict], float]:
    """Return what gives 1 where the subject got this verdict, and else 0."""
    return lambda found: float(found is wanted)


def diversity(lpips: Lpips, picture: Tensor, twins: tuple[Tensor, ...]) -> float | None:
    """Return the mean distance of all pairs of a picture and its `twins` of other seeds."""
    pairs = itertools.combinations((*twins, picture), 2)
    return fmean(lpips.distance(*pair) for pair in pairs) if twins else None


def _likeness(title: str, network: str, *, is_masked: bool = False) -> Metric:
    shown = "cutout" if is_masked else "image"
    return Metric(
        title + ", masked" * is_masked,
        of(partial(likeness, is_masked=is_masked), f"networks.{network}", shown, "references"),
        "cosine",
        needs="" if network == "subjects" else network,
    )


NETWORKS = {
    "dino": ("DINO ViT-S/16", "dino_small"),
    "clip-i": ("CLIP-I ViT-B/32", "clip_small"),
    "clip-i-large": ("CLIP-I ViT-L/14", "clip"),
    "likeness": ("likeness by the judge of sprites", "subjects"),
}

METRICS = {
    **{name: _likeness(*network) for name, network in NETWORKS.items()},
    **{
        f"{name}-masked": _likeness(*NETWORKS[name], is_masked=True)
        for name in ("dino", "clip-i", "likeness")
    },
    "copied": Metric(
        "details as in the photograph",
        of(verdict(CopyVerdict.COPIED), "copy_verdict"),
        "%",
        higher_is_better=None,
    ),
    "copy-unclear": Metric(
        "copied or turned, cannot tell",
        of(verdict(CopyVerdict.UNCLEAR), "copy_verdict"),
        "%",
        higher_is_better=None,
    ),
    "diversity": Metric(
        "diversity: LPIPS between seeds",
        of(diversity, "networks.lpips", "picture", "twins"),
        needs="lpips",
    ),
}
