import asyncio
import socket
import time

import pytest
from starlette.datastructures import Headers
from starlette.responses import Response
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from swiftpie.server import Limits
from swiftpie.server.app import make_app
from swiftpie.server.errors import RequestError
from swiftpie.server.guard import (
    BODIES,
    BURST_S,
    MAX_USER,
    MIB,
    PATIENCE_S,
    PER_SECOND,
    PIECE_BYTES,
    TEXT_BYTES,
    USER_HEADER,
    Guard,
    Pace,
    _check_site,
    _Counted,
    _Held,
    _user_of,
    network_of,
    new_visitor,
    visitor_of,
)
from swiftpie.server.listening import MAX_OF_ADDRESS, ConnectionLimiter
from tests.server.conftest import Call, Connection, serving, turns_until

pytestmark = pytest.mark.anyio
TOKEN = "a long random token"
ORIGINS = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "https://127.0.0.1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
]


@pytest.fixture(scope="module")
def guarded(session):
    with serving(session, token=TOKEN, body_mib=0.5, body_s=1.0) as running:
        yield running


def guard_of(app, *, token=None, **limits):
    rest = {"check_room": lambda _: None, "count": lambda *_: None}
    return Guard(app, hosts=["a"], token=token, limits=Limits(**limits), **rest)


def known(**more):
    return {"authorization": f"Bearer {TOKEN}", **more}


def test_no_page_of_another_site_draws_live(server):
    for headers in ORIGINS:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{server.port}/v1/live", additional_headers=headers)
        assert refused.value.response.status_code == 403, headers


def test_a_page_names_one_origin(server):
    request = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 0\r\n"
    request += f"Origin: {server.url}\r\n" * 2 + "\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(request.encode())
        assert raw.recv(100).startswith(b"HTTP/1.1 403")


def test_only_a_stated_proxy_says_that_the_page_came_by_https(session, server, monkeypatch):
    own = {"host": "localhost", "origin": "https://localhost", "x-forwarded-proto": "https"}
    assert server.ask("POST", "/v1/jobs", body={}, headers=own).status == 403
    for proxy, status in (("192.0.2.1", 403), ("127.0.0.1", 400)):
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxy)
        with serving(session) as running:
            assert running.ask("POST", "/v1/jobs", body={}, headers=own).status == status
            live = f"ws://127.0.0.1:{running.port}/v1/live"
            if status == 400:
                there = {**own, "origin": f"https://127.0.0.1:{running.port}"}
                del there["host"]
                with connect(live, additional_headers=there):
                    pass
                cookie = running.ask("GET", "/", headers=own).headers["set-cookie"]
                assert "Secure" in cookie


def test_our_own_page_and_programs_may_ask(server):
    own = {"origin": server.url, "sec-fetch-site": "same-origin"}
    for headers in (own, {}):
        answer = server.ask("POST", "/v1/jobs", body={}, headers=headers)
        assert answer.json["error"]["param"] == "prompt"  # it came as far as the route
        assert "access-control-allow-origin" not in answer.headers


def test_the_name_of_a_visitor_cannot_be_guessed():
    given = new_visitor(is_secure=False).partition(";")[0]
    assert visitor_of(Headers({"cookie": f"other=1; {given}"})) == given.partition("=")[2]
    for name in ("", "a", "x" * 19, "x" * 65, "x" * 30 + "!"):
        assert visitor_of(Headers({"cookie": f"swiftpie_visitor={name}"})) is None


@pytest.mark.parametrize(("scheme", "page"), [("ws", "http"), ("wss", "https")])
def test_a_live_connection_comes_from_a_page_of_its_own_scheme(scheme, page):
    scope = {"type": "websocket", "scheme": scheme}
    own, other = (Headers({"origin": f"{scheme}://a.example"}) for scheme in (page, "ftp"))
    _check_site(scope, own, "a.example")
    with pytest.raises(RequestError, match="other sites"):
        _check_site(scope, other, "a.example")


def test_all_callers_together_send_so_many_bytes_at_once():
    guard = guard_of(None, body_mib=1)
    for caller in range(BODIES):
        guard.bodies.take(str(caller), MIB)
    with pytest.raises(RequestError):
        guard.bodies.take("one more", 1)


