"""PIE-Bench's seven figures of a picture, in the units of its tables."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch import Tensor

from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.pie import measures
from swiftpie.evaluation.edits.pie.dataset import PieCase, task_of
from swiftpie.evaluation.edits.pie.encoders import Clip, Dino
from swiftpie.evaluation.edits.pie.lpips import HOW, Lpips
from swiftpie.evaluation.edits.report import EditRow
from swiftpie.images import to_tensor

CANDIDATES = ("edit", "source")


@dataclass(frozen=True)
class Column:
    """One figure of the tables."""

    title: str
    unit: str
    higher_is_better: bool
    candidates: tuple[str, ...] = CANDIDATES


COLUMNS: Mapping[str, Column] = {
    "structure-distance": Column("structure distance", "1e-3", False),
    "psnr": Column("PSNR, unedited part", "dB", True),
    "lpips": Column("LPIPS, unedited part", "1e-3", False),
    "mse": Column("MSE, unedited part", "1e-4", False),
    "ssim": Column("SSIM, unedited part", "1e-2", True),
    "clip-whole": Column("CLIP similarity, whole", "", True),
    "clip-edited": Column("CLIP similarity, edited part", "", True),
    "time": Column("time", "ms", False, ("edit",)),
}


@dataclass(frozen=True, eq=False)
class Networks:
    """What the user gave; None leaves the figures out that need it."""

    clip: Clip | None = None
    dino: Dino | None = None
    lpips: Lpips | None = None

    def not_computed(self) -> dict[str, str]:
        """Return why figures are missing, by figure."""
        missing = {}
        if self.dino is None:
            missing["structure-distance"] = "needs DINO ViT-B/8; give its folder with --dino DIR"
        if self.lpips is None:
            missing["lpips"] = f"needs weights: {HOW}"
        if self.clip is None:
            why = "needs CLIP ViT-L/14; give its folder with --clip DIR"
            missing |= {"clip-whole": why, "clip-edited": why}
        return missing


def score(folder: EditFolder, cases: Sequence[PieCase], networks: Networks) -> Iterator[EditRow]:
    """Judge the edit and the untouched source of every case."""
    for case in cases:
        task = task_of(case)
        edit = folder.read(case, "edit")
        scores = {
            "edit": score_picture(edit, task.source, task.mask, case=case, networks=networks),
            "source": score_picture(
                task.source, task.source, task.mask, case=case, networks=networks
            ),
        }
        total = (folder.read_facts(case) or {}).get("total")
        by_metric = {
            name: {kind: found[name] for kind, found in scores.items() if name in found}
            for name in COLUMNS
        }
        if total is not None:
            by_metric["time"] = {"edit": total}
        yield EditRow(
            name=case.name,
            type_id=case.type_id,
            source_prompt=case.source_prompt,
            target_prompt=case.target_prompt,
            scores={name: found for name, found in by_metric.items() if found},
        )


def score_picture(
    image: Image.Image,
    source: Image.Image,
    mask: Tensor,
    *,
    case: PieCase,
    networks: Networks,
) -> dict[str, float]:
    """Return the figures of one picture; those that do not exist for it are absent.

    Args:
        image: The picture after the edit.
        source: And before, of the same size.
        mask: (1, 1, H, W), 1 = edited.
        case: Its prompt counts, all of it, even for the edited part.
        networks: What there is.
    """
    first, second = ((to_tensor(one) + 1) / 2 for one in (source, image))
    unedited = 1 - mask
    found: dict[str, float | None] = {
        "psnr": measures.psnr(first, second, unedited),
        "mse": 1e4 * measures.mse(first, second, unedited),
        "ssim": 1e2 * measures.ssim(first, second, unedited),
    }
    if networks.lpips is not None:
        pair = (2 * one * unedited - 1 for one in (first, second))
        found["lpips"] = 1e3 * networks.lpips.distance(*pair)
    if networks.dino is not None:
        found["structure-distance"] = 1e3 * networks.dino.distance(source, image)
    if networks.clip is not None:
        found["clip-whole"] = networks.clip.similarity(image, case.target_prompt)
        only = edited_part(image, mask)
        found["clip-edited"] = networks.clip.similarity(only, case.target_prompt)
    return {name: value for name, value in found.items() if value is not None}


def edited_part(image: Image.Image, mask: Tensor) -> Image.Image:
    """Return the picture, black where `mask` (1, 1, H, W) is 0."""
    keep = (mask[0, 0] > 0).numpy()
    return Image.fromarray(np.asarray(image.convert("RGB")) * keep[..., None].astype(np.uint8))
