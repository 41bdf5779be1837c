"""uvicorn with bounds that hold before a request is complete, and a stop in two stages."""

import asyncio
import logging
import math
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from swiftpie.server import Limits
from swiftpie.server.guard import Guard, network_of
from swiftpie.server.schemas import MAX_TEXT_BYTES

logger = logging.getLogger(__name__)

KEEP_ALIVE_S = 75
PROXIES = "FORWARDED_ALLOW_IPS"  # names addresses whose X-Forwarded-* uvicorn believes
MAX_HEADER_BYTES = 64 << 10
PIECE_BYTES = 1024  # a smaller piece of a body counts as the part that it lacks
MAX_SMALL_PIECES = 1000  # In one request; networks send pieces of 1,400 bytes.
TRICKLES = f"The body has too many small pieces. Send pieces of {PIECE_BYTES} bytes or more."
MAX_FRAMES = 200  # in a second over a WebSocket; typing and dragging send some 60
FRAME_BYTES = 4096  # Read from a WebSocket before frames are counted.
LINGER_S, LINGER_BYTES = 2.0, 4 << 20  # until a WebSocket that failed is cut off
MAX_CONNECTIONS = 512
MAX_OF_ADDRESS = 256  # a proxy has one address for all
BACKLOG = 128  # connections that are accepted at once, before they are counted
SPARE_FILES = 64  # for all but connections: decoders, the store, files of the page
OUT_OF_FILES = "No descriptor is free, so new connections wait. Raise the limit by `ulimit -n`."
CROWDED = (
    b"HTTP/1.1 503 Service Unavailable\r\n"
    b"retry-after: 5\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
)


class TricklingError(Exception):
    """A body comes in many small pieces, or a head is too large; uvicorn answers 400."""