def test_every_route_but_health_and_the_page_wants_the_token(guarded):
    schema = guarded.ask("GET", "/openapi.json", headers=known()).json
    paths = [(m, path) for path, ways in schema["paths"].items() for m in ways]
    assert len(paths) > 10
    for method, path in [*paths, ("get", "/openapi.json"), ("get", "/docs"), ("get", "/nowhere")]:
        place = path.replace("{", "").replace("}", "")
        is_open = place in {"/health/live", "/health/ready"}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            answer = guarded.ask(method.upper(), place, body={}, headers=headers)
            assert (answer.status == 200) if is_open else (answer.status == 401), (method, path)
    assert guarded.ask("GET", "/").status == 200
    assert guarded.ask("GET", "/v1/models", headers=known()).status == 200


def test_browsers_send_the_token_of_a_live_connection_as_a_protocol(guarded):
    import base64

    address = f"ws://127.0.0.1:{guarded.port}/v1/live"
    right, wrong = (
        "swiftpie.token." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
        for token in (TOKEN, "wrong")
    )
    for protocols in (None, ["swiftpie"], ["swiftpie", wrong], ["swiftpie", "swiftpie.token.%%"]):
        with pytest.raises(InvalidStatus):
            connect(address, subprotocols=protocols)
    with connect(address, subprotocols=["swiftpie", right]) as live:
        assert live.subprotocol == "swiftpie"


HEAD = f"PATCH /v1/identities/x HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
UNENDED = [  # what of a body comes, and the status
    (b"Transfer-Encoding: chunked\r\n\r\n" + 5 * CHUNK, 413),  # over a quarter of a MiB
    (b"Content-Length: 100\r\n\r\n{", 408),
    (b"Content-Length: 1000000000\r\n\r\n", 413),
]


@pytest.mark.parametrize(("rest", "status"), UNENDED, ids=range(len(UNENDED)))
def test_a_body_without_end_ends_by_its_bytes_and_its_time(guarded, rest, status):
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=10) as raw:
        raw.sendall(f"{HEAD}Content-Type: application/json\r\n".encode() + rest)
        started = time.monotonic()
        assert raw.recv(100).startswith(f"HTTP/1.1 {status}".encode())
        assert time.monotonic() - started < 5


async def test_a_request_that_is_whole_may_be_answered_later():
    messages = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def receive():
        await asyncio.sleep(0.1 if len(messages) == 1 else 0)
        return messages.pop(0)

    counted = _Counted(receive, Limits(body_s=0.05), most=MIB, hold=lambda _: None)
    assert [(await counted())["type"] for _ in range(2)] == ["http.request", "http.disconnect"]


def test_answers_carry_what_protects_them(server):
    for path in ("/", "/health/live", "/v1/models", "/nowhere"):
        headers = server.ask("GET", path, headers={"x-request-id": "mine-1"}).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == ("no-cache" if path == "/" else "no-store")
        assert headers["x-request-id"] == "mine-1"
    strange = server.ask("GET", "/health/live", headers={"x-request-id": "a b<script>"})
    assert strange.headers["x-request-id"].isalnum()


def test_bodies_that_were_answered_count_no_more(guarded):
    sent = {"image": ("x.png", bytes(400 << 10)), "headers": known()}
    for _ in range(4):  # together more than one caller may send at once
        assert guarded.upload("/v1/identities", **sent).status == 400


async def test_requests_that_come_too_quickly_wait_and_then_are_refused():
    loop, pace = asyncio.get_running_loop(), Pace()
    began = loop.time()
    for _ in range(int(PER_SECOND * BURST_S)):
        await pace.wait("a")
    assert loop.time() - began < BURST_S  # none of these waits
    await asyncio.gather(*(pace.wait("a", PER_SECOND / 10) for _ in range(3)))
    assert loop.time() - began > 0.1  # these do
    refused = asyncio.ensure_future(pace.wait("a", PER_SECOND * 9))
    await pace.wait("b")
    assert not refused.done()  # it comes late
    with pytest.raises(RequestError, match=f"{PER_SECOND} requests") as error:
        await refused
    assert (error.value.status_code, error.value.retry_after_s > PATIENCE_S) == (429, True)
    await asyncio.wait_for(pace.wait("a"), PATIENCE_S)  # a refusal costs no more


async def test_every_request_and_live_message_is_paced(worker):
    loop = asyncio.get_running_loop()
    app = make_app(worker, hosts=["localhost"], token=None, limits=worker.limits)

    async def run(*request):
        began = loop.time()
        await Call(app, *request).done
        return (app._pace._until["127.0.0.1 "] - began) * PER_SECOND

    assert await run("GET", "/health/live") >= 1
    assert await run("PATCH", "/v1/identities/x", b"[" * TEXT_BYTES * 2) >= 3


