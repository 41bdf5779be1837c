"""What prompt encoders around one language model have in common."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from swiftpie.types import TextCondition

Tokens = tuple[int, ...]

CUT = "A prompt was cut to %s tokens, all that this model reads."


class Reading(NamedTuple):
    """What a language model keeps of tokens that it has read, so that others can follow them.

    No token looks ahead, so what was read once is the same whatever follows.
    """

    tokens: Tokens  # all of them, from the first one on
    states: Tensor  # (1, T, D) of the tokens that were read last
    attended: tuple[tuple[Tensor, Tensor], ...]  # keys and values (1, H, T, d) of each layer
    end: int  # the position of the token that follows


@dataclass(frozen=True)
class LanguageText(ABC):
    """A tokenizer and a language model, whose states a denoiser reads; see `PromptEncoder`."""

    tokenizer: PreTrainedTokenizerBase
    encoder: PreTrainedModel
    # The context in which the language model computes.
    scope: Callable[[], AbstractContextManager[object]] = field(default=nullcontext, kw_only=True)

    @property
    @abstractmethod
    def width(self) -> int:
        """Of a token's state."""

    @abstractmethod
    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`."""

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark nothing, (S, 1): no layer that reads these states finds regions by words."""
        del prompt
        return torch.zeros(len(names), 1)

    @property
    def network(self) -> Any:  # noqa: ANN401 - of any language model
        """The language model without a head that predicts words, if there is one."""
        return self.encoder.base_model

    @staticmethod
    def padded(states: Tensor, room: int) -> TextCondition:
        """Return states (1, T, D) with so many tokens behind them that are hidden."""
        mask = torch.ones(states.shape[:2], dtype=torch.int64, device=states.device)
        return TextCondition(
            F.pad(states, (0, 0, 0, room)), F.pad(mask, (0, room)), states.new_zeros(1, 1)
        )

    def with_encoders(self, change: Callable[[Any], Any]) -> Self:
        """Return the same with its network changed."""
        return replace(self, encoder=change(self.encoder))

    def follow(
        self,
        tokens: Sequence[int],
        before: Reading | None = None,
        positions: Tensor | None = None,
        **seen: Tensor,
    ) -> Reading:
        """Read `tokens`, which come first or follow others.

        Args:
            tokens: At least one.
            before: What was read already.
            positions: (3, 1, T) of tokens that show a picture; by default one after the other.
            **seen: What the network takes besides.
        """
        network, device = self.network, self.network.device
        start = 0 if before is None else before.end
        if positions is None:
            positions = torch.arange(len(tokens), device=device)[None]
        cache = DynamicCache(None if before is None else before.attended, config=network.config)
        with self.scope():
            output = network(
                input_ids=torch.tensor([list(tokens)], device=device),
                position_ids=start + positions,
                use_cache=True,
                **{_name_of_cache(network): cache},
                **seen,
            )
        layers: Any = cache.layers  # of kinds that transformers does not tell apart
        return Reading(
            tokens=(*(() if before is None else before.tokens), *tokens),
            states=output.last_hidden_state,
            attended=tuple((layer.keys, layer.values) for layer in layers),
            end=start + int(positions.max()) + 1,
        )

    @torch.no_grad()
    def opening(self, tokens: Sequence[int]) -> Reading:
        """Return what is kept of tokens with which many texts open; they are read once."""
        weight = next(self.network.parameters())
        key = (tuple(tokens), weight.device, weight.dtype)
        if key not in self._openings:
            self._openings[key] = self.follow(tokens)
        return self._openings[key]

    @cached_property
    def _openings(self) -> dict[tuple[Tokens, torch.device, torch.dtype], Reading]:
        return {}


def _name_of_cache(network: Any) -> str:  # noqa: ANN401 - of any language model
    # transformers renames the keyword; a network that does not know the new one would ignore it.
    is_renamed = "cache" in inspect.signature(network.forward).parameters
    return "cache" if is_renamed else "past_key_values"
