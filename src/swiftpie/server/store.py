"""Loaded models, callers, and what they left here: identities, pictures and answers."""

import io
import json
import math
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any, Generic, NamedTuple, Self, TypeVar
from zipfile import ZIP_STORED, ZipFile

from PIL import Image

from swiftpie.engine.session import Session
from swiftpie.pipelines.identity_file import identity_bytes, read_identity
from swiftpie.server.errors import RequestError
from swiftpie.server.schemas import KEPT_PX
from swiftpie.types import Identity

MIB = 1 << 20
Thing = TypeVar("Thing")
THUMBNAIL = "thumbnail"
KEPT = "pic_"  # begins the names of pictures that were sent for later
OPENAI_MODEL = re.compile(r"dall-e|(chat)?gpt-image")  # whose clients name nothing else
LEAST_BYTES = 4096  # that a thing counts, as names and objects take memory, too
MOST_OF_OWNER, MOST_OF_KEY = 256, 1024  # things


@dataclass(frozen=True)
class ServedModel:
    """A model that requests can name."""

    load: Callable[[], Session]
    facts: Mapping[str, Any]  # known before it is loaded, as JSON holds them
    stand_in: Callable[[], Session] | None = None  # quickly loaded, to draw until `load` is ready


class Models:
    """Sessions by name, each loaded once. Only drawing threads may call `get`."""

    def __init__(self, served: Mapping[str, ServedModel], *, sign: Path | None = None) -> None:
        self._served = served
        self.sign = sign  # a PEM file for content credentials of all pictures
        self.loaded: dict[str, Session] = {}
        self._loading = Lock()

    @property
    def names(self) -> tuple[str, ...]:
        """All models that requests can name, the default first."""
        return tuple(self._served)

    def named(self, name: str | None) -> str:
        """Return the model to use: by its name, or any name of OpenAI's image models."""
        if not name or (name not in self._served and OPENAI_MODEL.match(name)):
            return self.names[0]
        if name not in self._served:
            message = (
                f"The model {name[:100]!r} is not served here. One of {', '.join(self.names)} is. "
                "See GET /v1/models."
            )
            raise RequestError(message, status=404, code="model_not_found", param="model")
        return name

    def served(self, name: str) -> ServedModel:
        return self._served[name]

    def get(self, name: str) -> Session:
        if name in self.loaded:
            return self.loaded[name]
        with self._loading:
            if name not in self.loaded:
                served = self._served[name]
                self.loaded[name] = (served.stand_in or served.load)()
        return self.loaded[name]


class Caller(NamedTuple):
    """The caller of a request."""

    key: str  # whose share of the queue it takes
    owner: str  # whose identities, pictures and jobs are found


class NotFound(RequestError):  # noqa: N818 - reads as what it is
    """A thing is unknown, deleted, or of another owner."""

    def __init__(self, kind: str, name: str, *, remedy: str) -> None:
        super().__init__(
            f"The {kind} {name[:64]!r} is not known here, or not any more.{remedy}",
            status=404,
            code=f"{kind}_not_found",
            param=f"{kind}_id",
        )


@dataclass(frozen=True)
class StoredKind(Generic[Thing]):
    """What is kept of one kind, in memory or, as bytes, elsewhere."""

    name: str
    prefix: str
    size: Callable[[Thing], int]  # in memory
    pack: Callable[[Thing], bytes]
    unpack: Callable[[bytes], Thing]
    remedy: str = ""
    facts: Callable[[Thing, str], dict[str, Any]] = lambda _thing, _name: {}


class _Kept(NamedTuple, Generic[Thing]):
    thing: Thing
    owner: str
    key: str  # Names the caller, who may invent owners.
    size: int


