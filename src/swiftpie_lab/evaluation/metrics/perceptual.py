"""What networks of the user's own say: LPIPS, CLIP and DINO."""

import numpy as np
from PIL import Image
from torch import Tensor

from swiftpie.imageio.images import to_pil
from swiftpie_lab.evaluation.case import Metric, of
from swiftpie_lab.evaluation.judges import Clip, Dino, Lpips


def unedited_lpips(lpips: Lpips, first: Tensor, second: Tensor, mask: Tensor) -> float:
    """Return PIE-Bench's, a thousand times the distance; `mask` is blackened in both pictures."""
    first, second = ((pixels + 1) * (1 - mask) - 1 for pixels in (first, second))
    return 1e3 * lpips.distance(first, second)


def whole_lpips(lpips: Lpips, first: Tensor, second: Tensor) -> float:
    """Return a thousand times the distance of whole pictures."""
    return 1e3 * lpips.distance(first, second)


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


def edited_part(image: Image.Image, mask: Tensor) -> Image.Image:
    """Return the picture, black where `mask` (1, 1, H, W) is 0."""
    keep = (mask[0, 0] > 0).numpy()
    return Image.fromarray(np.asarray(image.convert("RGB")) * keep[..., None].astype(np.uint8))


SHOWN = ("networks.clip", "image", "prompt")

METRICS = {
    "unedited-lpips": Metric(
        "LPIPS, unedited part",
        of(unedited_lpips, "networks.lpips", "source", "picture", "mask"),
        "1e-3",
        higher_is_better=False,
        needs="lpips",
    ),
    "reconstruction-lpips": Metric(
        "LPIPS of the reconstruction",
        of(whole_lpips, "networks.lpips", "source", "reconstruction"),
        "1e-3",
        higher_is_better=False,
        needs="lpips",
    ),
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
}