async def test_large_answers_go_in_pieces_and_are_counted_while_they_go():
    sent, gate = [], asyncio.Event()

    async def app(scope, receive, send):
        await Response(bytes(range(256)) * 1000)(scope, receive, send)

    async def send(message):
        sent.append(message)
        if "body" in message:
            await gate.wait()

    scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/"}
    scope |= {"headers": [(b"host", b"a")]}
    guard = guard_of(app)
    guard.answers = _Held("answers", of_key=300_000, in_all=600_000)
    going = asyncio.ensure_future(guard(dict(scope), None, send))
    await turns_until(lambda: guard.answers._held == {"local ": 256_000})
    before = len(sent)
    second = asyncio.ensure_future(guard(dict(scope), None, send))
    await turns_until(lambda: len(sent) == before + 2)
    assert sent[before]["status"] == 503
    gate.set()
    await asyncio.gather(going, second)
    assert not guard.answers._held
    del sent[before : before + 2]
    bodies = [message["body"] for message in sent[1:]]
    assert b"".join(bodies) == bytes(range(256)) * 1000
    assert {len(body) for body in bodies[:-1]} == {PIECE_BYTES}
    assert [message.get("more_body", False) for message in sent[1:]] == [True] * 3 + [False]


def test_a_caller_of_ipv6_is_its_half_of_an_address():
    networks = [
        network_of(address)
        for address in ("2001:db8::1", "2001:db8:0:0:ffff::2%eth0", "2001:db8:0:1::1")
    ]
    assert networks == ["2001:db8::/64", "2001:db8::/64", "2001:db8:0:1::/64"]
    assert [network_of(name) for name in ("::ffff:10.0.0.1", "10.0.0.1", "testclient")] == [
        *("10.0.0.1", "10.0.0.1", "testclient")
    ]
    limiter = ConnectionLimiter()
    first = [Connection(f"2001:db8::{number:x}") for number in range(MAX_OF_ADDRESS)]
    assert all(limiter.enter(connection) for connection in first)
    assert not limiter.enter(Connection("2001:db8::ffff:1"))
    assert limiter.enter(Connection("2001:db8:0:1::1"))
    limiter.leave(first[0])
    assert [limiter.enter(Connection("2001:db8::1")) for _ in range(2)] == [True, False]


def test_connections_are_bounded_by_the_descriptors_that_there_are():
    limiter = ConnectionLimiter(6)
    entered = [limiter.enter(Connection(f"10.0.0.{number % 4}")) for number in range(8)]
    assert entered == [True] * 6 + [False] * 2
    few = ConnectionLimiter(6)
    assert [few.enter(Connection("10.0.0.1")) for _ in range(4)] == [True] * 3 + [False]


async def test_programs_without_token_and_cookie_own_what_their_address_sent():
    owners, keys = [], []

    async def app(scope, _receive, _send):
        owners.append(scope["state"]["owner"])

    async def run(token, address, **headers):
        guard = guard_of(app, token=token)
        known = {"host": "a", "authorization": f"Bearer {token}", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in known.items()]
        scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/"}
        await guard({**scope, "client": (address, 1), "headers": pairs}, None, None)
        keys.extend(guard._pace._until)

    cookie = {"cookie": f"swiftpie_visitor={'v' * 32}"}
    for token, address, headers in (
        *((None, "10.0.0.1", {}), (None, "10.0.0.2", {}), (None, "10.0.0.1", cookie)),
        *((None, "10.0.0.2", cookie), (TOKEN, "10.0.0.1", {}), (TOKEN, "10.0.0.2", {})),
    ):
        await run(token, address, **headers)
    assert owners == ["10.0.0.1 ", "10.0.0.2 ", *[f" {'v' * 32}"] * 2, " ", " "]
    keys.clear()
    user = {USER_HEADER: "anna"}
    await run(TOKEN, "10.0.0.1", **user)
    await run(TOKEN, "10.0.0.1", **user, authorization="Bearer wrong")
    assert keys == ["10.0.0.1 anna", "10.0.0.1 "]  # who knows no token has one name


def test_users_are_kept_apart_however_long_their_names():
    names = ["a", "a" * MAX_USER, "a" * (MAX_USER + 1), "a" * MAX_USER + "b", "a" * 500]
    users = [_user_of(Headers({USER_HEADER: name})) for name in names]
    assert len({*users}) == len(names)
    assert users[:2] == names[:2]
    assert max(map(len, users)) < 100
