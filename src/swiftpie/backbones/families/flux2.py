"""FLUX.2 [klein]: a transformer with joint attention that reads pictures as further tokens."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.backbones.presets.flux2 import flow_times
from swiftpie.backbones.whole_family import TEXT, WholeFamily
from swiftpie.errors import WeightsError
from swiftpie.models.autoencoder import NormalisedAutoencoder
from swiftpie.models.chat_text import ChatText
from swiftpie.models.flux2 import Flux2Denoiser
from swiftpie.types import TextCondition

READ_LAYERS = (9, 18, 27)  # of Qwen3, whose states the transformer was trained on
TEXT_LENGTH = 512
NUM_LAYERS = READ_LAYERS[-1] + 1  # what leaves the last one of a model is normalised
LAYER_NAME = re.compile(r"(?:model\.)?layers\.(\d+)\.")


def _is_behind(name: str) -> bool:
    """Whether a weight of the language model is of a layer behind those that are read."""
    found = LAYER_NAME.match(name)
    return found is not None and int(found[1]) >= NUM_LAYERS


class Flux2(WholeFamily):
    """Qwen3 reads prompts, references are tokens, and larger pictures get more noise at first."""

    name = "flux2"
    edits_by_reference = True
    why_no_others = "its transformer reads reference pictures as they are"
    denoiser_class = Flux2Transformer2DModel
    autoencoder_class = AutoencoderKLFlux2
    text_config = Qwen3Config
    autoencoder = NormalisedAutoencoder
    unread = MappingProxyType({TEXT: _is_behind})

    def build_text(self, folder: Path) -> nn.Module:
        """Return Qwen3 as far as its states are read; see `WholeFamily`."""
        config = Qwen3Config.from_pretrained(folder)
        config.num_hidden_layers = min(config.num_hidden_layers, NUM_LAYERS)
        config.layer_types = (config.layer_types or [])[:NUM_LAYERS]
        network = Qwen3Model(config)
        with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
            network.rotary_emb = Qwen3RotaryEmbedding(config)
        return network

    def read_tokenizer(self, folder: Path) -> PreTrainedTokenizerBase:
        """Return the tokenizer in `folder`; see `WholeFamily`.

        Raises:
            WeightsError: It is missing, damaged, or has no form for a chat.
        """
        tokenizer = super().read_tokenizer(folder)
        if tokenizer.chat_template is None:
            raise WeightsError(
                f"The tokenizer in '{folder}' has no chat template, so it does not know how "
                "prompts are worded for its language model. Get the folder again, "
                "chat_template.jinja too."
            )
        return tokenizer

    def text_of(self, tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> ChatText:
        """Return what reads prompts; see `WholeFamily`."""
        return ChatText(tokenizer, encoder, READ_LAYERS, TEXT_LENGTH)

    def denoiser_of(
        self, network: Flux2Transformer2DModel, *, reads_references: bool
    ) -> Flux2Denoiser:
        """Return the denoiser; see `WholeFamily`."""
        return Flux2Denoiser(network, reads_references=reads_references)

    def times(self, num_steps: int, num_cells: int) -> tuple[float, ...]:
        """Return times that are shifted as far as the size wants; see `Family`."""
        return flow_times(num_steps, num_cells)

    def reference_text(self, components: Components) -> TextCondition:
        """Return nothing: references are read without a prompt; see `Family`."""
        nothing = torch.zeros(1, 1, 1, device=components.device)
        return TextCondition(nothing, nothing[0], nothing[0])

    def facts(
        self, preset: Preset, denoiser: Mapping[str, Any], vae: Mapping[str, Any], text: Qwen3Config
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        return {
            "width of the text": (
                len(READ_LAYERS) * text.hidden_size,
                denoiser.get("joint_attention_dim"),
            ),
            "layers of the text encoder": (min(text.num_hidden_layers, NUM_LAYERS), NUM_LAYERS),
            "latent channels": (4 * vae.get("latent_channels", 0), preset.latent_channels),
            "channels of the transformer": (denoiser.get("in_channels"), preset.latent_channels),
        }


FAMILY = Flux2()
