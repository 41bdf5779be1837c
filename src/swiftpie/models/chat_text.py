"""Prompts to token states by the hidden layers of a language model that chats."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.models.language_text import LanguageText
from swiftpie.models.vocabulary import CUT
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)


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

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, T): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), self.length)
