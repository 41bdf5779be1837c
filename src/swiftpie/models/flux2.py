"""The networks of FLUX.2 as they were published: language model, transformer, latents."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swiftpie.attention.condition import MASKED, AttentionCondition, Notes
from swiftpie.attention.install import BranchPlan, Installation
from swiftpie.attention.processors import DetailAttention, Merge, region_scale
from swiftpie.models.denoiser import Prediction, PublishedDenoiser, SubjectCondition
from swiftpie.models.text import words_after
from swiftpie.types import Autoencoder, Posterior, TextCondition

if TYPE_CHECKING:
    from diffusers import AutoencoderKLFlux2
    from diffusers.models.attention_processor import Attention
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


ENTRANCE = "x_embedder"  # the layer through which cells and references enter
APART = 10  # distance between the first positions of two references' cells
READ_LAYERS = (9, 18, 27)  # the transformer was trained on the states of these layers of Qwen3
TEXT_LENGTH = 512  # tokens that prompts are padded to, and cut at
LEAST = 1e-6  # a strength below this is none


@dataclass(frozen=True)
class LanguageText:
    """A tokenizer and Qwen3, whose states the transformer reads; see `PromptEncoder`."""

    tokenizer: "PreTrainedTokenizerBase"
    encoder: "PreTrainedModel"
    # The context in which the language model computes.
    scope: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, kw_only=True)

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts` as a user types them in a chat, (B, T, D).

        States of several layers lie side by side. The mask is all ones, as padding is attended to;
        nothing is pooled, so D is 1 there. Prompts that are too long are cut.
        """
        tokens = self.tokenizer(
            [*map(self._typed, prompts)],
            padding="max_length",
            truncation=True,
            max_length=TEXT_LENGTH,
        )
        network: Any = self.encoder.base_model  # without a head that predicts words
        ids, mask = (
            torch.tensor(tokens[name], device=network.device)
            for name in ("input_ids", "attention_mask")
        )
        with self.scope():
            output = network(
                input_ids=ids, attention_mask=mask, output_hidden_states=True, use_cache=False
            )
        states = torch.cat([output.hidden_states[layer] for layer in READ_LAYERS], dim=-1)
        return TextCondition(states, torch.ones_like(mask), states.new_zeros(len(states), 1))

    def _typed(self, prompt: str) -> str:
        """Return a prompt with the marks of a chat around it."""
        text: Any = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        return str(text)

    def dropped(self, prompt: str) -> str:
        typed = self._typed(prompt)
        cut = {"truncation": True, "max_length": TEXT_LENGTH}
        places = self.tokenizer(typed, return_offsets_mapping=True, **cut)["offset_mapping"]
        end = max(last for _, last in places) - typed.find(prompt)
        return words_after(prompt, min(end, len(prompt)))

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, 1): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), 1)

    def with_encoders(self, change: Callable[[Any], Any]) -> Self:
        return replace(self, encoder=change(self.encoder))


class NormalisedAutoencoder(nn.Module):
    """An `AutoencoderKLFlux2`: latents of 2 x 2 cells together, each channel normalised."""

    def __init__(self, network: "AutoencoderKLFlux2") -> None:
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


