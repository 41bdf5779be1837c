"""The bundle of loaded networks that every pipeline function takes."""

import hashlib
import importlib.resources
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.backbones.preset import Preset
from swiftpie.errors import WeightsError
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import Pooling, TextTower
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.schedules import PredictionType, Schedule, scaled_linear_step

MAX_REASON = 300  # characters of a library's own message that are worth reading
MAX_HEADER_BYTES = 4 << 20  # a real header is a few hundred KiB; a huge one is an attack


@dataclass(frozen=True, eq=False)
class Components:
    """Loaded networks with the settings that belong to them."""

    preset: Preset
    schedule: Schedule
    text: TextTower
    image_encoder: nn.Module
    autoencoder: PatchAutoencoder
    denoiser: TinyDenoiser
    layout_predictor: LayoutPredictor
    fingerprint: str  # sha256 of all weight files

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.denoiser.parameters()).device

    @property
    def cells(self) -> tuple[int, int]:
        """Latent rows and columns of a picture."""
        side = self.preset.image_size_px // self.preset.latent_cell_px
        return side, side


def load_components(
    preset: Preset, *, device: str = "cpu", weights: Path | None = None
) -> Components:
    """Load every network of `preset` in float32.

    Args:
        preset: What to load.
        device: A torch device.
        weights: A folder in the preset's layout to read instead of the preset's own source.

    Raises:
        WeightsError: A file is missing, is not safetensors, is damaged or has other shapes.
    """
    folder = weights or _source_folder(preset)
    networks = {
        "text_encoder": _load(_text_encoder, folder / "text_encoder"),
        "image_encoder": _load(_ours(ConvImageEncoder), folder / "image_encoder"),
        "autoencoder": _load(_ours(PatchAutoencoder), folder / "autoencoder"),
        "denoiser": _load(_ours(TinyDenoiser), folder / "denoiser"),
        "layout_predictor": _load(_ours(LayoutPredictor), folder / "layout_predictor"),
    }
    for network in networks.values():
        network.to(device).eval().requires_grad_(False)
    text_encoder = networks.pop("text_encoder")
    return Components(
        preset=preset,
        schedule=Schedule(
            steps=tuple(scaled_linear_step(timestep) for timestep in preset.timesteps),
            prediction_type=PredictionType(preset.prediction_type),
        ),
        text=TextTower(_load_tokenizer(folder / "tokenizer"), text_encoder, Pooling.MEAN),
        fingerprint=_fingerprint(folder),
        **networks,
    )


def _source_folder(preset: Preset) -> Path:
    kind, _, name = preset.source.partition(":")
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / name
    if kind != "package" or not folder.is_dir():
        raise WeightsError(
            f"The weights of preset {preset.name!r} are not at {preset.source!r}. "
            "Reinstall SwiftPie, or pass a folder with `weights=`."
        )
    return folder


def _load(build: Callable[[Path], nn.Module], folder: Path) -> Any:  # noqa: ANN401 - any network
    """Build one network from its folder and load its weights, strictly, as float32.

    Strictly, because the libraries' own loaders fill what is missing with random numbers.

    Raises:
        WeightsError: There are no weights, or they do not fit.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise WeightsError(
            f"There are {len(files)} safetensors files in {folder}; one is needed. SwiftPie reads "
            "only safetensors: convert other formats first, or reinstall."
        )
    _check_header(files[0])
    try:
        network = build(folder)
        load_model(network, files[0])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"The weights in {folder} do not fit this model: {str(error)[:MAX_REASON]}. Reinstall "
            "SwiftPie, or point `weights=` to a folder that this version wrote."
        ) from error
    return network


def _text_encoder(folder: Path) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig.from_pretrained(folder))


def _ours(network: Any) -> Callable[[Path], nn.Module]:  # noqa: ANN401 - a diffusers model class
    def build(folder: Path) -> nn.Module:
        model: nn.Module = network.from_config(network.load_config(folder))
        return model

    return build


def _check_header(path: Path) -> None:
    """Refuse what is not safetensors by content, whatever its name, before anything reads it.

    Raises:
        WeightsError: The file is something else, is damaged or is cut short.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        start = file.read(1)
    if start != b"{" or not 0 < length <= MAX_HEADER_BYTES:
        raise WeightsError(
            f"{path} is not a safetensors file, whatever its name. SwiftPie never unpickles "
            "weights; get the file again from where it came."
        )
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise WeightsError(f"The header of {path} is damaged. Get the file again.") from error
    ends = [e["data_offsets"][1] for name, e in header.items() if name != "__metadata__"]
    if 8 + length + max(ends, default=0) != path.stat().st_size:
        raise WeightsError(f"{path} is cut short or has extra bytes. Get the file again.")


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"There is no tokenizer.json in {folder}. Reinstall SwiftPie.")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
