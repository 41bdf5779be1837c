import asyncio
import base64
import itertools
import json
import mimetypes
import re
import select
import socket
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from starlette.exceptions import HTTPException
from websockets.sync.client import connect

import swiftpie
from swiftpie.server.app import StaticFolder, make_app
from swiftpie.server.listening import MAX_OF_ADDRESS
from tests.server.conftest import Call, form, serving, to_png, until

pytestmark = pytest.mark.anyio
PROMPT = "a dog on a beach"
TOKEN = "a-long-random-token"


def words(text):
    return text.split()


HOSTS = words(r"""
127.0.0.1 127.1 127.0.0.1:22 2130706433 0x7f000001 0177.0.0.1 0 0.0.0.0 [::1] [::]
[::ffff:127.0.0.1] [::ffff:7f00:1] [0:0:0:0:0:0:0:1] localhost localhost. LOCALHOST
127.0.0.1.nip.example rebind.example 169.254.169.254 [fd00:ec2::254] metadata.example 10.0.0.1
192.168.0.1 172.16.0.1 ①②⑦.⓪.⓪.① user@127.0.0.1 good.example@127.0.0.1
127.0.0.1#@good.example good.example%00.evil redirect.example/to?u=http://127.0.0.1
good.example\@127.0.0.1 slow.example/10GB.png
""")
ADDRESSES = [
    *(f"{scheme}://{host}/a.png" for scheme in ("http", "HTTPS") for host in HOSTS),
    *words(r"""
    file:///etc/passwd file://localhost/etc/passwd FILE:/etc/passwd gopher://x/_GET
    ftp://127.0.0.1/a.png dict://127.0.0.1:11211/ ldap://127.0.0.1/ jar:http://x!/a
    //127.0.0.1/a.png /etc/passwd a.png \\127.0.0.1\c$\a.png data:text/html;base64,AA==
    data:image/svg+xml,<svg/> data:image/png,AA blob:x data:image/png;base64,!!
    javascript:alert(1) data:image/png;base64,http://x/
    """),
    *("", " http://x/"),
]
OUT = words(".. %2e%2e %252e%252e ..%00 \uff0e\uff0e ..; .%2e %c0%ae%c0%ae ....//..")
STEPS = words(r"/ %2f \ %5c // %252f")
GOALS = ["etc/passwd", "server/app.py", "pyproject.toml"]
PLACES = [
    *(f"{step.join([out] * 4)}{step}{goal}" for out in OUT for step in STEPS for goal in GOALS),
    *words(r"""
    /etc/passwd //etc/passwd C:\Windows\win.ini C:/Windows/win.ini \\host\c$\a
    file:///etc/passwd ~/.ssh/id_rsa $HOME/.netrc CON NUL.png aux COM1.txt index.html%00.png . ./
    """),
    *("a\x00.png", "index.html\x00", "", " ", "a" * 5000, "\u202e/a"),
]
FOREIGN = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:1"},
    {"origin": "https://localhost"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    *(
        {"host": host}
        for host in words(
            "rebound.example localhost.rebound.example rebound.example:80 [localhost:80 "
            "localhost:abc localhost: localhost:80:80 user@localhost"
        )
    ),
    {"host": ""},
]
KINDS = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]

watched: list[tuple[str, object]] = []


def _watch(event, given):
    if event in {"open", "socket.connect", "socket.getaddrinfo", "os.listdir", "subprocess.Popen"}:
        watched.append((event, given[0] if event != "socket.connect" else given[1]))


sys.addaudithook(_watch)  # stays as long as the process does, which costs nothing


@pytest.fixture(scope="module")
def ask(worker):
    def make(token):
        app = make_app(worker, hosts=["localhost"], token=token, limits=worker.limits)

        async def send(method, path, body=b"", **given):
            call = Call(app, method, path, body, **given)
            await asyncio.wait_for(call.done, 30)
            return call

        return send

    return make


