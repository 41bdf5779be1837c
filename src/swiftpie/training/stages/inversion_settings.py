"""Settings of the inversion stages of published models, and how they become a stage."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from diffusers import UNet2DConditionModel

from swiftpie.backbones.adapters import wrap_image_encoder
from swiftpie.backbones.components import FAMILIES, Components, load_components
from swiftpie.backbones.preset import PRESETS
from swiftpie.backbones.sources import locate_image_encoder
from swiftpie.backbones.weights import NetworkReader, read_image_encoder, read_unet
from swiftpie.data.photographs import open_whole_photos
from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import PredictionType
from swiftpie.training.context import Context
from swiftpie.training.perceptual import (
    Compare,
    autoencoder_features,
    feature_distance,
    model_features,
)
from swiftpie.training.stages.adapter_examples import make_prompt
from swiftpie.training.stages.adapter_networks import CLIP_WIDTH, new_projector
from swiftpie.training.stages.inversion_published import InversionStage, InversionWeights

if TYPE_CHECKING:
    from swiftpie.backbones.choices import Choices


OWN_PROMPTS = 2000  # of the grammar that stands in for a list of prompts


@dataclass(frozen=True)
class InversionConfig:
    """What is inverted, on which pictures, and how errors weigh."""

    preset: str = "swiftbrush-v2"  # the generator; one that takes one step
    weights: Path | None = None  # as `--weights` of other commands; the hub if none
    base: str | None = None  # as `--base`
    adapter: Path | None = None  # image branch to start from or to keep; a new one if none
    image_encoder: Path | None = None  # CLIP's vision tower; the public one if none
    inversion: Path | None = None  # network to train further; the generator's weights if none
    prompts: Path | None = None  # a text file, a prompt a line; made up if none
    photos: Path | None = None  # a folder; invert these instead of what the generator draws
    teacher: Path | None = None  # folder of a multi-step U-Net, for the score term
    teacher_predicts: PredictionType = PredictionType.EPSILON
    perceptual: Path | None = None  # a vision model of transformers; the autoencoder if none
    terms: InversionWeights = field(default_factory=InversionWeights)
    trains_image_branch: bool = True
    num_tokens: int = 4  # of a new image branch
    wrong_prompts: float = 0.1  # share of photos under another's prompt or none
    batch_size: int = 4
    size_px: int = 0  # 0 is the preset's
    checkpointing: bool = True
    autocast: bool = True
    allow_pickle: bool = False

    def build(self, context: Context) -> InversionStage:
        """Return the stage on the given device.

        Raises:
            CapabilityError: The generator takes several steps, or is the mini model.
            ConfigError: A term lacks what it needs.
            WeightsError: A part is missing or does not fit the others.
        """
        if self.terms.score and self.teacher is None:
            raise ConfigError(
                "stage.terms.score is above 0 and there is no stage.teacher. The score term needs "
                "a multi-step U-Net. Set its folder, or set the weight to 0."
            )
        reader = NetworkReader(context.device, torch.float32, allow_pickle=self.allow_pickle)
        components = self._generator(context.device)
        size_px = self.size_px or components.preset.image_size_px
        components.cells_of((size_px, size_px))
        return InversionStage(
            components,
            encoder=self._encoder(components, reader),
            terms=self.terms,
            batch_size=self.batch_size,
            prompts=self._prompts(),
            photos=None if self.photos is None else open_whole_photos(self.photos, size_px=size_px),
            wrong_prompts=self.wrong_prompts,
            trains_image_branch=self.trains_image_branch,
            teacher=_frozen_unet(self.teacher, reader, name="teacher"),
            teacher_predicts=self.teacher_predicts,
            compares=self._compares(components),
            start=_frozen_unet(self.inversion, reader, name="inversion"),
            size_px=size_px,
            checkpointing=self.checkpointing,
            autocast=self.autocast,
        )

    def _generator(self, device: str) -> Components:
        preset = PRESETS.get(self.preset)
        if not FAMILIES.get(preset.family).takes_adapters or len(preset.timesteps) != 1:
            raise CapabilityError(
                f"Preset {preset.name!r} cannot be inverted by this recipe, which is for Stable "
                "Diffusion models of one step. Choose one of `swiftpie presets`; for the mini "
                "model there is the recipe mini-inversion."
            )
        choices: Choices = {"weights": self.weights, "base": self.base}
        choices |= {"adapter": self.adapter, "allow_pickle": self.allow_pickle}
        if self.adapter is not None:
            choices |= {"image_encoder": self.image_encoder}
        components = load_components(preset, device=device, **choices)
        assert isinstance(components.denoiser, UNetDenoiser)
        components.denoiser.requires_grad_(requires_grad=False)
        return components

    def _encoder(self, components: Components, reader: NetworkReader) -> ClipIdentityEncoder | None:
        """Return what reads the picture to keep: of the adapter, or new where it is trained."""
        if isinstance(components.image_encoder, ClipIdentityEncoder):
            return components.image_encoder
        if not self.trains_image_branch:
            return None
        choices: Choices = {"image_encoder": self.image_encoder}
        usual = new_projector(CLIP_WIDTH, 1, num_tokens=1)
        folder = locate_image_encoder(usual, choices, prefers_half=False)
        tower = read_image_encoder(folder, reader)
        width = components.denoiser.installation.plan.token_width
        projector = new_projector(tower.config.projection_dim, width, num_tokens=self.num_tokens)
        encoder = wrap_image_encoder(tower, projector)
        encoder.requires_grad_(requires_grad=False)
        return encoder

    def _prompts(self) -> list[str]:
        if self.prompts is None:
            seeds = (torch.Generator().manual_seed(seed) for seed in itertools.count())
            return [make_prompt(next(seeds)).rich for _ in range(OWN_PROMPTS)]
        try:
            lines = self.prompts.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError) as error:
            raise InputError(
                f"The prompts in '{self.prompts}' cannot be read ({error}). A text file with a "
                "prompt a line is needed. Check the path."
            ) from error
        if not (prompts := [line.strip() for line in lines if line.strip()]):
            raise InputError(f"'{self.prompts}' is empty; a prompt a line is needed. Add some.")
        return prompts

    def _compares(self, components: Components) -> list[Compare]:
        if not self.terms.pixels:
            return []
        if self.perceptual is not None:
            return [feature_distance(model_features(self.perceptual, components.device))]
        assert isinstance(components.autoencoder, LatentAutoencoder)
        return [feature_distance(autoencoder_features(components.autoencoder))]


def _frozen_unet(
    folder: Path | None, reader: NetworkReader, *, name: str
) -> UNet2DConditionModel | None:
    return None if folder is None else read_unet(folder, reader, name=name)
