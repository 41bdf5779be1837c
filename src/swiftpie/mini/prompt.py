"""What the embedded model reads in a prompt: subjects of the library, and how they stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from swiftpie.backbones.components import Prompt
from swiftpie.library import Named
from swiftpie.mini.edit_reading import read_edit
from swiftpie.mini.naming import new_subjects
from swiftpie.mini.scenes import asks_for_turn
from swiftpie.mini.vocabulary import Vocabulary


@dataclass(frozen=True)
class ReadPrompt(Prompt):
    """A prompt, read by the words that the model was taught."""

    text: str
    vocabulary: Vocabulary | None
    is_turned: bool

    def named_besides(self, given: Sequence[str]) -> tuple[Named, ...]:
        """Return the subjects of the library besides those `given`; see `Prompt`."""
        return new_subjects(self.text, self.vocabulary, given=given)

    def named_newcomer(self, shown: str) -> Named | None:
        """Return the subject of the library that an edit brings; see `Prompt`."""
        reading = read_edit(self.text, self.vocabulary, source_prompt=shown)
        newcomer = None if reading is None else reading.newcomer
        return None if newcomer is None else newcomer.subject


@lru_cache(maxsize=64)
def read(prompt: str, vocabulary: Vocabulary | None) -> ReadPrompt:
    """Return what is read in a prompt."""
    return ReadPrompt(prompt, vocabulary, asks_for_turn(prompt))
