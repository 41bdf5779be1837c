"""What an adapter may learn from beside its photos: a multi-step teacher, and DISTS."""

from dataclasses import dataclass

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from swiftpie.backbones.load.networks import read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.config import Prediction
from swiftpie.errors import ConfigError
from swiftpie.models.denoiser import added_conditions
from swiftpie.types import TextCondition
from swiftpie_lab.training.dists import Dists
from swiftpie_lab.training.losses import draw_levels, matching_loss
from swiftpie_lab.training.stages.adapter.networks import AdapterStageSettings


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen multi-step U-Net, which knows the prompt and no subject."""

    unet: UNet2DConditionModel
    prediction_type: Prediction
    guidance: float  # classifier-free

    def loss(self, clean: Tensor, text: TextCondition, empty: TextCondition, draw: int) -> Tensor:
        """Return how far latents `clean` (B, C, h, w) are off what the teacher makes of them."""
        chance = torch.Generator().manual_seed(draw % 2**63)
        levels = draw_levels(chance, like=clean)
        noise = torch.randn(clean.shape, generator=chance).to(clean)
        both = TextCondition(
            *(torch.cat([a, b.expand_as(a)]) for a, b in zip(text, empty, strict=True))
        )

        def teach(noisy: Tensor, timesteps: Tensor) -> Tensor:
            twice = noisy.repeat(2, 1, 1, 1)
            states = both.hidden_states.to(noisy)
            added = added_conditions(self.unet, twice, both)
            raw = self.unet(twice, timesteps.repeat(2), states, added_cond_kwargs=added).sample
            prompted, blank = raw.double().chunk(2)
            return blank + self.guidance * (prompted - blank)

        return matching_loss(
            teach, clean, noise, levels=levels, prediction_type=self.prediction_type
        )


def open_teacher(settings: AdapterStageSettings, reader: NetworkReader) -> Teacher | None:
    """Return the teacher that settings name; ConfigError if it or its weight is missing."""
    if (settings.teacher is None) == bool(settings.loss.teacher):
        raise ConfigError(
            f"stage.loss.teacher is {settings.loss.teacher:g} and stage.teacher is "
            f"{settings.teacher}. The term needs a weight above 0 and the folder of a multi-step "
            "U-Net. Set both, or neither."
        )
    if settings.teacher is None:
        return None
    unet = read_unet(settings.teacher, reader, name="teacher")
    return Teacher(unet, settings.teacher_predicts, settings.teacher_guidance)


def open_dists(settings: AdapterStageSettings, device: str) -> Dists | None:
    """Return DISTS, where settings name its network."""
    if settings.dists is None:
        return None
    return Dists.read(settings.dists, allow_pickle=settings.allow_pickle).to(device)
