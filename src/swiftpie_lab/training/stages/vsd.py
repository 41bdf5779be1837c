"""Stage of variational score distillation: a low-rank copy of the teacher follows the student."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.models.tiny import TinyDenoiser
from swiftpie.types import TextCondition
from swiftpie_lab.judges import SceneClassifier, SubjectEmbedder, cut, shrink, subject_crops
from swiftpie_lab.stickers.stickers import SceneBatch, StickerBatch
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import add_low_rank, without_low_rank
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import (
    FIRST_COMPARED,
    LAST_COMPARED,
    clean_loss,
    linear_decay,
    loss_of_gradient,
    noise_of,
    noised,
    shortfall,
    vsd_gradient,
)
from swiftpie_lab.training.perceptual import packaged_judge
from swiftpie_lab.training.stages.distillation import (
    CriticStage,
    Encoded,
    StudentAndCritic,
    StudentConfig,
    noise_generator,
    predict,
    predict_guided,
)
from swiftpie_lab.training.stages.one_step import fast_precision
from swiftpie_lab.training.stages.one_step_networks import trainable
from swiftpie_lab.training.stages.one_step_tasks import rows_where

Similarity = Callable[[Tensor, SceneBatch, Tensor], Tensor]
"""Takes pixels (B', 3, H, W) in [-1, 1], a batch and the rows of it that they are for, (B',).

Returns (B',), high for pictures that show what they should.
"""


@dataclass(frozen=True)
class VsdConfig(StudentConfig):
    """Settings of the stage."""

    guidance: float = 4.5
    rank: int = 64
    alpha: int = 108  # the low-rank change is scaled by alpha / rank
    text_drop: float = 0.1  # share of prompts that the low-rank copy does not see
    similarity_weight: float = 0.1  # at the first step; 0 leaves the term out
    similarity_threshold: float = 0.8  # what is similar enough
    similarity_steps: int = 2000  # after which the weight is 0
    similarity_samples: int = 6  # pictures of a batch that are decoded and judged

    def build(self, context: Context) -> "VsdStage":
        """Return the stage for the given data and device, with the packaged judges."""
        return VsdStage(*self.load(context), load_similarity(context.device), config=self)


@dataclass(frozen=True)
class VsdStage(CriticStage[TinyDenoiser]):
    """Move the student to where the teacher sees more likely pictures than its copy does.

    From arXiv:2312.05239, with the clamped similarity of arXiv:2408.14176. Differs from both: the
    copy's loss is weighed as the teacher's was, because these networks predict clean latents.
    """

    similarity: Similarity
    config: VsdConfig

    def network(self) -> StudentAndCritic[TinyDenoiser]:
        """Return the student to start from and the teacher with a low-rank change of zero."""
        denoiser = copy.deepcopy(self.teacher.denoiser)
        add_low_rank(denoiser.unet, rank=self.config.rank, alpha=self.config.alpha)
        return StudentAndCritic(trainable(self.student.networks), denoiser)

    def updates(
        self, network: StudentAndCritic[TinyDenoiser], step: int, draw: int
    ) -> Iterator[Update]:
        """Move the student by the difference of the scores, then the copy to the student."""
        generator = noise_generator(draw)
        batch, generated, encoded = self.generate(network.student, draw, scenes=self.config.scenes)
        gradient = self.score_difference(network.critic, generated.detach(), encoded, generator)
        terms = {"distillation": loss_of_gradient(generated, gradient).float()}
        weight = self.similarity_weight(step)
        if weight and encoded.has_subject:
            # Of some decoded pictures, evenly spread over the subjects of the batch.
            stride = max(1, len(generated) // self.config.similarity_samples)
            rows = torch.arange(0, len(generated), stride, device=generated.device)
            with torch.autocast(generated.device.type, torch.bfloat16):
                pixels = self.student.stage.autoencoder.decode(generated[rows])
            likeness = self.similarity(pixels.float(), batch, rows)
            terms["similarity"] = weight * shortfall(likeness, self.config.similarity_threshold)
        yield Update("student", terms)
        noisy, levels = noised(generated.detach(), generator)
        dropped = torch.rand(len(noisy), generator=generator) < self.config.text_drop
        seen = encoded._replace(text=drop_text(encoded, dropped.to(noisy.device)))
        with fast_precision(noisy.device):
            prediction = predict(network.critic, noisy, levels.timesteps, seen)
        loss = clean_loss(prediction.sample, generated.detach(), levels).float()
        yield Update("critic", {"critic": loss})

    @torch.no_grad()
    def score_difference(
        self, critic: TinyDenoiser, generated: Tensor, encoded: Encoded, generator: torch.Generator
    ) -> Tensor:
        """Return the gradient for `generated` (B, C, h, w) at a random timestep a sample."""
        noisy, levels = noised(generated, generator, first=FIRST_COMPARED, last=LAST_COMPARED)
        scale, timesteps = self.config.guidance, levels.timesteps
        with fast_precision(noisy.device):
            changed = predict_guided(critic, noisy, timesteps, encoded, scale=scale).sample
            with without_low_rank(critic.unet):
                original = predict_guided(critic, noisy, timesteps, encoded, scale=scale).sample
        teacher, copied = (noise_of(noisy, clean, levels) for clean in (original, changed))
        return vsd_gradient(teacher, copied, levels)

    def similarity_weight(self, step: int) -> float:
        """Return the weight of the similarity at `step`, falling linearly to 0."""
        config = self.config
        return linear_decay(config.similarity_weight, step=step, last=config.similarity_steps)


def drop_text(encoded: Encoded, dropped: Tensor) -> TextCondition:
    """Return the prompts of `encoded`, empty in the rows where `dropped` (B,) is true."""
    return TextCondition(*rows_where(dropped, encoded.no_text, encoded.text))


def load_similarity(device: str) -> Similarity:
    """Return the packaged judges' mean likeness of subject and scene, in [-1, 1].

    Whoever trains by it cannot be judged by these judges afterwards.
    """
    embedder = packaged_judge(SubjectEmbedder, "subject_embedder", device)
    classifier = packaged_judge(SceneClassifier, "scene_classifier", device)

    def similarity(pixels: Tensor, batch: SceneBatch, rows: Tensor) -> Tensor:
        assert isinstance(batch, StickerBatch), "these judges know sticker scenes"
        crops = subject_crops(batch.mask[rows])
        subject = (embedder(cut(pixels, crops)) * embedder(cut(batch.pixels[rows], crops))).sum(1)
        scores = classifier(shrink(pixels)).softmax(dim=1)
        scene = scores.gather(1, batch.scene[rows, None]).squeeze(1)
        return (subject + scene) / 2

    return similarity
