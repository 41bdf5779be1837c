"""Stage of the multi-step teacher: a diffusion model, trained on noise that decides nothing."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import MAP_PREFIX
from swiftpie.backbones.presets import trailing
from swiftpie.backbones.scheduling import STEPS_FILE, StoredSteps
from swiftpie.config import to_json
from swiftpie.imageio.images import contact_sheet, to_pil
from swiftpie.masks import subject_extent
from swiftpie_lab.training.context import PACKAGED, Context
from swiftpie_lab.training.losses import clean_loss, layout_loss, map_loss, noised
from swiftpie_lab.training.stages.distillation.base import (
    NOTHING_DROPPED,
    LoadedModel,
    SceneSettings,
    encode,
    load_model,
    noise_generator,
    predict,
    sample_ddim,
)
from swiftpie_lab.training.stages.one_step.networks import OneStepNetworks, trainable
from swiftpie_lab.training.stages.one_step.stage import fast_precision, subject_figures

if TYPE_CHECKING:
    from swiftpie.attention.condition import Notes


VALIDATION_SEED = 2**31 - 1


@dataclass(frozen=True)
class TeacherConfig:
    """Settings of the stage."""

    start: str = "mini"  # see `load_model`; empty for new weights
    trained: tuple[str, ...] = ()  # parts of names of weights that are trained; () is all
    scenes: SceneSettings = field(default_factory=SceneSettings)
    text_drop: float = 0.1  # share of pictures that lose their prompt, for guidance
    sampling_steps: int = 32
    guidance: float = 1.5  # of progress pictures
    validation_pictures: int = 12

    @property
    def sources(self) -> tuple[str, ...]:
        """The run that it goes on from, or whose autoencoder it uses."""
        return (self.start or PACKAGED,)

    def build(self, context: Context) -> "TeacherStage":
        """Return the stage for the given data and device."""
        return TeacherStage(load_model(context, self.start, scenes=self.scenes), config=self)


@dataclass(frozen=True)
class TeacherStage:
    """Predict clean latents at every timestep, with the true layout given."""

    model: LoadedModel
    config: TeacherConfig

    @property
    def samples_per_step(self) -> int:
        """Pictures that one step sees."""
        return self.model.stage.samples_per_step

    def network(self) -> OneStepNetworks:
        """Return the networks to start from."""
        return trainable(self.model.networks, self.config.trained)

    def losses(self, network: OneStepNetworks, draw: int) -> dict[str, Tensor]:
        """Return latent, mask, layout and map terms.

        The layout predictor learns from the renderer's own noise: in use it reads pure noise.
        """
        stage, config, scenes = self.model.stage, self.config, self.config.scenes
        generator = noise_generator(draw)
        batch = stage.world.batch(scenes.num_subjects, scenes.views, seed=draw)
        notes: Notes = {}
        with fast_precision(batch.noise.device):
            with torch.no_grad():
                clean = stage.autoencoder.encode(batch.pixels).float()
            encoded = encode(
                stage, network, batch, drops=scenes.drops, seed=draw, text_drop=config.text_drop
            )
            # Not with the batch's own noise: that one would tell what the picture is.
            latents, levels = noised(clean, generator)
            prediction = predict(network.denoiser, latents, levels.timesteps, encoded, notes=notes)
            extent = subject_extent(batch.reference_mask).repeat_interleave(scenes.views, dim=0)
            scores = network.layout_predictor(batch.noise, encoded.text.pooled, extent)
        shape = F.interpolate(batch.mask, size=prediction.subject_mask.shape[-2:], mode="area")
        guess = prediction.subject_mask.clamp(1e-5, 1 - 1e-5)
        terms = {
            "latents": clean_loss(prediction.sample, clean, levels).float(),
            "mask": 0.1 * F.binary_cross_entropy(guess, shape),
            "layout": 0.3 * layout_loss(scores, batch.layout),
        }
        maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
        if maps and encoded.has_subject:
            terms["maps"] = 0.03 * map_loss(maps, batch.mask)
        return terms

    @torch.no_grad()
    def sample(self, network: OneStepNetworks, path: Path) -> dict[str, float]:
        """Save reference, sampled picture and another of the same scene; return figures.

        The noise of both differs, so only means over pictures can be compared.
        """
        stage = self.model.stage
        count = self.config.validation_pictures
        batch = stage.held_out.batch(count, 1, seed=VALIDATION_SEED, augment=False)
        with fast_precision(batch.noise.device):
            encoded = encode(stage, network, batch, drops=NOTHING_DROPPED, seed=VALIDATION_SEED)
        noise = torch.randn(batch.noise.shape, generator=noise_generator(0)).to(batch.noise)
        steps, scale = self.config.sampling_steps, self.config.guidance
        clean = sample_ddim(network.denoiser, noise, encoded, steps=steps, scale=scale).sample
        pixels = stage.autoencoder.decode(clean).clamp(-1, 1)
        rows = [to_pil(x) for x in (batch.reference, pixels, batch.pixels)]
        contact_sheet(rows, cell_px=128).save(path)
        return subject_figures(pixels, batch)

    def export(self, network: OneStepNetworks, folder: Path) -> None:
        """Write every part as the one-step stage does, and the steps to take."""
        self.model.stage.export(network, folder)
        steps = StoredSteps(timesteps=trailing(self.config.sampling_steps))
        (folder / STEPS_FILE).write_text(to_json(steps), encoding="utf-8")
