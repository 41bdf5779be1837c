"""Networks out of folders in the layout of diffusers, one function for each kind."""

from collections.abc import Callable
from dataclasses import dataclass, field
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

from swiftpie.backbones.preset import Family
from swiftpie.backbones.weights import own_memory, read_network, weight_files
from swiftpie.errors import WeightsError
from swiftpie.models.text import Pooling, TextTower, TwoTextTowers

HALVES = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads networks alike, and notes which files it read, for the fingerprint."""

    device: str
    dtype: torch.dtype
    allow_pickle: bool
    files: dict[str, Path] = field(default_factory=dict)

    def read(
        self,
        name: str,
        folder: Path,
        build: Callable[[Path], nn.Module],
        *,
        weights: Path | None = None,
    ) -> Any:  # noqa: ANN401 - any network
        """Return the network `name` whose config is in `folder`; `weights` is a file elsewhere.

        Raises:
            WeightsError: A file is missing, or does not fit the network.
        """
        if not (folder / "config.json").is_file():
            raise WeightsError(
                f"There is no config.json in '{folder}'. A folder in the layout of diffusers is "
                f"needed for the network {name!r}. Check the path, or get it again."
            )
        files = self.files_in(folder) if weights is None else [weights]
        self.files.update({f"{name} {number}": file for number, file in enumerate(files)})
        network = read_network(
            lambda: build(folder),
            files,
            dtype=self.dtype,
            allow_pickle=self.allow_pickle,
        ).to(self.device)
        own_memory(network)
        return network

    def files_in(self, folder: Path) -> list[Path]:
        """Return the files of one network, of the variant that suits the type."""
        return weight_files(
            folder, prefers_half=self.dtype in HALVES, allow_pickle=self.allow_pickle
        )


def read_unet(
    folder: Path, reader: Reader, *, name: str = "unet", weights: Path | None = None
) -> UNet2DConditionModel:
    """Return a U-Net; `weights` is a file in place of the folder's own."""
    unet: UNet2DConditionModel = reader.read(name, folder, _unet, weights=weights)
    return unet


def read_text(folder: Path, reader: Reader, family: Family) -> TextTower | TwoTextTowers:
    """Return the text towers of a pipeline with their tokenizers."""

    def build(where: Path) -> nn.Module:
        return CLIPTextModel(CLIPTextConfig.from_pretrained(where))

    def build_second(where: Path) -> nn.Module:
        return CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(where))

    first = TextTower(
        _read_tokenizer(folder / "tokenizer"),
        reader.read("text_encoder", folder / "text_encoder", build),
        Pooling.END,
    )
    if family is not Family.SDXL:
        return first
    return TwoTextTowers(
        first,
        _read_tokenizer(folder / "tokenizer_2"),
        reader.read("text_encoder_2", folder / "text_encoder_2", build_second),
    )


def _read_tokenizer(folder: Path) -> CLIPTokenizer:
    if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise WeightsError(
            f"There is no vocab.json in '{folder}'. A tokenizer is needed to read prompts. Check "
            "the path, or get the folder again."
        )
    try:
        return CLIPTokenizer.from_pretrained(folder)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise WeightsError(f"The tokenizer in '{folder}' is damaged. Get it again.") from error


def read_autoencoder(folder: Path, reader: Reader) -> AutoencoderKL | AutoencoderTiny:
    """Return the autoencoder of a pipeline, large or tiny."""

    def build(place: Path) -> nn.Module:
        config = AutoencoderKL.load_config(place)
        is_tiny = config.get("_class_name") == AutoencoderTiny.__name__
        network: nn.Module = (AutoencoderTiny if is_tiny else AutoencoderKL).from_config(config)
        return network

    autoencoder: AutoencoderKL | AutoencoderTiny = reader.read("vae", folder / "vae", build)
    return widened(autoencoder)


def widened(autoencoder: AutoencoderKL | AutoencoderTiny) -> AutoencoderKL | AutoencoderTiny:
    """Return the same network, in float32 where float16 would overflow in it."""
    if autoencoder.dtype is torch.float16 and autoencoder.config.get("force_upcast", False):
        autoencoder.float()  # as Stable Diffusion XL's
    return autoencoder


def width_of(text: TextTower | TwoTextTowers) -> int:
    """Return the width of a token's state."""
    if isinstance(text, TwoTextTowers):
        return int(text.second.config.hidden_size) + width_of(text.first)
    return int(text.encoder.config.hidden_size)


def read_image_encoder(folder: Path, reader: Reader) -> CLIPVisionModelWithProjection:
    """Return CLIP's vision tower."""

    def build(where: Path) -> nn.Module:
        return CLIPVisionModelWithProjection(CLIPVisionConfig.from_pretrained(where))

    tower: CLIPVisionModelWithProjection = reader.read("image_encoder", folder, build)
    return tower


def _unet(folder: Path) -> nn.Module:
    unet: nn.Module = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder))
    return unet
