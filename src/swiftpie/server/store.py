"""Loaded models within a bound of memory, and what users left here for later requests."""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.engine.wrappers import NETWORKS, with_text_encoders
from swiftpie.errors import ConfigError
from swiftpie.server.schemas import RequestError

MIB = 1 << 20
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class ServedModel:
    """A model that requests can name."""

    load: Callable[[], Session]
    facts: Mapping[str, Any]  # known before it is loaded, as JSON holds them


class Models:
    """Sessions by name; the least recently used are dropped where the next one needs the room.

    Only the drawing thread may call `get`.
    """

    def __init__(
        self, served: Mapping[str, ServedModel], *, bound_mib: float | None = None
    ) -> None:
        self._served = served
        self._bound_mib = bound_mib
        self._loaded: OrderedDict[str, Session] = OrderedDict()
        self.vocabularies: dict[str, Any] = {}  # as JSON, of all that were ever loaded

    @property
    def names(self) -> tuple[str, ...]:
        """All models that requests can name, the default first."""
        return tuple(self._served)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a model without loading it."""
        return self._served[name].facts

    @property
    def loaded(self) -> Mapping[str, Session]:
        """Models that are in memory."""
        return self._loaded

    @property
    def latest(self) -> str:
        """The one used last, else the default."""
        return next(reversed(self._loaded), self.names[0])

    def get(self, name: str) -> Session:
        """Return the session of a model, loaded if it has to be."""
        if name not in self._loaded:
            loaded = self._loaded[name] = self._served[name].load()
            words = loaded.components.vocabulary
            self.vocabularies[name] = None if words is None else words.to_json()
            self._make_room(name)
        self._loaded.move_to_end(name)
        return self._loaded[name]

    def _make_room(self, newest: str) -> None:
        if self._bound_mib is None:
            return
        while self._held_mib() > self._bound_mib and len(self._loaded) > 1:
            self._loaded.popitem(last=False)
        if (size := self._held_mib()) > self._bound_mib:
            del self._loaded[newest]
            raise ConfigError(
                f"The model {newest!r} takes {size:.0f} MiB, and {self._bound_mib:g} are allowed. "
                "Start the server with a larger --memory-mib, or without this model."
            )

    def _held_mib(self) -> float:
        return sum(weights_bytes(loaded.components) for loaded in self._loaded.values()) / MIB


def weights_bytes(components: Components) -> int:
    """Return what the networks take; weights that two of them share count once."""
    parts = [getattr(components, name) for name in (*NETWORKS, "layout_predictor")]

    def seen(encoder: nn.Module) -> nn.Module:
        parts.append(encoder)
        return encoder

    with_text_encoders(components.text, seen)
    modules = [part for part in parts if isinstance(part, nn.Module)]
    weights = {id(weight): weight for module in modules for weight in module.parameters()}
    return sum(weight.numel() * weight.element_size() for weight in weights.values())


class NotFound(RequestError):  # noqa: N818 - reads as what it is
    """A thing is unknown, deleted, or of another owner."""

    def __init__(self, kind: str, name: str, *, remedy: str) -> None:
        super().__init__(
            f"The {kind} {name[:64]!r} is not known here, or not any more.{remedy}",
            status=404,
            code=f"{kind}_not_found",
            param=f"{kind}_id",
        )


class _Kept(NamedTuple, Generic[Thing]):
    thing: Thing
    owner: str
    key: str  # of the caller, who may invent owners
    size: int


class OwnerStore(Generic[Thing]):
    """Things by unguessable names, each for its owner alone.

    Where room is needed, the store drops the least recently used thing of an owner that holds at
    least its share, under a key that holds at least its share.
    """

    def __init__(
        self,
        kind: str,
        *,
        prefix: str,
        limit_mib: float,
        size: Callable[[Thing], int],
        remedy: str = "",
    ) -> None:
        self._kind, self._prefix, self._remedy = kind, prefix, remedy
        self._limit = limit_mib * MIB
        self._size = size
        self._things: OrderedDict[str, _Kept[Thing]] = OrderedDict()
        self._held = 0  # bytes

    def put(self, thing: Thing, *, owner: str, key: str = "") -> str:
        """Keep a thing; return its name. `key` is the caller, where one may have several owners."""
        name = f"{self._prefix}_{secrets.token_urlsafe(16)}"
        self._keep(name, thing, owner, key)
        while self._held > self._limit and len(self._things) > 1:
            self._forget(self._next_to_go(newest=name))
        return name

    def _next_to_go(self, *, newest: str) -> str:
        names = list(self._things)
        for group in ("key", "owner"):
            held: Counter[str] = Counter()
            for name in names:
                held[getattr(self._things[name], group)] += self._things[name].size
            share = held.total() / len(held)
            heavy = [name for name in names if held[getattr(self._things[name], group)] >= share]
            names = names if heavy == [newest] else heavy
        return next(name for name in names if name != newest)

    def find(self, name: str, *, owner: str) -> Thing:
        """Return a thing."""
        if name not in self._things or self._things[name].owner != owner:
            raise NotFound(self._kind, name, remedy=self._remedy)
        self._things.move_to_end(name)
        return self._things[name].thing

    def replace(self, name: str, thing: Thing, *, owner: str) -> None:
        """Exchange a thing for another; the errors are those of `find`."""
        self.find(name, owner=owner)
        self._keep(name, thing, owner, self._forget(name).key)

    def drop(self, name: str, *, owner: str) -> None:
        """Delete a thing; the errors are those of `find`."""
        self.find(name, owner=owner)
        self._forget(name)

    def items(self, *, owner: str) -> list[tuple[str, Thing]]:
        """Return all that one owner has, the least recently used first."""
        return [(name, kept.thing) for name, kept in self._things.items() if kept.owner == owner]

    def _keep(self, name: str, thing: Thing, owner: str, key: str) -> None:
        self._things[name] = _Kept(thing, owner, key, self._size(thing))
        self._held += self._things[name].size

    def _forget(self, name: str) -> _Kept[Thing]:
        kept = self._things.pop(name)
        self._held -= kept.size
        return kept
