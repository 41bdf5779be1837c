"""Networks of published pipelines, and what reads them from folders in the layout of diffusers."""

import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    ConfigMixin,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from rich.filesize import decimal as as_size
from torch import nn
from transformers import CLIPVisionModelWithProjection, PretrainedConfig, PreTrainedModel

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.load.weights import NetworkReader, check_config, check_settings
from swiftpie.backbones.machine import AUTO, NUMBERS_A_PIXEL, SPARE_BYTES, free_memory
from swiftpie.backbones.presets import Preset
from swiftpie.errors import WeightsError, short_reason

logger = logging.getLogger(__name__)

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


class MemoryNeeds(Protocol):
    """What a plan of downloads says of memory, in bytes of weights."""

    @property
    def memory_bytes(self) -> int | None: ...
    @property
    def largest_bytes(self) -> int: ...


class Readers(NamedTuple):
    """Two readers that note their files in one place."""

    prompt: NetworkReader  # Reads networks that run together.
    waiting: NetworkReader  # Reads networks that may wait in their files.
    execution_device: torch.device | None  # where networks run that rest in main memory


def readers_for(needs: MemoryNeeds, preset: Preset, *, device: str, choices: Choices) -> Readers:
    """Return what reads the networks in `needs`, which are all on this machine.

    Where there is too little memory even for one network at a time, a warning says so first.
    """
    dtype, offloads = dtype_of(choices, device), choices.get("offloads", False)
    if offloads == AUTO:
        offloads = not _fits(needs, preset, device=device, dtype=dtype)
    if offloads and (lack := lack_of_memory(needs, preset, device=device, dtype=dtype)):
        logger.warning("%s", lack)
    reader = NetworkReader(
        device="cpu" if offloads else device,
        dtype=dtype,
        allow_pickle=choices.get("allow_pickle", False),
        lets_go=offloads and device == "cpu",
    )
    waiting = replace(reader, waits=reader.lets_go)
    return Readers(reader, waiting, torch.device(device) if offloads else None)


def _fits(needs: MemoryNeeds, preset: Preset, *, device: str, dtype: torch.dtype) -> bool:
    """Whether there is room for all weights at once, and for what is computed of them."""
    if needs.memory_bytes is None:
        return True  # drawing will tell
    working = _working_bytes(preset, dtype)
    return needs.memory_bytes + working <= free_memory(torch.device(device))


def lack_of_memory(needs: MemoryNeeds, preset: Preset, *, device: str, dtype: torch.dtype) -> str:
    """Return what is wrong where networks take turns and the largest one has no room; or nothing.

    Counted are its weights in `dtype`, what is computed of a picture, and what Python takes.
    """
    free = free_memory(torch.device(device))
    needed = needs.largest_bytes + _working_bytes(preset, dtype) + SPARE_BYTES
    if needed <= free:
        return ""
    return (
        f"Preset {preset.name!r} needs about {as_size(needed)} of memory on {device} even where "
        f"its networks take turns, {as_size(needs.largest_bytes)} of it for the largest one, and "
        f"{as_size(free)} are free. Drawing may fail. Free memory, or choose a smaller preset."
    )


def _working_bytes(preset: Preset, dtype: torch.dtype) -> int:
    return NUMBERS_A_PIXEL * preset.image_size_px**2 * dtype.itemsize
