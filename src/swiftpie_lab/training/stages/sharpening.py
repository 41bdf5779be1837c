"""The one-step model, trained further beside a critic of latent patches, for its textures.

A regression draws the mean of all that it cannot tell yet: grass, waves and leaves come out as
haze. The critic sees noise and latents together, so it knows not only how grass looks but where
its blades belong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.stages.distillation.base import BesideCritic, StudentAndCritic
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage

CRITIC_SEED = 5  # of its first weights
GROUPS = 8


@dataclass(frozen=True)
class SharpeningConfig:
    """Settings of the stage."""

    model: OneStepConfig = field(default_factory=lambda: OneStepConfig(start="mini"))
    adversarial_weight: float = 0.5
    steepness_weight: float = 1.0  # of the critic's squared gradient, at drawn and true latents
    critic_width: int = 160

    @property
    def sources(self) -> tuple[str, ...]:
        """The run that it goes on from."""
        return self.model.sources

    def build(self, context: Context) -> "SharpeningStage":
        """Return the stage for the given data and device."""
        return SharpeningStage(self.model.build(context), self)


class PatchCritic(nn.Module):
    """Latents and the noise they follow from, both (B, C, h, w), to logits (B, 1, h, w).

    A logit sees 7 x 7 cells, 56 px; high means drawn by the renderer.
    """

    weights: Tensor  # (1, C, 1, 1)

    def __init__(self, autoencoder: PatchAutoencoder, *, channels: int, width: int) -> None:
        super().__init__()
        # What moves no pixel tells drawn from true as well as what does; the root goes between.
        self.register_buffer("weights", autoencoder.channel_weights().detach().sqrt())
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv2d(width, 1, 1),
        )

    def forward(self, latents: Tensor, noise: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.layers(torch.cat([latents * self.weights, noise], dim=1))
        return logits


@dataclass(frozen=True)
class SharpeningStage(BesideCritic[PatchCritic]):
    """Regress as the one-step stage does, and fool a critic that compares with the truth.

    Drawn and true patches are compared in pairs, and the critic's slope is held down at both
    (arXiv:2501.05441), which needs no other care to stay balanced.
    """

    model: OneStepStage
    config: SharpeningConfig

    @property
    def one_step(self) -> OneStepStage:
        """The model itself."""
        return self.model

    def network(self) -> StudentAndCritic[PatchCritic]:
        """Return the model to go on from, and a critic with a fixed initialisation."""
        student = self.model.network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(CRITIC_SEED)
            critic = PatchCritic(
                self.model.autoencoder,
                channels=int(student.denoiser.config.latent_channels),
                width=self.config.critic_width,
            )
        return StudentAndCritic(student, critic.to(self.model.world.tiles.device))

    def updates(
        self,
        network: StudentAndCritic[PatchCritic],
        step: int,  # noqa: ARG002  both learn at every one
        draw: int,
    ) -> Iterator[Update]:
        """Move the model, then its critic, by the same pictures."""
        attempt = self.model.attempt(network.student, draw)
        noise, true = attempt.answer.noise.float(), attempt.latents
        drawn = attempt.outcome.prediction.sample.float()
        terms = self.model.terms(network.student, attempt, draw)
        ahead = network.critic(true, noise) - network.critic(drawn, noise)
        terms["adversarial"] = self.config.adversarial_weight * F.softplus(ahead).mean()
        yield Update("student", terms)
        yield Update("critic", self._critic_terms(network.critic, drawn.detach(), true, noise))

    def _critic_terms(
        self, critic: PatchCritic, drawn: Tensor, true: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        seen = [one.clone().requires_grad_(True) for one in (true, drawn)]
        on_true, on_drawn = (critic(one, noise) for one in seen)
        slopes = torch.autograd.grad(on_true.sum() + on_drawn.sum(), seen, create_graph=True)
        steepness = torch.stack([slope.square().sum(1).mean() for slope in slopes]).sum()
        return {
            "critic": F.softplus(on_drawn - on_true).mean(),
            "steepness": self.config.steepness_weight / 2 * steepness,
        }
