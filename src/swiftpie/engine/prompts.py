"""A prompt encoder that remembers prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from swiftpie.engine.cache import Cache, content_key
from swiftpie.models.text import PromptEncoder
from swiftpie.types import TextCondition


@dataclass(frozen=True)
class CachedPrompts:
    """Encodes each prompt alone and once, so that a row never depends on its neighbours."""

    encoder: PromptEncoder  # pads all prompts to one length
    cache: Cache
    fingerprint: str  # sha256 of the networks, `encoder` among them

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`; see `Cache`."""
        rows = [self._encode_one(prompt) for prompt in prompts]
        if len(rows) == 1:
            return rows[0]
        return TextCondition(*(torch.cat(parts) for parts in zip(*rows, strict=True)))

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.encoder.find_words(prompt, names)

    def _encode_one(self, prompt: str) -> TextCondition:
        key = content_key("prompt", self.fingerprint, prompt)
        return self.cache.get_or_make(key, lambda: self.encoder.encode([prompt]))
