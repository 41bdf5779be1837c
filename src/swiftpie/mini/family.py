"""The tiny family, whose networks are our own and belong together."""

import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.backbones.choices import Choices
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.load.networks import built, read_tokenizer
from swiftpie.backbones.load.weights import (
    existing,
    fingerprint_of,
    load_network,
    unknown_fingerprint,
)
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.mini.denoiser import TinyDenoiser
from swiftpie.mini.inversion import TinyInversion
from swiftpie.mini.layout_predictor import LayoutPredictor
from swiftpie.mini.placing import place
from swiftpie.mini.techniques import TECHNIQUES, advice, read
from swiftpie.mini.vocabulary import GENERIC, Vocabulary
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.text import Pooling, TextTower
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.pipelines.draw import Technique

CHOICES = {"steps", "weights", "inversion"}
IDLE_CHOICES = {"allow_pickle", "offline"}  # nothing is downloaded or unpickled anyway
INVERSION = "inversion"  # its folder; identities do not depend on it, so no fingerprint does


NETWORKS: Mapping[str, Callable[[Path], nn.Module]] = {
    "text_encoder": partial(built, CLIPTextModel),
    "image_encoder": partial(built, ConvImageEncoder),
    "autoencoder": partial(built, PatchAutoencoder),
    "denoiser": partial(built, TinyDenoiser),
    "layout_predictor": partial(built, LayoutPredictor),
}
"""How each network is made from its folder."""


TAUGHT = "taught"  # key of the vocabulary in the settings of packaged tokenizers


@dataclass(frozen=True)
class TaughtTower(TextTower):
    """A tower whose tokenizer holds the words of its training captions."""

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the training captions."""
        return Vocabulary.stored(self.tokenizer.init_kwargs.get(TAUGHT))

    def readable(self, prompt: str) -> str:
        """Return a prompt in words that captions had."""
        return prompt if self.vocabulary is None else self.vocabulary.as_taught(prompt)

    def name_in(self, prompt: str, name: str) -> str:
        """Return `name`, or the generic name that a readable prompt has for unknown ones."""
        return name if name.lower() in prompt.lower() else GENERIC


class Tiny(Family):
    """A U-Net of two levels with both branches inside, trained together with all the others."""

    name = "tiny"
    needs_even_grid = True  # its two levels, and the blocks of noise that its layout reads

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load every network of a tiny preset in float32; see `Family`.

        Raises:
            ConfigError: It leaves no such choice.
        """
        made = {name for name, value in choices.items() if value not in (None, AUTO)}
        if refused := sorted(made - CHOICES - IDLE_CHOICES):
            raise ConfigError(
                f"Preset {preset.name!r} takes no `{refused[0]}=`, because its networks come with "
                "SwiftPie and belong together. Leave it out, or choose a Stable Diffusion preset."
            )
        weights = choices.get("weights")
        folder = _package_folder(preset) if weights is None else _own_folder(weights)
        if choices.get("inversion") is not None:
            existing(str(choices["inversion"]), "inversion")
        preset = with_steps(preset, choices.get("steps"))
        networks = {
            name: _ready(load_network(build, folder / name), device)
            for name, build in NETWORKS.items()
        }
        tokenizer = read_tokenizer(folder / "tokenizer", PreTrainedTokenizerFast)
        text = TaughtTower(tokenizer, networks.pop("text_encoder"), Pooling.MEAN)
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            vocabulary=text.vocabulary,
            inversion=_load_inversion(folder, choices.get("inversion"), device),
            fingerprint=fingerprint_of(folder, without=INVERSION),
            **networks,
        )

    def techniques(self) -> Sequence[Technique]:
        """Return the techniques that put subjects into scenes, and edit what words say."""
        return TECHNIQUES

    read = staticmethod(read)
    place = staticmethod(place)
    advice = staticmethod(advice)

    def packaged_fingerprint(self, preset: Preset) -> str | None:
        """Return the fingerprint of weights inside of the package; see `Family`."""
        return fingerprint_of(_package_folder(preset), without=INVERSION)

    def check_dtype(self, preset: Preset, dtype: torch.dtype) -> None:
        """Refuse all types but float32; see `Family`.

        Raises:
            CapabilityError: It is another.
        """
        if dtype is not torch.float32:
            raise CapabilityError(
                f"Preset {preset.name!r} was converted to {dtype}; it computes in float32 only. "
                "Call pipe.to(torch.float32), or load it again."
            )

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return the networks as they are; see `Family`."""
        text = components.text
        assert isinstance(text, TaughtTower), "this family reads prompts by one tower"
        return {
            "unet": components.denoiser,
            "vae": components.autoencoder,
            "text_encoder": text.encoder,
            "tokenizer": text.tokenizer,
            "image_encoder": components.image_encoder,
            "layout_predictor": components.layout_predictor,
            "inversion_unet": components.inversion,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks as they are, any of them exchanged; see `Family`.

        Raises:
            WeightsError: There is no layout predictor.
        """
        preset = read_preset(modules["preset"])
        if modules["layout_predictor"] is None:
            raise WeightsError(
                f"`layout_predictor=None` came with preset {preset.name!r}, which places subjects "
                "by it. Leave it out."
            )
        text = TaughtTower(modules["tokenizer"], modules["text_encoder"], Pooling.MEAN)
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            vocabulary=text.vocabulary,
            image_encoder=modules["image_encoder"],
            autoencoder=modules["vae"],
            denoiser=modules["unet"],
            layout_predictor=modules["layout_predictor"],
            inversion=modules["inversion_unet"],
            fingerprint=modules["fingerprint"] if loaded is None else unknown_fingerprint(),
        )


FAMILY = Tiny()


def _own_folder(weights: str | Path) -> Path:
    folder = existing(weights, "weights")
    if lacking := [name for name in NETWORKS if not (folder / name).is_dir()]:
        raise WeightsError(
            f"'{folder}' has no folder '{lacking[0]}', so its networks are of another family. Pass "
            f"a folder that `swiftpie train` exported for the family {Tiny.name!r} as `weights=`."
        )
    return folder


def _ready(network: nn.Module, device: str) -> Any:  # noqa: ANN401 - any network
    return network.to(device).eval().requires_grad_(requires_grad=False)


def _load_inversion(folder: Path, chosen: str | Path | None, device: str) -> TinyInversion | None:
    place = Path(chosen or folder / INVERSION)
    if chosen is None and not place.is_dir():
        return None
    network: TinyInversion = _ready(load_network(partial(built, TinyInversion), place), device)
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
