"""The panel of judges: networks that never saw a generated picture, and what they compare with."""

import importlib.resources
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.models.judges import (
    ATTRIBUTES,
    AttributeClassifier,
    SceneClassifier,
    SubjectEmbedder,
    cut,
    shrink,
    subject_crops,
)


class Judges(NamedTuple):
    """The networks, frozen and in float32."""

    embedder: SubjectEmbedder
    scenes: SceneClassifier
    attributes: AttributeClassifier


@dataclass(frozen=True, eq=False)
class Panel:
    """The judges with the gallery of all subjects they choose from."""

    judges: Judges
    codes: tuple[str, ...]  # the subject behind each row of the gallery
    gallery: Tensor  # (S, D) unit vectors

    @torch.no_grad()
    def nearest(self, pixels: Tensor, mask: Tensor) -> str:
        """Return the code of the subject seen in `pixels` (1, 3, H, W) around `mask`."""
        vector = self.judges.embedder(cut(pixels, subject_crops(mask)))
        return self.codes[nearest_row(vector, self.gallery)]

    @torch.no_grad()
    def scene(self, pixels: Tensor) -> int:
        """Return the index of the scene seen in `pixels` (1, 3, H, W)."""
        return int(self.judges.scenes(shrink(pixels)).argmax())

    @torch.no_grad()
    def attributes(self, pixels: Tensor, mask: Tensor) -> frozenset[str]:
        """Return the answer to each question of `ATTRIBUTES` about `pixels` (1, 3, H, W).

        Args:
            pixels: The picture, in [-1, 1].
            mask: Where the subject and what it wears should be, (1, 1, H, W).
        """
        said = self.judges.attributes(shrink(pixels), cut(pixels, subject_crops(mask)))
        return frozenset(
            answers[int(said[question].argmax())] for question, answers in ATTRIBUTES.items()
        )


def load_panel(codes: Sequence[str], pictures: Tensor, masks: Tensor) -> Panel:
    """Load the judges of the package and show them every subject.

    Args:
        codes: The subjects.
        pictures: True pictures of each, (S, V, 3, H, W) in [-1, 1].
        masks: The subject in them, (S, V, 1, H, W).
    """
    with importlib.resources.as_file(importlib.resources.files("swiftpie")) as package:
        judges = load_judges(package / "assets" / "judges")
    with torch.no_grad():
        vectors = [
            judges.embedder(cut(views, subject_crops(mask)))
            for views, mask in zip(pictures, masks, strict=True)
        ]
    return Panel(judges, tuple(codes), gallery_of(torch.stack(vectors)))


def load_judges(folder: Path) -> Judges:
    """Read the judges in float32 from `folder`."""
    judges = Judges(
        embedder=SubjectEmbedder.from_pretrained(folder / "subject_embedder"),
        scenes=SceneClassifier.from_pretrained(folder / "scene_classifier"),
        attributes=AttributeClassifier.from_pretrained(folder / "attribute_classifier"),
    )
    for judge in judges:
        judge.float().eval().requires_grad_(False)
    return judges


def gallery_of(vectors: Tensor) -> Tensor:
    """Return one unit vector a subject (S, D) from those of its views (S, V, D)."""
    return F.normalize(vectors.mean(dim=1), dim=1)


def nearest_row(vector: Tensor, gallery: Tensor) -> int:
    """Return the row of `gallery` (S, D) closest to `vector` (1, D)."""
    return int((vector @ gallery.T).argmax())
