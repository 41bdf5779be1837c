"""Prompts to token states: tokenizers with CLIP text towers."""

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor

from swiftpie.types import TextCondition

if TYPE_CHECKING:
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerBase

ARTICLES = {"a", "an", "the"}
ROUNDING = 1e-5  # A prompt's states are numbers of about 1.


class PromptEncoder(Protocol):
    """The interface of text encoders."""

    def dropped(self, prompt: str) -> str:
        """Return the words at the end of a prompt that are not read, as it is too long."""

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""


@dataclass(frozen=True, eq=False)
class PromptPair:
    """Two prompts about one picture, which are encoded once, where that is needed first."""

    encoder: PromptEncoder
    prompts: tuple[str, str]  # what the picture shows before and after the edit

    @cached_property
    def text(self) -> TextCondition:
        """Both prompts, a row each."""
        return self.encoder.encode(list(self.prompts))

    @cached_property
    def are_alike(self) -> bool:
        """Whether they have the same words, or the same encoding."""
        first, second = (_meaningful_words(prompt) for prompt in self.prompts)
        if first == second:
            return True
        text = self.text
        states = text.hidden_states * text.attention_mask.to(text.hidden_states)[..., None]
        return torch.allclose(states[0], states[1], atol=ROUNDING)


def _meaningful_words(prompt: str) -> list[str]:
    """Return the words but articles, since those, capitals and punctuation change no picture."""
    words = [word.strip(string.punctuation) for word in prompt.casefold().split()]
    return [word for word in words if word and word not in ARTICLES]


@runtime_checkable
class HasEncoders(Protocol):
    """A prompt encoder whose networks can be exchanged."""

    def with_encoders(self, change: Callable[[Any], Any]) -> PromptEncoder:
        """Return the same with each of its networks changed."""


@dataclass(frozen=True)
class TextTower:
    """One tokenizer and one CLIP text tower."""

    tokenizer: "PreTrainedTokenizerBase"
    encoder: "CLIPTextModel"
    skip: int | None = None  # how many last layers are not read, as `clip_skip` of diffusers

    @property
    def length(self) -> int:
        """Tokens that the tower reads; all prompts are padded to it."""
        return int(self.encoder.config.max_position_embeddings)

    @property
    def width(self) -> int:
        """Of a token's state."""
        return int(self.encoder.config.hidden_size)

    def with_encoders(self, change: Callable[[Any], Any]) -> Self:
        return replace(self, encoder=change(self.encoder))

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return the states of `prompts`; longer ones than the tower can read are cut.

        Shapes: states (B, T, D), mask (B, T), pooled (B, D), with T the tower's fixed length.
        """
        return self.read(*self.tokenize(prompts))

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Return ids and mask of the tokens of `prompts`, (B, T) each."""
        return _tokenize(self.tokenizer, prompts, self.length)

    def dropped(self, prompt: str) -> str:
        cut = {"padding": "max_length", "truncation": True, "max_length": self.length}
        places = self.tokenizer(prompt, return_offsets_mapping=True, **cut)["offset_mapping"]
        return words_after(prompt, max(map(itemgetter(1), places)))

    def read(self, ids: Tensor, mask: Tensor) -> TextCondition:
        """Return the states of what `tokenize` returned; padding is read as CLIP reads it."""
        has_layers = {} if self.skip is None else {"output_hidden_states": True}
        output = self.encoder(input_ids=ids.to(self.encoder.device), **has_layers)
        states, pooled = output.last_hidden_state, output.pooler_output
        if self.skip is not None:
            norm = next(
                m for n, m in self.encoder.named_modules() if n.endswith("final_layer_norm")
            )
            states = norm(output.hidden_states[-1 - self.skip])
        return TextCondition(states, torch.ones_like(mask).to(states.device), pooled)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        found = torch.zeros(len(names), self.length)
        if not any(names):
            return found
        cut = {"padding": "max_length", "truncation": True, "max_length": self.length}
        tokens = self.tokenizer(prompt, return_offsets_mapping=True, **cut)
        for row, name in enumerate(names):
            start = prompt.lower().find(name.lower()) if name else -1
            if start < 0:
                continue
            for column, (first, last) in enumerate(tokens["offset_mapping"]):
                is_inside = last > start and first < start + len(name)
                found[row, column] = float(is_inside and last > first)
        return found


@dataclass(frozen=True)
class TwoTextTowers:
    """The pair of Stable Diffusion XL: states of both side by side, pooled from the second."""

    first: TextTower
    second_tokenizer: "PreTrainedTokenizerBase"
    second: "CLIPTextModelWithProjection"
    skip: int = 0  # how many layers before the last one are not read

    @property
    def width(self) -> int:
        """Of a token's state, both towers together."""
        return self.first.width + int(self.second.config.hidden_size)

    def with_encoders(self, change: Callable[[Any], Any]) -> Self:
        return replace(self, first=self.first.with_encoders(change), second=change(self.second))

    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states before the last layer (B, T, D1 + D2), mask (B, T) and pooled (B, P)."""
        return self.read(*self.tokenize(prompts))

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, ...]:
        """Return the ids of tokens for both towers, and the second's mask, (B, T) each."""
        ids, _ = _tokenize(self.first.tokenizer, prompts, self.first.length)
        return ids, *_tokenize(self.second_tokenizer, prompts, self.first.length)

    def read(self, ids: Tensor, second_ids: Tensor, mask: Tensor) -> TextCondition:
        states = []
        for encoder, own in ((self.first.encoder, ids), (self.second, second_ids)):
            output = encoder(input_ids=own.to(encoder.device), output_hidden_states=True)
            states.append(output.hidden_states[-2 - self.skip])
        joined = torch.cat(states, dim=-1)
        # SDXL attends to padding too: it was trained so.
        return TextCondition(joined, torch.ones_like(mask).to(joined.device), output.text_embeds)

    def dropped(self, prompt: str) -> str:
        return self.first.dropped(prompt)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.first.find_words(prompt, names)


def words_after(text: str, end: int) -> str:
    """Return the words of `text` behind `end`, with the whole of a word that it lies within."""
    rest = text[end:]
    if rest.strip() and not rest[0].isspace():
        end = len(text[:end].rpartition(" ")[0])
    return text[end:].strip()


def _expanded(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> str:
    """Return a prompt in which a textual inversion of several vectors stands with all of them."""
    known: dict[str, int] = getattr(
        tokenizer, "get_added_vocab", dict
    )()  # that of `mini` adds none
    for token in known:
        if f"{token}_1" in known and token in prompt:
            count = next(n for n in range(1, len(known) + 1) if f"{token}_{n}" not in known)
            prompt = prompt.replace(
                token, " ".join([token, *(f"{token}_{n}" for n in range(1, count))])
            )
    return prompt


def _tokenize(
    tokenizer: "PreTrainedTokenizerBase", prompts: list[str], length: int
) -> tuple[Tensor, Tensor]:
    prompts = [_expanded(tokenizer, prompt) for prompt in prompts]
    tokens = tokenizer(prompts, padding="max_length", truncation=True, max_length=length)
    return torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])
