"""DreamLite: a small U-Net with flow matching that draws and edits beside a picture it is shown."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderTiny, DreamLiteUNetModel
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_dreamlite import DreamLiteAttnProcessor2_0
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLModel,
)
from transformers.models.qwen3_vl.modeling_qwen3_vl import (
    Qwen3VLTextRotaryEmbedding,
    Qwen3VLVisionRotaryEmbedding,
)

from swiftpie.attention.condition import AttentionCondition, Notes, region_scale
from swiftpie.attention.kernels import MASKED, attend, merge_heads
from swiftpie.backbones.presets import Preset
from swiftpie.backbones.presets.dreamlite import flow_times
from swiftpie.backbones.whole_family import WholeFamily
from swiftpie.errors import InputError
from swiftpie.geometry.layout import Layout, fitted, to_affine, warp
from swiftpie.imageio.images import to_pil
from swiftpie.masks import resize_mask
from swiftpie.models.autoencoder import LatentAutoencoder
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser, sharing_weights
from swiftpie.models.text import CUT, LanguageText, Reading
from swiftpie.types import Autoencoder, TextCondition

logger = logging.getLogger(__name__)

CELL_PX = 8
LEAST = 1e-6  # a strength below this is none
PICTURE = "<|image_pad|>"  # the token of one patch of a picture
GREY = [0.5] * 3  # mean and deviation by which pictures were normalised
BLOCK = 64  # states come in multiples of so many tokens, so that compiled networks meet few shapes


class HalvesAttention(DreamLiteAttnProcessor2_0):
    """The network's own attention, where a bias may hide the reference's half from the other.

    diffusers makes a copy of a bias for each head, and this one none.
    """

    # diffusers reads the signature of `__call__` to decide which keywords a processor gets.
    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Return the layer's output (B, N, D); `bias` (B, 1, N, N) is for layers without text."""
        if bias is None or encoder_hidden_states is not None:
            plain: Tensor = super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb
            )
            return plain
        width = attn.inner_dim // attn.heads
        query, key, value = (
            layer(hidden_states).unflatten(-1, (-1, width))
            for layer in (attn.to_q, attn.to_k, attn.to_v)
        )
        query = query if attn.norm_q is None else attn.norm_q(query)
        key = key if attn.norm_k is None else attn.norm_k(key)
        times = attn.heads // key.shape[2]  # that heads of keys are shared
        key, value = (part.repeat_interleave(times, dim=2) for part in (key, value))
        by_head = [part.transpose(1, 2) for part in (query, key, value)]
        attended = attend(by_head[0], by_head[1], by_head[2], bias.to(query.dtype))
        output: Tensor = attn.to_out[0](merge_heads(attended))
        return output


