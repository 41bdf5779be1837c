"""Networks of published pipelines, read from folders in the layout of diffusers."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ConfigMixin,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from torch import nn
from transformers import CLIPVisionModelWithProjection, PretrainedConfig, PreTrainedModel

from swiftpie.backbones.load.weights import NetworkReader, check_config, check_settings
from swiftpie.errors import WeightsError, short_reason

Config = TypeVar("Config", bound=PretrainedConfig)
PublicAutoencoder: TypeAlias = "AutoencoderKL | AutoencoderTiny"
MOTION_LORA_SCALE = 0.8  # AnimateLCM's LoRA in diffusers' examples.


def read_config(folder: Path, name: str, network: type[ConfigMixin]) -> dict[str, Any]:
    """Return the settings of a network of diffusers that is not loaded, defaults included."""
    parameters = inspect.signature(network.__init__).parameters.values()
    stored = _stored(folder, name, network.load_config)
    defaults = {
        parameter.name: parameter.default for parameter in parameters if parameter.name != "self"
    }
    return defaults | dict(stored)


def read_clip_config(folder: Path, name: str, kind: type[Config]) -> Config:
    """Return the settings of a network of transformers that is not loaded."""
    config: Config = _stored(folder, name, kind.from_pretrained)
    return config


def built(kind: Any, folder: Path) -> nn.Module:  # noqa: ANN401 - a class of a library
    """Return a network of the settings in `folder`, whose weights come later.

    Its class is one of diffusers, or of transformers.
    """
    if issubclass(kind, PreTrainedModel):
        return kind(kind.config_class.from_pretrained(folder))
    network: nn.Module = kind.from_config(kind.load_config(folder))
    return network


def read_unet(
    folder: Path, reader: NetworkReader, *, name: str = "unet", weights: Path | None = None
) -> UNet2DConditionModel:
    """Return a U-Net; `weights` is a file in place of the folder's own."""
    build = partial(built, UNet2DConditionModel)
    unet: UNet2DConditionModel = reader.read(name, folder, build, weights=weights)
    return unet


def read_motion(place: Path, reader: NetworkReader, *, unet: Path) -> MotionAdapter:
    """Return the motion modules in a folder, or in a file for the U-Net with settings in `unet`."""
    if place.is_dir():
        modules = reader.read("motion", place, partial(built, MotionAdapter))
    else:
        modules = reader.read("motion", unet, fitting_motion, weights=place)
    assert isinstance(modules, MotionAdapter), "as it was built"
    return modules


def fitting_motion(folder: Path) -> MotionAdapter:
    """Return motion modules for a U-Net with the settings in `folder`; weights come later."""
    settings = read_config(folder, "unet", UNet2DConditionModel)
    return MotionAdapter(
        block_out_channels=settings["block_out_channels"],
        motion_layers_per_block=settings["layers_per_block"],
        motion_norm_num_groups=settings["norm_num_groups"],
    )


def moving(unet: UNet2DConditionModel, modules: MotionAdapter) -> UNetMotionModel:
    """Return a U-Net of the same weights with motion modules; WeightsError if they do not fit."""
    try:
        with torch.device("meta"):
            network = UNetMotionModel.from_unet2d(unet, modules, load_weights=False)
        weights = {**unet.state_dict(), **modules.state_dict()}
        network.load_state_dict(weights, strict=True, assign=True)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"The motion modules do not fit this U-Net ({short_reason(error)}). Choose those of "
            "its family as `weights=`, or another `base=`."
        ) from error
    network.eval().requires_grad_(requires_grad=False)
    return network


def read_image_encoder(folder: Path, reader: NetworkReader) -> CLIPVisionModelWithProjection:
    build = partial(built, CLIPVisionModelWithProjection)
    tower: CLIPVisionModelWithProjection = reader.read("image_encoder", folder, build)
    return tower


def read_autoencoder(folder: Path, reader: NetworkReader) -> PublicAutoencoder:
    """Return the autoencoder in `folder`, the full or the tiny one by its settings."""

    def build(place: Path) -> nn.Module:
        name = AutoencoderKL.load_config(place).get("_class_name")
        return built(AutoencoderTiny if name == AutoencoderTiny.__name__ else AutoencoderKL, place)

    autoencoder: PublicAutoencoder = reader.read("vae", folder, build)
    return widen_autoencoder(autoencoder)


def widen_autoencoder(autoencoder: PublicAutoencoder) -> PublicAutoencoder:
    """Return the same network, in float32 where float16 would overflow in it."""
    if autoencoder.dtype is torch.float16 and autoencoder.config.get("force_upcast", False):
        autoencoder.float()  # as Stable Diffusion XL's
    return autoencoder


def check_autoencoder(folder: Path, settings: Mapping[str, Any]) -> None:
    known = (AutoencoderKL.__name__, AutoencoderTiny.__name__)
    if settings.get("_class_name") not in known:
        raise WeightsError(
            f"'{folder}' holds no autoencoder; its settings name {settings.get('_class_name')!r}. "
            f"One of {', '.join(known)}, as diffusers has them, is needed. Choose another folder."
        )


def _stored(folder: Path, name: str, read: Callable[[Path], Any]) -> Any:  # noqa: ANN401 - as read
    check_config(folder, name)
    try:
        check_settings(folder)
        return read(folder)
    except Exception as error:  # unchecked settings make configs raise anything
        raise WeightsError(
            f"'{folder / 'config.json'}' is damaged ({short_reason(error)}). Get it again."
        ) from error
