import asyncio
import socket
import time

import pytest
from starlette.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from swiftpie.server import Limits
from swiftpie.server.errors import RequestError
from swiftpie.server.guard import (
    BODIES,
    MAX_USER,
    MIB,
    USER_HEADER,
    Guard,
    _check_site,
    _Counted,
    _user_of,
    new_visitor,
    visitor_of,
)
from tests.server.conftest import form, serving

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
    with serving(session, token=TOKEN, body_mib=0.5, body_s=0.4) as running:
        yield running


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
    limits = Limits(body_mib=1)
    rest = {"check_room": lambda _: None, "count": lambda *_: None}
    guard = Guard(None, hosts=(), token=None, limits=limits, **rest)
    for caller in range(BODIES):
        guard._hold(str(caller), MIB)
    with pytest.raises(RequestError):
        guard._hold("one more", 1)


def test_every_route_but_health_and_the_page_wants_the_token(guarded):
    paths = [(m, path) for path, ways in schema_of(guarded).items() for m in ways]
    assert len(paths) > 10
    for method, path in [*paths, ("get", "/openapi.json"), ("get", "/docs"), ("get", "/nowhere")]:
        place = path.replace("{", "").replace("}", "")
        is_open = place in {"/health/live", "/health/ready"}
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            answer = guarded.ask(method.upper(), place, body={}, headers=headers)
            assert (answer.status == 200) if is_open else (answer.status == 401), (method, path)
    assert guarded.ask("GET", "/").status == 200
    assert guarded.ask("GET", "/v1/models", headers=known()).status == 200


def schema_of(running):
    return running.ask("GET", "/openapi.json", headers=known()).json["paths"]


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


HEAD = f"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
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


def test_a_request_that_is_whole_may_be_answered_later():
    messages = [{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}]

    async def receive():
        await asyncio.sleep(0.1 if len(messages) == 1 else 0)
        return messages.pop(0)

    async def ends():
        limits = Limits(body_s=0.05)
        counted = _Counted(receive, limits, most=MIB, hold=lambda _: None)
        return [(await counted())["type"] for _ in range(2)]

    assert asyncio.run(ends()) == ["http.request", "http.disconnect"]


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
    body, kind = form(image=("x.png", bytes(400 << 10)))
    for _ in range(4):  # together more than one caller may send at once
        headers = known(**{"content-type": kind})
        answer = guarded.ask("POST", "/v1/identities", body=body, headers=headers)
        assert answer.status == 400


def test_users_are_kept_apart_however_long_their_names():
    names = ["a", "a" * MAX_USER, "a" * (MAX_USER + 1), "a" * MAX_USER + "b", "a" * 500]
    users = [_user_of(Headers({USER_HEADER: name})) for name in names]
    assert len({*users}) == len(names)
    assert users[:2] == names[:2]
    assert max(map(len, users)) < 100
