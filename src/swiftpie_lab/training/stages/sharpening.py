"""The one-step model, trained further with a critic of latent patches, for its textures.

A regression draws the mean of what it cannot predict yet: grass, waves and leaves become haze. The
critic sees noise and latents together, so it learns how grass looks and where its blades belong.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.loop import Update
from swiftpie_lab.training.losses import channel_weights
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks
from swiftpie_lab.training.stages.one_step.stage import OneStepConfig, OneStepStage

CRITIC_SEED = 5  # seed of its first weights
GROUPS = 8


@dataclass(frozen=True)
class SharpeningConfig:
    """Settings of the stage."""

    model: OneStepConfig = field(default_factory=lambda: OneStepConfig(start="mini"))
    adversarial_weight: float = 0.5
    # Weight of the critic's squared gradient, at drawn and true latents.
    steepness_weight: float = 1.0
    critic_width: int = 160

    def build(self, context: Context) -> "SharpeningStage":
        return SharpeningStage(self.model.build(context), self)


class PatchCritic(nn.Module):
    """Latents and the noise they follow from, both (B, C, h, w), to logits (B, 1, h, w).

    A logit sees 7 x 7 cells, 56 px; high means drawn by the renderer.
    """

    weights: Tensor  # (1, C, 1, 1)

    def __init__(self, autoencoder: PatchAutoencoder, *, channels: int, width: int) -> None:
        super().__init__()
        # The root is a compromise: latents that move no pixel also distinguish drawn from true.
        self.register_buffer("weights", channel_weights(autoencoder).detach().sqrt())
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
        logits: Tensor = self.layers(torch.cat([latents * self.weights, noise], dim=1))
        return logits


class ModelAndCritic(nn.Module):
    """The model, and the critic that follows it."""

    def __init__(self, model: OneStepNetworks, critic: PatchCritic) -> None:
        super().__init__()
        self.model = model
        self.critic = critic


@dataclass(frozen=True)
class SharpeningStage:
    """Regress as the one-step stage does, and fool a critic that compares with the truth.

    Drawn and true patches are compared in pairs, and the critic's slope is held down at both
    (arXiv:2501.05441), which needs no other care to stay balanced.
    """

    model: OneStepStage
    config: SharpeningConfig

    @property
    def samples_per_step(self) -> int:
        return self.model.samples_per_step

    @property
    def groups(self) -> Mapping[str, tuple[str, ...]]:
        return {"model": ("model",), "critic": ("critic",)}

    def network(self) -> ModelAndCritic:
        """Return the model to go on from, and a critic with a fixed initialisation."""
        model = self.model.network()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(CRITIC_SEED)
            critic = PatchCritic(
                self.model.autoencoder,
                channels=int(model.denoiser.config.latent_channels),
                width=self.config.critic_width,
            )
        return ModelAndCritic(model, critic.to(self.model.world.tiles.device))

    def updates(
        self,
        network: ModelAndCritic,
        step: int,  # noqa: ARG002  both learn at every one
        draw: int,
    ) -> Iterator[Update]:
        attempt = self.model.attempt(network.model, draw)
        noise, true = attempt.answer.noise.float(), attempt.latents
        drawn = attempt.outcome.prediction.sample.float()
        terms = self.model.terms(network.model, attempt, draw)
        ahead = network.critic(true, noise) - network.critic(drawn, noise)
        terms["adversarial"] = self.config.adversarial_weight * F.softplus(ahead).mean()
        yield Update("model", terms)
        yield Update("critic", self._critic_terms(network.critic, drawn.detach(), true, noise))

    def sample(self, network: ModelAndCritic, path: Path) -> dict[str, float]:
        return self.model.sample(network.model, path)

    def export(self, network: ModelAndCritic, folder: Path) -> None:
        self.model.export(network.model, folder)

    def _critic_terms(
        self, critic: PatchCritic, drawn: Tensor, true: Tensor, noise: Tensor
    ) -> dict[str, Tensor]:
        seen = [latents.clone().requires_grad_(True) for latents in (true, drawn)]
        on_true, on_drawn = (critic(latents, noise) for latents in seen)
        slopes = torch.autograd.grad(on_true.sum() + on_drawn.sum(), seen, create_graph=True)
        steepness = torch.stack([slope.square().sum(1).mean() for slope in slopes]).sum()
        return {
            "critic": F.softplus(on_drawn - on_true).mean(),
            "steepness": self.config.steepness_weight / 2 * steepness,
        }
