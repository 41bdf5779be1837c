"""Checks of every request before a route sees it: origin, token, bytes and seconds.

Bytes are counted while they arrive, so that nothing is kept of what is refused. Pages of other
sites can neither send requests nor read answers: browsers name the site that sends, and `Host` has
to be one of ours, whatever name leads here.
"""

import asyncio
import hmac
import ipaddress
import logging
import re
import secrets
import time
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from contextlib import suppress
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from swiftpie.server import Limits
from swiftpie.server.errors import RequestError
from swiftpie.server.schemas import MAX_TEXT_BYTES

logger = logging.getLogger(__name__)

MIB = 1 << 20
UPLOADS = (
    "/v1/images/generations",  # with files of identities
    "/v1/images/edits",
    "/v1/images/edits/region",
    "/v1/jobs",
    "/v1/images/variations",  # OpenAI's, which is answered by 404, not by 413
    "/v1/identities",
    "/v1/pictures",
    "/v1/cutouts",
)
LEFT = "The client left."
BODIES_OF_KEY, BODIES = 2, 3  # largest requests that one caller, and all, send at once
ANSWERS_OF_KEY, ANSWERS = 128 << 20, 512 << 20  # bytes that are sent at once; one more is sent
CROWDED = "The server has too many {} now. Ask again a little later."
CROWDED_S = 5.0
PIECE_BYTES = 64 << 10  # A connection takes this much of an answer at once.
PER_SECOND, BURST_S = 200, 2.0  # requests of a key, and how long they may come quicker
TEXT_BYTES = 16 << 10  # So much text counts as one more request.
PATIENCE_S = 1.0  # for which a request that comes too quickly waits
MAX_PACED = 10_000  # keys, beyond which those are dropped that count nothing
HASTE = f"At most {PER_SECOND} requests a second are answered. Send them more slowly."
UNREAD = (408, 413, 503)  # after which the rest of a body is not read
READING = ("GET", "HEAD", "OPTIONS")
OPEN_TO_ALL = ("/health/live", "/health/ready")
PAGE = ("/", "/static/")  # files of ours, which hold no secret
USER_HEADER = "x-swiftpie-user"  # the user of a call, so that each gets a share
MAX_USER = 64  # letters that are kept as they are
MAX_HEADERS = 128  # browsers and proxies send some thirty
COOKIE = "swiftpie_visitor"
VISITOR = re.compile(rf"(?:^|;\s*){COOKIE}=([A-Za-z0-9_-]{{20,64}})(?:;|$)")
VISITOR_BYTES = 24
VISIT_S = 365 * 24 * 3600
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]*)(?::\d{1,5})?")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
TOKEN_PROTOCOL = "swiftpie.token."
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": CONTENT_POLICY,
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
}


