"""Loads presets of the Stable Diffusion families from folders in the layout of diffusers."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from swiftpie.attention.install import Plan
from swiftpie.backbones.adapters import (
    OpenAdapter,
    check_family,
    check_image_encoder,
    fill,
    open_adapter,
)
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components
from swiftpie.backbones.lora import fuse_lora_file
from swiftpie.backbones.preset import Family, Preset
from swiftpie.backbones.scheduling import schedule_of
from swiftpie.backbones.sources import Sources, locate
from swiftpie.backbones.weights import fingerprint_files, read_network, weight_files
from swiftpie.errors import WeightsError
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.latents import LatentAutoencoder
from swiftpie.models.projection import Projector
from swiftpie.models.text import Pooling, PromptEncoder, TextTower, TwoTextTowers
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import scaled_linear_step

REFERENCE_TIMESTEP = 250  # little noise: the reference U-Net still sees every detail
HALVES = (torch.float16, torch.bfloat16)
IMAGE_ENCODER = "image_encoder"  # folder of a pipeline; most have none


@dataclass(frozen=True, eq=False)
class _Reader:
    """Reads networks alike, and remembers the files for the fingerprint."""

    dtype: torch.dtype
    allow_pickle: bool
    files: dict[str, Path] = field(default_factory=dict)

    def read(
        self, name: str, folder: Path, build: Callable[[Path], nn.Module], **changes: Any
    ) -> Any:  # noqa: ANN401 - any network
        """Return the network `name` whose config is in `folder`.

        `changes` are `weights`, a file of other weights, and `dtype`.
        """
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"There is no config.json in '{folder}'. A folder in the layout of diffusers, "
                f"with '{name}' in it, is needed. Check the path, or get it again."
            )
        weights = changes.get("weights")
        files = [weights] if weights else self.files_in(folder)
        self.files.update({f"{name} {number}": file for number, file in enumerate(files)})
        return read_network(
            lambda: build(folder),
            files,
            dtype=changes.get("dtype", self.dtype),
            allow_pickle=self.allow_pickle,
        )

    def files_in(self, folder: Path) -> list[Path]:
        """Return the files of one network, of the variant that suits the type."""
        return weight_files(
            folder, prefers_half=self.dtype in HALVES, allow_pickle=self.allow_pickle
        )
