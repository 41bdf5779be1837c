"""Prompts to token states by a language model that reads each behind an instruction."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

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
        room = self.length - states.shape[1]
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        return TextCondition(
            F.pad(states, (0, 0, 0, room)), F.pad(mask, (0, room)), states.new_zeros(1, 1)
        )

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, T): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), self.length)
