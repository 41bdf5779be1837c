"""Loaded models within a bound of memory, and what users left here for later requests."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from PIL import Image
from torch import nn

from swiftpie.backbones.components import Components
from swiftpie.engine.session import Session
from swiftpie.engine.wrappers import NETWORKS, with_text_encoders
from swiftpie.errors import ConfigError
from swiftpie.types import Identity

MIB = 1 << 20
Thing = TypeVar("Thing")


@dataclass(frozen=True)
class Offer:
    """A model that can be asked for."""

    load: Callable[[], Session]
    facts: Mapping[str, Any]  # told before it is loaded, as JSON holds them


class Models:
    """Sessions by name; the least recently used are let go where the next one needs the room.

    Only the thread that draws may ask for one.
    """

    def __init__(self, offers: Mapping[str, Offer], *, bound_mib: float | None = None) -> None:
        self._offers = offers
        self._bound_mib = bound_mib
        self._loaded: OrderedDict[str, Session] = OrderedDict()

    @property
    def names(self) -> tuple[str, ...]:
        """All that can be asked for, the default first."""
        return tuple(self._offers)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a model without loading it."""
        return self._offers[name].facts

    @property
    def loaded(self) -> Mapping[str, Session]:
        """Those that are in memory."""
        return self._loaded

    def get(self, name: str) -> Session:
        """Return the session of a model, loaded if it has to be.

        Raises:
            ConfigError: It alone takes more memory than is allowed.
            SwiftPieError: It cannot be loaded.
        """
        if name not in self._loaded:
            self._loaded[name] = self._offers[name].load()
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
        return sum(weights_bytes(one.components) for one in self._loaded.values()) / MIB


def weights_bytes(components: Components) -> int:
    """Return what the networks take; weights that two of them share count once."""
    parts = [getattr(components, name) for name in (*NETWORKS, "layout_predictor")]

    def seen(encoder: nn.Module) -> nn.Module:
        parts.append(encoder)
        return encoder

    with_text_encoders(components.text, seen)
    modules = [one for one in parts if isinstance(one, nn.Module)]
    weights = {id(weight): weight for one in modules for weight in one.parameters()}
    return sum(one.numel() * one.element_size() for one in weights.values())


@dataclass(frozen=True)
class Known:
    """A subject that was encoded once."""

    identity: Identity
    model: str
    name: str
    thumbnail: bytes  # PNG of what the encoder sees
    num_pictures: int
    warnings: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        one = self.identity
        tensors = (one.tokens, one.pooled, one.pixels, one.mask)
        layers = (*one.keys.values(), *one.values.values())
        return sum(t.numel() * t.element_size() for t in (*tensors, *layers))


@dataclass(frozen=True)
class Picture:
    """A picture that was sent once, for live edits."""

    image: Image.Image
    origin: Mapping[str, str]  # what made it, if it says so

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return self.image.width * self.image.height * len(self.image.getbands())


class Shelf(Generic[Thing]):
    """Things by unguessable names; the least recently used fall off where room is needed."""

    def __init__(self, prefix: str, *, limit_mib: float, size: Callable[[Thing], int]) -> None:
        self._prefix = prefix
        self._limit = limit_mib * MIB
        self._size = size
        self._things: OrderedDict[str, Thing] = OrderedDict()
        self._held = 0

    def put(self, thing: Thing) -> str:
        """Keep a thing; return its name."""
        name = f"{self._prefix}_{secrets.token_urlsafe(16)}"
        self._things[name] = thing
        self._held += self._size(thing)
        while self._held > self._limit and len(self._things) > 1:
            self.drop(next(iter(self._things)))
        return name

    def get(self, name: str) -> Thing | None:
        """Return a thing, or None where it is not known or has fallen off."""
        if name in self._things:
            self._things.move_to_end(name)
        return self._things.get(name)

    def drop(self, name: str) -> bool:
        """Forget a thing; return whether it was there."""
        thing = self._things.pop(name, None)
        if thing is not None:
            self._held -= self._size(thing)
        return thing is not None

    def items(self) -> list[tuple[str, Thing]]:
        """Return all, the least recently used first."""
        return list(self._things.items())