async def test_no_address_is_fetched(ask):
    send = ask(None)
    assert len(ADDRESSES) >= 60
    fine = "data:image/png;base64," + base64.b64encode(to_png(Image.new("RGB", (8, 8)))).decode()
    watched.clear()
    for address in ADDRESSES:
        for bodies in (
            {"images": [{"image_url": address}]},
            {"images": [{"image_url": fine}], "mask": {"image_url": address}},
        ):
            call = await send("POST", "/v1/images/edits", {"prompt": PROMPT, **bodies})
            (code,) = re.findall(rb'"code":\s?"?(\w+)', call.content)
            assert (call.status, code) == (400, b"invalid_image_url"), address
    assert [event for event in watched if event[0].startswith("socket.")] == []


async def routes_of(send, headers=None):
    paths = json.loads((await send("GET", "/openapi.json", headers=headers)).content)["paths"]
    return [(way.upper(), path) for path, ways in paths.items() for way in ways]


async def test_no_route_obeys_a_page_of_another_site(ask):
    send = ask(None)
    routes = await routes_of(send)
    assert {"POST", "PATCH", "DELETE"} <= {method for method, _ in routes}
    for (method, path), headers in itertools.product(routes, FOREIGN):
        kind = KINDS[len(path) % len(KINDS)]  # those that need no leave to be sent
        call = await send(method, path, b"prompt=x", headers={"content-type": kind, **headers})
        is_link = headers.get("sec-fetch-mode") == "navigate" and method == "GET"
        assert is_link or call.status == 403, (method, path, headers)
        assert not any(name.startswith("access-control-") for name in call.headers)
        assert call.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "share", [20, pytest.param(1, marks=pytest.mark.thorough)], ids=["some", "all"]
)
async def test_no_name_leads_to_a_file(ask, share):
    send = ask(None)
    assert len(PLACES) > 180
    mimetypes.init()  # reads its own lists, once
    assert (
        await send("GET", "/")
    ).status == 200  # what serves files imports some of itself only then
    secrets = (b"root:", b"def make_app", b"[build-system]", b"swiftpie.server")
    for number, name in enumerate(PLACES):
        if number % share:
            continue
        body, kind = form(image=(name.replace('"', ""), b"no picture"), name=name[:200], model=name)
        wanted = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": name[:64]}]}}
        calls = [
            ("GET", f"/static/{name}"),
            ("GET", f"/static/assets/{name}"),
            ("GET", f"/{name}"),
            *(("GET", f"/v1/identities/{name}/{part}") for part in ("thumbnail", "masks/0")),
            *((way, f"/v1/identities/{name}") for way in ("DELETE", "PATCH")),
            *((way, f"/v1/jobs/{name}") for way in ("GET", "DELETE")),
            ("GET", f"/v1/models/{name}"),
            ("GET", f"/v1/models/{name}/vocabulary"),
            ("POST", "/v1/images/generations", wanted),
            ("POST", "/v1/images/generations", {**wanted, "model": name[:200] or "x"}),
            *(("POST", path, body) for path in ("/v1/identities", "/v1/pictures", "/v1/cutouts")),
        ]
        for method, path, *content in calls:
            watched.clear()
            headers = {"content-type": kind} if content == [body] else {}
            call = await send(method, path, *(content or [{"name": "x"}]), headers=headers)
            is_ours = call.status == 200 and path.rstrip("/. ") in {"", "/v1/models", "/static"}
            assert is_ours or 300 <= call.status < 500, (path, call.status)
            assert is_ours or not any(secret in call.content for secret in secrets)
            opened = [str(one) for event, one in watched if event in {"open", "os.listdir"}]
            assert all(is_allowed(place) for place in opened), (path, opened)


def is_allowed(path):
    return "/server/static/" in path or path.endswith((".py", ".pyc")) or path.isdigit()


