"""Subjects that users left here for later requests, and how this process keeps them itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from swiftpie.server.store import OwnerStore
from swiftpie.types import Identity

KIND, PREFIX, REMEDY = "identity", "id", " Send its pictures to POST /v1/identities."
THUMBNAIL = "thumbnail"


@dataclass(frozen=True)
class IdentityInfo:
    """Facts of a subject for its owner."""

    name: str
    model: str  # that encoded it
    files: tuple[str, ...]  # the thumbnail, and of each picture pictures/N and, if it came, masks/N
    warnings: tuple[str, ...]
    is_face: bool = False  # of a person; only the aligned face is kept

    @property
    def num_pictures(self) -> int:
        """Pictures that were sent."""
        return sum(name.startswith("pictures/") for name in self.files)


@dataclass(frozen=True)
class Known:
    """A subject that was encoded once."""

    info: IdentityInfo
    identity: Identity
    files: Mapping[str, bytes]  # PNG but for pictures, which are WebP

    @property
    def num_bytes(self) -> int:
        """What it takes in memory."""
        return size_of(self.identity) + sum(map(len, self.files.values()))


def size_of(identity: Identity) -> int:
    """Return what an identity takes in memory."""
    tensors = (identity.tokens, identity.pooled, identity.pixels, identity.mask)
    layers = (*identity.keys.values(), *identity.values.values())
    large = () if identity.large is None else (identity.large,)
    return sum(tensor.nbytes for tensor in (*tensors, *layers, *large))


class Identities(Protocol):
    """Subjects by unguessable numbers, each for its owner alone.

    A number that is unknown, deleted or of another owner raises `NotFound`.
    """

    is_shared: bool  # whether others write there, so that what is read has to be checked

    async def put(self, known: Known, *, owner: str, key: str = "") -> str:
        """Keep a subject; return its number. `key` is the caller, who may invent owners."""

    async def items(self, *, owner: str) -> list[tuple[str, IdentityInfo]]:
        """Return all that one owner has, the oldest first."""

    async def info(self, number: str, *, owner: str) -> IdentityInfo:
        """Return the facts of a subject."""

    async def find(self, number: str, *, owner: str) -> tuple[IdentityInfo, Identity]:
        """Return a subject."""

    async def file(self, number: str, name: str, *, owner: str) -> bytes | None:
        """Return one of its files, None if it has none of this name."""

    async def rename(self, number: str, name: str, *, owner: str) -> IdentityInfo:
        """Give it another name."""

    async def drop(self, number: str, *, owner: str) -> None:
        """Forget it."""


class OwnIdentities:
    """Identities in the memory of this process; `OwnerStore` chooses which are dropped."""

    is_shared = False

    def __init__(self, *, limit_mib: float) -> None:
        self._store: OwnerStore[Known] = OwnerStore(
            KIND, prefix=PREFIX, limit_mib=limit_mib, size=lambda one: one.num_bytes, remedy=REMEDY
        )

    async def put(self, known: Known, *, owner: str, key: str = "") -> str:
        """Keep a subject; return its number."""
        return self._store.put(known, owner=owner, key=key)

    async def items(self, *, owner: str) -> list[tuple[str, IdentityInfo]]:
        """Return all that one owner has, the oldest first."""
        return [(number, one.info) for number, one in self._store.items(owner=owner)]

    async def info(self, number: str, *, owner: str) -> IdentityInfo:
        """Return the facts of a subject."""
        return self._store.find(number, owner=owner).info

    async def find(self, number: str, *, owner: str) -> tuple[IdentityInfo, Identity]:
        """Return a subject."""
        known = self._store.find(number, owner=owner)
        return known.info, known.identity

    async def file(self, number: str, name: str, *, owner: str) -> bytes | None:
        """Return one of its files, None if it has none of this name."""
        return self._store.find(number, owner=owner).files.get(name)

    async def rename(self, number: str, name: str, *, owner: str) -> IdentityInfo:
        """Give it another name."""
        known = self._store.find(number, owner=owner)
        info = replace(known.info, name=name)
        self._store.replace(number, replace(known, info=info), owner=owner)
        return info

    async def drop(self, number: str, *, owner: str) -> None:
        """Forget it."""
        self._store.drop(number, owner=owner)
