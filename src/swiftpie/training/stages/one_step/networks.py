"""Everything that is trained to make the one-step model."""

import copy
import logging
from collections.abc import MutableMapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets.mini import PRESET
from swiftpie.errors import WeightsError
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import TextTower
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.vision import ConvImageEncoder
from swiftpie.training.tokenizer import VOCABULARY, from_text, to_text

logger = logging.getLogger(__name__)

EXTRA = "_extra_state"  # PyTorch's name for what `get_extra_state` returns


class OneStepNetworks(nn.Module):
    """All trained parts, as one module, with the tokenizer that their token ids belong to.

    The tokenizer is part of the state: a run that goes on reads prompts as it did before, even if
    the captions that a new tokenizer would be learned from have changed since.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, width: int = 160) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        text_length = int(tokenizer.model_max_length)
        config = CLIPTextConfig(
            vocab_size=max(VOCABULARY, len(tokenizer)),  # fits the tokenizer of any earlier run
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
        self.register_load_state_dict_pre_hook(_keep_own_tokenizer)  # type: ignore[no-untyped-call]  # torch

    def get_extra_state(self) -> Tensor:
        """Return the tokenizer as bytes (N,), because states on disk hold tensors only."""
        return torch.frombuffer(bytearray(to_text(self.tokenizer).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the tokenizer of a state.

        Raises:
            WeightsError: It cannot be read, or knows tokens that the text encoder does not.
        """
        text = bytes(state.tolist()).decode(errors="replace")
        tokenizer = from_text(text, length=int(self.tokenizer.model_max_length))
        check_vocabulary(tokenizer, self.text_encoder)
        self.tokenizer = tokenizer


class Trained(NamedTuple):
    """Networks that were trained before, with what they were trained around."""

    networks: OneStepNetworks
    autoencoder: PatchAutoencoder
    tokenizer: PreTrainedTokenizerFast


def load_trained(folder: Path | None, *, device: str) -> Trained:
    """Read an export, or the weights inside the package if there is no folder.

    Raises:
        WeightsError: The files there are no export of a tiny model, or its tokenizer is another's.
    """
    loaded = load_components(PRESET, device=device, weights=folder)
    assert isinstance(loaded.text, TextTower)
    assert isinstance(loaded.text.tokenizer, PreTrainedTokenizerFast)
    assert isinstance(loaded.autoencoder, PatchAutoencoder)
    tokenizer = loaded.text.tokenizer
    check_vocabulary(tokenizer, loaded.text.encoder)
    networks = OneStepNetworks(tokenizer).to(device)
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


def check_vocabulary(tokenizer: PreTrainedTokenizerFast, encoder: CLIPTextModel) -> None:
    """Refuse a tokenizer that the text encoder was not trained with, as far as sizes tell.

    Raises:
        WeightsError: It has more tokens than the encoder.
    """
    if len(tokenizer) > encoder.config.vocab_size:
        raise WeightsError(
            f"The stored tokenizer has {len(tokenizer)} tokens, and the text encoder knows "
            f"{encoder.config.vocab_size}. Both have to come from one run. Copy its files again."
        )


def trainable(networks: OneStepNetworks) -> OneStepNetworks:
    """Return a copy whose every weight is trained."""
    copied = copy.deepcopy(networks).train().requires_grad_(requires_grad=True)
    copied.denoiser.to(memory_format=torch.channels_last)
    return copied


def _keep_own_tokenizer(
    module: nn.Module, state: MutableMapping[str, Tensor], prefix: str, *_others: object
) -> None:
    """Let states load that were written before tokenizers were part of them."""
    assert isinstance(module, OneStepNetworks)
    if prefix + EXTRA not in state:
        logger.warning(
            "The state holds no tokenizer; token ids are those that this version would start with."
        )
        state[prefix + EXTRA] = module.get_extra_state()
