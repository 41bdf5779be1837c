"""What a diffusers pipeline is made of: its modules, its folder, and files of adapters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict, Unpack

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
from safetensors.torch import save
from torch import Tensor, nn
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerBase,
)

from swiftpie.backbones.adapters import open_adapter
from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import FAMILIES, Components, Family
from swiftpie.backbones.diffusers_reference import scheduler_of
from swiftpie.backbones.downloads import DownloadList
from swiftpie.backbones.load.ip_adapter import LoraScale, fuse_lora_file
from swiftpie.backbones.load.networks import read_image_encoder
from swiftpie.backbones.load.weights import HALVES, NetworkReader, fingerprint_files
from swiftpie.backbones.presets import Preset, describe, read_preset
from swiftpie.backbones.sources import (
    FileSelection,
    WeightFormats,
    WeightsResolver,
    plan_image_encoder,
)
from swiftpie.errors import ConfigError, InputError, WeightsError, short_reason
from swiftpie.models.denoiser import UNetDenoiser, sharing_weights
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
    tokenizer: Any  # One of transformers, or our own.
    scheduler: SchedulerMixin
    unet: nn.Module | None = None
    transformer: nn.Module | None = None  # the denoiser of a family without a U-Net
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: PreTrainedTokenizerBase | None = None
    image_encoder: Network | ClipIdentityEncoder | CLIPVisionModelWithProjection | None = None
    layout_predictor: nn.Module | None = None
    inversion_unet: nn.Module | None = None
    reference_unet: nn.Module | None = None  # reads references in place of the denoiser
    preset: dict | None = None  # type: ignore[type-arg]  # diffusers compares plain classes
    fingerprint: str = ""
    dtype: str = ""  # The fingerprinted denoiser's, as "torch.float32".

    def __post_init__(self) -> None:
        if (self.unet is None) == (self.transformer is None):
            raise InputError("A pipeline needs one denoiser, `unet` or `transformer`. Pass one.")


SETTINGS = frozenset({"preset", "fingerprint", "dtype"})
OPTIONAL = tuple(
    field.name for field in fields(Modules) if field.default is None and field.name not in SETTINGS
)


def to_modules(components: Components) -> dict[str, Any]:
    """Return the fields of `Modules` for loaded networks; nothing is copied."""
    return components.family.to_modules(components) | {
        "scheduler": scheduler_of(components.preset),
        "preset": describe(components.preset),
        "fingerprint": components.fingerprint,
        "dtype": str(components.denoiser.installation.network.dtype),
    }


def family_of(modules: Mapping[str, Any]) -> Family:
    return FAMILIES.get(read_preset(modules["preset"]).family)


def is_made_of(components: Components, modules: Mapping[str, Any]) -> bool:
    """Whether `components` are these very networks; schedulers and settings do not count."""
    own = components.family.to_modules(components)
    compared = modules.keys() - SETTINGS - {"scheduler"}
    return all(own.get(name) is modules[name] for name in compared)


def load_modules(
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
    """Return modules, of a folder or the hub, that diffusers cannot read, or WeightsError."""
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


def preset_of(
    place: str | Path, options: Mapping[str, Any], *, wanted: type[DiffusionPipeline]
) -> Mapping[str, Any]:
    """Return the preset of the pipeline in a folder, or on the hub, if SwiftPie wrote it."""
    try:
        index = wanted.load_config(place, **of_hub(options))
    except OSError as error:
        raise WeightsError(
            f"'{place}' holds no pipeline ({short_reason(error)}). A folder that `save_pretrained` "
            f"wrote is needed, or its name on the hub. Check the path, or load published weights: "
            f"{wanted.__name__}.from_preset(PRESET)."
        ) from error
    preset: Mapping[str, Any] | None = options.get("preset", index.get("preset"))
    if preset is None:
        raise ConfigError(
            f"'{place}' holds a {index.get('_class_name')} of diffusers, which does not say which "
            f"preset its weights are. Load it by {wanted.__name__}.from_preset(PRESET, "
            f"weights='{place}'), with one of `swiftpie presets`."
        )
    return preset


def _folder_of(place: str | Path, patterns: list[str], options: Mapping[str, Any]) -> Path:
    """Return a folder, or that of a repository with the files of `patterns`."""
    if Path(place).is_dir():
        return Path(place)
    return Path(snapshot_download(str(place), allow_patterns=patterns, **of_hub(options)))


def _settings(scheduler: SchedulerMixin) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if name[0] != "_"}


@dataclass(frozen=True)
class Lora:
    """A file of a LoRA, or its content, and its strength; at 0 it is not drawn."""

    place: Path | bytes
    scale: LoraScale = 1.0
    factor: float = 1.0  # by which it was fused

    @property
    def acts(self) -> bool:
        return bool(self.scale and self.factor)


def lora_of(tensors: Mapping[str, Any]) -> bytes:
    """Return tensors by name as the content of a file, or raise InputError."""
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(
            "A LoRA was given as a dict without tensors, or with other values. Give what "
            "safetensors.torch.load_file() returns, or the file."
        )
    return save({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()})


def fused(plain: Components, loras: Sequence[Lora]) -> Components:
    """Return networks whose denoiser has these LoRAs; `plain` stays as it is."""
    loader = plain.family.lora_loader
    assert isinstance(plain.denoiser, UNetDenoiser), "only these have LoRAs"
    assert loader is not None, "checked before"
    denoiser, family = sharing_weights(plain.denoiser), plain.family.name
    files, given = dict[str, Path](), [plain.fingerprint]
    for lora in loras:
        scales: Any = {"scale": lora.scale, "factor": lora.factor}
        fuse_lora_file(denoiser.unet, lora.place, family=family, loader=loader, **scales)
        given += map(str, scales.values())
        if isinstance(lora.place, bytes):
            given.append(sha256(lora.place).hexdigest())
        else:
            files[f"lora {len(given)}"] = lora.place
    fingerprint = fingerprint_files(files, settings=" ".join(given))
    return replace(plain, denoiser=denoiser, fingerprint=fingerprint)


class Where(TypedDict, total=False):
    """Where a file is, as arguments of diffusers say it."""

    weight_name: str | None
    subfolder: str | None
    revision: str | None
    local_files_only: bool | None


def file_at(place: str | Path, **where: Unpack[Where]) -> Path:
    """Return a file of weights; see `Source.fetch`."""
    offline: Choices = {"offline": bool(where.get("local_files_only"))}
    source = Source(place, where.get("subfolder") or "", where.get("revision"), offline)
    return source.fetch("weights", where.get("weight_name"))


@dataclass(frozen=True)
class Source:
    """The location of files as given by the user."""

    place: str | Path
    subfolder: str
    revision: str | None
    choices: Choices

    def fetch(self, option: str, name: str | None) -> Path:
        """Return the file `name`, or the one that the place itself is.

        Raises:
            InputError: It is not said which one, or it is a pickle.
            WeightsError: It cannot be had.
        """
        if not isinstance(self.place, str | Path):
            raise InputError(
                f"Weights were given as {type(self.place).__name__}. A file, a folder or "
                "OWNER/REPO is needed. Save them as safetensors."
            )
        own = Path(self.place)
        chosen: str | Path = (
            own if name is None else self._below(str(PurePosixPath(self.subfolder, name)))
        )
        if not str(chosen).partition("@")[0].endswith(".safetensors"):
            raise InputError(
                f"'{name or own}' is no safetensors file, and only these are read: others may run "
                "code. Pass `weight_name=`, the name of a file that ends in .safetensors."
            )
        part = WeightsResolver(self.choices).find(option, option, chosen, FileSelection())
        DownloadList((part,)).fetch()
        return part.path

    def read_encoder(self, plain: Components, adapter: Path, folder: str | None) -> object:
        """Return the image encoder that `adapter` reads, in `folder` or where it is published."""
        place: str | Path | None = folder
        if folder is not None and not Path(folder).is_dir():
            inside = folder if "/" in folder else str(PurePosixPath(self.subfolder, folder))
            place = self._below(inside)
        network = plain.denoiser.installation.network
        formats = WeightFormats(prefers_half=network.dtype in HALVES, allow_pickle=False)
        choices: Choices = {**self.choices, "image_encoder": place}
        projector = open_adapter(adapter, by_header=True).projector
        part = plan_image_encoder(projector, WeightsResolver(choices, formats))
        DownloadList((part,)).fetch()
        reader = NetworkReader(device=str(plain.device), dtype=network.dtype, allow_pickle=False)
        return read_image_encoder(part.path, reader)

    def _below(self, path: str) -> str | Path:
        if Path(self.place).is_dir():
            return Path(self.place) / path
        revision = "" if self.revision is None else f"@{self.revision}"
        return f"{self.place}:{path}{revision}"
