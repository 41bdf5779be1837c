"""MaSC (arXiv:2605.22469): the subject's patches found again, and the scene without the subject."""

import re
from statistics import fmean

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.imageio.images import plane
from swiftpie_lab.evaluation.case import Metric, Reference, of
from swiftpie_lab.evaluation.siglip2 import Siglip2

HALF = 0.5  # of a patch


def concept_preservation(
    siglip2: Siglip2, patches: Tensor, references: tuple[Reference, ...]
) -> float | None:
    """Return CP: how well the patches of the subject are found again anywhere in the picture.

    For each patch inside the mask of a photograph, the highest cosine with any patch of the
    picture, averaged; then the mean over photographs. The paper has one of them.

    Args:
        siglip2: The network.
        patches: Of the picture, (h, w, D).
        references: Photographs of the subject; those whose mask holds no patch do not count.
    """
    unit = F.normalize(patches.flatten(0, 1), dim=-1)
    found = []
    for reference in references:
        seen = reference.seen_by(siglip2, is_masked=False)
        if reference.mask is None or seen is None:
            continue
        inside = _on_grid(plane(reference.mask), seen) > HALF
        if inside.any():
            cosines = F.normalize(seen[inside], dim=-1) @ unit.T
            found.append(float(cosines.amax(dim=1).mean()))
    return fmean(found) if found else None


def prompt_following(
    siglip2: Siglip2, patches: Tensor, claimed: Tensor, prompt: str, noun: str
) -> float | None:
    """Return PF: the cosine of the background and the prompt without its subject.

    Args:
        siglip2: The network.
        patches: Of the picture, (h, w, D).
        claimed: Where the subject is in the picture, (1, 1, H, W) in [0, 1].
        prompt: What the picture should show.
        noun: What the prompt calls the subject; empty leaves all of the prompt.
    """
    background = _on_grid(claimed, patches) < HALF
    if not background.any():
        return None
    words = siglip2.words(without_subject(prompt, noun))
    return float((siglip2.pooled(patches, background) * words).sum())


def without_subject(prompt: str, noun: str) -> str:
    """Return a prompt without `noun` and its article; if it never has one, without the noun."""
    for pattern in (rf"\b(?:a|an|the)\s+{re.escape(noun)}\b", rf"\b{re.escape(noun)}\b"):
        shorter, count = re.subn(pattern, "", prompt, flags=re.IGNORECASE)
        if noun and count:
            return " ".join(shorter.split())
    return prompt


def _on_grid(mask: Tensor, patches: Tensor) -> Tensor:
    """Return what `mask` (1, 1, H, W) has in the middle of each patch, (h, w)."""
    # Without antialiasing, as the authors' release shrinks masks.
    small = F.interpolate(mask, size=patches.shape[:2], mode="bilinear", align_corners=False)
    return torch.clamp(small[0, 0], 0, 1)


METRICS = {
    "masc-cp": Metric(
        "MaSC CP: subject kept",
        of(concept_preservation, "networks.siglip2", "patches", "references"),
        "cosine",
        needs="siglip2",
    ),
    "masc-pf": Metric(
        "MaSC PF: prompt followed around the subject",
        of(prompt_following, "networks.siglip2", "patches", "claimed", "prompt", "noun"),
        "cosine",
        needs="siglip2",
    ),
}