class Guard:
    """The outermost application; `check_room` raises `Overloaded` for keys that must not draw now.

    A proxy leads here below `root_path`, which it may keep or take away; routes know none.
    Without a `token` every program on this machine may send requests.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        token: str | None,
        limits: Limits,
        check_room: Callable[[str], None],
        count: Callable[[str, int], None],
        root_path: str = "",
    ) -> None:
        self._app = app
        self.root_path = root_path
        self._hosts = frozenset(map(str.lower, hosts))
        self._token = token
        self._limits = limits
        self._check_room = check_room
        self._count = count
        body = limits.body_mib * MIB
        self.bodies = _Held("uploads", of_key=BODIES_OF_KEY * body, in_all=BODIES * body)
        self.answers = _Held("answers on their way", of_key=ANSWERS_OF_KEY, in_all=ANSWERS)
        self._pace = Pace()
        self.is_draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope["path"] = self._below_root(scope["path"])
        given = headers.get("x-request-id", "")
        number = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        # Others than holders of the token could be a new one with each request.
        names_user = self._token is not None and self._is_known(scope, headers)
        user = _user_of(headers) if names_user else ""
        address, visitor = _address(scope), visitor_of(headers)
        key = scope.setdefault("state", {})["key"] = f"{address} {user}"
        # Without a token and a cookie an address is all that is known of a caller.
        sharer = "" if visitor or self._token is not None else address
        scope["state"]["owner"] = f"{sharer or user} {visitor or ''}"
        pace = scope["state"]["pace"] = partial(self._pace.wait, key)
        scope["state"]["may_name_users"] = names_user
        sending = _Sending(send, number, hold=partial(self.answers.take, key))
        # The application answers and logs errors, and raises them again with what a caller wrote.
        with suppress(Exception):
            try:
                await pace()
                self._check(scope, headers)
            except RequestError as error:
                await _refuse(error, scope, receive, sending)
            else:
                if scope["type"] == "websocket":
                    await self._app(scope, receive, send)
                else:
                    await self._serve(scope, receive, sending)
        self.answers.give(key, sending.num_bytes)
        self._count(route_of(scope), sending.status)
        logger.info(
            *("%s %s %s %d %.1f ms", number, scope.get("method", "WS"), route_of(scope)),
            *(sending.status, sending.spent_ms()),
        )

    def _below_root(self, path: str) -> str:
        """Return a path without the prefix of a proxy that keeps it, and without a last slash."""
        if path.startswith(f"{self.root_path}/"):
            path = path.removeprefix(self.root_path)
        return path.rstrip("/") or "/"

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, most = scope["state"]["key"], _most_bytes(scope, self._limits)

        async def paced() -> Message:
            message = await receive()
            if scope["path"] not in UPLOADS and message.get("body"):
                await scope["state"]["pace"](len(message["body"]) / TEXT_BYTES)
            return message

        counted = _Counted(paced, self._limits, most=most, hold=partial(self.bodies.take, key))
        try:
            await self._app(scope, counted, send)
        finally:
            self.bodies.give(key, counted.num_bytes)

    def _check(self, scope: Scope, headers: Headers) -> None:
        path = scope["path"]
        if len(headers) > MAX_HEADERS:
            message = f"At most {MAX_HEADERS} headers are read."
            raise RequestError(message, status=431, code="too_many_headers")
        if len(headers.getlist("host")) > 1:  # proxies may go by the other one
            raise RequestError("The request names two hosts.", code="ambiguous_host")
        host = headers.get("host", "").lower()
        name = HOST.fullmatch(host)
        if name is None or name[1] not in self._hosts:
            message = "This server does not go by the name in 'Host'. Allow it with --allow-host."
            raise RequestError(message, status=403, code="forbidden_host")
        _check_site(scope, headers, host)
        is_page = path in {PAGE[0], self.root_path} or path.startswith(PAGE[1])
        if path not in OPEN_TO_ALL and not is_page and not self._is_known(scope, headers):
            message = "A token is needed: send 'Authorization: Bearer …'."
            raise RequestError(message, status=401, code="invalid_api_key")
        _check_body(headers, most=_most_bytes(scope, self._limits))
        if scope.get("method") == "POST":
            if self.is_draining:
                message = "The server is about to stop. Ask another, or again later."
                raise RequestError(
                    message, status=503, code="draining", retry_after_s=self._limits.deadline_s
                )
            self._check_room(scope["state"]["key"])

    def _is_known(self, scope: Scope, headers: Headers) -> bool:
        if self._token is None:
            return True
        given = headers.get("authorization", "")
        if given.lower().startswith("bearer "):
            return hmac.compare_digest(given[7:].strip().encode(), self._token.encode())
        offered = token_in(scope.get("subprotocols", ()))
        return offered is not None and hmac.compare_digest(offered, self._token.encode())


class Pace:
    """Bounds the requests of each key a second: they wait for their turn, or are refused."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}  # the time by which what a key sent may have been sent

    async def wait(self, key: str, cost: float = 1.0) -> None:
        """Wait until a key may send so many requests more, or raise RequestError, late."""
        now = asyncio.get_running_loop().time()
        until = max(now, self._until.get(key, now)) + cost / PER_SECOND
        over_s = until - now - BURST_S
        if over_s <= PATIENCE_S:
            self._until[key] = until
            if len(self._until) > MAX_PACED:
                self._until = {one: at for one, at in self._until.items() if at > now}
        if over_s > 0:
            await asyncio.sleep(min(over_s, PATIENCE_S))
        if over_s > PATIENCE_S:
            code = "rate_limit_exceeded"
            raise RequestError(HASTE, status=429, code=code, retry_after_s=over_s)


