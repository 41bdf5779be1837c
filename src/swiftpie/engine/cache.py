"""A bounded cache of what networks computed, by content, and networks that use it."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, is_dataclass
from threading import Lock
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from swiftpie.errors import ConfigError
from swiftpie.models.inversion import (
    Call,
    EditInversion,
    Inversion,
    InversionOutput,
    PromptDifference,
)
from swiftpie.models.text import PromptEncoder, Reading, SeesPictures
from swiftpie.models.vision import HasNullTokens
from swiftpie.types import Autoencoder, Posterior, TextCondition

MIB = 2**20

Value = TypeVar("Value")


class Key(NamedTuple):
    """The kind of a value, and the digest of everything that it depends on."""

    kind: str  # of value: "identity", "prompt"; counted apart
    digest: str  # sha256 (hexadecimal) of everything that the value depends on


class _Kept(NamedTuple):
    value: Any
    num_bytes: int


@dataclass(frozen=True)
class CacheReport:
    """Hits, misses and contents of a cache; `str` gives one line."""

    hits: Mapping[str, int]  # by kind: requests answered without computing anything
    misses: Mapping[str, int]  # by kind: computations
    evictions: int
    num_entries: int
    held_mib: float  # in tensors
    limit_mib: float

    def __str__(self) -> str:
        kinds = sorted({*self.hits, *self.misses})
        lookups = [f"{kind}: {self.hits[kind]} hits, {self.misses[kind]} misses" for kind in kinds]
        held = f"{self.num_entries} entries, {self.held_mib:.1f} of {self.limit_mib:g} MiB"
        return "; ".join([*lookups, f"{held}, {self.evictions} evicted"])


class Cache:
    """Values by content, the least recently used of which go first when tensors need room.

    Callers share the values and must not write into them. Two threads that need the same value at
    once wait for one computation; a failed one is not kept.
    """

    def __init__(self, limit_mib: float) -> None:
        """Make an empty cache; `limit_mib` bounds all tensors in it together, 0 keeps nothing.

        Raises:
            ConfigError: The bound is negative or no number.
        """
        if not limit_mib >= 0:
            raise ConfigError(
                f"The cache was given {limit_mib} MiB; it needs 0 or more. Pass 0 to turn it off."
            )
        self._limit_mib = limit_mib
        self._lock = Lock()  # held for bookkeeping only, never while something is computed
        self._kept: OrderedDict[Key, _Kept] = OrderedDict()  # the least recently used comes first
        self._under_way: dict[Key, Future[Any]] = {}
        self._held_bytes = 0
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._evictions = 0

    def get_or_make(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, by `make` if it is not there.

        `make` may ask this cache for other keys, as long as none of them leads back to `key`.
        A value that is larger than the whole cache is returned and not kept.
        """
        return self.get_or_make_all([key], lambda _: [make()])[0]

    def get_or_make_all(
        self, keys: Sequence[Key], make: Callable[[Sequence[Key]], Sequence[Value]]
    ) -> list[Value]:
        """Return the values of `keys`; one call of `make` gives those that are not there."""
        values: dict[Key, Value] = {}
        while wanted := [key for key in dict.fromkeys(keys) if key not in values]:
            awaited: dict[Key, Future[Value]] = {}
            promises: dict[Key, Future[Value]] = {}
            with self._lock:
                for key in wanted:
                    if key in self._kept:
                        self._hits[key.kind] += 1
                        self._kept.move_to_end(key)
                        values[key] = self._kept[key].value
                    elif key in self._under_way:
                        awaited[key] = self._under_way[key]
                    else:
                        self._misses[key.kind] += 1
                        promises[key] = self._under_way[key] = Future()
            if promises:  # before waiting for others, who may take as long
                values |= self._make(promises, make)
            for key, other in awaited.items():
                if other.exception() is None:  # waits; after an error this thread tries itself
                    values[key] = other.result()
                    with self._lock:
                        self._hits[key.kind] += 1
        return [values[key] for key in keys]

    def report(self) -> CacheReport:
        """Return the hits, misses and contents at this moment."""
        with self._lock:
            return CacheReport(
                hits=self._hits.copy(),
                misses=self._misses.copy(),
                evictions=self._evictions,
                num_entries=len(self._kept),
                held_mib=self._held_bytes / MIB,
                limit_mib=self._limit_mib,
            )

    def _make(
        self,
        promises: "Mapping[Key, Future[Value]]",
        make: Callable[[Sequence[Key]], Sequence[Value]],
    ) -> dict[Key, Value]:
        try:
            values = dict(zip(promises, make(list(promises)), strict=True))
            entries = {key: _Kept(value, tensor_bytes(value)) for key, value in values.items()}
        except BaseException as error:
            with self._lock:
                for key in promises:
                    del self._under_way[key]
            for promise in promises.values():
                promise.set_exception(error)
            raise
        with self._lock:
            for key, entry in entries.items():
                self._keep(key, entry)
                del self._under_way[key]
        for key, promise in promises.items():
            promise.set_result(values[key])
        return values

    def _keep(self, key: Key, entry: _Kept) -> None:
        limit = self._limit_mib * MIB
        if self._limit_mib == 0 or entry.num_bytes > limit:
            return
        self._kept[key] = entry
        self._held_bytes += entry.num_bytes
        while self._held_bytes > limit:
            _, evicted = self._kept.popitem(last=False)
            self._held_bytes -= evicted.num_bytes
            self._evictions += 1


