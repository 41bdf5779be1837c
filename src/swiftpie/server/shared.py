"""The stores of a server: in memory, or in a Redis, which servers share and which outlives them."""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from threading import Lock
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

logger = logging.getLogger(__name__)

Thing = TypeVar("Thing")
Result = TypeVar("Result")
Given = ParamSpec("Given")
MEMORY = "memory"  # as an address
FORMAT, SEAL_BYTES = "2", 16  # of what is kept; a server of another one does not touch it
KEPT_S = 7 * 24 * 3600  # after its last use
ANSWER_S = 5.0  # that a method of a store may take
THREADS = 8  # that wait for Redis, with a connection each
LOOK_S = 1.0  # between two looks whether Redis answers
FOREIGN = "WRONGTYPE"  # how Redis calls what another program has put there
OUT_OF_REACH = "The store of this server does not answer. Ask again a little later."
UNREADABLE = "an entry of the store was no %s that this server reads (%s), and was dropped"


def connected_to(address: str) -> "Redis":
    """Return a client of the Redis at an address, or raise ConfigError if it does not answer."""
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as LostError
    from redis.retry import Retry

    try:
        # A method asks twice at most. A connection that broke meanwhile is opened again.
        client = Redis.from_url(
            address,
            socket_timeout=ANSWER_S / 2,
            socket_connect_timeout=ANSWER_S / 2,
            retry=Retry(NoBackoff(), 1, supported_errors=(LostError,)),
        )
        client.ping()
    except (ValueError, RedisError) as error:
        # What is wrong with an address may be a part of its password.
        reason = "it is no address" if isinstance(error, ValueError) else short_reason(error)
        raise ConfigError(
            f"--store cannot be used ({reason}). The address of a running Redis is needed. Write "
            "for example redis://127.0.0.1:6379/0, one with a password into SWIFTPIE_STORE, or "
            "leave it out."
        ) from None
    return client


class StoreUnreachable(RequestError):  # noqa: N818 - a state, whose remedy is to wait
    """Redis does not answer, or not in time."""

    def __init__(self) -> None:
        code = "store_unreachable"
        super().__init__(OUT_OF_REACH, status=503, code=code, retry_after_s=ANSWER_S)