class _Shares:
    """Names by the bytes that they hold, in levels that a tenth parts; no step goes over all."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self._held: Counter[str] = Counter()
        # By level, the names with the numbers of their last changes, which are in order.
        self._levels: defaultdict[int, dict[str, int]] = defaultdict(dict)
        self._changes = count()

    def next_to_give(self) -> str:
        """Return, of the names that hold more than a usual share, the one unchanged for longest."""
        share, most = _level(self.num_bytes // len(self._held)), max(self._levels)
        large = (names for level, names in self._levels.items() if level > share or level == most)
        return min((next(iter(names.items())) for names in large), key=itemgetter(1))[0]

    def add(self, name: str, num_bytes: int) -> None:
        """Count more bytes of a name, or fewer, or a use of what it has."""
        self.num_bytes += num_bytes
        if held := self._held[name]:
            del (names := self._levels[_level(held)])[name]
            if not names:
                del self._levels[_level(held)]
        self._held[name] += num_bytes
        if held := self._held[name]:
            self._levels[_level(held)][name] = next(self._changes)
        else:
            del self._held[name]


def _level(num_bytes: int) -> int:
    return int(8 * math.log2(num_bytes))


class OwnerStore(Generic[Thing]):
    """Things by unguessable names, each for its owner alone.

    Where room is needed, the store drops the least recently used thing of an owner that holds at
    least its share, under a key that does. The numbers of things are bounded, too. The time of a
    step does not grow with what is kept.
    """

    def __init__(self, kind: StoredKind[Thing], *, limit_mib: float) -> None:
        self._kind = kind
        self._limit = limit_mib * MIB
        self._things: dict[str, _Kept[Thing]] = {}
        # The names of an owner, a key, and an owner under a key, the least recently used first.
        self._names: defaultdict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
        self._keys = _Shares()
        self._owners: defaultdict[str, _Shares] = defaultdict(_Shares)  # by key

    def put(self, thing: Thing, *, owner: str, key: str = "") -> str:
        """Keep a thing; return its name. `key` is the caller, where one may have several owners."""
        name = f"{self._kind.prefix}_{secrets.token_urlsafe(16)}"
        if len(self._names.get((owner, key), ())) >= MOST_OF_OWNER:
            self.forget(self._next_to_go(key, owner))
        elif len(self._names.get(("", "", key), ())) >= MOST_OF_KEY:
            self.forget(self._next_to_go(key, self._owners[key].next_to_give()))
        self.keep(name, thing, owner=owner, key=key)
        return name

    def find(self, name: str, *, owner: str) -> Thing:
        kept = self._things.get(name)
        if kept is None or kept.owner != owner:
            raise NotFound(self._kind.name, name, remedy=self._kind.remedy)
        self._count(name, kept, 0)
        return kept.thing

    def replace(self, name: str, thing: Thing, *, owner: str) -> None:
        self.find(name, owner=owner)
        self.keep(name, thing, owner=owner, key=self.forget(name).key)

    def drop(self, name: str, *, owner: str) -> None:
        self.find(name, owner=owner)
        self.forget(name)

    def items(self, *, owner: str) -> list[tuple[str, Thing]]:
        """Return all that one owner has, the least recently used first."""
        return [(name, self._things[name].thing) for name in self._names.get((owner,), ())]

    def facts(self, *, owner: str) -> list[dict[str, Any]]:
        """Return the facts of all that one owner has, the least recently used first."""
        return [self._kind.facts(thing, name) for name, thing in self.items(owner=owner)]

    def _next_to_go(self, key: str, owner: str) -> str:
        return next(iter(self._names[owner, key]))

    def keep(self, name: str, thing: Thing, *, owner: str, key: str) -> None:
        """Keep a thing by a new name, and drop others if there is no room."""
        kept = _Kept(thing, owner, key, max(LEAST_BYTES, self._kind.size(thing)))
        while self._things and self._keys.num_bytes + kept.size > self._limit:
            full = self._keys.next_to_give()
            self.forget(self._next_to_go(full, self._owners[full].next_to_give()))
        self._things[name] = kept
        self._count(name, kept, kept.size)

    def forget(self, name: str) -> _Kept[Thing]:
        """Drop a thing, and return it; KeyError if there is none of this name."""
        kept = self._things.pop(name)
        self._count(name, kept, -kept.size)
        return kept

    def _count(self, name: str, kept: _Kept[Thing], num_bytes: int) -> None:
        """Count more bytes, or fewer, for a thing, which was used now."""
        self._keys.add(kept.key, num_bytes)
        self._owners[kept.key].add(kept.owner, num_bytes)
        for group in ((kept.owner,), (kept.owner, kept.key), ("", "", kept.key)):
            self._names[group].pop(name, None)
            if name in self._things:
                self._names[group][name] = None
            elif not self._names[group]:
                del self._names[group]
        if ("", "", kept.key) not in self._names:
            del self._owners[kept.key]


@dataclass(frozen=True)
class StoredIdentity:
    """An encoded subject, its files and facts for its owner."""

    identity: Identity
    model: str  # that encoded it
    name: str = ""
    # The thumbnail, and of each picture pictures/N, which is WebP, and, if it came, masks/N.
    files: Mapping[str, bytes] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def num_pictures(self) -> int:
        return sum(name.startswith("pictures/") for name in self.files)

    @property
    def num_bytes(self) -> int:
        """Its size in memory."""
        known = self.identity
        tensors = [known.tokens, known.pooled, known.pixels, known.mask]
        tensors += [*known.keys.values(), *known.values.values()]
        tensors += [] if known.large is None else [known.large]
        return sum(tensor.nbytes for tensor in tensors) + sum(map(len, self.files.values()))

    def described(self, number: str) -> dict[str, Any]:
        place = f"/v1/identities/{number}"
        masks = (f"masks/{at}" for at in range(self.num_pictures))
        return {
            "id": number,
            "object": "identity",
            "name": self.name,
            "model": self.model,
            "is_face": self.identity.is_face,
            "num_pictures": self.num_pictures,
            "thumbnail": f"{place}/{THUMBNAIL}",
            "file": f"{place}/file",
            "pictures": [
                {
                    "source": f"{place}/pictures/{at}",
                    "mask": f"{place}/{mask}" if mask in self.files else None,
                }
                for at, mask in enumerate(masks)
            ],
            "warnings": list(self.warnings),
        }

    def packed(self) -> bytes:
        facts = {"model": self.model, "name": self.name, "warnings": self.warnings}
        parts = {f"files/{name}": data for name, data in self.files.items()}
        parts["identity"] = identity_bytes(self.identity, is_small=True)
        with ZipFile(buffer := io.BytesIO(), "w") as archive:
            archive.writestr("facts", json.dumps(facts))
            for name, data in parts.items():
                archive.writestr(name, data)
        return buffer.getvalue()

    @classmethod
    def unpacked(cls, data: bytes) -> Self:
        with ZipFile(io.BytesIO(data)) as archive:
            if any(entry.compress_type != ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed, and may be a bomb")
            parts = {name: archive.read(name) for name in archive.namelist()}
        facts, identity = json.loads(parts.pop("facts")), read_identity(parts.pop("identity"), "it")
        files = {name.removeprefix("files/"): part for name, part in parts.items()}
        return cls(identity, files=files, **facts | {"warnings": tuple(facts["warnings"])})


IDENTITIES = StoredKind(
    "identity",
    "id",
    size=lambda known: known.num_bytes,
    pack=StoredIdentity.packed,
    unpack=StoredIdentity.unpacked,
    facts=StoredIdentity.described,
    remedy=" Send its pictures to POST /v1/identities, or its file with the request, as "
    "'identity_file'.",
)


def _picture_bytes(image: Image.Image) -> bytes:
    image.save(buffer := io.BytesIO(), "png", compress_level=1)
    return buffer.getvalue()


def _picture_in(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=["png"])
    if max(image.size) > KEPT_PX:
        raise ValueError("it is larger than pictures that are kept")
    image.load()
    return image.copy()


PICTURES = StoredKind(
    "picture",
    KEPT.rstrip("_"),
    size=lambda image: image.width * image.height * len(image.getbands()),
    pack=_picture_bytes,
    unpack=_picture_in,
    remedy=" Send it to POST /v1/pictures again.",
)
ANSWERS: StoredKind[bytes] = StoredKind("job", "job", size=len, pack=bytes, unpack=bytes)
