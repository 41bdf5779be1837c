"""Runs requests on loaded networks: cached, several in one pass, offloaded if memory is short."""

import hashlib
import importlib.util
import logging
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from threading import Lock, get_ident
from typing import Any, NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from swiftpie.backbones.components import Components
from swiftpie.engine.offload import offloaded
from swiftpie.errors import ConfigError
from swiftpie.models.inversion import Inversion, finds_noise_alone
from swiftpie.models.text import PromptEncoder
from swiftpie.models.vision import HasNullTokens
from swiftpie.pipelines.choose import CHECK, Choice, OnStage, Split, in_one_pass
from swiftpie.pipelines.denoise import free_unused_memory
from swiftpie.pipelines.tasks import EditRequest, Request, RetouchRequest
from swiftpie.types import Autoencoder, Identity, Posterior, TextCondition

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

DELAY_S = 2.0  # quicker calls show no bar
MIB = 2**20


class Key(NamedTuple):
    """The kind of a value, and the digest of everything that it depends on."""

    kind: str  # sort of value, such as "identity" or "prompt"; each is counted apart
    digest: str  # sha256 (hexadecimal) of everything that the value depends on


class _CachedValue(NamedTuple):
    value: Any
    num_bytes: int


class CacheReport(NamedTuple):
    """Hits, misses and contents of a cache."""

    hits: Mapping[str, int]  # by kind: requests answered without computing anything
    misses: Mapping[str, int]  # by kind: computations
    evictions: int
    num_entries: int
    held_mib: float  # memory of the tensors


class Cache:
    """Values by content, the least recently used of which go first when tensors need room.

    Callers share the values and must not write into them. Two threads that need the same value at
    once both compute it.
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
        self._limit_bytes = limit_mib * MIB
        self._lock = Lock()  # held for bookkeeping only, never while something is computed
        self._kept: OrderedDict[Key, _CachedValue] = OrderedDict()  # least recently used first
        self._held_bytes = 0
        self._hits: Counter[str] = Counter()
        self._misses: Counter[str] = Counter()
        self._evictions = 0

    def get_or_make(self, key: Key, make: Callable[[], Value]) -> Value:
        """Return the value of `key`, by `make` if it is not there.

        `make` may need other keys of this cache. A value that is larger than the whole cache is
        returned and not kept.
        """
        with self._lock:
            if key in self._kept:
                self._hits[key.kind] += 1
                self._kept.move_to_end(key)
                kept: Value = self._kept[key].value
                return kept
            self._misses[key.kind] += 1
        value = make()
        entry = _CachedValue(value, tensor_bytes(value))
        with self._lock:
            if self._limit_bytes and entry.num_bytes <= self._limit_bytes and key not in self._kept:
                self._kept[key] = entry
                self._held_bytes += entry.num_bytes
            while self._held_bytes > self._limit_bytes:
                _, evicted = self._kept.popitem(last=False)
                self._held_bytes -= evicted.num_bytes
                self._evictions += 1
        return value

    def report(self) -> CacheReport:
        """Return the hits, misses and contents at this moment."""
        with self._lock:
            return CacheReport(
                hits=self._hits.copy(),
                misses=self._misses.copy(),
                evictions=self._evictions,
                num_entries=len(self._kept),
                held_mib=self._held_bytes / MIB,
            )


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
        value: A picture, or tensors, or mappings, sequences and dataclasses with tensors in them.
    """
    if isinstance(value, Image.Image):
        return value.width * value.height * len(value.getbands())
    storages = {}
    for tensor in tensors_in(value):
        storage = tensor.untyped_storage()  # a view keeps all of what it looks at alive
        storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def tensors_in(value: object) -> Iterator[Tensor]:
    """Yield all tensors in `value`, as `tensor_bytes` finds them."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for part in value:
            yield from tensors_in(part)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


@dataclass(frozen=True)
class CachedPrompts:
    """Reads each prompt alone and once, so that a row never depends on its neighbours."""

    encoder: PromptEncoder
    cache: Cache
    fingerprint: str  # sha256 of the networks, `encoder` among them

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> TextCondition:
        """Return states (B, T, D), mask (B, T) and pooled (B, D) of `prompts`; see `Cache`."""
        encode = self.encoder.encode
        rows = [self._kept("prompt", partial(encode, [prompt]), prompt) for prompt in prompts]
        return rows[0] if len(rows) == 1 else TextCondition.joined(rows)

    def dropped(self, prompt: str) -> str:
        """Return the words at the end of a prompt that are not read, as it is too long."""
        return self._kept("dropped", partial(self.encoder.dropped, prompt), prompt)

    def find_words(self, prompt: str, names: Sequence[str]) -> Tensor:
        """Mark the tokens of `prompt` that say each of `names`, (S, T), 1 or 0."""
        return self._kept("words", partial(self.encoder.find_words, prompt, names), prompt, *names)

    def _kept(self, kind: str, read: Callable[[], Value], *texts: str) -> Value:
        return self.cache.get_or_make(content_key(kind, self.fingerprint, *texts), read)


@dataclass(frozen=True)
class CachedAutoencoder:
    """Encodes each picture alone and once."""

    autoencoder: Autoencoder
    cache: Cache
    fingerprint: str  # sha256 of the networks, `autoencoder` among them

    def encode(self, pixels: Tensor) -> Tensor:
        """Return scaled latents (B, C, h, w) of `pixels` (B, 3, H, W)."""
        rows = pixels.split(1)
        return torch.cat([self._cached("latents", self.autoencoder.encode, row) for row in rows])

    def posterior(self, pixels: Tensor) -> Posterior:
        """Return the normal distribution of the latents of `pixels` (B, 3, H, W)."""
        return self._cached("posterior", self.autoencoder.posterior, pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) of scaled `latents` (B, C, h, w)."""
        return self.autoencoder.decode(latents)

    def _cached(self, kind: str, encode: Callable[[Tensor], Value], pixels: Tensor) -> Value:
        key = content_key(kind, self.fingerprint, pixels)
        return self.cache.get_or_make(key, lambda: encode(pixels))