class _Held:
    """Bytes that keys hold, each and together."""

    def __init__(self, what: str, *, of_key: float, in_all: float) -> None:
        self._what, self._of_key, self._in_all = what, of_key, in_all
        self._held: Counter[str] = Counter()

    def take(self, key: str, num_bytes: int) -> None:
        """Count more bytes of a key until `give`, even if they are refused."""
        self._held[key] += num_bytes
        own, total = self._held[key], self._held.total()
        if own > max(self._of_key, num_bytes) or total > max(self._in_all, num_bytes):
            raise RequestError(CROWDED.format(self._what), status=503, retry_after_s=CROWDED_S)

    def give(self, key: str, num_bytes: int) -> None:
        self._held[key] -= num_bytes
        if self._held[key] <= 0:
            del self._held[key]


async def _refuse(error: RequestError, scope: Scope, receive: Receive, send: "_Sending") -> None:
    send.status = error.status_code
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": error.code})
        return
    answer = error.response
    answer.headers["connection"] = "close"  # the rest is not read
    await answer(scope, receive, send)


def route_of(scope: Scope) -> str:
    """Return the route's pattern, which names no user's things."""
    return str(getattr(scope.get("route"), "path", "other"))


def token_in(protocols: Iterable[str]) -> bytes | None:
    """Return the token that a browser put among the protocols of a WebSocket."""
    for protocol in protocols:
        if protocol.startswith(TOKEN_PROTOCOL):
            text = protocol.removeprefix(TOKEN_PROTOCOL)
            try:
                return urlsafe_b64decode(text + "=" * (-len(text) % 4))
            except (Base64Error, ValueError):
                return b""
    return None


def loopback_names(host: str, more: Iterable[str] = ()) -> frozenset[str]:
    """Return the values of the header `Host` that reach a server on `host`."""
    names = {*more, "localhost", "127.0.0.1", "[::1]", "::1"}
    if host not in {"0.0.0.0", "::", ""}:
        names.add(f"[{host}]" if ":" in host else host)
    return frozenset(names)


def _check_site(scope: Scope, headers: Headers, host: str) -> None:
    is_live = scope["type"] == "websocket"
    changes = is_live or scope["method"] not in READING
    origins = headers.getlist("origin")
    scheme = {"ws": "http", "wss": "https"}.get(scope["scheme"], scope["scheme"])
    is_other = len(origins) > 1 or any(origin.lower() != f"{scheme}://{host}" for origin in origins)
    site = headers.get("sec-fetch-site", "none")
    is_navigation = headers.get("sec-fetch-mode") == "navigate" and not changes
    if is_other or (site not in {"same-origin", "none"} and not is_navigation):
        message = "Pages of other sites may not use this server."
        raise RequestError(message, status=403, code="forbidden_origin")


def visitor_of(headers: Headers) -> str | None:
    """Return the name that a browser was given with the page; None for programs.

    It grants no access; it keeps visitors' things apart. Browsers never send it for pages of other
    sites, which are refused anyway.
    """
    found = VISITOR.search(headers.get("cookie", ""))
    return found and found[1]


def new_visitor(*, is_secure: bool, root_path: str = "") -> str:
    name = secrets.token_urlsafe(VISITOR_BYTES)
    end = "; Secure" if is_secure else ""
    return f"{COOKIE}={name}; Path={root_path}/; Max-Age={VISIT_S}; HttpOnly; SameSite=Strict{end}"


def _user_of(headers: Headers) -> str:
    """Return the user of a call, a long name by its hash, so that no two users are one."""
    user = headers.get(USER_HEADER, "")
    return user if len(user) <= MAX_USER else f"sha256:{sha256(user.encode()).hexdigest()}"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return network_of(client[0]) if client else "local"


