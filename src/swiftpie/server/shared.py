"""The stores of a server: in memory, or in a Redis, which servers share and which outlives them."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar

from swiftpie.errors import ConfigError, short_reason
from swiftpie.server.errors import RequestError
from swiftpie.server.store import (
    ANSWERS,
    IDENTITIES,
    MIB,
    MOST_OF_KEY,
    MOST_OF_OWNER,
    PICTURES,
    NotFound,
    OwnerStore,
    StoredIdentity,
    StoredKind,
)

if TYPE_CHECKING:
    from PIL import Image
    from redis import Redis

Thing = TypeVar("Thing")
Result = TypeVar("Result")
Given = ParamSpec("Given")
MEMORY = "memory"  # as an address
NEAR = 32  # things of a kind that a server keeps
KEPT_S = 7 * 24 * 3600  # after its last use
ANSWER_S = 5.0  # that Redis may take
OUT_OF_REACH = "The store of this server does not answer. Ask again a little later."


def connected_to(address: str) -> "Redis":
    """Return a client of the Redis at an address, or raise ConfigError if it does not answer."""
    from redis import Redis, RedisError

    try:
        client = Redis.from_url(address, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S)
        client.ping()
    except (ValueError, RedisError) as error:
        raise ConfigError(
            f"--store cannot be used ({short_reason(error)}). The address of a running Redis is "
            "needed. Write for example redis://127.0.0.1:6379/0, or leave --store out."
        ) from error
    return client


@contextmanager
def _in_reach() -> Iterator[None]:
    from redis import RedisError

    try:
        yield
    except RedisError as error:
        raise RequestError(
            OUT_OF_REACH, status=503, code="store_unreachable", retry_after_s=ANSWER_S
        ) from error


class RedisStore(Generic[Thing]):
    """Things as `OwnerStore` keeps them, of all servers that are given the same Redis.

    A key holds `limit_mib`, and beyond that its least recently used things go; Redis's own
    `maxmemory` bounds all keys. A server keeps what it used last, so that a find asks briefly.
    Methods wait for Redis; threads may share a store.
    """

    def __init__(self, kind: StoredKind[Thing], *, client: "Redis", limit_mib: float) -> None:
        self._kind, self._limit = kind, limit_mib * MIB
        self._redis: Any = client  # whose types are of both of its modes
        self._read = lru_cache(NEAR)(self._read_now)

    def _place(self, *parts: str) -> str:
        return ":".join(("swiftpie", self._kind.name, *parts))

    def put(self, thing: Thing, *, owner: str, key: str = "") -> str:
        name = f"{self._kind.prefix}_{secrets.token_urlsafe(16)}"
        with _in_reach():
            self._keep(name, thing, owner, key)
        return name

    def find(self, name: str, *, owner: str) -> Thing:
        with _in_reach():
            key, version = self._found(name, owner)
            self._use(name, owner, key)
            return self._read(name, version)

    def replace(self, name: str, thing: Thing, *, owner: str) -> None:
        with _in_reach():
            self._keep(name, thing, owner, self._found(name, owner)[0])

    def drop(self, name: str, *, owner: str) -> None:
        with _in_reach():
            self._forget(name, owner, self._found(name, owner)[0])

    def facts(self, *, owner: str) -> list[dict[str, Any]]:
        with _in_reach():
            names = self._redis.zrange(self._place("owner", owner), 0, -1)
            lines = self._of_each(names, "facts")
        return [json.loads(line) for line in lines if line is not None]

    def _found(self, name: str, owner: str) -> tuple[str, bytes]:
        place = self._place("thing", name)
        of, key, version = self._redis.hmget(place, ["owner", "key", "version"])
        if of is None or of.decode() != owner:
            raise self._unknown(name)
        return key.decode(), version

    def _unknown(self, name: str) -> NotFound:
        return NotFound(self._kind.name, name, remedy=self._kind.remedy)

    def _read_now(self, name: str, _version: bytes) -> Thing:
        data = self._redis.hget(self._place("thing", name), "data")
        if data is None:  # it went meanwhile
            raise self._unknown(name)
        return self._kind.unpack(data)

    def _of_each(self, names: Sequence[bytes], field: str) -> list[Any]:
        asking = self._redis.pipeline(transaction=False)
        for name in names:
            asking.hget(self._place("thing", name.decode()), field)
        found: list[Any] = asking.execute()
        return found

    def _keep(self, name: str, thing: Thing, owner: str, key: str) -> None:
        data = self._kind.pack(thing)
        self._make_room(name, len(data), owner, key)
        facts = json.dumps(self._kind.facts(thing, name))
        said = {"owner": owner, "key": key, "size": len(data), "version": secrets.token_bytes(8)}
        self._redis.hset(self._place("thing", name), mapping={**said, "facts": facts, "data": data})
        self._use(name, owner, key)

    def _use(self, name: str, owner: str, key: str) -> None:
        asking = self._redis.pipeline()
        asking.expire(self._place("thing", name), KEPT_S)
        for index in self._indices(owner, key):
            asking.zadd(index, {name: time.time()})
            asking.expire(index, KEPT_S)
        asking.execute()

    def _indices(self, owner: str, key: str) -> tuple[str, str]:
        return self._place("owner", owner), self._place("key", key)

    def _make_room(self, name: str, num_bytes: int, owner: str, key: str) -> None:
        """Drop what leaves too little room for a thing of a key, the least recently used first."""
        of_owner, of_key = (
            [one for one in self._redis.zrange(index, 0, -1) if one.decode() != name]
            for index in self._indices(owner, key)
        )
        going = set(of_owner[: max(0, len(of_owner) - MOST_OF_OWNER + 1)])
        sizes = [int(size or 0) for size in self._of_each(of_key, "size")]  # None: it has expired
        held, number = num_bytes + sum(sizes), len(of_key)
        for one, size in zip(of_key, sizes, strict=True):
            if one in going or not size or number >= MOST_OF_KEY or held > self._limit:
                going.add(one)
                held, number = held - size, number - 1
        owners = self._of_each([*going], "owner")
        for one, of in zip(going, owners, strict=True):
            self._forget(one.decode(), (of or b"").decode(), key)

    def _forget(self, name: str, owner: str, key: str) -> None:
        asking = self._redis.pipeline()
        asking.delete(self._place("thing", name))
        for index in self._indices(owner, key):
            asking.zrem(index, name)
        asking.execute()


Store: TypeAlias = OwnerStore[Thing] | RedisStore[Thing]


@dataclass(frozen=True)
class Stores:
    """What a server keeps for its users, in memory or in a Redis."""

    identities: Store[StoredIdentity]
    pictures: "Store[Image.Image]"
    answers: Store[bytes]
    is_shared: bool


def open_stores(address: str, *, limit_mib: float) -> Stores:
    """Return stores at the address of a Redis, or in memory; ConfigError if it does not answer."""
    make: Any = OwnerStore
    if is_shared := address != MEMORY:
        make = partial(RedisStore, client=connected_to(address))
    known, pictures, answers = (
        make(kind, limit_mib=limit_mib / 3) for kind in (IDENTITIES, PICTURES, ANSWERS)
    )
    return Stores(known, pictures, answers, is_shared)


async def reached(
    method: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
) -> Result:
    """Return what a method of a store does: of memory at once, of another in a thread."""
    of = getattr(method, "__self__", None)
    is_near = isinstance(of, OwnerStore)
    return method(*args, **kwargs) if is_near else await asyncio.to_thread(method, *args, **kwargs)
