"""Judges: networks that recognise what pictures show, trained on true renderings alone."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie_lab.judges import (
    ATTRIBUTES,
    AttributeClassifier,
    Crops,
    SceneClassifier,
    SubjectEmbedder,
    cut,
    shrink,
    subject_crops,
)
from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.stickers.stickers import StickerBatch, StickerWorld
from swiftpie_lab.training.context import Context

VALIDATION_SEED = 2**31 - 1
VALIDATION_VIEWS = 6  # the first four are the gallery, as in the evaluation
GALLERY_VIEWS = 4

TEMPERATURE = 0.07
CROP_SHIFT, CROP_ZOOM = 0.06, 0.1  # of the crop's side: generated subjects are a little off
# Rare answers count more, so that a judge in doubt does not always give the frequent one.
ANSWER_WEIGHTS = {"size": (1.0, 2.0, 2.0), "accessory": (1.0, 2.5, 2.5)}
LEFT_EDGE, RIGHT_EDGE = 0.42, 0.58  # centres between them are in the middle of the picture


class Judges(nn.Module):
    """All three judges."""

    def __init__(self) -> None:
        super().__init__()
        self.subject_embedder = SubjectEmbedder()
        self.scene_classifier = SceneClassifier(num_scenes=len(SCENES))
        self.attribute_classifier = AttributeClassifier()


@dataclass(frozen=True)
class JudgesConfig:
    """Settings of the stage."""

    num_subjects: int = 48  # each is told from all the others of its batch

    def build(self, context: Context) -> "JudgesStage":
        """Return the stage for the given data and device."""
        return JudgesStage(context.world(), context.world("held_out"), config=self)


@dataclass(frozen=True)
class JudgesStage:
    """Pull two pictures of one subject together, name scenes and attributes."""

    world: StickerWorld
    held_out: StickerWorld
    config: JudgesConfig

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return 2 * self.config.num_subjects

    def network(self) -> Judges:
        """Return new judges with a fixed initialisation."""
        torch.manual_seed(2)
        return Judges().to(self.world.tiles.device)

    def losses(self, network: Judges, step: int) -> dict[str, Tensor]:
        """Return the contrastive and the classification terms."""
        batch = self.world.batch(self.config.num_subjects, 2, seed=step)
        generator = torch.Generator().manual_seed(step)
        crops = jitter(subject_crops(batch.mask), generator)
        close, whole = cut(batch.pixels, crops), shrink(batch.pixels)
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            vectors = network.subject_embedder(_channels_last(close))
            logits = network.scene_classifier(_channels_last(whole))
            # The first picture of each subject is enough, and takes half the time.
            answers = network.attribute_classifier(
                _channels_last(whole[0::2]), _channels_last(close[0::2])
            )
        wanted = attribute_labels(batch)
        return {
            "subject": contrastive_loss(vectors[0::2], vectors[1::2]),
            "scene": F.cross_entropy(logits, batch.scene, label_smoothing=0.02),
            "attributes": attribute_loss(answers, {name: wanted[name][0::2] for name in wanted}),
        }

    @torch.no_grad()
    def sample(self, network: Judges, path: Path) -> dict[str, float]:
        """Save the crops of some held-out subjects; return the judges' accuracy on all."""
        count = len(self.held_out.pool)
        batch = self.held_out.batch(count, VALIDATION_VIEWS, seed=VALIDATION_SEED, augment=False)
        close = cut(batch.pixels, subject_crops(batch.mask))
        rows = [close[i * VALIDATION_VIEWS :][:VALIDATION_VIEWS] for i in range(min(count, 8))]
        contact_sheet([to_pil(row) for row in rows], cell_px=64).save(path)
        vectors = network.subject_embedder(close).unflatten(0, (count, VALIDATION_VIEWS))
        return {"retrieval": retrieval(vectors), **_accuracy(network, batch, close)}

    def export(self, network: Judges, folder: Path) -> None:
        """Write the judges in half precision."""
        halves = copy.deepcopy(network).half()
        halves.subject_embedder.save_pretrained(folder / "subject_embedder")
        halves.scene_classifier.save_pretrained(folder / "scene_classifier")
        halves.attribute_classifier.save_pretrained(folder / "attribute_classifier")


def attribute_labels(batch: StickerBatch) -> dict[str, Tensor]:
    """Return the right answer to each question of `ATTRIBUTES`, (B,) long.

    The place is where the subject's centre is, whether or not the caption asks for a side.
    """
    x = batch.layout.centre[:, 0]
    return {
        "size": _answers("size", [a.size for a in batch.attributes], like=x),
        "place": (x >= LEFT_EDGE).long() + (x > RIGHT_EDGE).long(),
        "accessory": _answers("accessory", [a.accessory for a in batch.attributes], like=x),
        "colour": x.new_tensor([a.is_black_and_white for a in batch.attributes]).long(),
    }


def attribute_loss(answers: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Tensor:
    """Return the mean cross-entropy of logits (B, answers) and right answers (B,) by question."""
    terms = []
    for question, logits in answers.items():
        weights = logits.new_tensor(ANSWER_WEIGHTS.get(question, [1.0] * logits.shape[1]))
        terms.append(F.cross_entropy(logits, wanted[question], weight=weights))
    return torch.stack(terms).mean()


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """Return how well each of unit vectors (G, D) finds its row of the others (InfoNCE)."""
    scores = first @ second.T / TEMPERATURE
    own = torch.arange(len(first), device=first.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def retrieval(vectors: Tensor) -> float:
    """Return how often the last views of unit vectors (S, V, D) find the subject of the first."""
    gallery = F.normalize(vectors[:, :GALLERY_VIEWS].mean(1), dim=1)
    nearest = (vectors[:, GALLERY_VIEWS:] @ gallery.T).argmax(-1)
    own = torch.arange(len(vectors), device=nearest.device)[:, None]
    return float((nearest == own).float().mean())


def _answers(question: str, words: list[str], *, like: Tensor) -> Tensor:
    return torch.tensor([ATTRIBUTES[question].index(word) for word in words], device=like.device)


def _accuracy(network: Judges, batch: StickerBatch, close: Tensor) -> dict[str, float]:
    whole = shrink(batch.pixels)
    said: dict[str, Tensor] = network.attribute_classifier(whole, close)
    rights = {
        f"{name}_accuracy": (said[name], wanted) for name, wanted in attribute_labels(batch).items()
    }
    rights["scene_accuracy"] = (network.scene_classifier(whole), batch.scene)
    return {
        name: float((logits.argmax(1) == wanted).float().mean())
        for name, (logits, wanted) in rights.items()
    }


def jitter(crops: Crops, generator: torch.Generator) -> Crops:
    """Return crops a little off, as those of generated pictures are."""
    number = 2 * torch.rand(len(crops.side), 3, generator=generator).to(crops.side) - 1
    return Crops(
        centre=crops.centre + CROP_SHIFT * crops.side[:, None] * number[:, :2],
        side=crops.side * (1 + CROP_ZOOM * number[:, 2]),
    )


def _channels_last(pixels: Tensor) -> Tensor:
    return pixels.contiguous(memory_format=torch.channels_last)
