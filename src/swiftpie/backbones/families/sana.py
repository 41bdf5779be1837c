"""SANA-Sprint: a transformer with linear attention that draws from words in one to four steps."""

import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderDC, SanaSprintPipeline, SanaTransformer2DModel
from torch import Tensor, nn
from transformers import Gemma2Config, Gemma2Model, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.gemma2.modeling_gemma2 import Gemma2RotaryEmbedding

from swiftpie.attention.condition import Notes
from swiftpie.backbones.choices import Choices, dtype_of
from swiftpie.backbones.machine import AUTO
from swiftpie.backbones.presets import Preset
from swiftpie.backbones.whole_family import CHOICES, WholeFamily
from swiftpie.errors import CapabilityError
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser
from swiftpie.models.text import CUT, LanguageText
from swiftpie.schedules import TRAIN_TIMESTEPS
from swiftpie.types import Posterior, TextCondition

logger = logging.getLogger(__name__)

GUIDANCE = 4.5  # which the student was taught to give in one pass, as its authors draw


class SanaDenoiser(WholeDenoiser):
    """The transformer as it is: linear attention has no softmax for keys of references.

    It was distilled at angles `a` (arXiv:2503.09641), where latents are `cos(a) clean + sin(a)
    noise`, and predicts the velocity of a flow at the time `sin / (cos + sin)`. In latents of that
    flow, `(1 - t) clean + t noise`, both agree on the clean ones: no change of variables is left.
    """

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise (B, C, h, w) at one timestep or (B,); see `Denoiser`."""
        del condition, notes
        network = self.network
        words = text.hidden_states.to(network.dtype)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        guidance = words.new_full((len(latents),), GUIDANCE)
        velocity = network(
            hidden_states=latents.to(network.dtype),
            encoder_hidden_states=words,
            encoder_attention_mask=text.attention_mask,
            timestep=times.expand(len(latents)) / TRAIN_TIMESTEPS,
            guidance=guidance * network.config.guidance_embeds_scale,
            return_dict=False,
        )[0]
        return Prediction(-velocity, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))


@dataclass(frozen=True)
class InstructedText(LanguageText):
    """A tokenizer and a language model whose last states are read, those of the prompt alone."""

    instruction: str  # what stands before each prompt, and asks the model to imagine more of it
    length: int  # tokens whose states are read: the first one of all, and those of the prompt

    @property
    def width(self) -> int:
        """Of a token's state."""
        return int(self.encoder.config.hidden_size)

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts` in small letters; longer ones are cut, with a log.

        Shapes: states (B, T, D), mask (B, T), 0 where padding is hidden, which is not read; nothing
        is pooled, (B, 1). Each prompt is read by itself, and the instruction once for all.
        """
        return TextCondition.joined([self._read(prompt) for prompt in prompts])

    def _read(self, prompt: str) -> TextCondition:
        instruction = self.tokenizer.encode(self.instruction)
        longest = len(instruction) + self.length - 2
        tokens = self.tokenizer.encode(
            self.instruction + prompt.lower().strip(), truncation=True, max_length=longest
        )
        if len(tokens) == longest:
            logger.warning(CUT, self.length)
        known = len(instruction) - 1  # the states of what follows are read
        if tokens[:known] == instruction[:known]:
            before = self.opening(tokens[:known])
            first, rest = before.states[:, :1], self.follow(tokens[known:], before).states
        else:  # where the tokenizer joins both
            states = self.follow(tokens).states
            first, rest = states[:, :1], states[:, known:]
        states = torch.cat([first, rest], dim=1)
        return self.padded(states, self.length - states.shape[1])


class DeepAutoencoder(nn.Module):
    """An `AutoencoderDC`, which knows one value for each picture, with scaled latents."""

    def __init__(self, network: AutoencoderDC) -> None:
        super().__init__()
        self.network = network

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of pixels (B, 3, H, W) in [-1, 1], in float32."""
        latents: Tensor = self.network.encode(pixels.to(self.network.dtype)).latent
        return latents.float() * self.network.config.scaling_factor

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of pixels, of deviation 0."""
        latents = self.encode(pixels)
        return Posterior(latents, torch.zeros_like(latents))

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled latents (B, C, h, w), in float32."""
        raw = latents.to(self.network.dtype) / self.network.config.scaling_factor
        decoded: Tensor = self.network.decode(raw).sample
        return decoded.float()


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