class DreamLiteDenoiser(WholeDenoiser):
    """The U-Net on latents of twice the width: the picture to draw, and to its right a reference.

    Without a subject that half is 0, as the network was trained to draw from text. The latents of
    references are its input, so nothing of them is projected or kept.
    """

    def __init__(self, unet: DreamLiteUNetModel, *, reads_references: bool) -> None:
        """Install attention on `unet` that computes the same and takes a bias."""
        processors = {name: HalvesAttention() for name in unet.attn_processors}
        super().__init__(unet, plain=processors, most_pictures=int(reads_references))
        unet.set_attn_processor(dict(processors))

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise (B, C, h, w) at one timestep or (B,); see `Denoiser`."""
        del notes  # its layers find nothing
        batch, _, rows, columns = latents.shape
        attention, network = condition.attention, self.network
        strongest = attention.detail_scale + attention.detail_background_scale
        is_shown = (strongest.amax(1) > 0).to(latents)[:, None, None, None]
        shown = condition.aligned[:, 0].to(latents)
        reference = is_shown * shown if shown.shape[1] else torch.zeros_like(latents)
        halves = torch.cat([latents, reference], dim=3)
        size = latents.new_tensor([[CELL_PX * columns, CELL_PX * rows]]).expand(batch, -1)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        velocity = network(
            halves.to(network.dtype),
            times.expand(batch),
            text.hidden_states.to(network.dtype),
            encoder_attention_mask=text.attention_mask,
            added_cond_kwargs={"time_ids": size},
            cross_attention_kwargs={"bias": is_shown * self._bias(attention)},
            return_dict=False,
        )[0]
        sample = -velocity[..., :columns]
        return Prediction(sample, subject_mask=latents.new_zeros(batch, 1, 1, 1))

    def place_subjects(
        self,
        autoencoder: Autoencoder,
        frames: Sequence[Tensor],
        *,
        layouts: Sequence[Layout],
        present: Tensor,
        cells: tuple[int, int],
    ) -> Tensor:
        """Return the latents of a picture with the first subject in place, (B, 1, C, h, w).

        A frame fills the picture or, where that has another shape, all that it can without being
        stretched.
        """
        del present  # a row without it does not read these latents
        pixels, layout = frames[0][:, :3], layouts[0]  # grey outside of the subject already
        size = (CELL_PX * cells[0], CELL_PX * cells[1])
        if tuple(pixels.shape[2:]) != size:
            layout = fitted(layout, size) if layout.scale.ndim == 1 else layout
            side = round(float(layout.scale.flatten()[0]) * size[1])
            if side < pixels.shape[3]:  # or fine patterns would alias
                pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        placed = warp(pixels, to_affine(layout), size).clamp(-1, 1)
        return autoencoder.encode(placed).unsqueeze(1)

    def _bias(self, attention: AttentionCondition) -> Tensor:
        """Return what is added to the logits of self-attention, (B, 1, N, N).

        All of these layers are on the coarsest grid. On the logit of a target cell on a
        reference's cell comes `log(detail_scale)`, E3 of docs/concepts.md.
        """
        rows, columns = attention.region.shape[-2:]
        shrinks = 2 ** (len(self.network.down_blocks) - 1)
        down, across = (-(-side // shrinks) for side in (rows, 2 * columns))
        num_own = (columns + shrinks // 2) // shrinks  # one in the middle is not the reference's
        is_shown = torch.arange(across, device=attention.region.device) >= num_own
        own = resize_mask(attention.region * attention.detail_mask, (down, num_own))
        strength = region_scale(
            attention.detail_scale, attention.detail_background_scale, own.flatten(2)
        ).squeeze(-1)  # (B, S, n)
        seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)[:, 0]
        by_cell = F.pad(seen.unflatten(1, (down, num_own)), (0, across - num_own)).flatten(1)
        return (by_cell[:, :, None] * is_shown.repeat(down).to(by_cell))[:, None]


class PatchProjection(nn.Conv3d):
    """The convolution that enters patches, as the product of matrices that it is.

    A patch is as large as the kernel, and PyTorch's convolutions are slow where they have no room
    to move.
    """

    def forward(self, patches: Tensor) -> Tensor:
        """Return (P, D, 1, 1, 1) of patches (P, C, t, h, w), each as large as the kernel."""
        entered = F.linear(patches.flatten(1), self.weight.flatten(1), self.bias)
        return entered[:, :, None, None, None]


class Wording(NamedTuple):
    """What a prompt is put into, as the model was trained with it."""

    template: str  # of a whole chat, with a place for the prompt
    dropped: int  # tokens at its start, the same for all prompts, whose states are not read
    longest: int  # tokens of the rest, which is cut there


@dataclass(frozen=True)
class SeeingText(LanguageText):
    """A tokenizer and a language model, whose last states are read without those of its orders."""

    alone: Wording
    beside: Wording
    seen_px: int  # side of the square that a picture is stretched to

    @property
    def width(self) -> int:
        """Of a token's state."""
        return int(self.encoder.config.text_config.hidden_size)

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`; longer ones than fit are cut, with a log.

        Shapes: states (B, T, D), mask (B, T); nothing is pooled, (B, 1). Each prompt is read by
        itself, so that no row depends on another one's length.
        """
        return TextCondition.joined([self._read(prompt, self.alone) for prompt in prompts])

    def look(self, pixels: Tensor) -> Reading:
        """Read the order and a picture (1, 3, H, W) in [-1, 1], for prompts that follow it."""
        square = (self.seen_px, self.seen_px)
        shown = to_pil(pixels)[0].resize(square, Image.Resampling.LANCZOS)
        device = self.network.device
        seen = {k: v.to(device) for k, v in self._eyes(shown, return_tensors="pt").items()}
        merge = self._eyes.merge_size
        count = int(seen["image_grid_thw"].prod()) // merge**2
        mark = self.encoder.config.image_token_id
        words = self._tokens("", self.beside)
        place = words.index(mark)
        tokens = [*words[:place], *[mark] * count]
        before = self.opening(tokens[: self.beside.dropped])
        tokens = tokens[self.beside.dropped :]
        kinds = (torch.tensor([tokens], device=device) == mark).int()
        positions, _ = self.network.get_rope_index(
            torch.tensor([tokens], device=device),
            mm_token_type_ids=kinds,
            image_grid_thw=seen["image_grid_thw"],
        )
        return self.follow(tokens, before, positions, mm_token_type_ids=kinds, **seen)

    def encode_with_picture(self, prompts: list[str], seen: Reading) -> TextCondition:
        """Return the states of `prompts` about what `look` has `seen`; see `encode`.

        Raises:
            InputError: A prompt holds the model's own mark of a picture.
        """
        if any(PICTURE in prompt for prompt in prompts):
            raise InputError(
                f"The prompt says {PICTURE!r}, by which this model marks a picture. Leave that out."
            )
        return TextCondition.joined([self._read(prompt, self.beside, seen) for prompt in prompts])

    @cached_property
    def _eyes(self) -> Qwen2VLImageProcessorPil:
        """What cuts a picture into the patches of the model."""
        vision = self.encoder.config.vision_config
        return Qwen2VLImageProcessorPil(
            patch_size=vision.patch_size,
            temporal_patch_size=vision.temporal_patch_size,
            merge_size=vision.spatial_merge_size,
            do_resize=False,
            image_mean=GREY,
            image_std=GREY,
        )

    def _tokens(self, prompt: str, wording: Wording) -> list[int]:
        tokens: list[int] = self.tokenizer(wording.template.format(prompt))["input_ids"]
        return tokens

    def _read(self, prompt: str, wording: Wording, seen: Reading | None = None) -> TextCondition:
        tokens = self._tokens(prompt, wording)
        if seen is not None:  # in the place of the mark
            place = tokens.index(self.encoder.config.image_token_id)
            tokens = [*seen.tokens, *tokens[place + 1 :]]
        if len(tokens) > wording.dropped + wording.longest:
            logger.warning(CUT, wording.longest)
            tokens = tokens[: wording.dropped + wording.longest]
        before = self.opening(tokens[: wording.dropped]) if seen is None else seen
        states = self.follow(tokens[len(before.tokens) :], before).states
        if seen is not None:
            states = torch.cat([seen.states, states], dim=1)
        return self.padded(states, -states.shape[1] % BLOCK)


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