@lru_cache(MAX_PACED)
def network_of(address: str) -> str:
    """Return what one caller has of the internet: an address, or a /64 of IPv6."""
    try:
        known = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:  # A proxy's name, or a socket without addresses.
        return address
    if known.version == 4 or known.ipv4_mapped is not None:
        return str(known if known.version == 4 else known.ipv4_mapped)
    return str(ipaddress.ip_network((known, 64), strict=False))


def _check_body(headers: Headers, *, most: int) -> None:
    if "content-length" in headers and "transfer-encoding" in headers:  # proxies may differ
        message = "The request states its length in two ways."
        raise RequestError(message, code="ambiguous_length")
    if {*map(str.lower, headers.getlist("transfer-encoding"))} - {"chunked"}:
        message = "Of transfer encodings, 'chunked' alone is read."
        raise RequestError(message, status=501, code="unsupported_encoding")
    if headers.get("content-encoding", "identity").lower() != "identity":
        message = "Compressed requests are not read."
        raise RequestError(message, status=415, code="unsupported_encoding")
    if _length(headers) > most:
        raise _too_large(most)


def _length(headers: Headers) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def _most_bytes(scope: Scope, limits: Limits) -> int:
    most = int(limits.body_mib * MIB)
    return most if scope["path"] in UPLOADS else min(most, MAX_TEXT_BYTES)


def _too_large(most: int) -> RequestError:
    size = f"{most / MIB:g} MiB" if most >= MIB else f"{most / 1024:g} KiB"
    message = f"The request is larger than {size}. Send less."
    return RequestError(message, status=413, code="request_too_large")


class _Counted:
    """The receiving end of a request, which counts bytes and time."""

    def __init__(
        self, receive: Receive, limits: Limits, *, most: int, hold: Callable[[int], None]
    ) -> None:
        self._receive = receive
        self._limits = limits
        self._most = most
        self._hold = hold
        self.num_bytes = 0
        self._until = asyncio.get_running_loop().time() + limits.body_s
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:  # only a disconnect may follow, whenever that is
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            text = f"The request took more than {self._limits.body_s:g} s to arrive."
            raise RequestError(text, status=408) from None
        if message["type"] == "http.disconnect":
            raise HTTPException(499, LEFT)
        self.num_bytes += len(message.get("body", b""))
        self._hold(len(message.get("body", b"")))
        self._is_whole = not message.get("more_body", False)
        if self.num_bytes > self._most:
            raise _too_large(self._most)
        return message


class _Sending:
    """The sending end of a request: adds headers, remembers the status, sends pieces."""

    def __init__(self, send: Send, number: str, *, hold: Callable[[int], None]) -> None:
        self._send = send
        self._number = number
        self._hold = hold
        self._started = time.perf_counter()
        self._is_refused = False
        self.num_bytes = 0
        self.status = 101

    def spent_ms(self) -> float:
        return (time.perf_counter() - self._started) * 1000

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if self._is_refused:
            return
        if message["type"] == "http.response.start":
            await self._begin(message)
            return
        body = message.get("body", b"")
        for start in range(PIECE_BYTES, len(body), PIECE_BYTES):
            piece = body[start - PIECE_BYTES : start]
            await self._send({**message, "body": piece, "more_body": True})
        rest = body[(len(body) - 1) // PIECE_BYTES * PIECE_BYTES :] if body else body
        await self._send({**message, "body": rest} if body else message)

    async def _begin(self, message: MutableMapping[str, Any]) -> None:
        length = _length(Headers(scope=message))
        try:
            if length > PIECE_BYTES:  # a small answer, such as that of health, is always sent
                self.num_bytes = length
                self._hold(length)
        except RequestError as error:
            refusal = error.response
            await self._start({**message, "status": 503, "headers": refusal.raw_headers})
            await self._send({"type": "http.response.body", "body": refusal.body})
            self._is_refused = True
        else:
            await self._start(message)

    async def _start(self, message: MutableMapping[str, Any]) -> None:
        self.status = message["status"]
        headers = MutableHeaders(scope=message)
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("cache-control", "no-store")
        if self.status in UNREAD:
            headers["connection"] = "close"
        headers["x-request-id"] = self._number
        headers["openai-processing-ms"] = f"{self.spent_ms():.0f}"
        await self._send(message)
