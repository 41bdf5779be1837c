"""Parts of the layout predictor of a trained model, trained further without the denoiser."""

import copy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.geometry.shading import Lighting
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import subject_extent
from swiftpie.mini.layout_predictor import LayoutPredictor, LayoutScores
from swiftpie_lab.training.context import VALIDATION_SEED, Context
from swiftpie_lab.training.losses import layout_loss, light_loss, vote_loss
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage, fast_precision
from swiftpie_world.captions import SpecShares
from swiftpie_world.lighting import REFERENCE_NUMBERS, light_of_reference
from swiftpie_world.sampler import NOISE_CELLS, NOISE_CHANNELS, PlacedSubjects
from swiftpie_world.subjects import Split

LOOKS = ("reference", "own", "scenery", "mood", "vote")  # parts of a reader that look at pictures
PROMPT = "a photo of a subject"  # the prompt of all pictures
MIRRORED_SHARE = 0.5


@dataclass(frozen=True)
class LightConfig:
    """Settings of the stage."""

    start: str = "mini_world"  # the run or the folder of exported weights whose reader it is
    num_pictures: int = 48  # a step, and as many references
    validation_pictures: int = 192

    def build(self, context: Context) -> "LightStage":
        config = OneStepConfig(start=self.start, sceneries=self.num_pictures)
        return LightStage(config.build(context), self)


class LightSample(NamedTuple):
    """The reader's inputs for B pictures and references, and the true lights."""

    pixels: Tensor  # (B, 3, R, R) references in [-1, 1], grey around
    mask: Tensor  # (B, 1, R, R)
    given: Tensor  # (B, 4, R, R) as `LightReader` takes it
    shows: Tensor  # (B, 1, R, R) things that stand in the light
    truth: Lighting

    def mirrored(self, rows: Tensor) -> "LightSample":
        """Return the same with some `rows` (B,) seen in a mirror, light and all."""
        is_seen_so = rows.view(-1, 1, 1, 1)
        pixels, mask, given, shows = (
            torch.where(is_seen_so, tensor.flip(-1), tensor)
            for tensor in (self.pixels, self.mask, self.given, self.shows)
        )
        sign = 1 - 2 * rows.to(self.given)
        sides = torch.stack([sign, torch.ones_like(sign), torch.ones_like(sign)], dim=1)
        lights = (light._replace(direction=light.direction * sides) for light in self.truth)
        return LightSample(pixels, mask, given, shows, Lighting(*lights))


@dataclass(frozen=True)
class LightStage:
    """Read the light of references and of off-distribution pictures; text stays fixed."""

    model: OneStepStage  # what the reader belongs to
    config: LightConfig

    @property
    def samples_per_step(self) -> int:
        return self.config.num_pictures

    def network(self) -> LayoutPredictor:
        """Return a copy of the predictor; only its parts that read pictures are trained."""
        predictor = copy.deepcopy(self.model.initial.layout_predictor).train()
        predictor.requires_grad_(requires_grad=False)
        for part in LOOKS:
            getattr(predictor.light_reader, part).requires_grad_(requires_grad=True)
        return predictor

    def losses(self, network: LayoutPredictor, step: int) -> dict[str, Tensor]:
        """Return the errors of lights, read from whole pictures and by single cells."""
        seen = self.shown(self.samples_per_step, seed=step)
        chance = torch.rand(self.samples_per_step, generator=torch.Generator().manual_seed(step))
        seen = seen.mirrored(chance.to(seen.given.device) < MIRRORED_SHARE)
        with fast_precision(seen.given.device):
            found = self._read(network, seen, seed=step)
            votes = network.light_reader.look(seen.given)[1]
        return {
            "light": light_loss(found, seen.truth),
            "votes": vote_loss(votes, seen.truth.scene, seen.shows),
        }

    @torch.no_grad()
    def sample(self, network: LayoutPredictor, path: Path) -> dict[str, float]:
        """Save pictures with held-out subjects; return how far their lights are off."""
        count = self.config.validation_pictures
        seen = self.shown(count, seed=VALIDATION_SEED, split="held_out")
        found = self._read(network, seen, seed=VALIDATION_SEED)
        shown = (seen.pixels, seen.given[:, :3])
        contact_sheet([to_pil(tensor[:12]) for tensor in shown], cell_px=128).save(path)
        return {"validation": float(light_loss(found, seen.truth))}

    def export(self, network: LayoutPredictor, folder: Path) -> None:
        self.model.export_with(network, folder)

    def shown(self, count: int, *, seed: int, split: Split = "train") -> LightSample:
        """Draw references, and off-distribution pictures that are independent of them."""
        world = self.model.world if split == "train" else self.model.held_out
        scenery, generator = world.scenery(count, seed=seed), torch.Generator().manual_seed(seed)
        numbers = torch.rand(count, 16, generator=generator).to(scenery.given)
        pixels, mask = world.references(Random(seed).choices(world.pool, k=count), numbers)
        own = light_of_reference(numbers[:, -REFERENCE_NUMBERS:])
        truth = Lighting(own.illumination(), scenery.light.illumination())
        return LightSample(pixels * mask, mask, scenery.given, scenery.shows, truth)

    def _read(self, network: LayoutPredictor, seen: LightSample, *, seed: int) -> Lighting:
        """Read the lights of pictures, with unrelated noise and a plain prompt."""
        count = len(seen.given)
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, NOISE_CHANNELS, *NOISE_CELLS, generator=generator)
        with torch.no_grad():
            text = self.model.encode_text(self.model.initial, [PROMPT]).pooled.expand(count, -1)
        return network.light(
            noise.to(seen.given), text, pixels=seen.pixels, mask=seen.mask, given=seen.given
        )


OFTEN = SpecShares(pose=0.5)  # one of seven poses, rare otherwise, in half of the pictures


@dataclass(frozen=True)
class LayoutConfig:
    """Settings of the stage."""

    start: str = "mini"  # "mini", a run or a folder of exported weights whose predictor it is
    num_subjects: int = 32
    views: int = 12  # places of each
    validation_pictures: int = 384
    shares: SpecShares = OFTEN

    def build(self, context: Context) -> "LayoutStage":
        model = OneStepConfig(start=self.start, shares=self.shares)
        return LayoutStage(model.build(context), self)


@dataclass(frozen=True)
class LayoutStage:
    """Predict where noise and words place subjects; text and all other networks stay fixed."""

    model: OneStepStage  # what the predictor belongs to
    config: LayoutConfig

    @property
    def samples_per_step(self) -> int:
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
        contact_sheet([to_pil(2 * placed.frames[:12, :3] - 1)], cell_px=128).save(path)
        return {"validation": float(layout_loss(scores, placed.layout))}

    def export(self, network: LayoutPredictor, folder: Path) -> None:
        self.model.export_with(network, folder)

    def _predicted(self, network: LayoutPredictor, placed: PlacedSubjects) -> LayoutScores:
        with torch.no_grad():
            text = self.model.encode_text(self.model.initial, placed.captions).pooled
        extent = subject_extent(placed.frames[:, 3:])
        extent = extent.repeat_interleave(len(placed.noise) // len(extent), dim=0)
        scores: LayoutScores = network(placed.noise, text, extent)
        return scores
