"""Prompts to token states by a language model that reads each behind an instruction."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swiftpie.models.language_text import LanguageText
from swiftpie.models.vocabulary import CUT
from swiftpie.types import TextCondition

logger = logging.getLogger(__name__)


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

        Shapes: states (B, T, D), mask (B, T), 0 where padding is hidden; nothing is pooled, (B, 1).
        """
        return self.read(*self.tokenize(prompts))

    def tokenize(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids and mask of the tokens of instruction and prompt, (B, I + T) each."""
        whole = len(self.tokenizer.encode(self.instruction)) + self.length - 2
        tokens = self.tokenizer(
            [self.instruction + prompt.lower().strip() for prompt in prompts],
            padding="max_length",
            padding_side="right",
            truncation=True,
            max_length=whole,
        )
        if any(row[-1] for row in tokens["attention_mask"]):
            logger.warning(CUT, self.length)
        return torch.tensor(tokens["input_ids"]), torch.tensor(tokens["attention_mask"])

    def read(self, ids: Tensor, mask: Tensor) -> TextCondition:
        """Return the states of what `tokenize` returned."""
        network: Any = self.encoder.base_model
        device = network.device
        output = network(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False)
        states, seen = (
            torch.cat([rows[:, :1], rows[:, 1 - self.length :]], dim=1)
            for rows in (output.last_hidden_state, mask.to(device))
        )
        return TextCondition(states, seen, states.new_zeros(len(states), 1))

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, T): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), self.length)
