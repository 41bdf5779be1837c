"""What networks of the user's own say, and how much of a photographed subject a picture keeps."""

import re
from functools import partial
from statistics import fmean

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swiftpie.faces import Face, FaceBox
from swiftpie.imageio.images import plane, to_pil
from swiftpie_lab.evaluation.case import ImageEmbedder, Metric, ReferencePhoto, of
from swiftpie_lab.evaluation.judges import Clip, Dino, Siglip2

HALF = 0.5  # half of a patch


def structure_distance(dino: Dino, source: Tensor, image: Image.Image) -> float:
    """Return a thousand times how differently the parts of both pictures resemble each other."""
    return 1e3 * dino.distance(to_pil(source)[0], image)


def cosine(clip: Clip, image: Image.Image, prompt: str) -> float:
    """Return the cosine of picture and prompt."""
    return clip.similarity(image, prompt)


def clip_score(clip: Clip, image: Image.Image, prompt: str) -> float:
    """Return a hundred times the cosine, 0 where that is negative, as PIE-Bench does."""
    return 100 * max(cosine(clip, image, prompt), 0.0)


def clip_score_of_edit(clip: Clip, image: Image.Image, prompt: str, mask: Tensor) -> float:
    """Return the same for the edited part alone; all of the prompt counts."""
    return clip_score(clip, edited_part(image, mask), prompt)


def style_of_face(clip: Clip, image: Image.Image, style: str, face: Face) -> float | None:
    """Return the cosine of the face and the requested style, if there is one."""
    return clip.similarity(crop_face(image, face.box), style) if style else None


def edited_part(image: Image.Image, mask: Tensor) -> Image.Image:
    """Return the picture, black where `mask` (1, 1, H, W) is 0."""
    keep = (mask[0, 0] > 0).numpy()
    return Image.fromarray(np.asarray(image.convert("RGB")) * keep[..., None].astype(np.uint8))


def concept_preservation(
    siglip2: Siglip2, patches: Tensor, references: tuple[ReferencePhoto, ...]
) -> float | None:
    """Return CP: how well the patches of the subject are found again anywhere in the picture.

    For each patch inside the mask of a photograph, the highest cosine with any patch of the
    picture (h, w, D), averaged; then the mean over photographs. The paper has one of them.
    Photographs whose mask holds no patch do not count.
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

    The picture has `patches` (h, w, D), and the subject where `claimed` (1, 1, H, W) is 1.
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


def crop_face(image: Image.Image, box: FaceBox) -> Image.Image:
    """Return what `box` covers of a picture, one pixel or more."""
    left, top = max(0, round(box.left)), max(0, round(box.top))
    right, bottom = min(image.width, round(box.right)), min(image.height, round(box.bottom))
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def likeness(
    network: ImageEmbedder,
    picture: Image.Image,
    references: tuple[ReferencePhoto, ...],
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


def _likeness(title: str, network: str, *, is_masked: bool = False) -> Metric:
    shown = "cutout" if is_masked else "image"
    return Metric(
        title + ", masked" * is_masked,
        of(partial(likeness, is_masked=is_masked), f"networks.{network}", shown, "references"),
        "cosine",
        needs="" if network == "subjects" else network,
    )


SUBJECT_NETWORKS = {
    "dino": ("DINO ViT-S/16", "dino_small"),
    "clip-i": ("CLIP-I ViT-B/32", "clip_small"),
    "likeness": ("likeness by the judge of sprites", "subjects"),
}
SHOWN = ("networks.clip", "image", "prompt")

METRICS = {
    "structure-distance": Metric(
        "structure distance",
        of(structure_distance, "networks.dino", "source", "image"),
        "1e-3",
        higher_is_better=False,
        needs="dino",
    ),
    "clip-whole": Metric("CLIP similarity, whole", of(clip_score, *SHOWN), needs="clip"),
    "clip-edited": Metric(
        "CLIP similarity, edited part", of(clip_score_of_edit, *SHOWN, "mask"), needs="clip"
    ),
    "clip-large": Metric("prompt: CLIP ViT-L/14", of(cosine, *SHOWN), "cosine", needs="clip"),
    "clip-small": Metric(
        "prompt: CLIP ViT-B/32",
        of(cosine, "networks.clip_small", "image", "prompt"),
        "cosine",
        needs="clip_small",
    ),
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
    **{name: _likeness(*network) for name, network in SUBJECT_NETWORKS.items()},
    **{
        f"{name}-masked": _likeness(*network, is_masked=True)
        for name, network in SUBJECT_NETWORKS.items()
    },
    "copied": Metric(
        "details as in the photograph", of(float, "is_copy"), "%", higher_is_better=None
    ),
    "style": Metric(
        "style: CLIP ViT-L/14 of the face",
        of(style_of_face, "networks.clip", "image", "style", "face"),
        "cosine",
        needs="clip",
    ),
}
