"""Stage of improved distribution matching: scores, a discriminator and two time scales."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.critics import RealismHead, middle_features
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import (
    FIRST_COMPARED,
    LAST_COMPARED,
    clean_loss,
    discriminator_loss,
    dmd_gradient,
    generator_loss,
    loss_of_gradient,
    noised,
)
from swiftpie_lab.training.stages.distillation.base import (
    CriticStage,
    Encoded,
    StudentAndCritic,
    StudentConfig,
    noise_generator,
    predict,
    predict_guided,
)
from swiftpie_lab.training.stages.one_step.networks import trainable
from swiftpie_lab.training.stages.one_step.stage import fast_precision


@dataclass(frozen=True)
class Dmd2Config(StudentConfig):
    """Settings of the stage."""

    guidance: float = 1.75  # of the teacher
    student_every: int = 5  # steps of the critic for each of the student
    adversarial_weight: float = 1e-3  # of the discriminator, for the student; 0 leaves it out
    discriminator_weight: float = 1e-2  # for the critic
    regression_weight: float = 0.25  # of the one-step stage's losses; 0 leaves them out

    def build(self, context: Context) -> "Dmd2Stage":
        """Return the stage for the given data and device."""
        return Dmd2Stage(*self.load(context), config=self)


class Critic(nn.Module):
    """Knows how likely the student's pictures are, and tells them from real ones."""

    def __init__(self, denoiser: TinyDenoiser) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.head = RealismHead(int(denoiser.config.widths[-1]))

    def forward(self, noisy: Tensor, timesteps: Tensor, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """Return clean latents for noisy ones (B, C, h, w), and how real they look, (B, 1)."""
        with middle_features(self.denoiser.unet) as middle:
            clean = predict(self.denoiser, noisy, timesteps, encoded).sample
        return clean, self.head(middle[-1]).float()


@dataclass(frozen=True)
class Dmd2Stage(CriticStage[Critic]):
    """Match the student's distribution to the teacher's, and its pictures to real ones.

    From arXiv:2405.14867. Differs from the paper: the renderer's exact pairs may add a regression,
    and the critic's loss is weighed as the teacher's was, because it predicts clean latents.
    """

    config: Dmd2Config

    def network(self) -> StudentAndCritic[Critic]:
        """Return the student to start from and a critic that starts as the teacher."""
        denoiser = copy.deepcopy(self.teacher.denoiser).requires_grad_(requires_grad=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            critic = Critic(denoiser).to(denoiser.device)
        return StudentAndCritic(trainable(self.student.networks), critic)

    def updates(self, network: StudentAndCritic[Critic], step: int, draw: int) -> Iterator[Update]:
        """Move the student at every fifth step, and its critic after it at every step."""
        stage, generator = self.student.stage, noise_generator(draw)
        is_students_turn = step % self.config.student_every == 0
        with torch.set_grad_enabled(is_students_turn):
            batch, generated, encoded = self.generate(
                network.student, draw, scenes=self.config.scenes
            )
        with torch.no_grad(), fast_precision(batch.noise.device):
            real = stage.autoencoder.encode(batch.pixels).float()
        if is_students_turn:
            gradient = self.score_difference(network, generated.detach(), encoded, generator)
            terms = {"distillation": loss_of_gradient(generated, gradient).float()}
            if self.config.adversarial_weight:
                noisy, levels = noised(generated, generator)
                with fast_precision(noisy.device):
                    _, logits = network.critic(noisy, levels.timesteps, encoded)
                terms["adversarial"] = self.config.adversarial_weight * generator_loss(logits)
            if self.config.regression_weight:
                regression = torch.stack([*stage.losses(network.student, draw).values()])
                terms["regression"] = self.config.regression_weight * regression.sum()
            yield Update("student", terms)
        generated = generated.detach()
        yield Update(
            "critic", self._critic_terms(network.critic, generated, real, encoded, generator)
        )

    @torch.no_grad()
    def score_difference(
        self,
        network: StudentAndCritic[Critic],
        generated: Tensor,
        encoded: Encoded,
        generator: torch.Generator,
    ) -> Tensor:
        """Return the gradient for `generated` (B, C, h, w) at a random timestep a sample."""
        noisy, levels = noised(generated, generator, first=FIRST_COMPARED, last=LAST_COMPARED)
        timesteps, scale = levels.timesteps, self.config.guidance
        with fast_precision(noisy.device):
            teacher = predict_guided(self.teacher.denoiser, noisy, timesteps, encoded, scale=scale)
            critic = predict(network.critic.denoiser, noisy, timesteps, encoded)
        return dmd_gradient(generated, teacher.sample, critic.sample)

    def _critic_terms(
        self,
        critic: Critic,
        generated: Tensor,
        real: Tensor,
        encoded: Encoded,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        noisy, levels = noised(generated, generator)
        with fast_precision(noisy.device):
            clean, false_logits = critic(noisy, levels.timesteps, encoded)
        terms = {"critic": clean_loss(clean, generated, levels).float()}
        if self.config.discriminator_weight:
            noisy, levels = noised(real, generator)
            with fast_precision(noisy.device):
                _, true_logits = critic(noisy, levels.timesteps, encoded)
            loss = discriminator_loss(false_logits, true_logits)
            terms["discriminator"] = self.config.discriminator_weight * loss
        return terms
