"""SANA-Sprint: a transformer with linear attention that draws from words in one to four steps."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel
from torch import nn
from transformers import Gemma2Config, Gemma2Model, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset
from swiftpie.backbones.whole_family import CHOICES, WholeFamily
from swiftpie.errors import CapabilityError
from swiftpie.models.autoencoder import DeepAutoencoder
from swiftpie.models.instructed_text import InstructedText
from swiftpie.models.sana import SanaDenoiser

TEXT_LENGTH = 300


class Sana(WholeFamily):
    """Gemma 2 reads prompts behind an instruction, and a cell of the latents shows 32 x 32 px."""

    name = "sana"
    choices = CHOICES - {"detail"}
    why_no_others = "nothing in its transformer reads pictures of subjects"
    denoiser_class = SanaTransformer2DModel
    autoencoder_class = AutoencoderDC
    text_config = Gemma2Config
    autoencoder = DeepAutoencoder

    def build_text(self, folder: Path) -> nn.Module:
        """Return Gemma 2; see `WholeFamily`."""
        config = Gemma2Config.from_pretrained(folder)
        network = Gemma2Model(config)
        with torch.device("cpu"):  # what follows from the settings is in no file
            network.rotary_emb = Gemma2RotaryEmbedding(config)
            scale = torch.tensor(network.embed_tokens.scalar_embed_scale)
        network.embed_tokens.register_buffer("embed_scale", scale, persistent=False)
        return network

    def text_of(
        self, tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel
    ) -> InstructedText:
        """Return what reads prompts behind the instruction that diffusers knows, with no copy."""
        settings = inspect.signature(SanaSprintPipeline.__call__).parameters
        lines = settings["complex_human_instruction"].default
        return InstructedText(tokenizer, encoder, "\n".join(lines), TEXT_LENGTH)

    def denoiser_of(
        self, network: SanaTransformer2DModel, *, reads_references: bool
    ) -> SanaDenoiser:
        """Return the denoiser, which reads no references; see `WholeFamily`."""
        del reads_references
        return SanaDenoiser(network)

    def check_dtype(self, preset: Preset, dtype: torch.dtype) -> None:
        """Refuse float16, in which Gemma 2 and the autoencoder overflow; see `Family`.

        Raises:
            CapabilityError: It is that.
        """
        if dtype is torch.float16:
            raise CapabilityError(
                f"Preset {preset.name!r} cannot compute in float16, in which its text encoder and "
                "autoencoder overflow. Take bfloat16 or float32, as by `dtype='bfloat16'`."
            )

    def typed(self, preset: Preset, device: str, choices: Choices) -> Choices:
        """Return `choices` with a type of numbers in which nothing overflows; see `WholeFamily`."""
        dtype = dtype_of(choices, device)
        if choices.get("dtype") == AUTO and dtype is torch.float16:
            dtype = torch.float32
        self.check_dtype(preset, dtype)
        return {**choices, "dtype": dtype}

    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Gemma2Config,
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        halvings = len(vae.get("encoder_block_out_channels", ())) - 1
        return {
            "width of the text": (text.hidden_size, denoiser.get("caption_channels")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the transformer": (denoiser.get("in_channels"), preset.latent_channels),
            "pixels of a latent cell": (2**halvings, preset.latent_cell_px),
            "its guidance embedding": (denoiser.get("guidance_embeds"), True),
            "its code of positions": (denoiser.get("interpolation_scale"), None),
        }


FAMILY = Sana()
