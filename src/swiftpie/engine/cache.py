"""A cache of what networks computed, found by content, bounded in memory, shared by threads."""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, fields, is_dataclass
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from swiftpie.errors import ConfigError

MIB = 2**20

Value = TypeVar("Value")


class Key(NamedTuple):
    """What a value was made of."""

    kind: str  # of value: "identity", "prompt"; counted apart
    digest: str  # sha256 (hexadecimal) of everything that the value depends on


class _Kept(NamedTuple):
    value: Any
    num_bytes: int


@dataclass(frozen=True)
class CacheReport:
    """What a cache has done so far and what it holds; `str` is a line for people."""

    hits: Mapping[str, int]  # by kind: requests answered without computing anything
    misses: Mapping[str, int]  # by kind: computations
    evictions: int
    num_entries: int
    held_mib: float  # in tensors
    limit_mib: float

    def __str__(self) -> str:
        kinds = sorted({*self.hits, *self.misses})
        asked = [f"{one}: {self.hits[one]} hits, {self.misses[one]} misses" for one in kinds]
        held = f"{self.num_entries} entries, {self.held_mib:.1f} of {self.limit_mib:g} MiB"
        return "; ".join([*asked, f"{held}, {self.evictions} evicted"])


class Cache:
    """Values by content, the least recently used of which go first when tensors need room.

    Whatever is in it belongs to everyone who asks, so nobody may write into it. Two threads that
    ask for the same at once wait for one computation; one that fails is not remembered.
    """

    def __init__(self, limit_mib: float) -> None:
        """Make an empty cache.

        Args:
            limit_mib: Bound of all tensors in it together; 0 keeps nothing.

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
        """Return what was asked for and what is held at this moment."""
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
        data = part.encode() if isinstance(part, str) else part
        if isinstance(data, Tensor):
            digest.update(f"{tuple(data.shape)} {data.dtype} ".encode())
            data = data.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
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
        for one in value.values():
            yield from _tensors_in(one)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for one in value:
            yield from _tensors_in(one)
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors_in(getattr(value, field.name))
