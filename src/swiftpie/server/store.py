"""Loaded models, and identities and files that users left here."""

import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.imageio.images import mask_to_pil
from swiftpie.imageio.writing import encode_image
from swiftpie.masks import load_mask
from swiftpie.server.errors import RequestError
from swiftpie.types import Identity

MIB = 1 << 20
Thing = TypeVar("Thing")
THUMBNAIL = "thumbnail"
SOURCE_PX = 1024  # of a kept picture's longer side; encoders see less


@dataclass(frozen=True)
class ServedModel:
    """A model that requests can name."""

    load: Callable[[], Session]
    facts: Mapping[str, Any]  # known before it is loaded, as JSON holds them


class Models:
    """Sessions by name, each loaded once. Only the drawing thread may call `get`."""

    def __init__(self, served: Mapping[str, ServedModel]) -> None:
        self._served = served
        self.loaded: dict[str, Session] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """All models that requests can name, the default first."""
        return tuple(self._served)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return what is known of a model without loading it."""
        return self._served[name].facts

    def get(self, name: str) -> Session:
        """Return the session of a model, loaded if it has to be."""
        if name not in self.loaded:
            self.loaded[name] = self._served[name].load()
        return self.loaded[name]


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
class StoredIdentity:
    """An encoded subject and its files."""

    info: IdentityInfo
    identity: Identity
    files: Mapping[str, bytes]  # PNG but for pictures, which are WebP

    @property
    def num_bytes(self) -> int:
        """Its size in memory."""
        known = self.identity
        tensors = [known.tokens, known.pooled, known.pixels, known.mask]
        tensors += [*known.keys.values(), *known.values.values()]
        tensors += [] if known.large is None else [known.large]
        return sum(tensor.nbytes for tensor in tensors) + sum(map(len, self.files.values()))


def describe_identity(number: str, info: IdentityInfo) -> dict[str, Any]:
    """Return the facts of a subject, as HTTP has them."""
    place = f"/v1/identities/{number}"
    masks = (f"masks/{at}" for at in range(info.num_pictures))
    return {
        "id": number,
        "object": "identity",
        "name": info.name,
        "model": info.model,
        "is_face": info.is_face,
        "num_pictures": info.num_pictures,
        "thumbnail": f"{place}/{THUMBNAIL}",
        "pictures": [
            {
                "source": f"{place}/pictures/{at}",
                "mask": f"{place}/{mask}" if mask in info.files else None,
            }
            for at, mask in enumerate(masks)
        ],
        "warnings": list(info.warnings),
    }


def doubts_of(identity: Identity) -> list[str]:
    """Return warnings of pictures that show no subject, or one that may be cut out badly."""
    count = len(identity.cutouts) + len(identity.left_out)
    shown = (number for number in range(1, count + 1) if number not in identity.left_out)
    doubtful = (
        at for at, cutout in zip(shown, identity.cutouts, strict=True) if cutout.is_doubtful
    )
    return [
        *(
            f"Picture {number} shows no subject that stands out, so it is left out. Send a mask."
            for number in identity.left_out
        ),
        *(
            f"The subject of picture {number} may be cut out badly. Look at the thumbnail, and "
            "send a mask where it is wrong: POST /v1/cutouts gives one to start from."
            for number in doubtful
        ),
    ]


def source_files(images: Sequence[Image.Image], masks: Sequence[Image.Image]) -> dict[str, bytes]:
    """Return pictures of a subject, with their masks if they came, to be cut out again."""
    files = {}
    for at, image in enumerate(images):
        picture = image.copy()
        picture.thumbnail((SOURCE_PX, SOURCE_PX))
        files[f"pictures/{at}"] = encode_image(picture, ".webp", metadata=None)
        if masks:
            shape = mask_to_pil(load_mask(masks[at], image.size, of_subject=True))[0]
            shape.thumbnail((SOURCE_PX, SOURCE_PX))
            files[f"masks/{at}"] = encode_image(shape, ".png", metadata=None)
    return files
