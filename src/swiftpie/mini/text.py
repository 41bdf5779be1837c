"""The text tower of the embedded model, which was taught few words and reads others as those."""

from dataclasses import dataclass
from functools import cached_property

from swiftpie.mini.vocabulary import GENERIC, Vocabulary
from swiftpie.models.text import TextTower

TAUGHT = "taught"  # key of the vocabulary in the settings of packaged tokenizers


@dataclass(frozen=True)
class TaughtTower(TextTower):
    """A tower whose tokenizer holds the words of its training captions."""

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The words of the training captions."""
        return Vocabulary.stored(self.tokenizer.init_kwargs.get(TAUGHT))

    def readable(self, prompt: str) -> str:
        """Return a prompt in words that captions had."""
        return prompt if self.vocabulary is None else self.vocabulary.as_taught(prompt)

    def name_in(self, prompt: str, name: str) -> str:
        """Return `name`, or the generic name that a readable prompt has for unknown ones."""
        return name if name.lower() in prompt.lower() else GENERIC
