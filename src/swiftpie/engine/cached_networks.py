"""Encoders and inversion networks that remember what they were asked, for the next call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from swiftpie.engine.cache import Cache, Key, content_key
from swiftpie.models.inversion import Call, Difference, Inversion, Reading, ReadsEdits
from swiftpie.models.text import PromptEncoder
from swiftpie.types import Autoencoder, Posterior, TextCondition


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


@dataclass(frozen=True)
class CachedAutoencoder:
    """Encodes each picture alone and once."""

    autoencoder: Autoencoder
    cache: Cache
    fingerprint: str  # sha256 of the networks, `autoencoder` among them

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""
        rows = pixels.split(1)
        return torch.cat([self._asked("latents", self.autoencoder.encode, row) for row in rows])

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""
        return self._asked("posterior", self.autoencoder.posterior, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        return self.autoencoder.decode(latents)

    def _asked(self, kind: str, ask: Callable[[Tensor], Any], pixels: Tensor) -> Any:  # noqa: ANN401 - as `ask`
        key = content_key(kind, self.fingerprint, pixels)
        return self.cache.get_or_make(key, lambda: ask(pixels))


class CachedImageEncoder(nn.Module):
    """Encodes each reference with its mask once. It serves edits, where nobody is left out."""

    def __init__(self, inner: nn.Module, cache: Cache, fingerprint: str) -> None:
        super().__init__()
        self.inner = inner
        self._cache = cache
        self._fingerprint = fingerprint  # sha256 of the networks, `inner` among them

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W)."""
        key = content_key("appearance", self._fingerprint, pixels, mask)
        return self._cache.get_or_make(key, lambda: self.inner(pixels, mask))


@runtime_checkable
class ConcurrentInversion(Protocol):
    """An inversion network that several calls share, each answered exactly as if it were alone."""

    def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answer to each call: a reading from a network that reads, else noise."""


@dataclass(frozen=True)
class CachedInversion:
    """Inverts each picture under each prompt alone and once."""

    inversion: Inversion
    cache: Cache
    fingerprint: str  # sha256 of the networks that are not `inversion`, which none replaces

    def __call__(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return noise (B, C, h, w) for clean `latents` (B, C, h, w)."""
        return torch.cat(self._answers("inversion", latents, text, self.inversion))

    def _answers(
        self, kind: str, latents: Tensor, text: TextCondition, ask: Callable[..., Any]
    ) -> list[Any]:
        """Return what `ask` answers to each row alone, or what is remembered of it."""
        rows = _rows(latents, text)
        keys = [content_key(kind, self.fingerprint, one, *prompt) for one, prompt in rows]
        calls = dict(zip(keys, rows, strict=True))

        def make(missing: Sequence[Key]) -> list[Any]:
            new, inner = [calls[key] for key in missing], self.inversion
            if isinstance(inner, ConcurrentInversion):
                return inner.call_all(new)
            return [ask(*one) for one in new]

        return self.cache.get_or_make_all(keys, make)


class CachedReader(CachedInversion):
    """The same for a network that also tells what an edit is about."""

    def read(self, latents: Tensor, text: TextCondition) -> Reading:
        """Return everything that is found in clean `latents` (B, C, h, w)."""
        rows = self._answers("reading", latents, text, self._reader.read)
        return Reading(*(torch.cat(parts) for parts in zip(*rows, strict=True)))

    def compare(self, source: Reading, target: Reading) -> Difference:
        """Return what changes in a picture that `source` describes to fit `target`."""
        return self._reader.compare(source, target)

    @property
    def _reader(self) -> ReadsEdits:
        assert isinstance(self.inversion, ReadsEdits)
        return self.inversion


def cached_inversion(inversion: Inversion, cache: Cache, fingerprint: str) -> CachedInversion:
    """Return `inversion` so that each picture is inverted once under each prompt."""
    kind = CachedReader if isinstance(inversion, ReadsEdits) else CachedInversion
    return kind(inversion, cache, fingerprint)


def _rows(latents: Tensor, text: TextCondition) -> list[Call]:
    prompts = zip(*(part.split(1) for part in text), strict=True)
    return [
        (one, TextCondition(*parts)) for one, parts in zip(latents.split(1), prompts, strict=True)
    ]