class ReferenceTokens(DetailAttention):
    """The detail branch of a transformer that reads pictures as further tokens.

    The tokens enter through the network's first layer, so there is one such branch, and nothing is
    projected. They attend and are attended to in every layer. On the logit of a target cell on a
    reference's token comes `log(detail_scale_s)`, E3 of docs/concepts.md: a token of a strength of
    0 is not seen there.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__(
            ENTRANCE, width=width, heads=1, gate=1.0, merge=Merge.JOINT, own_projections=False
        )

    def projections(self, attn: "Attention") -> tuple[()]:  # type: ignore[override]  # none at all
        """Return nothing: tokens are what the layer reads."""
        del attn
        return ()

    def project(self, attn: "Attention", hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        del attn
        return hidden_states, hidden_states

    def hidden(self, condition: AttentionCondition) -> Tensor:
        """Return `MASKED` for tokens that are not read, 0 for others, (B, S * keys)."""
        repeated = _repeated(condition.keys[self.name], condition)
        grid = condition.reference_grid(self.name)
        return (self._key_bias(grid, condition) + repeated).clamp_min(MASKED).flatten(1)

    def bias(
        self, condition: AttentionCondition, text_length: int, hidden: Tensor, owner: Tensor
    ) -> Tensor | None:
        """Return what is added to all logits, (B, 1, L, L); None if that is nothing.

        Rows and columns are text, target cells and the K tokens of references, of which `hidden`
        (B, K) are not read and the subject of number `owner` (K,) has each. The text sees a subject
        as its least strength on any cell, or it would carry the subject into every place. Where
        regions overlap, both subjects are seen: they compete in one softmax.
        """
        masks = (condition.region * condition.detail_mask).flatten(2)
        scales = condition.detail_scale, condition.detail_background_scale
        strength = region_scale(*scales, masks).squeeze(-1)  # (B, S, N)
        seen = torch.where(strength > LEAST, strength.clamp_min(LEAST).log(), MASKED)
        # A graph serves all values, so it adds a bias even where this one is 0.
        if not torch.compiler.is_compiling() and not seen.any() and not hidden.any():
            return None
        by_row = torch.cat([seen.amin(-1, keepdim=True).expand(-1, -1, text_length), seen], dim=-1)
        rows = F.pad(by_row[:, owner].transpose(1, 2), (0, 0, 0, len(owner)))  # (B, L, K)
        steered = (rows + hidden[:, None]).clamp_min(MASKED)
        return F.pad(steered, (by_row.shape[-1], 0))[:, None]


class Flux2Denoiser(PublishedDenoiser):
    """The transformer as it was published, behind the protocol of denoisers."""

    def __init__(self, network: Any, *, reads_references: bool) -> None:  # noqa: ANN401 - of diffusers
        """Wrap a `Flux2Transformer2DModel`, whose own attention serves; nothing is installed."""
        super().__init__()
        self.network = network
        originals = dict(network.attn_processors)
        references = ReferenceTokens(width=network.config.in_channels)
        plan = BranchPlan(
            token_width=1,  # nothing reads identity tokens
            merge=Merge.JOINT,
            own_projections=False,
            semantic=frozenset(),
            detail=frozenset(),
        )
        self.installation = Installation(
            network,
            plan,
            originals=originals,
            semantic={},
            detail={ENTRANCE: references} if reads_references else {},
            plain={name.removesuffix(".processor"): own for name, own in originals.items()},
        )

    def forward(
        self,
        latents: Tensor,
        timestep: float | Tensor,
        text: TextCondition,
        condition: SubjectCondition,
        notes: Notes,
    ) -> Prediction:
        """Return clean latents minus noise; cells outside of a reference's mask are hidden."""
        del notes  # no layer writes any
        attention, network = condition.attention, self.network
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device)
        rows, columns = latents.shape[-2:]
        tokens, places = _packed(latents), [_positions(rows, columns, at=0, like=latents)]
        shown, words = attention.keys.get(ENTRANCE), text.hidden_states.to(network.dtype)
        steering = {}
        if shown is not None:
            _, subjects, views, *cells = attention.coverage.shape
            places += [
                _positions(cells[0], cells[1], at=APART * number, like=latents)
                for number in range(1, subjects * views + 1)
            ]
            branch: Any = self.installation.detail[ENTRANCE]
            hidden, read = branch.hidden(attention), slice(None)
            # Tokens that no row reads stay out: attention without a mask is faster.
            if not torch.compiler.is_compiling():
                read = (hidden == 0).any(dim=0)
            owner = torch.arange(subjects, device=latents.device)
            owner = owner.repeat_interleave(shown.shape[2])[read]
            tokens = torch.cat([tokens, shown.flatten(1, 2)[:, read].to(tokens)], dim=1)
            places = [places[0], torch.cat(places[1:])[read]]
            bias = branch.bias(attention, words.shape[1], hidden[:, read], owner)
            steering = {} if bias is None else {"attention_mask": bias.to(network.dtype)}
        word_places = torch.zeros(words.shape[1], 4, dtype=torch.int64, device=words.device)
        word_places[:, 3] = torch.arange(words.shape[1], device=words.device)
        velocity: Tensor = network(
            hidden_states=tokens.to(network.dtype),
            encoder_hidden_states=words,
            timestep=times.expand(len(latents)) / 1000,
            img_ids=torch.cat(places),
            txt_ids=word_places,
            joint_attention_kwargs=steering or None,
            return_dict=False,
        )[0]
        sample = -velocity[:, : rows * columns].transpose(1, 2).unflatten(2, (rows, columns))
        return Prediction(sample, subject_mask=latents.new_zeros(len(latents), 1, 1, 1))

    def encode_reference(self, autoencoder: Autoencoder, pixels: Tensor, mask: Tensor) -> Tensor:
        del mask
        return autoencoder.encode(pixels)

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
