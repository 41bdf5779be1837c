"""Converts networks to the modules and the folder of a diffusers pipeline, and back."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DiffusionPipeline,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    SchedulerMixin,
)
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from torch import nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerBase,
)

from swiftpie.backbones.components import FAMILIES, Components, Family
from swiftpie.backbones.peers import scheduler_of
from swiftpie.backbones.presets import Preset, describe, read_preset
from swiftpie.errors import InputError, WeightsError, short_reason
from swiftpie.models.network import Network
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import CLEAN, Schedule

ADAPTER = "adapter.safetensors"
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


@dataclass(frozen=True, eq=False)
class Modules:
    """The modules and settings that a pipeline registers, under the names of diffusers.

    In a folder, the image encoder of a public adapter is CLIP's. In memory, it is wrapped with the
    adapter's projector, and the U-Net has the identity branches.
    """

    vae: Network | AutoencoderKL | AutoencoderTiny
    text_encoder: Network | CLIPTextModel
    tokenizer: Any  # of transformers, or our own
    scheduler: SchedulerMixin
    unet: nn.Module | None = None
    transformer: nn.Module | None = None  # the denoiser of a family without a U-Net
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: PreTrainedTokenizerBase | None = None
    image_encoder: Network | ClipIdentityEncoder | CLIPVisionModelWithProjection | None = None
    layout_predictor: nn.Module | None = None
    inversion_unet: nn.Module | None = None
    preset: dict | None = None  # type: ignore[type-arg]  # diffusers compares plain classes
    fingerprint: str = ""
    dtype: str = ""  # of the denoiser that the fingerprint is of, as "torch.float32"

    def __post_init__(self) -> None:
        if (self.unet is None) == (self.transformer is None):
            raise InputError("A pipeline needs one denoiser, `unet` or `transformer`. Pass one.")


SETTINGS = frozenset({"preset", "fingerprint", "dtype"})
OPTIONAL = tuple(
    field.name for field in fields(Modules) if field.default is None and field.name not in SETTINGS
)


def take_apart(components: Components) -> dict[str, Any]:
    """Return the fields of `Modules` for loaded networks; nothing is copied."""
    return components.family.to_modules(components) | {
        "scheduler": scheduler_of(components.preset),
        "preset": describe(components.preset),
        "fingerprint": components.fingerprint,
        "dtype": str(components.denoiser.installation.network.dtype),
    }


def family_of(modules: Mapping[str, Any]) -> Family:
    """Return the family of networks given by the fields of `Modules`."""
    return FAMILIES.get(read_preset(modules["preset"]).family)


def is_made_of(components: Components, modules: Mapping[str, Any]) -> bool:
    """Whether `components` are these very networks; schedulers and settings do not count."""
    own = components.family.to_modules(components)
    compared = modules.keys() - SETTINGS - {"scheduler"}
    return all(own.get(name) is modules[name] for name in compared)


def adopt(
    pipeline: DiffusionPipeline, preset: Preset, adapter: Path | None, changes: Mapping[str, Any]
) -> Components:
    """Return networks that share the weights of a pipeline of diffusers, which stays unchanged.

    `preset` is what its weights are, of Stable Diffusion 1.x, 2.x or XL, `adapter` a file of
    identity branches for them; `changes` are modules to take instead of its own.

    Raises:
        InputError: A module is missing.
        WeightsError: The parts do not belong together.
    """
    names = {field.name for field in fields(Modules)}
    own = {name: module for name, module in pipeline.components.items() if name in names}
    modules = dict.fromkeys(names) | own | dict(changes) | {"preset": describe(preset)}
    denoiser = preset.networks[0]
    needed = names - {*OPTIONAL} - SETTINGS | {denoiser} | ({"image_encoder"} if adapter else set())
    if lacking := sorted(name for name in needed if modules[name] is None):
        raise InputError(
            f"The {type(pipeline).__name__} has no {lacking[0]}. A pipeline of preset "
            f"{preset.name!r} is needed, and with an adapter its encoder. Pass {lacking[0]}=…"
        )
    family = FAMILIES.get(preset.family)
    return family.from_folder(family.sharing_weights(modules), adapter)


def latent_factors(preset: Preset, schedule: Schedule) -> list[float]:
    """Return how many times ours the latents of diffusers are, after each step.

    Euler's samplers count noise in `sigma / alpha`.
    """
    following = [*schedule.steps[1:], CLEAN]
    if isinstance(scheduler_of(preset), EulerDiscreteScheduler | EulerAncestralDiscreteScheduler):
        return [1 / step.alpha for step in following]
    return [1.0] * len(following)


def check_scheduler(scheduler: SchedulerMixin, preset: Preset) -> None:
    """Refuse a replaced scheduler, because weights are distilled for one schedule."""
    own = scheduler_of(preset)
    if type(scheduler) is not type(own) or _settings(scheduler) != _settings(own):
        raise InputError(
            f"The scheduler is a {type(scheduler).__name__} with other settings than preset "
            f"{preset.name!r} was trained with; {type(own).__name__} is needed. Put it back, or "
            "choose another preset."
        )


def check_processors(components: Components) -> None:
    """Refuse a denoiser with other attention processors, as attention slicing and xFormers set."""
    installation = components.denoiser.installation
    branches = {id(processor) for processor in installation.processors.values()}
    if {id(processor) for processor in installation.network.attn_processors.values()} != branches:
        raise InputError(
            "The attention processors of the denoiser were exchanged, and the identity branches "
            "are such processors. Load the pipeline again, without attention slicing or xFormers."
        )


def find_adapter(place: str | Path, options: Mapping[str, Any]) -> Path:
    """Return the adapter file of a pipeline in a folder, or on the hub as OWNER/NAME."""
    try:
        return (_folder_of(place, [ADAPTER], options) / ADAPTER).resolve(strict=True)
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise WeightsError(
            f"The pipeline in '{place}' has an image encoder but no '{ADAPTER}' to read it "
            f"({short_reason(error)}). Get the folder again, or pass image_encoder=None to do "
            "without identities."
        ) from error


def own_modules(family: Family, place: str | Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules of a pipeline, in a folder or on the hub, that diffusers cannot read.

    Raises:
        WeightsError: One is damaged.
    """
    if not family.own_modules:
        return {}
    wanted = [f"{name}/*" for name in family.own_modules]
    found = family.read_own(_folder_of(place, wanted, options))
    if isinstance(dtype := options.get("dtype", options.get("torch_dtype")), torch.dtype):
        for module in found.values():
            if isinstance(module, nn.Module):
                module.to(dtype)
    return found


def write_own(family: Family, pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write the modules that diffusers cannot write, and take them out of `pipeline`."""
    for name in family.own_modules:
        if (module := getattr(pipeline, name)) is not None:
            module.save_pretrained(folder / name)
    pipeline.register_modules(**dict.fromkeys(family.own_modules))
    pipeline._optional_components = [*OPTIONAL, *family.own_modules]  # noqa: SLF001 - which may be none


def of_hub(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `from_pretrained` that say how to download."""
    return {name: options[name] for name in HUB_OPTIONS if name in options}


def _folder_of(place: str | Path, patterns: list[str], options: Mapping[str, Any]) -> Path:
    """Return a folder, or that of a repository with the files of `patterns`."""
    if Path(place).is_dir():
        return Path(place)
    return Path(snapshot_download(str(place), allow_patterns=patterns, **of_hub(options)))


def _settings(scheduler: SchedulerMixin) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if name[0] != "_"}
