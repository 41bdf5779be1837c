"""FLUX.2 [klein]: a transformer with joint attention that reads pictures as further tokens."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import nn
from transformers import PreTrainedTokenizerBase, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from swiftpie.backbones.acquire.download import DownloadPlan
from swiftpie.backbones.acquire.sources import WeightFormats, is_settings, plan_networks
from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.components import Components, Family
from swiftpie.backbones.load.networks import read_clip_config, read_config
from swiftpie.backbones.load.parts import (
    check_choices,
    check_facts,
    read_language_tokenizer,
    read_network,
)
from swiftpie.backbones.load.weights import HALVES, fingerprint_files, unknown_fingerprint
from swiftpie.backbones.presets import Preset, read_preset
from swiftpie.backbones.presets.flux2 import flow_times
from swiftpie.backbones.readers import readers_for
from swiftpie.backbones.scheduling import schedule_of, with_steps
from swiftpie.errors import WeightsError
from swiftpie.models.autoencoder import NormalisedAutoencoder
from swiftpie.models.chat_text import ChatText
from swiftpie.models.flux2 import Flux2Denoiser
from swiftpie.schedules import Schedule, flow_step
from swiftpie.types import TextCondition

TRANSFORMER, TEXT, TOKENIZER, VAE = "transformer", "text_encoder", "tokenizer", "vae"
READ_LAYERS = (9, 18, 27)  # of Qwen3, whose states the transformer was trained on
TEXT_LENGTH = 512
READS_AS_IT_IS = "its transformer reads reference pictures as they are"


class Flux2(Family):
    """Qwen3 reads prompts, references are tokens, and larger pictures get more noise at first."""

    name = "flux2"
    is_large = True
    knows_all_times = True
    knows_shapes = True
    edits_by_reference = True

    def load(self, preset: Preset, *, device: str, choices: Choices) -> Components:
        """Load the networks; see `Family`."""
        preset = with_steps(preset, choices.get("steps"))
        needs = self.download_plan(preset, device=device, choices=choices)
        needs.fetch()
        prompt, waiting, execution_device = readers_for(
            needs, preset, device=device, choices=choices
        )
        pipeline = needs["pipeline"].path
        text = ChatText(
            _read_tokenizer(pipeline / TOKENIZER),
            read_network(waiting, TEXT, pipeline / TEXT, _build_text, stays=False),
            READ_LAYERS,
            TEXT_LENGTH,
        )
        transformer = read_network(
            waiting, TRANSFORMER, pipeline / TRANSFORMER, _build_transformer, stays=True
        )
        autoencoder = prompt.read(VAE, needs.path("autoencoder") or pipeline / VAE, _build_vae)
        reads = choices.get("detail") != "none"
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=text,
            image_encoder=None,
            autoencoder=NormalisedAutoencoder(autoencoder),
            denoiser=Flux2Denoiser(transformer, reads_references=reads).eval(),
            layout_predictor=None,
            inversion=None,
            fingerprint=fingerprint_files(prompt.files, settings=str(prompt.dtype)),
            execution_device=execution_device,
        )

    def download_plan(self, preset: Preset, *, device: str, choices: Choices) -> DownloadPlan:
        """Plan the downloads, and refuse parts that do not belong together; see `Family`."""
        check_choices(preset, choices, reason=READS_AS_IT_IS)
        dtype = dtype_of(choices, device)
        needs = DownloadPlan(
            tuple(
                plan_networks(
                    preset,
                    choices,
                    texts={TEXT: TOKENIZER},
                    formats=WeightFormats(dtype in HALVES, allow_pickle=False),
                    denoiser=TRANSFORMER,
                    autoencoder=VAE,
                )
            )
        )
        needs.fetch_only(is_settings)
        pipeline = needs["pipeline"]
        folder = needs.path("autoencoder") or pipeline.path / VAE
        _check_parts(
            preset,
            read_config(pipeline.path / TRANSFORMER, TRANSFORMER, Flux2Transformer2DModel),
            read_config(folder, VAE, AutoencoderKLFlux2),
            read_clip_config(pipeline.path / TEXT, TEXT, Qwen3Config),
        )
        needs = needs.with_memory(dtype.itemsize)
        needs.check_space()
        return needs

    def schedule_at(self, components: Components, cells: tuple[int, int]) -> Schedule:
        """Return times that are shifted towards noise as far as the size wants; see `Family`."""
        known = components.schedule
        times = flow_times(len(known.steps), math.prod(cells))
        if times == tuple(step.timestep for step in known.steps):
            return known
        return known.through([flow_step(time) for time in times])

    def reference_text(self, components: Components) -> TextCondition:
        """Return nothing: references are read without a prompt; see `Family`."""
        nothing = torch.zeros(1, 1, 1, device=components.device)
        return TextCondition(nothing, nothing[0], nothing[0])

    def to_modules(self, components: Components) -> dict[str, Any]:
        """Return the networks as they are; see `Family`."""
        text, denoiser = components.text, components.denoiser
        assert isinstance(text, ChatText), "this family reads prompts by one language model"
        vae = components.autoencoder
        return {
            TRANSFORMER: denoiser.transformer if isinstance(denoiser, Flux2Denoiser) else denoiser,
            VAE: vae.network if isinstance(vae, NormalisedAutoencoder) else vae,
            TEXT: text.encoder,
            TOKENIZER: text.tokenizer,
        }

    def from_modules(self, modules: Mapping[str, Any], loaded: Components | None) -> Components:
        """Return the networks, any of them exchanged: nothing is installed in one; see `Family`.

        Raises:
            WeightsError: The parts do not belong together.
        """
        preset = read_preset(modules["preset"])
        transformer, vae, text = (modules[name] for name in (TRANSFORMER, VAE, TEXT))
        _check_parts(preset, transformer.config, vae.config, text.config)
        is_stored = loaded is None and modules.get("fingerprint")
        return Components(
            preset=preset,
            schedule=schedule_of(preset),
            text=ChatText(modules[TOKENIZER], text, READ_LAYERS, TEXT_LENGTH),
            image_encoder=None,
            autoencoder=NormalisedAutoencoder(vae),
            denoiser=Flux2Denoiser(transformer, reads_references=True),
            layout_predictor=None,
            inversion=None,
            fingerprint=modules["fingerprint"] if is_stored else unknown_fingerprint(),
        )


FAMILY = Flux2()


def _build_text(folder: Path) -> nn.Module:
    config = Qwen3Config.from_pretrained(folder)
    network = Qwen3Model(config)
    with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
        network.rotary_emb = Qwen3RotaryEmbedding(config)
    return network


def _build_transformer(folder: Path) -> nn.Module:
    settings = Flux2Transformer2DModel.load_config(folder)
    return cast("nn.Module", Flux2Transformer2DModel.from_config(settings))


def _build_vae(folder: Path) -> nn.Module:
    settings = AutoencoderKLFlux2.load_config(folder)
    return cast("nn.Module", AutoencoderKLFlux2.from_config(settings))


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer in `folder`.

    Raises:
        WeightsError: It is missing, damaged, or has no form for a chat.
    """
    tokenizer = read_language_tokenizer(folder)
    if tokenizer.chat_template is None:
        raise WeightsError(
            f"The tokenizer in '{folder}' has no chat template, so it does not know how prompts "
            "are worded for its language model. Get the folder again, chat_template.jinja too."
        )
    return tokenizer


def _check_parts(
    preset: Preset, transformer: Mapping[str, Any], vae: Mapping[str, Any], text: Qwen3Config
) -> None:
    facts = {
        "class of the transformer": (
            transformer.get("_class_name"),
            Flux2Transformer2DModel.__name__,
        ),
        "class of the autoencoder": (vae.get("_class_name"), AutoencoderKLFlux2.__name__),
        "width of the text": (
            len(READ_LAYERS) * text.hidden_size,
            transformer.get("joint_attention_dim"),
        ),
        "latent channels": (4 * vae.get("latent_channels", 0), preset.latent_channels),
        "channels of the transformer": (transformer.get("in_channels"), preset.latent_channels),
    }
    check_facts(preset, facts)
