"""A new word for one subject: vectors in place of the embeddings of its pieces."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from swiftpie.models.text import PromptEncoder, TextTower, TwoTextTowers
from swiftpie.types import TextCondition

SPEED = 50.0  # a word learns so many times as fast as weights: 5e-4 beside 1e-5


class Word(nn.Module):
    """What each text tower reads for the pieces of a word; it begins as they are."""

    def __init__(self, text: PromptEncoder, name: str) -> None:
        super().__init__()
        self.name = name
        changes = []
        for number, (tower, ids) in enumerate(_pieces(text, name)):
            start = tower.get_input_embeddings()(ids.to(tower.device)).detach().clone()
            self.register_buffer(f"start_{number}", start)
            changes.append(nn.Parameter(torch.zeros_like(start)))
        self.changes = nn.ParameterList(changes)

    def vectors(self) -> list[Tensor]:
        """Return the vectors (K, D) of each tower."""
        starts = [self.get_buffer(f"start_{number}") for number in range(len(self.changes))]
        return [start + SPEED * one for start, one in zip(starts, self.changes, strict=True)]


def towers_of(text: PromptEncoder) -> list[PreTrainedModel]:
    """Return the networks of a text encoder, in the order of its tokens."""
    if isinstance(text, TwoTextTowers):
        return [text.first.encoder, text.second]
    assert isinstance(text, TextTower), "families of Stable Diffusion have one or two towers"
    return [text.encoder]


def encode_with(text: PromptEncoder, word: Word, prompts: Sequence[str]) -> TextCondition:
    """Return `prompts` as `text` reads them, with the vectors of `word` where they say it."""
    where = torch.cat([text.find_words(prompt, [word.name]) for prompt in prompts]).bool()
    with ExitStack() as hooks:
        for tower, vectors in zip(towers_of(text), word.vectors(), strict=True):
            hooks.enter_context(_spoken(tower, where.to(vectors.device), vectors))
        return text.encode(list(prompts))


@contextmanager
def _spoken(tower: PreTrainedModel, where: Tensor, vectors: Tensor) -> Iterator[None]:
    """Let `tower` read `vectors` (K, D) where prompts say the word, K tokens of each (B, T)."""
    order = (where.cumsum(1) - 1).clamp_min(0)

    def put(_module: nn.Module, _inputs: object, states: Tensor) -> Tensor:
        return torch.where(where[..., None], vectors[order].to(states), states)

    handle = tower.get_input_embeddings().register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


def _pieces(text: PromptEncoder, name: str) -> Iterator[tuple[PreTrainedModel, Tensor]]:
    """Yield each tower with the ids (K,) of the word's pieces."""
    assert isinstance(text, TextTower | TwoTextTowers), "others have no tokens of their own"
    where = text.find_words(name, [name])[0].bool()
    for tower, ids in zip(towers_of(text), text.tokenize([name]), strict=False):
        yield tower, ids[0][where]
