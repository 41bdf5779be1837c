"""The layout predictor of a trained model, trained further without a picture being drawn."""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import subject_extent
from swiftpie.mini.layout_predictor import LayoutPredictor, LayoutScores
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_lab.training.losses import layout_loss
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage
from swiftpie_world.captions import NONE, SpecShares
from swiftpie_world.sampler import PlacedSubjects

OFTEN = SpecShares(pose=0.5)  # of seven poses, what is rare otherwise
BENT = math.radians(10)  # a bend that one sees


@dataclass(frozen=True)
class LayoutConfig:
    """Settings of the stage."""

    start: str = "mini"  # "mini", a run or a folder of exported weights whose predictor it is
    num_subjects: int = 32
    views: int = 12  # places of each
    validation_pictures: int = 384
    shares: SpecShares = OFTEN

    @property
    def sources(self) -> tuple[str, ...]:
        """The run that it goes on from."""
        return (self.start,)

    def build(self, context: Context) -> "LayoutStage":
        """Return the stage for the given data and device."""
        model = OneStepConfig(start=self.start, shares=self.shares)
        return LayoutStage(model.build(context), self)


@dataclass(frozen=True)
class LayoutStage:
    """Predict where noise and words place subjects; text and all other networks stay fixed."""

    model: OneStepStage  # what the predictor belongs to
    config: LayoutConfig

    @property
    def samples_per_step(self) -> int:
        """Places that one step sees."""
        return self.config.num_subjects * self.config.views

    def network(self) -> LayoutPredictor:
        """Return a copy of the predictor; only its layers that place are trained."""
        predictor = copy.deepcopy(self.model.initial.layout_predictor).train()
        predictor.requires_grad_(requires_grad=False)
        predictor.layers.requires_grad_(requires_grad=True)
        return predictor

    def losses(self, network: LayoutPredictor, step: int) -> dict[str, Tensor]:
        """Return how far places and poses are off."""
        placed = self.model.world.placed(self.config.num_subjects, self.config.views, seed=step)
        return {"layout": layout_loss(self._predicted(network, placed), placed.layout)}

    @torch.no_grad()
    def sample(self, network: LayoutPredictor, path: Path) -> dict[str, float]:
        """Save the held-out subjects that are placed; return how far their places are off."""
        count = self.config.validation_pictures
        placed = self.model.held_out.placed(count, 1, seed=VALIDATION_SEED)
        scores = self._predicted(network, placed)
        guess, truth = scores.layout, placed.layout
        contact_sheet([to_pil(2 * placed.frames[:12, :3] - 1)], cell_px=128).save(path)
        turn = guess.rotation - truth.rotation
        apart = (guess.pose - truth.pose).abs()
        is_bent = truth.pose[:, 3].abs() > BENT
        right_way = guess.pose[is_bent, 3] * truth.pose[is_bent, 3].sign() > BENT
        is_held = torch.tensor([spec.accessory != NONE for spec in placed.specs])
        size = (guess.scale / truth.scale).log().abs()
        return {
            "validation": float(layout_loss(scores, truth)),
            "centre": float((guess.centre - truth.centre).norm(dim=1).median()),
            "size": float(size.median()),
            "size_with_something": float(size[is_held].median()),
            "rotation_degrees": _degrees(torch.atan2(turn.sin(), turn.cos()).abs()),
            "yaw_degrees": _degrees(apart[:, 0]),
            "pitch_degrees": _degrees(apart[:, 1]),
            "bent": float(right_way.float().mean()),
            "flip": float((guess.flip == truth.flip).float().mean()),
        }

    def export(self, network: LayoutPredictor, folder: Path) -> None:
        """Write the whole model with this predictor, as `OneStepStage` does."""
        self.model.export_with(network, folder)

    def _predicted(self, network: LayoutPredictor, placed: PlacedSubjects) -> LayoutScores:
        with torch.no_grad():
            text = self.model.encode_text(self.model.initial, placed.captions).pooled
        extent = subject_extent(placed.frames[:, 3:])
        extent = extent.repeat_interleave(len(placed.noise) // len(extent), dim=0)
        scores: LayoutScores = network(placed.noise, text, extent)
        return scores


def _degrees(angles: Tensor) -> float:
    return float(torch.rad2deg(angles).median())
