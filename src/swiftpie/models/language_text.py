"""What prompt encoders around one language model have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from swiftpie.types import TextCondition


@dataclass(frozen=True)
class LanguageText(ABC):
    """A tokenizer and a language model, whose states a denoiser reads; see `PromptEncoder`."""

    tokenizer: PreTrainedTokenizerBase
    encoder: PreTrainedModel

    @property
    @abstractmethod
    def width(self) -> int:
        """Of a token's state."""

    @abstractmethod
    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""

    @abstractmethod
    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""

    @property
    def vocabulary(self) -> None:
        """Unknown: it was trained on all words."""
        return

    def with_encoders(self, change: Callable[[Any], Any]) -> Self:
        """Return the same with its network changed."""
        return replace(self, encoder=change(self.encoder))
