"""FLUX.2 [klein]: a transformer with joint attention that reads pictures as further tokens."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Qwen3Config, Qwen3Model
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

from swiftpie.attention.condition import AttentionCondition, Notes, region_scale
from swiftpie.attention.kernels import MASKED
from swiftpie.attention.processors import DetailAttention, Merge
from swiftpie.backbones.components import Components
from swiftpie.backbones.presets import Preset
from swiftpie.backbones.presets.flux2 import flow_times
from swiftpie.backbones.whole_family import TEXT, WholeFamily
from swiftpie.errors import WeightsError
from swiftpie.models.denoiser import Prediction, SubjectCondition, WholeDenoiser
from swiftpie.models.text import CUT, LanguageText
from swiftpie.schedules import TRAIN_TIMESTEPS
from swiftpie.types import Posterior, TextCondition

logger = logging.getLogger(__name__)

ENTRANCE = "x_embedder"  # the layer through which cells and references enter
APART = 10  # of the first position of a reference's cells from those of the one before


LEAST = 1e-6  # a strength below this is none


class ReferenceTokens(DetailAttention):
    """The detail branch of a transformer that reads pictures as tokens beside its own.

    The tokens enter through the network's first layer, so there is one such branch, and nothing is
    projected. They attend and are attended to in every layer. On the logit of a target cell on a
    reference's token comes `log(detail_scale_s)`, E3 of docs/concepts.md: a token of a strength of
    0 is not seen there.
    """

    def __init__(self, name: str, *, width: int) -> None:
        """Take tokens of `width` numbers in front of the layer at module path `name`."""
        super().__init__(
            name, width=width, heads=1, gate=1.0, merge=Merge.JOINT, own_projections=False
        )

    def projections(self, attn: Attention) -> tuple[()]:  # type: ignore[override]  # none at all
        """Return nothing: tokens are what the layer reads."""
        del attn
        return ()

    def project(self, attn: Attention, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens (R, N, D) as they are, for keys and values."""
        del attn
        return hidden_states, hidden_states

    def bias(self, condition: AttentionCondition, text_length: int) -> Tensor | None:
        """Return what is added to all logits, (B, 1, L, L); None if that is nothing.

        Rows and columns are text, target cells and references. The text sees a subject as its
        least strength on any cell, or it would carry the subject into every place. Where regions
        overlap, both subjects are seen: they compete in one softmax as it is.
        """
        masks = (condition.region * condition.detail_mask).flatten(2)
        scales = condition.detail_scale, condition.detail_background_scale
        strength = region_scale(*scales, masks).squeeze(-1)  # (B, S, N)
        seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)
        hidden = self._key_bias(condition) + _repeated(condition.keys[self.name], condition)
        # A graph serves all values, so it adds a bias even where this one is 0.
        if not torch.compiler.is_compiling() and not seen.any() and not hidden.any():
            return None
        batch, subjects, keys = hidden.shape
        by_row = torch.cat([seen.amin(-1, keepdim=True).expand(-1, -1, text_length), seen], dim=-1)
        rows, count = by_row.transpose(1, 2), subjects * keys  # (B, T + N, S)
        rows = torch.cat([rows, rows.new_zeros(batch, count, subjects)], dim=1)
        steered = (rows[..., None] + hidden[:, None]).clamp_min(MASKED).flatten(2)
        others = steered.new_zeros(batch, steered.shape[1], by_row.shape[-1])
        return torch.cat([others, steered], dim=2)[:, None]


def _repeated(tokens: Tensor, condition: AttentionCondition) -> Tensor:
    """Return what hides references that equal an earlier one of their subject, (B, S, keys).

    Subjects with fewer references than others are filled up with such.
    """
    views = condition.coverage.shape[2]
    each = tokens.unflatten(2, (views, -1))  # (B, S, R, n, D)
    same = torch.stack(
        [
            (each[:, :, :view] == each[:, :, view : view + 1]).flatten(3).all(-1).any(-1)
            for view in range(views)
        ],
        dim=2,
    )  # (B, S, R)
    return torch.where(same, MASKED, 0.0).repeat_interleave(each.shape[3], dim=2).to(tokens.dtype)