def content_key(kind: str, *parts: str | bytes | Tensor) -> Key:
    """Return the key of a value of `kind` that depends on `parts` alone, in their order."""
    digest = hashlib.sha256()
    for part in parts:
        data: Any = part.encode() if isinstance(part, str) else part
        if isinstance(data, Tensor):
            digest.update(f"{tuple(data.shape)} {data.dtype} ".encode())
            # As a row, because a single number cannot be looked at as bytes.
            row = data.detach().cpu().contiguous().reshape(-1)
            data = row.view(torch.uint8).numpy().data
        digest.update(len(data).to_bytes(8, "little"))  # so that no two lists of parts run together
        digest.update(data)
    return Key(kind, digest.hexdigest())


def tensor_bytes(value: object) -> int:
    """Return the memory that all tensors in `value` keep alive; memory that they share once.

    Args:
        value: Tensors, or mappings, sequences and dataclasses with tensors in them.
    """
    storages = {}
    for tensor in _tensors_in(value):
        storage = tensor.untyped_storage()  # a view keeps all of what it looks at alive
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def _tensors_in(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors_in(part)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for part in value:
            yield from _tensors_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors_in(getattr(value, field.name))


@dataclass(frozen=True)
class CachedPrompts:
    """Encodes each prompt alone and once, so that a row never depends on its neighbours."""

    encoder: PromptEncoder
    cache: Cache
    fingerprint: str  # sha256 of the networks, `encoder` among them

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`; see `Cache`."""
        return TextCondition.joined([self._encode_one(prompt) for prompt in prompts])

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self.encoder.find_words(prompt, names)

    def _encode_one(self, prompt: str) -> TextCondition:
        key = content_key("prompt", self.fingerprint, prompt)
        return self.cache.get_or_make(key, lambda: self.encoder.encode([prompt]))


class CachedSight(CachedPrompts):
    """The same for an encoder that reads prompts about a picture, too."""

    @torch.no_grad()
    def look(self, pixels: Tensor) -> Reading:
        """Return what it keeps of a picture (1, 3, H, W) in [-1, 1]."""
        encoder = self.encoder
        assert isinstance(encoder, SeesPictures), "as `cached_prompts` chose"
        key = content_key("sight", self.fingerprint, pixels)
        return self.cache.get_or_make(key, lambda: encoder.look(pixels))

    @torch.no_grad()
    def encode_beside(self, prompts: list[str], seen: Reading) -> TextCondition:
        """Return what `encode` does, of `prompts` about what was `seen`."""
        encoder = self.encoder
        assert isinstance(encoder, SeesPictures), "as `cached_prompts` chose"

        def read(prompt: str) -> TextCondition:
            key = content_key("prompt", self.fingerprint, prompt, seen.states)
            return self.cache.get_or_make(key, lambda: encoder.encode_beside([prompt], seen))

        return TextCondition.joined([read(prompt) for prompt in prompts])


def cached_prompts(encoder: PromptEncoder, cache: Cache, fingerprint: str) -> CachedPrompts:
    """Return `encoder` so that each prompt is encoded once."""
    kind = CachedSight if isinstance(encoder, SeesPictures) else CachedPrompts
    return kind(encoder, cache, fingerprint)


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
    """Encodes each reference with its mask once, for edits."""

    def __init__(self, inner: nn.Module, cache: Cache, fingerprint: str) -> None:
        super().__init__()
        self.inner = inner
        self._cache = cache
        self._fingerprint = fingerprint  # sha256 of the networks, `inner` among them

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W)."""
        key = content_key("appearance", self._fingerprint, pixels, mask)
        return self._cache.get_or_make(key, lambda: self.inner(pixels, mask))


class CachedAdapterEncoder(CachedImageEncoder):
    """The same for an encoder that knows what nobody looks like, which guidance asks for."""

    def null_tokens(self) -> Tensor:
        """Return the tokens (1, K, D) of nobody."""
        assert isinstance(self.inner, HasNullTokens), "as `cached_image_encoder` chose"
        return self.inner.null_tokens()


def cached_image_encoder(inner: nn.Module, cache: Cache, fingerprint: str) -> CachedImageEncoder:
    """Return `inner` so that each reference is encoded once."""
    kind = CachedAdapterEncoder if isinstance(inner, HasNullTokens) else CachedImageEncoder
    return kind(inner, cache, fingerprint)


@runtime_checkable
class ConcurrentInversion(Protocol):
    """An inversion network that several calls share, each answered exactly as if it were alone."""

    def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Return the answer to each call: a reading from a network that reads, else noise."""


@dataclass(frozen=True)
class CachedInversion:
    """Inverts each picture under each prompt alone and once."""

    inversion: Any  # an `Inversion`; one that reads edits for `CachedReader`
    cache: Cache
    fingerprint: str  # sha256 of the networks that are not `inversion`, which none replaces

    def __call__(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return noise (B, C, h, w) for clean `latents` (B, C, h, w)."""
        return torch.cat(self._answers("inversion", latents, text, self.inversion))

    def _answers(
        self, kind: str, latents: Tensor, text: TextCondition, ask: Callable[..., Any]
    ) -> list[Any]:
        prompts = map(TextCondition, *(part.split(1) for part in text))
        rows: list[Call] = list(zip(latents.split(1), prompts, strict=True))
        keys = [content_key(kind, self.fingerprint, row, *prompt) for row, prompt in rows]
        calls = dict(zip(keys, rows, strict=True))

        def make(missing: Sequence[Key]) -> list[Any]:
            new, inner = [calls[key] for key in missing], self.inversion
            if isinstance(inner, ConcurrentInversion):
                return inner.call_all(new)
            return [ask(*group) for group in new]

        return self.cache.get_or_make_all(keys, make)


class CachedReader(CachedInversion):
    """The same for a network that also tells what an edit is about."""

    def read(self, latents: Tensor, text: TextCondition) -> InversionOutput:
        """Return everything that is found in clean `latents` (B, C, h, w)."""
        rows = self._answers("reading", latents, text, self.inversion.read)
        return InversionOutput(*(torch.cat(parts) for parts in zip(*rows, strict=True)))

    def compare(self, source: InversionOutput, target: InversionOutput) -> PromptDifference:
        """Return what changes in a picture that `source` describes to fit `target`."""
        return self.inversion.compare(source, target)


def cached_inversion(inversion: Inversion, cache: Cache, fingerprint: str) -> CachedInversion:
    """Return `inversion` so that each picture is inverted once under each prompt."""
    kind = CachedReader if isinstance(inversion, EditInversion) else CachedInversion
    return kind(inversion, cache, fingerprint)
