"""FLUX.2 [klein] 4B of full size with random weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks._models import write_network
from tests.backbones.tiny_flux2 import tokenizer

TRANSFORMER: dict[str, Any] = {
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
TEXT: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


def make_klein(folder: Path, dtype: torch.dtype) -> None:
    """Write the networks of a pipeline in the layout of the hub."""
    write_network(folder / "transformer", lambda: Flux2Transformer2DModel(**TRANSFORMER), dtype)
    write_network(folder / "vae", AutoencoderKLFlux2, dtype)
    write_network(
        folder / "text_encoder",
        lambda: Qwen3ForCausalLM(Qwen3Config(**TEXT)),
        dtype,
        without="lm_head.weight",
    )
    tokenizer().save_pretrained(folder / "tokenizer")
