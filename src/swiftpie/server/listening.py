"""uvicorn with bounds that hold before a request is complete, and a stop in two stages."""

import asyncio
import math
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from swiftpie.server.forms import MAX_TEXT_BYTES
from swiftpie.server.guard import Guard
from swiftpie.server.jobs import Limits

KEEP_ALIVE_S = 75
PROXIES = "FORWARDED_ALLOW_IPS"  # names addresses whose X-Forwarded-* uvicorn believes
MAX_HEADER_BYTES = 64 << 10
PIECE_BYTES = 1024  # a smaller piece of a body counts as the part that it lacks
PIECES_A_SECOND, PIECES_AT_ONCE = 200, 1000  # that an address may send; networks send 1,400 bytes
FREE_PIECES = 16  # of each request that do not count
TRICKLES = f"The body has too many small pieces. Send pieces of {PIECE_BYTES} bytes or more."
FRAMES_A_SECOND, FRAMES_AT_ONCE = 100, 200  # over a WebSocket; typing and dragging send some 60
FRAME_BYTES = 4096  # of a WebSocket that are read before frames are counted
MAX_AHEAD = 16  # requests on one connection that wait for the answer to one before
MAX_CONNECTIONS = 512
MAX_OF_ADDRESS = 256  # a proxy has one address for all
MAX_EXTRA = 64  # more than these, which get answers about health, and 503 for all else
EXTRA_HEAD_S = 2.0


class RequestTooLargeError(Exception):
    """A request has a longer head or more pieces than the server reads; uvicorn answers 400."""


class Allowance:
    """A token bucket: so much at once, and so much a second."""

    def __init__(self, *, at_once: float, a_second: float) -> None:
        self._most, self._a_second = at_once, a_second
        self._left, self._counted_s = at_once, 0.0

    def take(self, amount: float, *, now_s: float) -> bool:
        """Count an amount; return whether it is allowed."""
        earned = (now_s - self._counted_s) * self._a_second
        self._left = min(self._most, self._left + earned) - amount
        self._counted_s = now_s
        return self._left >= 0


