"""Judges of the larger world, trained on true renderings alone."""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.data.world.captions import (
    CLOSE_QUESTIONS,
    NONE,
    POSE_PHRASES,
    VIEW_PHRASES,
    WHOLE_QUESTIONS,
    Asked,
    right_answers,
)
from swiftpie.data.world.world import LEAST_SEEN, World, WorldBatch
from swiftpie.images import contact_sheet, to_pil
from swiftpie.layout import seen_view
from swiftpie.models.judges import (
    WHOLE_PX,
    PictureReader,
    SubjectEmbedder,
    cut,
    shrink,
    subject_crops,
)
from swiftpie.training.context import Context
from swiftpie.training.stages.judges import (
    VALIDATION_SEED,
    VALIDATION_VIEWS,
    contrastive_loss,
    jitter,
    retrieval,
)

UNKNOWN = -100  # the label of a question that a picture does not answer
VIEW_WEIGHT, SQUARED_VIEW = 4.0, 4.0
VIEW_SHARE, POSE_SHARE = 0.5, 0.35  # of the pictures, besides those whose captions ask for one


class WorldJudges(nn.Module):
    """Who a crop shows, and all else that can be asked of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.subject_embedder = SubjectEmbedder(dimensions=128, widths=(40, 80, 112, 128))
        self.picture_reader = PictureReader(
            whole={name: len(answers) for name, answers in WHOLE_QUESTIONS.items()},
            close={name: len(answers) for name, answers in CLOSE_QUESTIONS.items()},
        )


@dataclass(frozen=True)
class WorldJudgesConfig:
    """Settings of the stage."""

    num_subjects: int = 48  # each is told from all the others of its batch
    size_px: int = 128

    def build(self, context: Context) -> "WorldJudgesStage":
        """Return the stage for the given data and device."""
        world = context.larger_world("train", size_px=self.size_px)
        held_out = context.larger_world("held_out", size_px=self.size_px)
        return WorldJudgesStage(world, held_out, config=self)


@dataclass(frozen=True)
class WorldJudgesStage:
    """Pull two pictures of one subject together; answer what captions ask for; tell the view."""

    world: World
    held_out: World
    config: WorldJudgesConfig

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return 2 * self.config.num_subjects

    def network(self) -> WorldJudges:
        """Return new judges with a fixed initialisation."""
        torch.manual_seed(2)
        return WorldJudges().to(self.world.tiles.device)

    def losses(self, network: WorldJudges, step: int) -> dict[str, Tensor]:
        """Return the contrastive term, one for all questions, and that of the view."""
        random = Random(step)
        wanted = [_moved(one, random) for one in self.world.ask(self.samples_per_step, seed=step)]
        batch = self.world.batch(self.config.num_subjects, 2, seed=step, asked=wanted)
        generator = torch.Generator().manual_seed(step)
        close = cut(batch.pixels, jitter(subject_crops(batch.mask), generator))
        with torch.autocast(batch.pixels.device.type, torch.bfloat16):
            vectors = network.subject_embedder(close)
            answers = _read(network, batch, close)
        labels, view = labels_of(batch), answers.pop("view")
        asked = [
            F.cross_entropy(logits, labels[name], ignore_index=UNKNOWN, label_smoothing=0.02)
            for name, logits in answers.items()
            if bool((labels[name] != UNKNOWN).any())
        ]
        apart = (view - seen_view(batch.layout)) * _is_seen(batch)[:, None]
        return {
            "subject": contrastive_loss(vectors[0::2], vectors[1::2]),
            "questions": torch.stack(asked).mean(),
            # Most views are nearly none, which alone would be the best guess of the first term.
            "view": VIEW_WEIGHT * (apart.abs() + SQUARED_VIEW * apart.square()).mean(),
        }

    @torch.no_grad()
    def sample(self, network: WorldJudges, path: Path) -> dict[str, float]:
        """Save the crops of some held-out subjects; return the judges' figures on all."""
        count = len(self.held_out.pool)
        batch = self.held_out.batch(count, VALIDATION_VIEWS, seed=VALIDATION_SEED, augment=False)
        close = cut(batch.pixels, subject_crops(batch.mask))
        rows = [close[i * VALIDATION_VIEWS :][:VALIDATION_VIEWS] for i in range(min(count, 8))]
        contact_sheet([to_pil(row) for row in rows], cell_px=64).save(path)
        vectors = network.subject_embedder(close).unflatten(0, (count, VALIDATION_VIEWS))
        answers = _read(network, batch, close)
        view = answers.pop("view")
        figures = {"retrieval": retrieval(vectors)}
        for name, wanted in labels_of(batch).items():
            known = wanted != UNKNOWN
            right = answers[name].argmax(1)[known] == wanted[known]
            figures[f"{name}_accuracy"] = float(right.float().mean())
        seen = (_is_seen(batch) > 0) & _has_view(batch)
        apart = (view - seen_view(batch.layout))[seen].abs() * 180 / math.pi
        yaw, pitch = apart.median(dim=0).values.tolist()
        return figures | {"yaw_error_degrees": yaw, "pitch_error_degrees": pitch}

    def export(self, network: WorldJudges, folder: Path) -> None:
        """Write the judges in half precision."""
        halves = copy.deepcopy(network).half()
        halves.subject_embedder.save_pretrained(folder / "subject_embedder")
        halves.picture_reader.save_pretrained(folder / "picture_reader")


def _has_view(batch: WorldBatch) -> Tensor:
    """Tell of which pictures a view is asked, (B,)."""
    return torch.tensor([one.view != NONE for one in batch.asked], device=batch.mask.device)


def _moved(asked: Asked, random: Random) -> Asked:
    """Ask for views and poses more often than captions do: they are the hardest to tell."""
    if random.random() < VIEW_SHARE:
        asked = replace(asked, view=random.choice(tuple(VIEW_PHRASES)))
    if random.random() < POSE_SHARE:
        asked = replace(asked, pose=random.choice(tuple(POSE_PHRASES)))
    return asked


def labels_of(batch: WorldBatch) -> dict[str, Tensor]:
    """Return the right answer to each question, (B,) long; `UNKNOWN` where none is to be seen."""
    told = [right_answers(one) for one in batch.asked]
    unseen = _is_seen(batch) == 0
    labels = {}
    for name, answers in {**WHOLE_QUESTIONS, **CLOSE_QUESTIONS}.items():
        rows = [answers.index(one[name]) if name in one else UNKNOWN for one in told]
        right = torch.tensor(rows, device=unseen.device)
        labels[name] = right.masked_fill(unseen, UNKNOWN) if name in CLOSE_QUESTIONS else right
    return labels


def _read(network: WorldJudges, batch: WorldBatch, close: Tensor) -> dict[str, Tensor]:
    answers: dict[str, Tensor] = network.picture_reader(
        shrink(batch.pixels, WHOLE_PX), close, reference_crops(batch)
    )
    return answers


def reference_crops(batch: WorldBatch) -> Tensor:
    """Return the reference of each row's subject, grey around it, (B, 3, 64, 64)."""
    views = len(batch.noise) // len(batch.reference)
    return shrink(batch.reference * batch.reference_mask).repeat_interleave(views, dim=0)


def _is_seen(batch: WorldBatch) -> Tensor:
    return (batch.mask.mean((1, 2, 3)) > LEAST_SEEN).to(batch.mask)
