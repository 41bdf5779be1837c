"""Stage of reflow: regress in one step what the teacher makes of the same noise in many."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.errors import WeightsError
from swiftpie.imageio.atomic import atomic_file
from swiftpie.models.denoiser import Prediction
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.perceptual import picture_distance
from swiftpie_lab.training.stages.distillation.base import (
    StudentConfig,
    StudentStage,
    encode_for_teacher,
    predict_once,
    sample_ddim,
)
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks, trainable
from swiftpie_lab.world.sampler import WorldBatch


@dataclass(frozen=True)
class ReflowConfig(StudentConfig):
    """Settings of the stage."""

    start: str = "mini_teacher"
    sampling_steps: int = 32
    guidance: float = 1.5
    num_batches: int = 500  # of pairs, used again and again; 0 makes new ones for every step
    pairs: str = "mini_reflow/pairs"  # where they are kept, below the folder of all runs
    pixel_weight: float = 0.5
    pixel_samples: int = 6  # pictures of a batch that are decoded

    def build(self, context: Context) -> "ReflowStage":
        """Return the stage for the given data and device."""
        return ReflowStage(*self.load(context), context.runs / self.pairs, config=self)


class Pairs(NamedTuple):
    """One batch with the teacher's answer to it."""

    batch: WorldBatch
    seed: int  # of what is withheld
    answer: Prediction  # clean latents (B, C, h, w) and the teacher's mask


@dataclass(frozen=True)
class ReflowStage(StudentStage):
    """Distil pairs of noise and picture, as in arXiv:2309.06380, from a DDIM sampler.

    Differs from the paper: the teacher's sampling path is not straightened first, because at 32
    deterministic steps its map from noise to picture is fixed already.
    """

    folder: Path  # of the pairs
    config: ReflowConfig

    def network(self) -> OneStepNetworks:
        """Return the student to start from."""
        return trainable(self.student.networks)

    def losses(self, network: OneStepNetworks, draw: int) -> dict[str, Tensor]:
        """Return latent, mask and (if weighted) pixel terms."""
        pairs = self.pairs(draw)
        stage, wanted = self.student.stage, pairs.answer
        drops = self.config.scenes.drops
        prediction = predict_once(stage, network, pairs.batch, drops=drops, seed=pairs.seed)
        weight = stage.autoencoder.channel_weights()
        guess = prediction.subject_mask.clamp(1e-5, 1 - 1e-5)
        terms = {
            "latents": (weight * (prediction.sample - wanted.sample).square()).mean(),
            "mask": 0.1 * F.binary_cross_entropy(guess, wanted.subject_mask),
        }
        if self.config.pixel_weight:
            # Of some pictures, evenly spread over the subjects of the batch.
            chosen = slice(None, None, max(1, len(wanted.sample) // self.config.pixel_samples))
            with torch.autocast(wanted.sample.device.type, torch.bfloat16):
                drawn = stage.autoencoder.decode(prediction.sample[chosen]).float()
                truth = stage.autoencoder.decode(wanted.sample[chosen]).float()
            terms["pixels"] = self.config.pixel_weight * picture_distance(drawn, truth)
        return terms

    def sample(self, network: OneStepNetworks, path: Path) -> dict[str, float]:
        """Save and judge one-step pictures of held-out subjects."""
        return self.student.stage.sample(network, path)

    def export(self, network: OneStepNetworks, folder: Path) -> None:
        """Write the student as the one-step stage does."""
        self.student.stage.export(network, folder)

    def pairs(self, draw: int) -> Pairs:
        """Return the batch of `draw` with the teacher's answer, made now or read from a file.

        Raises:
            WeightsError: The file is damaged, or of other pictures.
        """
        count = self.config.num_batches
        seed = draw % count if count else draw
        scenes = self.config.scenes
        batch = self.student.stage.world.batch(scenes.num_subjects, scenes.views, seed=seed)
        path = self.folder / f"{seed:06d}.safetensors"
        if count and path.is_file():
            return Pairs(batch, seed, _stored_answer(path, batch))
        answer = self._teacher_answer(batch, seed)
        if count:
            path.parent.mkdir(parents=True, exist_ok=True)
            halves = {name: x.half().cpu().contiguous() for name, x in answer._asdict().items()}
            with atomic_file(path) as unfinished:
                save_file(halves, unfinished)
        return Pairs(batch, seed, answer)

    @torch.no_grad()
    def _teacher_answer(self, batch: WorldBatch, seed: int) -> Prediction:
        stage, drops = self.student.stage, self.config.scenes.drops
        encoded = encode_for_teacher(stage, self.teacher, batch, drops=drops, seed=seed)
        steps, scale = self.config.sampling_steps, self.config.guidance
        answer = sample_ddim(self.teacher.denoiser, batch.noise, encoded, steps=steps, scale=scale)
        # What a file holds, so that new and stored pairs are the same.
        return Prediction(*(value.half().float() for value in answer))


def _stored_answer(path: Path, batch: WorldBatch) -> Prediction:
    stored = {name: value.to(batch.noise) for name, value in read_tensors(path).items()}
    is_whole = stored.keys() == {*Prediction._fields}
    if not is_whole or stored["sample"].shape != batch.noise.shape:
        raise WeightsError(
            f"'{path}' is no answer of the teacher to these pictures. One of the same settings is "
            "needed. Remove it, and it is made anew."
        )
    return Prediction(**stored)