class ConnectionLimiter:
    """Bounds the connections of all addresses, and of each."""

    def __init__(self) -> None:
        self._addresses: dict[asyncio.BaseTransport, str] = {}
        self._of_address: Counter[str] = Counter()
        self._pieces: dict[str, Allowance] = {}  # of addresses that are connected
        self._extra: dict[asyncio.Transport, None] = {}  # the oldest comes first

    def enter(self, transport: asyncio.Transport) -> bool:
        """Count a connection; return whether it is served. The oldest of too many others ends."""
        address = str((transport.get_extra_info("peername") or [""])[0])
        if len(self._addresses) < MAX_CONNECTIONS and self._of_address[address] < MAX_OF_ADDRESS:
            self._addresses[transport] = address
            self._of_address[address] += 1
            return True
        self._extra[transport] = None
        if len(self._extra) > MAX_EXTRA:
            oldest = next(iter(self._extra))
            del self._extra[oldest]
            oldest.abort()
        return False

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection."""
        self._extra.pop(transport, None)  # type: ignore[call-overload]
        address = self._addresses.pop(transport, None)
        if address is not None:
            self._of_address[address] -= 1
            if not self._of_address[address]:
                del self._of_address[address]
                self._pieces.pop(address, None)

    def may_send(self, transport: asyncio.BaseTransport, num_bytes: int, *, now_s: float) -> bool:
        """Count a piece of a body; return whether its address may send so many small ones."""
        lacking = max(0.0, 1 - num_bytes / PIECE_BYTES)
        address = self._addresses.get(transport, "")
        whole = Allowance(at_once=PIECES_AT_ONCE, a_second=PIECES_A_SECOND)
        return self._pieces.setdefault(address, whole).take(lacking, now_s=now_s)


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a deadline for the head of a request and for reading an answer.

    uvicorn waits for ever, so that a few hundred slow connections would keep all others out. It
    also reads heads of any length, takes trailers for headers, and calls the application for each
    piece of a body, of which thousands may arrive at once.
    """

    limiter: ConnectionLimiter
    guard: Guard
    head_s = 30.0
    is_extra = False
    timers: dict[str, asyncio.TimerHandle]  # "head": a head has to be complete; "answer": be read
    is_in_head = False
    unread_bytes = 0  # since a head or a piece of a body was complete
    num_pieces = 0  # of the body
    trickles = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self.timers = {}
        if not self.limiter.enter(transport):
            self.is_extra, self.head_s = True, EXTRA_HEAD_S
            self.app = self.guard.crowded
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        """Read on; wait no more where a request has begun."""
        self.unread_bytes += len(data)
        super().data_received(data)
        if self.unread_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")
        self._watch_head()

    def on_message_begin(self) -> None:
        """Begin to read a head."""
        super().on_message_begin()
        self.is_in_head, self.unread_bytes, self.num_pieces = True, 0, 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and leave out trailers."""
        if self.is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the head is too long or too many requests wait."""
        self.is_in_head, self.unread_bytes = False, 0
        length = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if length > MAX_HEADER_BYTES or len(self.pipeline) >= MAX_AHEAD:
            raise RequestTooLargeError
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, of which a part may be here."""
        super().on_response_complete()
        if self.is_in_head:
            self._watch_head()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless its address sends too many small ones."""
        self.unread_bytes = 0
        self.num_pieces += 1
        self.trickles = self.num_pieces > FREE_PIECES and not self.limiter.may_send(
            self.transport, len(body), now_s=self.loop.time()
        )
        if self.trickles:
            raise RequestTooLargeError
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        """End a connection whose request is not read."""
        super().send_400_response(TRICKLES if self.trickles else msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self.limiter.leave(self.transport)
        for name in list(self.timers):
            self._stop(name)

    def pause_writing(self) -> None:
        """Begin to wait until the other side has taken what was sent."""
        super().pause_writing()
        self._start("answer", self.transport.abort)

    def resume_writing(self) -> None:
        """Send on."""
        super().resume_writing()
        self._stop("answer")

    def _should_upgrade(self) -> bool:
        return not self.is_extra and super()._should_upgrade()

    def _watch_head(self) -> None:
        is_upgraded = self.transport.get_protocol() is not self
        if is_upgraded or not self._is_idle:
            self._stop("head")
        else:
            self._start("head", self._end)

    def _end(self) -> None:
        self._stop("head")
        if self._is_idle:
            self.transport.close()

    @property
    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start(self, name: str, act: Callable[[], object]) -> None:
        if name not in self.timers:
            self.timers[name] = self.loop.call_later(self.head_s, act)

    def _stop(self, name: str) -> None:
        if name in self.timers:
            self.timers.pop(name).cancel()


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's live connections, which end where more frames arrive than a page sends.

    Each frame costs as much as a call, even an empty one, and uvicorn reads all that have arrived.
    """

    limiter: ConnectionLimiter
    allowance: Allowance

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to count."""
        self.allowance = Allowance(at_once=FRAMES_AT_ONCE, a_second=FRAMES_A_SECOND)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Read on, a few frames at a time."""
        for start in range(0, len(data), FRAME_BYTES):
            if self.close_sent or self.transport.is_closing():
                return
            super().data_received(data[start : start + FRAME_BYTES])

    def handle_events(self) -> None:
        """Take frames, or close the connection if they are too many."""
        if self.allowance.take(len(self.conn.events), now_s=self.loop.time()):
            super().handle_events()
            return
        reason = f"more than {FRAMES_A_SECOND} messages a second"
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1008, "reason": reason})
        self.conn.fail(1008, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let another connection in."""
        super().connection_lost(exc)
        self.limiter.leave(self.transport)


class Server(uvicorn.Server):
    """Reports where it listens, and lets the guard refuse requests once it is to stop."""

    def __init__(
        self, guard: Guard, *, host: str, port: int, limits: Limits, tell: Callable[[str], None]
    ) -> None:
        self._guard, self._tell = guard, tell

        class Http(BoundedHttpProtocol):
            head_s = limits.body_s

        class Live(BoundedWebSocketProtocol):
            pass

        Http.guard, Http.limiter = guard, ConnectionLimiter()
        Live.limiter = Http.limiter
        super().__init__(
            uvicorn.Config(
                guard,
                host=host,
                port=port,
                http=Http,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=PROXIES in os.environ,  # else any client could send them
                lifespan="on",
                ws=Live,
                ws_max_size=MAX_TEXT_BYTES,
                ws_per_message_deflate=False,  # pictures are compressed already
                timeout_keep_alive=KEEP_ALIVE_S,
                # By then all that was accepted is answered, or has taken too long.
                timeout_graceful_shutdown=math.ceil(limits.body_s + limits.deadline_s),
            )
        )

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Stop; what was accepted until now is still drawn, unless it is called a second time."""
        self._guard.is_draining = True
        self.force_exit = self.should_exit
        super().handle_exit(sig, frame)

    async def startup(self, sockets: Any = None) -> None:  # noqa: ANN401 - as uvicorn has it
        """Listen, and report where."""
        await super().startup(sockets)
        for server in self.servers:
            for socket in server.sockets:
                self._tell(f"serving on {_address(*socket.getsockname()[:2])}")


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