class Flux2Denoiser(WholeDenoiser):
    """The transformer as it is: its own attention serves, as references are further tokens.

    Cells outside of a reference's mask are hidden from attention.
    """

    def __init__(self, transformer: Flux2Transformer2DModel, *, reads_references: bool) -> None:
        """Wrap `transformer`; nothing is installed in it."""
        references = ReferenceTokens(ENTRANCE, width=transformer.config.in_channels)
        super().__init__(transformer, detail={ENTRANCE: references} if reads_references else {})

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
        attention, network = condition.attention, self.network
        rows, columns = latents.shape[-2:]
        tokens, places = _packed(latents), [_positions(rows, columns, at=0, like=latents)]
        shown, words = attention.keys.get(ENTRANCE), text.hidden_states.to(network.dtype)
        steering = {}
        if shown is not None:
            tokens = torch.cat([tokens, shown.flatten(1, 2).to(tokens)], dim=1)
            _, subjects, views, *cells = attention.coverage.shape
            places += [
                _positions(cells[0], cells[1], at=APART * number, like=latents)
                for number in range(1, subjects * views + 1)
            ]
            branch = self.installation.detail[ENTRANCE]
            assert isinstance(branch, ReferenceTokens), "as installed"
            bias = branch.bias(attention, words.shape[1])
            steering = {} if bias is None else {"attention_mask": bias.to(network.dtype)}
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        velocity = network(
            hidden_states=tokens.to(network.dtype),
            encoder_hidden_states=words,
            timestep=times.expand(len(latents)) / TRAIN_TIMESTEPS,
            img_ids=torch.cat(places),
            txt_ids=_text_positions(words),
            joint_attention_kwargs=steering or None,
            return_dict=False,
        )[0]
        cells_of = velocity[:, : rows * columns].transpose(1, 2)
        sample = -cells_of.unflatten(2, (rows, columns))
        return Prediction(sample, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))

    def read_reference(self, encoded: Tensor, text: TextCondition) -> Notes:
        """Return the tokens of references, (R, N, C); see `Denoiser`."""
        del text
        return {ENTRANCE: _packed(encoded)}


def _packed(latents: Tensor) -> Tensor:
    """Return latents (B, C, h, w) as tokens (B, h*w, C)."""
    return latents.flatten(2).transpose(1, 2)


def _positions(rows: int, columns: int, *, at: int, like: Tensor) -> Tensor:
    """Return (picture, row, column, word) of each cell, (rows * columns, 4)."""
    axes = [torch.arange(count, device=like.device) for count in (rows, columns)]
    first, zero = (torch.tensor([value], device=like.device) for value in (at, 0))
    return torch.cartesian_prod(first, *axes, zero)


def _text_positions(words: Tensor) -> Tensor:
    """Return the same of each token of text (B, T, D), (T, 4)."""
    places = torch.zeros(words.shape[1], 4, dtype=torch.int64, device=words.device)
    places[:, 3] = torch.arange(words.shape[1], device=words.device)
    return places


@dataclass(frozen=True)
class ChatText(LanguageText):
    """A chat tokenizer and a language model, whose states of several layers lie side by side."""

    layers: tuple[int, ...]  # whose states are read; 0 is what enters the first one
    length: int  # tokens that prompts are padded to, and cut at

    @property
    def width(self) -> int:
        """Of a token's state."""
        return len(self.layers) * int(self.encoder.config.hidden_size)

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`; longer ones than fit are cut, with a log.

        Shapes: states (B, T, D), mask (B, T) of ones, as padding is attended to; nothing is pooled,
        (B, 1).
        """
        return self.read(*self.tokenize(prompts))

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids and mask of the tokens of what a user would ask in a chat, (B, T) each."""
        asked = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
            for prompt in prompts
        ]
        tokens = self.tokenizer(
            asked, padding="max_length", truncation=True, max_length=self.length
        )
        if any(row[-1] for row in tokens["attention_mask"]):
            logger.warning(CUT, self.length)
        return torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])

    def read(self, ids: Tensor, mask: Tensor) -> TextCondition:
        """Return the states of what `tokenize` returned."""
        device = self.network.device
        with self.scope():
            output = self.network(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                output_hidden_states=True,
                use_cache=False,
            )
        states = torch.cat([output.hidden_states[layer] for layer in self.layers], dim=-1)
        whole = torch.ones_like(mask).to(states.device)
        return TextCondition(states, whole, states.new_zeros(len(states), 1))


class NormalisedAutoencoder(nn.Module):
    """An `AutoencoderKLFlux2`: latents of 2 x 2 cells together, each channel normalised."""

    def __init__(self, network: AutoencoderKLFlux2) -> None:
        super().__init__()
        self.network = network

    def encode(self, pixels: Tensor) -> Tensor:
        """Return normalised latents (B, 4C, h/2, w/2) of pixels (B, 3, H, W), in float32."""
        return self.posterior(pixels).mean

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of pixels (B, 3, H, W) in [-1, 1]."""
        normal = self.network.encode(pixels.to(self.network.dtype)).latent_dist
        mean, deviation = (F.pixel_unshuffle(x, 2) for x in (normal.mode(), normal.std))
        shift, scale = self._statistics()
        return Posterior(((mean - shift) / scale).float(), (deviation / scale).float())

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of normalised latents, in float32."""
        shift, scale = self._statistics()
        raw = F.pixel_shuffle(latents.to(shift) * scale + shift, 2)
        decoded: Tensor = self.network.decode(raw).sample
        return decoded.float()

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Return mean and deviation of each channel over pictures, (1, 4C, 1, 1)."""
        norm, eps = self.network.bn, self.network.config.batch_norm_eps
        shift, variance = (x[None, :, None, None] for x in (norm.running_mean, norm.running_var))
        return shift, (variance + eps).sqrt()


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
