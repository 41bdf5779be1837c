"""DreamLite: a small U-Net with flow matching that draws and edits beside a picture it is shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, DreamLiteUNetModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3VLConfig, Qwen3VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRotaryEmbedding,
    Qwen3VLVisionRotaryEmbedding,
)

from swiftpie.backbones.presets import Preset
from swiftpie.backbones.presets.dreamlite import flow_times
from swiftpie.backbones.whole_family import WholeFamily
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import sharing_weights
from swiftpie.models.dreamlite import DreamLiteDenoiser
from swiftpie.models.seeing_text import PICTURE, PatchProjection, SeeingText, Wording

# The words that its weights were trained with, a prompt in their middle. The states of the first
# tokens, of the order to the language model, are not read.
CHAT = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
ALONE = Wording(
    CHAT.format(
        "Describe the image by detailing the color, shape, size, texture, quantity, text, "
        "spatial relationships of the objects and background:",
        "[Generate]: {}",
    ),
    dropped=34,
    longest=200,
)
BESIDE = Wording(
    CHAT.format(
        "Describe the key features of the input image (color, shape, size, texture, objects, "
        "background), then explain how the user's text instruction should alter or modify the "
        "image. Generate a new image that meets the user's requirements while maintaining "
        "consistency with the original input where appropriate.",
        f"<|vision_start|>{PICTURE}<|vision_end|>[Edit]: A diptych with two side-by-side images "
        "of the same scene. Compared to the right side, the left one has {}",
    ),
    dropped=64,
    longest=1024,
)
SEEN_PX = 512


class DreamLite(WholeFamily):
    """Qwen3-VL reads prompts and the picture; the picture is also the right half of the latents."""

    name = "dreamlite"
    edits_by_reference = True
    why_no_others = "its U-Net reads a picture as it is, beside its own"
    denoiser_name = "unet"
    denoiser_class = DreamLiteUNetModel
    autoencoder_class = AutoencoderTiny
    text_config = Qwen3VLConfig
    autoencoder = LatentAutoencoder

    def build_text(self, folder: Path) -> nn.Module:
        """Return Qwen3-VL; see `WholeFamily`."""
        config: Any = Qwen3VLConfig.from_pretrained(folder)  # of two parts, declared as any
        network = Qwen3VLModel(config)
        patches = network.visual.patch_embed
        patches.proj = PatchProjection(
            patches.in_channels,
            patches.embed_dim,
            patches.proj.kernel_size,
            stride=patches.proj.stride,
        )
        with torch.device("cpu"):  # what turns positions comes from the settings, not from the file
            network.language_model.rotary_emb = Qwen3VLTextRotaryEmbedding(config.text_config)
            network.visual.rotary_pos_emb = Qwen3VLVisionRotaryEmbedding(config.vision_config)
        return network

    def text_of(self, tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> SeeingText:
        """Return what reads prompts; see `WholeFamily`."""
        return SeeingText(tokenizer, encoder, ALONE, BESIDE, SEEN_PX)

    def denoiser_of(
        self, network: DreamLiteUNetModel, *, reads_references: bool
    ) -> DreamLiteDenoiser:
        """Return the denoiser; see `WholeFamily`."""
        return DreamLiteDenoiser(network, reads_references=reads_references)

    def times(self, num_steps: int, num_cells: int) -> tuple[float, ...]:
        """Return times that are shifted as far as the size wants; see `Family`."""
        return flow_times(num_steps, num_cells)

    def sharing_weights(self, modules: Mapping[str, Any]) -> dict[str, Any]:
        """Return a second U-Net around the same weights, for attention of its own; see `Family`."""
        return {**modules, self.denoiser_name: sharing_weights(modules[self.denoiser_name])}

    def facts(
        self,
        preset: Preset,
        denoiser: Mapping[str, Any],
        vae: Mapping[str, Any],
        text: Any,  # noqa: ANN401 - of two parts, declared as any
    ) -> Mapping[str, tuple[object, object]]:
        """Return what must agree; see `WholeFamily`."""
        return {
            "width of the text": (text.text_config.hidden_size, denoiser.get("encoder_hid_dim")),
            "latent channels": (vae.get("latent_channels"), preset.latent_channels),
            "channels of the U-Net": (denoiser.get("in_channels"), preset.latent_channels),
        }


FAMILY = DreamLite()
