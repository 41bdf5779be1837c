"""Loads presets of the tiny family, whose networks are our own."""

import importlib.resources
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.backbones.components import Components
from swiftpie.backbones.preset import Preset
from swiftpie.backbones.scheduling import schedule_of, with_steps, with_stored_steps
from swiftpie.backbones.weights import fingerprint_of, load_network
from swiftpie.errors import WeightsError, short_reason
from swiftpie.garbage import uncollected
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.inversion import TinyInversion
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import Pooling, TextTower
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.vision import ConvImageEncoder

INVERSION = "inversion"  # its folder; identities do not depend on it, so no fingerprint does


@uncollected()  # a search among all that was just imported would take as long as the rest
def load_embedded(
    preset: Preset,
    *,
    device: str,
    weights: Path | None,
    steps: int | None = None,
    inversion: Path | None = None,
) -> Components:
    """Load every network of a tiny preset in float32.

    Raises:
        ConfigError: The weights were not trained for so many steps.
        WeightsError: A file is missing, is not safetensors, is damaged or has other shapes.
    """
    folder = weights or _package_folder(preset)
    preset = with_steps(with_stored_steps(preset, folder), steps)
    networks = {
        name: load_network(build, folder / name).to(device).eval().requires_grad_(False)
        for name, build in (
            ("text_encoder", _build_text_encoder),
            ("image_encoder", _builder(ConvImageEncoder)),
            ("autoencoder", _builder(PatchAutoencoder)),
            ("denoiser", _builder(TinyDenoiser)),
            ("layout_predictor", _builder(LayoutPredictor)),
        )
    }
    text_encoder = networks.pop("text_encoder")
    return Components(
        preset=preset,
        schedule=schedule_of(preset),
        text=TextTower(_load_tokenizer(folder / "tokenizer"), text_encoder, Pooling.MEAN),
        inversion=_read_inversion(folder, inversion, device),
        fingerprint=fingerprint_of(folder, without=INVERSION),
        **networks,
    )


def _read_inversion(folder: Path, chosen: Path | None, device: str) -> TinyInversion | None:
    """Return the inversion network: the `chosen` one, or that of these weights if they have one."""
    own = folder / INVERSION
    if chosen is None and not own.is_dir():
        return None
    network: TinyInversion = load_network(_builder(TinyInversion), chosen or own)
    network.to(device).eval().requires_grad_(False)
    return network


def _package_folder(preset: Preset) -> Path:
    kind, _, name = preset.source.partition(":")
    folder = Path(str(importlib.resources.files("swiftpie"))) / "assets" / name
    if kind != "package" or not folder.is_dir():
        raise WeightsError(
            f"The weights of preset {preset.name!r} are not at {preset.source!r}. "
            "Reinstall SwiftPie, or pass a folder with `weights=`."
        )
    return folder


def _build_text_encoder(folder: Path) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig.from_pretrained(folder))


def _builder(network: Any) -> Callable[[Path], nn.Module]:  # noqa: ANN401 - a diffusers class
    def build(folder: Path) -> nn.Module:
        model: nn.Module = network.from_config(network.load_config(folder))
        return model

    return build


def _load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    if not (folder / "tokenizer.json").is_file():
        raise WeightsError(f"There is no tokenizer.json in {folder}. Reinstall SwiftPie.")
    try:
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the library raises nothing more precise
        raise WeightsError(
            f"The tokenizer in {folder} cannot be read ({short_reason(error)}). The one that the "
            "weights were trained with is needed. Copy the folder again."
        ) from error
    return tokenizer
