"""Everything that is trained to make the one-step model."""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.backbones.embedded import load_embedded
from swiftpie.backbones.presets.mini import PRESET
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import TextTower
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.vision import ConvImageEncoder


class OneStepNetworks(nn.Module):
    """All trained parts, as one module."""

    def __init__(self, vocabulary: int, text_length: int, width: int = 160) -> None:
        super().__init__()
        config = CLIPTextConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=5,
            max_position_embeddings=text_length,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=2,
        )
        self.text_encoder = CLIPTextModel(config)
        embedding = self.text_encoder.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        nn.init.normal_(embedding.weight, std=0.5)
        self.image_encoder = ConvImageEncoder(width=width)
        self.layout_predictor = LayoutPredictor(text_width=width)
        self.denoiser = TinyDenoiser(text_width=width)


class Trained(NamedTuple):
    """Networks that were trained before, with what they were trained around."""

    networks: OneStepNetworks
    autoencoder: PatchAutoencoder
    tokenizer: PreTrainedTokenizerFast


def load_trained(folder: Path | None, *, device: str) -> Trained:
    """Read an export, or the weights inside the package if there is no folder.

    Raises:
        WeightsError: The files there are no export of a tiny model.
    """
    loaded = load_embedded(PRESET, device=device, weights=folder)
    assert isinstance(loaded.text, TextTower)
    assert isinstance(loaded.text.tokenizer, PreTrainedTokenizerFast)
    assert isinstance(loaded.autoencoder, PatchAutoencoder)
    tokenizer = loaded.text.tokenizer
    networks = OneStepNetworks(len(tokenizer), int(tokenizer.model_max_length)).to(device)
    parts = {
        "text_encoder": loaded.text.encoder,
        "image_encoder": loaded.image_encoder,
        "layout_predictor": loaded.layout_predictor,
        "denoiser": loaded.denoiser,
    }
    for name, part in parts.items():
        assert isinstance(part, type(networks.get_submodule(name)))
        setattr(networks, name, part)
    return Trained(networks, loaded.autoencoder, tokenizer)


def trainable(networks: OneStepNetworks) -> OneStepNetworks:
    """Return a copy whose every weight is trained."""
    copied = copy.deepcopy(networks).train().requires_grad_(requires_grad=True)
    copied.denoiser.to(memory_format=torch.channels_last)
    return copied