class ConnectionLimiter:
    """Bounds the connections of all addresses, and of each."""

    def __init__(self, most: int = MAX_CONNECTIONS) -> None:
        self._most, self._most_of_address = most, min(MAX_OF_ADDRESS, math.ceil(most / 2))
        self._addresses: dict[asyncio.BaseTransport, str] = {}

    def enter(self, transport: asyncio.BaseTransport) -> bool:
        """Count a connection; return whether it is served."""
        address = network_of(str((transport.get_extra_info("peername") or [""])[0]))
        known = list(self._addresses.values())
        if len(known) >= self._most or known.count(address) >= self._most_of_address:
            return False
        self._addresses[transport] = address
        return True

    def leave(self, transport: asyncio.BaseTransport) -> None:
        self._addresses.pop(transport, None)


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, with a deadline for the head of a request and for reading an answer.

    uvicorn waits for ever, so that a few hundred slow connections would keep all others out. It
    also reads heads of any length, takes trailers for headers, and works for each piece of a body,
    of which thousands may arrive at once.
    """

    limiter: ConnectionLimiter
    head_s = 30.0
    timer: asyncio.TimerHandle | None = None  # until a head is complete, or an answer is read
    is_in_head = False
    unread_bytes = 0  # since a head or a piece of a body was complete
    head_bytes = 0  # Counts names and values.
    small_pieces = 0.0  # Counts pieces of the body.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.limiter.enter(transport):
            self._watch()
        else:
            transport.write(CROWDED)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Read on; wait no more where a request has begun."""
        self.unread_bytes += len(data)
        super().data_received(data)
        if self.unread_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.is_in_head, self.unread_bytes, self.small_pieces = True, 0, 0.0
        self.head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, and leave out trailers."""
        if self.is_in_head:
            self._count_head(len(name) + len(value))
            super().on_header(name, value)

    def _count_head(self, num_bytes: int) -> None:
        """Refuse a head that is too large, in as many pieces as it comes."""
        self.head_bytes += num_bytes
        if self.head_bytes > MAX_HEADER_BYTES:
            raise TricklingError

    def on_headers_complete(self) -> None:
        self.is_in_head, self.unread_bytes = False, 0
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Go on to the next request, of which a part may be here."""
        super().on_response_complete()
        if self.is_in_head:
            self._watch()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, unless too many small ones come."""
        self.unread_bytes = 0
        self.small_pieces += max(0.0, 1 - len(body) / PIECE_BYTES)
        if self.small_pieces > MAX_SMALL_PIECES:
            raise TricklingError
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(TRICKLES if self.small_pieces > MAX_SMALL_PIECES else msg)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.limiter.leave(self.transport)
        self._stop()

    def pause_writing(self) -> None:
        """Begin to wait until the other side has taken what was sent."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.is_in_head:
            self._stop()

    def _watch(self) -> None:
        """End the connection if a head is not complete, or an answer not read, in time."""
        is_idle = self.cycle is None or self.cycle.response_complete
        is_upgraded = self.transport.get_protocol() is not self
        if is_upgraded or not (is_idle or self.flow.write_paused):
            self._stop()
        elif self.timer is None:
            self.timer = self.loop.call_later(self.head_s, self.transport.abort)

    def _stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class BoundedWebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's live connections, which end where more arrives than a page sends.

    Each frame costs as much as a call, even an empty one, and uvicorn reads all that have arrived.
    The other side learns why: what still arrives is dropped for a while, as closing a connection
    with unread data resets it.
    """

    limiter: ConnectionLimiter
    frames_in: tuple[int, int] = (0, 0)  # the second, and how many frames came in it
    bytes_to_drop: int | None = None  # None until the connection fails

    def data_received(self, data: bytes) -> None:
        """Read on, a few frames at a time; drop what follows a failure."""
        for start in range(0, len(data), FRAME_BYTES):
            if self.transport.is_closing():
                return
            if self.bytes_to_drop is not None:
                self.bytes_to_drop -= len(data) - start
                if self.bytes_to_drop < 0:
                    self.transport.close()
                return
            super().data_received(data[start : start + FRAME_BYTES])

    def handle_events(self) -> None:
        """Take frames, or close the connection if they are too many."""
        now, (second, count) = int(self.loop.time()), self.frames_in
        self.frames_in = now, len(self.conn.events) + (count if now == second else 0)
        if self.frames_in[1] <= MAX_FRAMES:
            super().handle_events()
            return
        self._fail(CloseCode.POLICY_VIOLATION, f"more than {MAX_FRAMES} messages a second")

    def handle_parser_exception(self) -> None:
        """End a connection that broke the protocol, or whose message is too long."""
        close = self.conn.close_sent
        self._fail(close.code if close else CloseCode.PROTOCOL_ERROR, close.reason if close else "")

    def _fail(self, code: int, reason: str) -> None:
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.fail(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = self.disconnected = True
        self.bytes_to_drop = LINGER_BYTES
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.limiter.leave(self.transport)


def room_for_files() -> int:
    """Return how many descriptors connections may have; raise the process's limit if it is low."""
    needed = SPARE_FILES + BACKLOG + MAX_CONNECTIONS
    with suppress(ImportError, OSError, ValueError):  # not on Windows, which has no such limit
        import resource

        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        soft, hard = (needed if limit == resource.RLIM_INFINITY else limit for limit in limits)
        needed = min(needed, hard)
        if soft < needed:
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, limits[1]))
    return max(2, needed - SPARE_FILES)


class Server(uvicorn.Server):
    """Reports where it listens, and lets the guard refuse requests once it is to stop."""

    def __init__(
        self, guard: Guard, *, host: str, port: int, limits: Limits, tell: Callable[[str], None]
    ) -> None:
        self._guard, self._tell = guard, tell
        self._is_out_of_files = False
        room = room_for_files()
        backlog = min(BACKLOG, math.ceil(room / 4))

        class Http(BoundedHttpProtocol):
            head_s = limits.body_s

        class LiveProtocol(BoundedWebSocketProtocol):
            pass

        Http.limiter = LiveProtocol.limiter = ConnectionLimiter(
            min(MAX_CONNECTIONS, room - backlog)
        )
        super().__init__(
            uvicorn.Config(
                guard,
                host=host,
                port=port,
                loop="asyncio",  # uvloop, where it is installed, pauses and aborts in other ways
                http=Http,
                backlog=backlog,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=PROXIES in os.environ,  # else any client could send them
                lifespan="on",
                ws=LiveProtocol,
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
        asyncio.get_running_loop().set_exception_handler(self._log_failure)
        await super().startup(sockets)
        for server in self.servers:
            for socket in server.sockets:
                self._tell(_address(*socket.getsockname()[:2]))

    def _log_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what failed in the loop, and one line where connections cannot be accepted."""
        if not (isinstance(context.get("exception"), OSError) and "socket" in context):
            loop.default_exception_handler(context)
        elif not self._is_out_of_files:
            self._is_out_of_files = True
            logger.warning(OUT_OF_FILES)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