async def test_no_link_leads_out(tmp_path):
    secret, folder = tmp_path / "secret.txt", tmp_path / "static"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "plain.txt").write_text("plain")
    (folder / "link.txt").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    served = StaticFolder(directory=str(folder))
    scope = {"type": "http", "method": "GET", "headers": []}
    assert (await served.get_response("plain.txt", scope)).status_code == 200
    for path in ("link.txt", "up/secret.txt", "../secret.txt", str(secret)):
        with pytest.raises(HTTPException):
            await served.get_response(path, scope)


@pytest.fixture(scope="module")
def guarded(session):
    with serving(session, token=TOKEN, body_mib=0.5, body_s=1.0) as running:
        yield running


HIDDEN = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"  # would answer, if it were heard
NO_PLAIN = {
    "two lengths": "Content-Length: 4\r\nContent-Length: 50\r\n\r\n{{}}{hidden}",
    "two lengths in one": "Content-Length: 4, 50\r\n\r\n{{}}  {hidden}",
    "length and pieces": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
    "pieces and length": "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{hidden}",
    "unknown pieces": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}",
    "pieces twice": "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}",
    "space before the colon": "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}",
    "negative": "Content-Length: -1\r\n\r\n{hidden}",
    "signed": "Content-Length: +4\r\n\r\n{{}}  {hidden}",
    "hexadecimal": "Content-Length: 0x4\r\n\r\n{{}}  {hidden}",
    "pieces of no number": "Transfer-Encoding: chunked\r\n\r\nzz\r\n{hidden}",
    "pieces of a negative number": "Transfer-Encoding: chunked\r\n\r\n-1\r\n{hidden}",
    "compressed": "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nxx{hidden}",
    "many headers": "{headers}\r\n{hidden}",
    "a long header": "X-Long: {long}\r\n\r\n{hidden}",
    "no host but ours": "Host: other.example\r\nContent-Length: 2\r\n\r\n{{}}{hidden}",
    "a length that is too large": "Content-Length: 99999999999999999999\r\n\r\n{{}}",
    "a length that is not reached": "Content-Length: 40\r\n\r\n{{}}",
    "two hosts": "Host: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{{}}",
    "a header without end": "X-Long: {long}",
    "a trailer without end": "Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nX-Long: {long}",
    "a piece with a word without end": "Transfer-Encoding: chunked\r\n\r\n2;word={long}",
}


@pytest.mark.parametrize("name", NO_PLAIN)
def test_what_is_no_plain_request_ends(guarded, name):
    many = "".join(f"X-{number}: x\r\n" for number in range(10_000))
    rest = NO_PLAIN[name].format(hidden=HIDDEN, headers=many, long="x" * (1 << 20))
    head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
    kind = "Content-Type: application/json\r\n"
    answer = spoken(guarded.port, f"{head}{TOKEN}\r\n{kind}{rest}".encode())
    assert answer.count(b"HTTP/1.1 ") == 1  # one answer, and the end
    assert 400 <= int(answer.split()[1]) < 500
    assert b'"version"' not in answer


