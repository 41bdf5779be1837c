"""What networks of the user's own say: LPIPS, CLIP, DINO and aesthetics."""

import numpy as np
from PIL import Image
from torch import Tensor

from swiftpie.evaluation.case import Evidence, Metric
from swiftpie.faces.face import FaceBox
from swiftpie.images import to_pil


def outside_lpips(evidence: Evidence) -> float | None:
    """Return a thousand times the distance; what is inside is blackened in both pictures."""
    outside, lpips, source = evidence.outside, evidence.networks.lpips, evidence.source
    if outside is None or lpips is None or source is None:
        return None
    first, second = ((pixels + 1) * outside - 1 for pixels in (evidence.picture, source))
    return 1e3 * lpips.distance(first, second)


def unedited_lpips(evidence: Evidence) -> float | None:
    """Return PIE-Bench's: the same with its own mask, however much that covers."""
    lpips, source, mask = evidence.networks.lpips, evidence.source, evidence.mask
    if lpips is None or source is None or mask is None:
        return None
    first, second = ((pixels + 1) * (1 - mask) - 1 for pixels in (source, evidence.picture))
    return 1e3 * lpips.distance(first, second)


def structure_distance(evidence: Evidence) -> float | None:
    """Return a thousand times how differently the parts of both pictures resemble each other."""
    dino, source = evidence.networks.dino, evidence.source
    if dino is None or source is None:
        return None
    return 1e3 * dino.distance(to_pil(source)[0], evidence.image)


def clip_whole(evidence: Evidence) -> float | None:
    """Return a hundred times the cosine of picture and prompt, 0 where that is negative."""
    return _clip_score(evidence, evidence.image)


def clip_edited(evidence: Evidence) -> float | None:
    """Return the same for the edited part alone; all of the prompt counts."""
    if evidence.mask is None or evidence.networks.clip is None:
        return None
    return _clip_score(evidence, edited_part(evidence.image, evidence.mask))


def clip_large(evidence: Evidence) -> float | None:
    """Return the cosine of picture and prompt."""
    clip = evidence.networks.clip
    return None if clip is None else clip.similarity(evidence.image, evidence.prompt)


def clip_small(evidence: Evidence) -> float | None:
    """Return the same as a smaller network sees it."""
    clip = evidence.networks.clip_small
    return None if clip is None else clip.similarity(evidence.image, evidence.prompt)


def style(evidence: Evidence) -> float | None:
    """Return the cosine of the face and the style that is asked for."""
    clip, face = evidence.networks.clip, evidence.face
    if clip is None or face is None or not evidence.style:
        return None
    return clip.similarity(crop_face(evidence.image, face.box), evidence.style)


def aesthetic(evidence: Evidence) -> float | None:
    """Return how much people would like the picture, about 1 to 10."""
    clip, predictor = evidence.networks.clip, evidence.networks.aesthetic
    return None if clip is None or predictor is None else predictor(clip.picture(evidence.image))


def edited_part(image: Image.Image, mask: Tensor) -> Image.Image:
    """Return the picture, black where `mask` (1, 1, H, W) is 0."""
    keep = (mask[0, 0] > 0).numpy()
    return Image.fromarray(np.asarray(image.convert("RGB")) * keep[..., None].astype(np.uint8))


def crop_face(image: Image.Image, box: FaceBox) -> Image.Image:
    """Return what `box` covers of a picture, one pixel or more."""
    left, top = max(0, round(box.left)), max(0, round(box.top))
    right, bottom = min(image.width, round(box.right)), min(image.height, round(box.bottom))
    left, top = min(left, image.width - 1), min(top, image.height - 1)
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _clip_score(evidence: Evidence, image: Image.Image) -> float | None:
    clip = evidence.networks.clip
    return None if clip is None else 100 * max(clip.similarity(image, evidence.prompt), 0.0)


METRICS = {
    "outside-lpips": Metric(
        title="LPIPS outside",
        unit="1e-3",
        higher_is_better=False,
        score=outside_lpips,
        needs="lpips",
    ),
    "unedited-lpips": Metric(
        title="LPIPS, unedited part",
        unit="1e-3",
        higher_is_better=False,
        score=unedited_lpips,
        needs="lpips",
    ),
    "structure-distance": Metric(
        title="structure distance",
        unit="1e-3",
        higher_is_better=False,
        score=structure_distance,
        needs="dino",
    ),
    "clip-whole": Metric(title="CLIP similarity, whole", score=clip_whole, needs="clip"),
    "clip-edited": Metric(title="CLIP similarity, edited part", score=clip_edited, needs="clip"),
    "clip-large": Metric(
        title="prompt: CLIP ViT-L/14", unit="cosine", score=clip_large, needs="clip"
    ),
    "clip-small": Metric(
        title="prompt: CLIP ViT-B/32", unit="cosine", score=clip_small, needs="clip_small"
    ),
    "style": Metric(
        title="style: CLIP ViT-L/14 of the face", unit="cosine", score=style, needs="clip"
    ),
    "aesthetic": Metric(
        title="image quality: LAION aesthetic score", score=aesthetic, needs="aesthetic"
    ),
    "image-reward": Metric(
        title="image quality: ImageReward", score=lambda _: None, needs="image_reward"
    ),
}