class CachedImageEncoder(nn.Module):
    """Encodes each reference with its mask once, for edits."""

    def __init__(self, uncached: nn.Module, cache: Cache, fingerprint: str) -> None:
        super().__init__()
        self.uncached = uncached
        self._cache = cache
        self._fingerprint = fingerprint  # sha256 of the networks, `uncached` among them

    def forward(self, pixels: Tensor, mask: Tensor) -> Tensor:
        """Return identity tokens (R, K, D) of references (R, 3, H, W) and masks (R, 1, H, W)."""
        key = content_key("appearance", self._fingerprint, pixels, mask)
        return self._cache.get_or_make(key, lambda: self.uncached(pixels, mask))

    def null_tokens(self) -> Tensor | None:
        """Return the tokens (1, K, D) of no subject; None where they have no meaning."""
        return self.uncached.null_tokens() if isinstance(self.uncached, HasNullTokens) else None


@dataclass(frozen=True)
class CachedInversion:
    """Inverts each picture under each prompt alone and once."""

    inversion: Inversion
    cache: Cache
    fingerprint: str  # sha256 of the networks that are not `inversion`, which none replaces

    def __call__(self, latents: Tensor, text: TextCondition) -> Tensor:
        """Return noise (B, C, h, w) for clean `latents` (B, C, h, w)."""

        def answer(row: Tensor, prompt: TextCondition) -> Tensor:
            key = content_key("inversion", self.fingerprint, row, *prompt)
            return self.cache.get_or_make(key, lambda: self.inversion(row, prompt))

        prompts = map(TextCondition, *(part.split(1) for part in text))
        return torch.cat(list(map(answer, latents.split(1), prompts)))


