"""Judges: networks that recognise subjects and scenes, trained on true renderings alone."""

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.data.scenes import SCENES
from swiftpie.data.stickers import StickerBatch, StickerWorld
from swiftpie.images import contact_sheet, to_pil
from swiftpie.models.judges import (
    Crops,
    SceneClassifier,
    SubjectEmbedder,
    cut,
    shrink,
    subject_crops,
)
from swiftpie.training.context import Context

VALIDATION_SEED = 2**31 - 1
VALIDATION_VIEWS = 6  # the first four are the gallery, as in the evaluation
GALLERY_VIEWS = 4

TEMPERATURE = 0.07
CROP_SHIFT, CROP_ZOOM = 0.06, 0.1  # of the crop's side: generated subjects are a little off


class Judges(nn.Module):
    """Both judges."""

    def __init__(self) -> None:
        super().__init__()
        self.subject_embedder = SubjectEmbedder()
        self.scene_classifier = SceneClassifier(num_scenes=len(SCENES))


@dataclass(frozen=True)
class JudgesConfig:
    """Settings of the stage."""

    num_subjects: int = 48  # each is told from all the others of its batch

    def build(self, context: Context) -> "JudgesStage":
        """Return the stage for the given data and device."""
        return JudgesStage(context.world(), context.world("held_out"), config=self)


@dataclass(frozen=True)
class JudgesStage:
    """Pull two pictures of one subject together, and name scenes."""

    world: StickerWorld
    held_out: StickerWorld
    config: JudgesConfig

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return 2 * self.config.num_subjects

    def network(self) -> nn.Module:
        """Return new judges with a fixed initialisation."""
        torch.manual_seed(2)
        return Judges().to(self.world.tiles.device)

    def losses(self, network: nn.Module, step: int) -> dict[str, Tensor]:
        """Return the contrastive and the classification term."""
        assert isinstance(network, Judges)
        batch = self.world.batch(self.config.num_subjects, 2, seed=step)
        generator = torch.Generator().manual_seed(step)
        crops = _jitter(subject_crops(batch.mask), generator)
        close, whole = cut(batch.pixels, crops), shrink(batch.pixels)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            vectors = network.subject_embedder(_channels_last(close))
            logits = network.scene_classifier(_channels_last(whole))
        return {
            "subject": contrast(vectors[0::2], vectors[1::2]),
            "scene": F.cross_entropy(logits, batch.scene, label_smoothing=0.02),
        }

    @torch.no_grad()
    def sample(self, network: nn.Module, path: Path) -> dict[str, float]:
        """Save the crops of some held-out subjects; return both judges' accuracy on all."""
        assert isinstance(network, Judges)
        count = len(self.held_out.pool)
        batch = self.held_out.batch(count, VALIDATION_VIEWS, seed=VALIDATION_SEED, augment=False)
        close = cut(batch.pixels, subject_crops(batch.mask))
        rows = [close[i * VALIDATION_VIEWS :][:VALIDATION_VIEWS] for i in range(min(count, 8))]
        contact_sheet([to_pil(row) for row in rows], cell_px=64).save(path)
        vectors = network.subject_embedder(close).unflatten(0, (count, VALIDATION_VIEWS))
        gallery = F.normalize(vectors[:, :GALLERY_VIEWS].mean(1), dim=1)
        nearest = (vectors[:, GALLERY_VIEWS:] @ gallery.T).argmax(-1)
        own = torch.arange(count, device=nearest.device)[:, None]
        return {
            "retrieval": float((nearest == own).float().mean()),
            "scene_accuracy": float(self._named(network, batch).float().mean()),
        }

    def _named(self, network: Judges, batch: StickerBatch) -> Tensor:
        named: Tensor = network.scene_classifier(shrink(batch.pixels)).argmax(1) == batch.scene
        return named

    def export(self, network: nn.Module, folder: Path) -> None:
        """Write both judges in half precision."""
        assert isinstance(network, Judges)
        halves = copy.deepcopy(network).half()
        halves.subject_embedder.save_pretrained(folder / "subject_embedder")
        halves.scene_classifier.save_pretrained(folder / "scene_classifier")


def contrast(first: Tensor, second: Tensor) -> Tensor:
    """Return how well rows find their partner among all, from both sides (InfoNCE).

    Args:
        first: Unit vectors (G, D).
        second: Unit vectors (G, D); row i belongs to row i of `first`.
    """
    scores = first @ second.T / TEMPERATURE
    own = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def _jitter(crops: Crops, generator: torch.Generator) -> Crops:
    """Move and zoom crops a little."""
    number = 2 * torch.rand(len(crops.side), 3, generator=generator).to(crops.side) - 1
    return Crops(
        centre=crops.centre + CROP_SHIFT * crops.side[:, None] * number[:, :2],
        side=crops.side * (1 + CROP_ZOOM * number[:, 2]),
    )


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)