@pytest.mark.parametrize(
    "encoding", ["x, chunked", "x\r\nTransfer-Encoding: chunked", "gzip, chunked"]
)
def test_an_unknown_encoding_of_a_body_is_not_implemented(guarded, encoding):
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    head += "Transfer-Encoding: "
    answer = spoken(guarded.port, f"{head}{encoding}\r\n\r\n0\r\n\r\n{HIDDEN}".encode())
    assert answer.startswith(b"HTTP/1.1 501 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"'chunked' alone" in answer


@pytest.mark.parametrize("part", ["path", "headers"])
def test_a_head_that_is_too_large_is_refused_in_one_piece(guarded, part):
    path = "x" * 66_000 if part == "path" else ""
    many = "".join(f"X-{number}: {'x' * 7_000}\r\n" for number in range(10))
    head = f"GET /{path} HTTP/1.1\r\n{'' if path else many}Host: localhost\r\n\r\n"
    assert spoken(guarded.port, head.encode()).startswith(b"HTTP/1.1 400 ")


def test_a_path_without_end_ends(guarded):
    assert spoken(guarded.port, b"GET /" + b"x" * (1 << 20)).startswith(b"HTTP/1.1 400 ")


HEAD = "POST /v1/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; "
HEAD += "boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.thorough
def test_bodies_in_pieces_of_a_byte_hold_up_no_other_visitor(session):
    with serving(session) as running:
        draw = {"prompt": PROMPT, "seed": 1}

        def drawn_s():
            began = time.process_time()
            assert running.ask("POST", "/v1/images/generations", body=draw).status == 200
            return time.process_time() - began

        alone_s = max(drawn_s(), drawn_s())
        place, lags = ("127.0.0.1", running.port), []
        slow = [socket.create_connection(place, timeout=60) for _ in range(64)]
        try:
            for connection in slow:
                connection.setblocking(False)
                with suppress(OSError):
                    connection.send(HEAD.encode() + 40_000 * b"1\r\nx\r\n")  # as much as fits
            for _ in range(30):
                began = time.process_time()
                assert running.ask("GET", "/health/live").status == 200
                lags.append(time.process_time() - began)
                for connection in slow:
                    with suppress(OSError):
                        connection.send(b"1\r\nx\r\n")
            beside_s = drawn_s()
            answers = slow[0].recv(1 << 16)
        finally:
            for connection in slow:
                connection.close()
    assert answers.startswith(b"HTTP/1.1 400")
    assert b"small pieces" in answers
    assert statistics.median(lags) < 0.2  # it was 8 s
    assert beside_s < 3 * alone_s + 1


@pytest.mark.parametrize(("size", "count"), [(1, 12), (1_200, 400)], ids=["few", "usual"])
def test_pieces_of_a_usual_kind_are_read(guarded, size, count):
    rest = size.to_bytes(4).hex().encode() + b"\r\n" + b"x" * size + b"\r\n"
    head = HEAD.replace(
        "Content-Type", f"Connection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type"
    )
    answer = spoken(guarded.port, head.encode() + count * rest + b"0\r\n\r\n")
    assert b"invalid_form" in answer  # it was read as a whole


async def test_uploads_are_written_to_no_file(ask):
    body, kind = form(image=("a.png", to_png(Image.effect_noise((1500, 1500), 80))), prompt="cat")
    assert len(body) > 2 << 20
    send = ask(None)
    watched.clear()
    for path in ("/v1/pictures", "/v1/identities", "/v1/images/edits"):
        call = await send("POST", path, body, headers={"content-type": kind})
        assert call.status in {200, 201, 400}, call.content
    assert [place for event, place in watched if event == "open" and is_temporary(place)] == []


PACKAGE = str(Path(swiftpie.__file__).parent)  # which may lie in a temporary folder itself


def is_temporary(place):
    name = str(place)
    return name.startswith(tempfile.gettempdir()) and not name.startswith(PACKAGE)


def test_what_follows_a_body_is_no_header(guarded):
    head = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = spoken(guarded.port, f"{head}0\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401")


def spoken(port, *pieces):
    """Send each piece after an answer to the one before; return all until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        found = b""
        try:
            for number, data in enumerate(pieces):
                if number:
                    found += raw.recv(1 << 16)
                raw.sendall(data)
            while piece := raw.recv(1 << 16):
                found += piece
        except ConnectionError:  # closed with something unread
            pass
        return found


WHOLE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize("start", ["", "GET", "GET / HTTP/1.1\r\nHost: x\r\nX: "], ids=repr)
def test_a_slow_head_ends_and_a_second_one_too(guarded, start):
    began = time.monotonic()
    assert spoken(guarded.port, start.encode()) == b""
    if start:
        assert spoken(guarded.port, WHOLE, start.encode()).count(b"HTTP/1.1 200") == 1
    assert time.monotonic() - began < 10


def test_a_connection_that_does_not_take_its_answer_ends(guarded):
    head = f"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", guarded.port))
        state, answered = guarded.server.server_state, -1
        until(lambda: state.connections)

        def ends():  # requests go on until all buffers between the two are full
            nonlocal answered
            if state.connections and answered < state.total_requests:
                answered = state.total_requests
                raw.sendall(head.encode())
            return not state.connections

        until(ends)


def test_connections_beyond_those_of_an_address_are_refused_until_others_end(session):
    with serving(session) as running:
        place = ("127.0.0.1", running.port)
        slow = [socket.create_connection(place) for _ in range(MAX_OF_ADDRESS)]
        try:
            refused = spoken(running.port).split(b"\r\n")
            assert refused[0].startswith(b"HTTP/1.1 503")
            assert b"retry-after: 5" in refused
        finally:
            for connection in slow:
                connection.close()
        last = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        until(lambda: b"HTTP/1.1 200" in spoken(running.port, last))  # it has heard of all ends
        with connect(f"ws://127.0.0.1:{running.port}/v1/live") as other:
            other.send("{}")
            assert "error" in other.recv(timeout=60)


@pytest.mark.thorough
def test_bodies_that_never_end_are_bounded_together(session):
    body, kind = form(image=("a.png", b"x" * 400_000))
    head = f"POST /v1/pictures HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    head += "Content-Length: 500000\r\n\r\n"
    with serving(session, body_mib=0.5) as running:
        place = ("127.0.0.1", running.port)
        slow = [socket.create_connection(place, timeout=60) for _ in range(3)]
        try:
            for connection in slow:
                connection.sendall(head.encode() + body[:400_000])
            (refused,) = select.select(slow, [], [], 60)[0]
            answer = refused.recv(1 << 16).lower()
            assert not select.select([each for each in slow if each != refused], [], [], 0.5)[0]
            assert answer.startswith(b"http/1.1 503")
            assert b"retry-after: " in answer
        finally:
            for connection in slow:
                connection.close()
        ask = partial(running.ask, "POST", "/v1/pictures", body=body)
        until(lambda: ask(headers={"content-type": kind}).status != 503)  # it knows that all left


@pytest.mark.parametrize(
    "count", [60, pytest.param(1000, marks=pytest.mark.thorough)], ids=["some", "thousand"]
)
async def test_no_log_metric_or_error_holds_a_secret(ask, caplog, picture_bytes, count):
    caplog.set_level("DEBUG")
    send = ask(TOKEN)
    secrets = [f"canary{number}" for number in range(6)]
    prompt, name, user, visitor, wrong, number = secrets
    text = base64.b64encode(picture_bytes).decode()
    known = {
        "authorization": f"Bearer {TOKEN}",
        "x-swiftpie-user": user,
        "cookie": f"swiftpie_visitor={visitor}-{'x' * 20}",
    }
    files, kind = form(image=(f"{name}.png", picture_bytes), name=name)
    broken, _ = form(image=(f"{name}.png", picture_bytes[:99]))
    edit, _ = form(image=(f"{name}.png", picture_bytes[:99]), name=name, prompt=prompt)
    wanted = {"prompt": prompt, "images": [{"image_url": f"data:image/png;base64,{text[:96]}"}]}
    bodies = [
        ("POST", "/v1/images/edits", edit, kind),
        ("POST", "/v1/images/edits", wanted, None),
        ("POST", "/v1/images/edits", {**wanted, "seed": "x"}, None),
        ("POST", "/v1/images/generations", {"prompt": prompt, "user": user}, None),
        ("POST", "/v1/images/generations", {"prompt": prompt * 1000}, None),
        ("POST", "/v1/jobs", {"prompt": prompt, "swiftpie": {"keyword": prompt, "no": 1}}, None),
        ("POST", "/v1/identities", broken, kind),
        ("POST", "/v1/pictures", broken, kind),
        ("GET", f"/v1/identities/{number}/thumbnail", b"", None),
        ("PATCH", f"/v1/identities/{number}", {"name": name}, None),
        ("GET", f"/{name}", b"", None),
        ("POST", "/v1/identities", files, kind),
    ]
    answers = []
    for at in range(count):
        method, path, body, content = bodies[at % (len(bodies) - (at > len(bodies)))]
        headers = dict(known)
        if at % 7 == 3:
            headers["authorization"] = f"Bearer {wrong}"
        if content:
            headers["content-type"] = content
        call = await send(method, path, body, headers=headers)
        if call.status >= 400:
            answers.append(call.content.decode())
    assert len(answers) >= count * 0.9
    metrics = (await send("GET", "/metrics", headers=known)).content.decode()
    logs, errors = caplog.text, "".join(answers)
    assert "/v1/identities" in logs
    for place, kept in (("logs", secrets), ("metrics", secrets), ("errors", [prompt, user, wrong])):
        found = {"logs": logs, "metrics": metrics, "errors": errors}[place]
        for secret in (*kept, TOKEN, visitor, text[:40], repr(picture_bytes[:20])[2:-1]):
            assert secret not in found, (place, secret)


MANY_KEYS = ",".join(f'"{number}": 0' for number in range(100_000))
SOME_KEYS = MANY_KEYS[:200_000].rpartition(",")[0]  # that fit into a request
FEW_KEYS = MANY_KEYS[:800].rpartition(",")[0]
FOREVER = [
    ("POST", "/v1/images/generations", f'{{"prompt": "a", "swiftpie": {{{MANY_KEYS}}}}}', 400),
    ("POST", "/v1/jobs", f'{{"prompt": "a", "size": "{"1" * (300 << 10)}"}}', 400),
    ("PATCH", "/v1/identities/x", f"{{{MANY_KEYS}}}", 413),
    ("POST", "/v1/jobs", f'{{"prompt": "a", "swiftpie": {{{SOME_KEYS}}}}}', 400),
    ("POST", "/v1/jobs", f'{{"prompt": "a", "swiftpie": {"[" * 100_000}', 400),
    ("POST", "/v1/images/edits", f'{{"prompt": "a", "swiftpie": {{{MANY_KEYS}}}}}', 400),
    ("POST", "/v1/images/edits", f'{{"prompt": "a", "images": [{"{}," * 200_000}{{}}]}}', 400),
    ("POST", "/v1/images/edits", f'{{"prompt": "a", "images": {"[" * 100_000}', 400),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), FOREVER, ids=range(len(FOREVER)))
async def test_what_would_take_long_to_look_at_is_refused_before(ask, method, path, body, status):
    send = ask(None)
    began = time.process_time()
    call = await send(method, path, body.encode())
    assert call.status == status, call.content[:300]
    assert len(call.content) < 600
    assert time.process_time() - began < 1  # it took many seconds where each key became an error
    for keys, word in ((SOME_KEYS, b"5000 commas"), (FEW_KEYS, b"fields; at most 64 are read")):
        body, kind = form(image=("a.png", b"x"), prompt="a", swiftpie=f"{{{keys}}}")
        call = await send("POST", "/v1/images/edits", body, headers={"content-type": kind})
        assert word in call.content


@pytest.mark.parametrize(
    ("own", "word"),
    [
        (f"[{'[],' * 9_900}[]]", "commas and brackets"),
        ("[" * 17 + "]" * 17, "in more than 16 others"),
        ("9" * 1000, "400 digits"),
        ('"' * 100_000, "commas and brackets"),
        ('{"source_prompt": "' + "[[{{,,]]" * 400 + '\\\\\\""}', "names no subject"),
    ],
    ids=range(5),
)
async def test_json_is_bounded_before_it_becomes_values(ask, own, word):
    call = await ask(None)("POST", "/v1/jobs", f'{{"prompt": "a", "swiftpie": {own}}}'.encode())
    found = json.loads(call.content)["error"]["message"]
    assert (call.status, word in found) == (400, True), found