class RedisStore(Generic[Thing]):
    """Things as `OwnerStore` keeps them, of all servers that are given the same Redis.

    A key holds `limit_mib`, and beyond that its least recently used things go; Redis's own
    `maxmemory` bounds all keys. A server keeps as much of what it used last, so that a find asks
    briefly. An entry that cannot be read is logged, dropped and unknown. Methods wait for Redis;
    threads may share a store.
    """

    def __init__(
        self, kind: StoredKind[Thing], *, client: "Redis", threads: Executor, limit_mib: float
    ) -> None:
        self._kind, self._limit = kind, limit_mib * MIB
        self.threads = threads  # in which methods are called, see `reached`
        self._redis: Any = client  # whose types are of both of its modes
        size: Any = lambda known: kind.size(known[1])  # noqa: E731
        # Versions and things.
        self.near: OwnerStore[Any] = OwnerStore(replace(kind, size=size), limit_mib=limit_mib)
        self._lock = Lock()  # of what is near, as threads share it

    def _place(self, *parts: str | bytes) -> bytes:
        whole = ("swiftpie", FORMAT, self._kind.name, *parts)
        return b":".join(
            part if isinstance(part, bytes) else part.encode(errors="replace") for part in whole
        )

    def put(self, thing: Thing, *, owner: str, key: str = "") -> str:
        name = f"{self._kind.prefix}_{secrets.token_urlsafe(16)}"
        with self._reading(name):
            self._keep(name, thing, owner, key)
        return name

    def find(self, name: str, *, owner: str) -> Thing:
        with self._reading(name):
            key, version = self._head_of(name, owner)
            known, thing = b"", None
            with self._lock, suppress(NotFound):
                known, thing = self.near.find(name, owner=owner)
            asking = self._using(name, owner, key)
            if known != version:
                asking.hget(self._place("thing", name), "data")
            answers = asking.execute(raise_on_error=False)  # an index may be foreign
            if known != version or thing is None:
                thing = self._kind.unpack(_unsealed(answers[-1]))
                self._let_go(name)
                with self._lock:
                    self.near.keep(name, (version, thing), owner=owner, key=key)
            return thing

    def _let_go(self, name: str) -> None:
        with self._lock, suppress(KeyError):
            self.near.forget(name)

    def replace(self, name: str, thing: Thing, *, owner: str) -> None:
        with self._reading(name):
            self._keep(name, thing, owner, self._head_of(name, owner)[0])

    def drop(self, name: str, *, owner: str) -> None:
        with self._reading(name):
            self._forget(name, owner, self._head_of(name, owner)[0])

    def facts(self, *, owner: str) -> list[dict[str, Any]]:
        facts = []
        with self._reading():
            names = self._names_in(self._place("owner", owner))
            for name, line in zip(names, self._of_each(names, "facts"), strict=True):
                if line is not None:  # else it has expired
                    with suppress(NotFound), self._reading(name):
                        facts.append(json.loads(_unsealed(line)))
        return facts

    def check(self) -> None:
        """Raise StoreUnreachable if Redis does not answer."""
        with self._reading():
            self._redis.ping()

    @contextmanager
    def _reading(self, name: str | bytes = "") -> Iterator[None]:
        """Raise what goes wrong as RequestError; drop the entry if that is what cannot be read."""
        from redis import RedisError

        try:
            yield
        except RequestError:
            raise
        except Exception as error:
            if isinstance(error, RedisError) and FOREIGN not in str(error):
                raise StoreUnreachable() from error
            logger.warning(UNREADABLE, self._kind.name, type(error).__name__)
            with suppress(RedisError):
                self._redis.delete(self._place("thing", name))
            raise NotFound(self._kind.name, str(name), remedy=self._kind.remedy) from error

    def _head_of(self, name: str, owner: str) -> tuple[str, bytes]:
        """Return the key and the version of a thing of an owner."""
        asking, place = self._redis.pipeline(transaction=False), self._place("thing", name)
        asking.hmget(place, ["owner", "key", "version"])
        asking.hstrlen(place, "data")
        (of, key, version), length = asking.execute()
        if of is None and key is None and not length:
            self._let_go(name)
        if of != owner.encode():
            raise NotFound(self._kind.name, name, remedy=self._kind.remedy)
        if not version or not 0 < length <= self._limit + SEAL_BYTES:
            raise ValueError
        return key.decode(), version

    def _names_in(self, index: bytes) -> list[bytes]:
        from redis import ResponseError

        try:
            names: list[bytes] = self._redis.zrange(index, 0, -1)
        except ResponseError as error:
            if FOREIGN not in str(error):
                raise
            self._redis.delete(index)
            return []
        return names

    def _of_each(self, names: Sequence[bytes], field: str) -> list[Any]:
        """Return a field of each thing: None if it has expired, an error if it is foreign."""
        asking = self._redis.pipeline(transaction=False)
        for name in names:
            asking.hget(self._place("thing", name), field)
        values: list[Any] = asking.execute(raise_on_error=False)
        return values

    def _keep(self, name: str, thing: Thing, owner: str, key: str) -> None:
        data = self._kind.pack(thing)
        self._make_room(name, len(data), owner, key)
        facts = _sealed(json.dumps(self._kind.facts(thing, name)).encode())
        head = {"owner": owner, "key": key, "size": len(data), "version": secrets.token_bytes(8)}
        fields = {**head, "facts": facts, "data": _sealed(data)}
        self._redis.hset(self._place("thing", name), mapping=fields)
        self._using(name, owner, key).execute()

    def _using(self, name: str, owner: str, key: str) -> Any:  # noqa: ANN401 - a pipeline
        """Return what counts a use of a thing once it is executed."""
        asking = self._redis.pipeline(transaction=False)
        asking.expire(self._place("thing", name), KEPT_S)
        for index in self._indices(owner, key):
            asking.zadd(index, {name: time.time()})
            asking.expire(index, KEPT_S)
        return asking

    def _indices(self, owner: str | bytes, key: str) -> tuple[bytes, bytes]:
        return self._place("owner", owner), self._place("key", key)

    def _make_room(self, name: str, num_bytes: int, owner: str, key: str) -> None:
        """Drop what leaves too little room for a thing of a key, the least recently used first."""
        of_owner, of_key = (
            [other for other in self._names_in(index) if other != name.encode()]
            for index in self._indices(owner, key)
        )
        going = set(of_owner[: max(0, len(of_owner) - MOST_OF_OWNER + 1)])
        # A size of 0 is of what has expired, or is foreign.
        values = self._of_each(of_key, "size")
        sizes = [int(value) if bytes.isdigit(value or b"") else 0 for value in values]
        held, number = num_bytes + sum(sizes), len(of_key)
        for other, size in zip(of_key, sizes, strict=True):
            if other in going or not size or number >= MOST_OF_KEY or held > self._limit:
                going.add(other)
                held, number = held - size, number - 1
        owners = self._of_each([*going], "owner")
        for other, of in zip(going, owners, strict=True):
            self._forget(other, of if isinstance(of, bytes) else owner, key)

    def _forget(self, name: str | bytes, owner: str | bytes, key: str) -> None:
        asking = self._redis.pipeline(transaction=False)
        asking.delete(self._place("thing", name))
        for index in self._indices(owner, key):
            asking.zrem(index, name)
        asking.execute(raise_on_error=False)
        self._let_go(name if isinstance(name, str) else name.decode(errors="replace"))


def _sealed(data: bytes) -> bytes:
    """Return data behind a hash, by which damaged data and those of others are known."""
    return blake2b(data, digest_size=SEAL_BYTES).digest() + data


def _unsealed(value: bytes | Exception | None) -> bytes:
    if isinstance(value, Exception):
        raise value
    data = (value or b"")[SEAL_BYTES:]
    if value != _sealed(data):
        raise ValueError
    return data


Store: TypeAlias = OwnerStore[Thing] | RedisStore[Thing]


@dataclass(frozen=True)
class Stores:
    """What a server keeps for its users, in memory or in a Redis."""

    identities: Store[StoredIdentity]
    pictures: "Store[Image.Image]"
    answers: Store[bytes]


def open_stores(address: str, *, limit_mib: float) -> Stores:
    """Return stores at the address of a Redis, or in memory; ConfigError if it does not answer."""
    make: Any = OwnerStore
    if address != MEMORY:
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="swiftpie-store")
        make = partial(RedisStore, client=connected_to(address), threads=threads)
    return Stores(
        *(make(kind, limit_mib=limit_mib / 3) for kind in (IDENTITIES, PICTURES, ANSWERS))
    )


async def reached(
    method: Callable[Given, Result], *args: Given.args, **kwargs: Given.kwargs
) -> Result:
    """Return what a method of a store does: of memory at once, of a Redis in its own threads.

    Raises:
        StoreUnreachable: Redis takes longer than `ANSWER_S`, so that nothing else waits for it.
    """
    store = getattr(method, "__self__", None)
    if not isinstance(store, RedisStore):
        return method(*args, **kwargs)
    call = partial(method, *args, **kwargs)
    try:
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.get_running_loop().run_in_executor(store.threads, call)
    except TimeoutError:
        raise StoreUnreachable() from None