class Runner:
    """Loaded networks, with the cache that they share. Threads may share a runner."""

    def __init__(self, components: Components, cache: Cache) -> None:
        self.cache = cache
        self._sizes: dict[Hashable, set[int]] = {}  # how many requests of a kind shared a pass
        self._use(components)

    def _use(self, components: Components) -> None:
        self.components = components
        place = (self.cache, components.fingerprint)
        encoder, inversion = components.image_encoder, components.inversion
        self.cached = replace(
            components, text=CachedPrompts(components.text, *place), keep=self._keep
        )
        self.editing = replace(  # a second edit of one picture reuses the first one's encodings
            self.cached,
            image_encoder=None if encoder is None else CachedImageEncoder(encoder, *place),
            autoencoder=CachedAutoencoder(components.autoencoder, *place),
            inversion=CachedInversion(inversion, *place)
            if inversion is not None and finds_noise_alone(inversion)
            else inversion,
        )

    def _keep(self, kind: str, of: Identity | str, make: Callable[[], Value]) -> Value:
        what = of if isinstance(of, str) else of.digest
        return self.cache.get_or_make(content_key(kind, self.components.fingerprint, what), make)

    def networks_for(self, request: Request) -> Components:
        """Return the networks with caches for what a request computes again and again."""
        return self.editing if isinstance(request, EditRequest | RetouchRequest) else self.cached

    def ready(self, choices: Sequence[Choice[Any]], *, makes_ready: bool) -> list[Choice[Any]]:
        """Return what was chosen, to draw it by these networks; see `Session.draw_together`."""
        split: Split = in_one_pass  # networks of any size take all requests
        if makes_ready:
            split = self._learn_size
        elif self.components.engine.has_fixed_sizes:
            split = self._known_sizes
        return [
            replace(choice, components=self.networks_for(choice.request), split=split)
            for choice in choices
        ]

    def offload(self) -> None:
        """Let the networks take turns on their device from now on."""
        self._use(offloaded(self.components, self.components.device))
        free_unused_memory()

    def _learn_size(self, kind: Hashable, count: int) -> Sequence[int]:
        """Let `count` requests of `kind` share a pass, now and later."""
        self._sizes.setdefault(kind, {1}).add(count)
        return [count]

    def _known_sizes(self, kind: Hashable, count: int) -> Sequence[int]:
        """Return prepared sizes that sum to `count`, the largest first."""
        sizes, parts = self._sizes.get(kind, {1}), []
        while count:
            parts.append(max(size for size in sizes if size <= count))
            count -= parts[-1]
        return parts


@contextmanager
def progress_bar(
    what: str, *, total: int | None = None, is_on: bool | None, delay_s: float = DELAY_S
) -> Iterator[Callable[[str], None] | None]:
    """Yield what is called with the name of each stage that ends, and moves a bar; None for none.

    Args:
        what: What is done, before the bar.
        total: The number of stages; None if nothing is known.
        is_on: None shows the bar in a terminal, and in a notebook that has ipywidgets to draw it.
        delay_s: Quicker calls show nothing.
    """
    is_notebook = "ipykernel" in sys.modules and "IPython" in sys.modules
    is_seen = is_notebook or bool(getattr(sys.stderr, "isatty", lambda: False)())
    is_drawn = not is_notebook or importlib.util.find_spec("ipywidgets") is not None
    if not (is_drawn and (is_seen if is_on is None else is_on)):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=Console(stderr=True, force_terminal=is_on), transient=True)
    task, started = bar.add_task(what, total=total), time.monotonic()

    def advance(stage: str) -> None:
        bar.update(task, advance=1, description=f"{what}: {stage}" if stage != CHECK else None)
        if time.monotonic() - started > delay_s:
            bar.start()  # again and again is as once

    try:
        yield advance
    finally:
        bar.stop()


@contextmanager
def reporting_layers(components: Components, on_stage: OnStage | None) -> Iterator[None]:
    """Call `on_stage` before each layer that this thread runs in the block; it may raise to stop.

    Engines of fixed sizes run a network as one graph, in which nothing can be reported.
    """
    if on_stage is None or components.engine.has_fixed_sizes:
        yield
        return
    thread, is_over = get_ident(), False

    def report(*_: object) -> None:
        # Other threads share the layers. Copies made in the block keep this hook.
        if not is_over and get_ident() == thread:
            on_stage(CHECK)

    with ExitStack() as stack:
        for layer in _layers(components):
            stack.callback(layer.register_forward_pre_hook(report).remove)
        try:
            yield
        finally:
            is_over = True


def _layers(components: Components) -> Iterator[nn.Module]:
    """Yield each module without parts once."""
    networks = (
        *(components.denoiser, components.autoencoder),
        *(components.image_encoder, components.inversion),
    )
    yielded: set[int] = set()
    for network in networks:
        for module in network.modules() if isinstance(network, nn.Module) else ():
            if id(module) not in yielded and next(module.children(), None) is None:
                yielded.add(id(module))
                yield module
