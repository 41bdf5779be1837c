"""A server on a free port of the loopback interface, around the embedded model."""

import asyncio
import base64
import http.client
import io
import json
import os
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import fields

import pytest
from PIL import Image

pytest.importorskip("uvicorn", reason="needs swiftpie[serve]")

from swiftpie.backbones.presets import PRESETS, describe
from swiftpie.server import Limits
from swiftpie.server.app import make_app
from swiftpie.server.guard import loopback_names
from swiftpie.server.listening import Server
from swiftpie.server.shared import MEMORY, open_stores
from swiftpie.server.store import Caller, Models, ServedModel
from swiftpie.server.worker import Worker
from tests.fuzz.pictures import encoded

CALLER = Caller("anna", "anna")
STORE = os.environ.get("STORE", MEMORY)  # at the address of a Redis all tests can be run, too


@pytest.fixture(scope="session", autouse=True)
def loopback():
    try:
        with socket.create_server(("127.0.0.1", 0)):
            pass
    except OSError as error:
        pytest.skip(f"the loopback interface cannot be used: {error}")


class Running:
    def __init__(
        self,
        session,
        *,
        limits,
        token,
        facts=None,
        sign=None,
        load=None,
        backend=None,
        store=STORE,
        root_path="",
    ):
        name = session.components.preset.name
        facts = describe(PRESETS.get(name)) | (facts or {})
        models = Models({name: ServedModel(load or (lambda: session), facts)}, sign=sign)
        stores = open_stores(store, limit_mib=limits.cache_mib)
        drawn_by = backend and backend(models)
        self.worker = Worker(models, limits=limits, backend=drawn_by, stores=stores)
        names = tuple(loopback_names("127.0.0.1"))
        self.guard = make_app(
            self.worker, hosts=names, token=token, limits=limits, root_path=root_path
        )
        self.server = Server(self.guard, host="127.0.0.1", port=0, limits=limits, tell=str)
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        until(lambda: self.server.started or not self.thread.is_alive())
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        until(lambda: self.ask("GET", "/health/ready").status == 200, seconds=240)
        return self

    def __exit__(self, *_):
        self.server.should_exit = True
        self.thread.join(60)
        assert not self.thread.is_alive()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method, path, *, body=None, headers=None):
        """Send one request as given; the answer has `status`, `headers` and `json`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        given = {"content-type": "application/json", **(headers or {})}
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, path, body=data, headers=given)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        try:
            answer.json = json.loads(content)
        except ValueError:
            answer.json = None
        answer.content = content
        return answer

    def upload(self, path, *, headers=None, **fields):
        body, kind = form(**fields)
        return self.ask("POST", path, body=body, headers={"content-type": kind, **(headers or {})})

    @contextmanager
    def asked(self, body):
        """Ask for a picture by a connection that ends with the block, answered or not."""
        head = "POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        text = json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", self.port)) as raw:
            raw.sendall(head.format(len(text)).encode() + text)
            yield

    def draw(self, prompt="a dog on a beach", *, headers=None, **more):
        body = {"prompt": prompt, **more}
        return self.ask("POST", "/v1/images/generations", body=body, headers=headers)


def serving(session, *, token=None, **given):
    limits = {field.name: given.pop(field.name) for field in fields(Limits) if field.name in given}
    return Running(session, limits=Limits(**limits), token=token, **given)


@pytest.fixture(scope="session")
def server(session):
    with serving(session) as running:
        yield running


@pytest.fixture(scope="session")
def picture_bytes(sprite):
    return to_png(sprite)


@pytest.fixture(scope="session")
def identity_id(server, picture_bytes):
    answer = server.upload("/v1/identities", image=("dog.png", picture_bytes), name="dog")
    assert answer.status == 201, answer.json
    return answer.json["id"]


@pytest.fixture(scope="session")
def photo(session, identity):
    return session.personalize(identity, "a dog on a beach", seed=3).images[0]


@contextmanager
def held(worker):
    """Hold the drawing thread at its next batch; yields `begun`, `gate` to open, and `stopped`."""
    begun, gate, stopped = threading.Event(), threading.Event(), threading.Event()
    original = worker.backend.answer

    def slow(work, check):
        begun.set()
        assert gate.wait(60)
        try:
            return original(work, check)
        except BaseException:
            stopped.set()
            raise

    worker.backend.answer = slow
    try:
        yield begun, gate, stopped
    finally:
        gate.set()
        worker.backend.answer = original


def until(found, *, seconds=60):
    """Return what `found` returns, as soon as that is true."""
    last = time.monotonic() + seconds
    while not (what := found()):
        assert time.monotonic() < last, f"not in {seconds} s"
        time.sleep(0.001)
    return what


def models_of(session):
    return Models({"mini": ServedModel(lambda: session, describe(PRESETS.get("mini")))})


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def worker(session):
    async with Worker(models_of(session), limits=Limits(batch=2)) as one:
        await one.getting_ready
        yield one


LIVE = (  # the head of a live connection
    "GET /v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


class Call:
    def __init__(self, app, method, path, body=b"", *, headers=None, query=b"", is_whole=True):
        self.left = asyncio.Event()
        self._more = asyncio.Event()
        self.came = asyncio.Event()  # the first piece of the answer
        self.status, self.headers, self.content = None, {}, b""
        self._is_whole = is_whole
        self._body = [json.dumps(body).encode() if isinstance(body, dict) else body]
        given = {"host": "localhost", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"spec_version": "2.3"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode("utf-8", "surrogateescape"),
            "query_string": query,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.done = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self):
        if self._body:
            more = not self._is_whole
            return {"type": "http.request", "body": self._body.pop(), "more_body": more}
        if not self._is_whole:
            leaving, more = map(asyncio.ensure_future, (self.left.wait(), self._more.wait()))
            await asyncio.wait([leaving, more], return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            more.cancel()
            if self._body:
                return await self._receive()
        await self.left.wait()
        return {"type": "http.disconnect"}

    def send_rest(self, body):
        self._body, self._is_whole = [body], True
        self._more.set()

    async def _send(self, message):
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        self.content += message.get("body", b"")
        if self.content:
            self.came.set()

    async def answer(self):
        await asyncio.wait_for(self.done, 60)
        return json.loads(self.content)


class Connection:
    def __init__(self, address):
        self.address = address

    def get_extra_info(self, _name):
        return (self.address, 1)


async def turns_until(is_there):
    async with asyncio.timeout(60):
        while not is_there():
            await asyncio.sleep(0.001)


async def drained(scheduler):
    await turns_until(lambda: not (scheduler.num_queued or scheduler.being_drawn))


to_png = encoded


def data_in(answer, number=0):
    """Return the file of a picture in an answer."""
    assert answer.status == 200, answer.json
    return base64.b64decode(answer.json["data"][number]["b64_json"])


def picture_in(answer, number=0):
    return Image.open(io.BytesIO(data_in(answer, number)))


def form(**fields):
    parts = []
    listed = {name: value if isinstance(value, list) else [value] for name, value in fields.items()}
    for name, value in ((name, value) for name, values in listed.items() for value in values):
        file, data = value if isinstance(value, tuple) else (None, value.encode())
        place = f'; filename="{file}"\r\nContent-Type: application/octet-stream' if file else ""
        head = f'--swift\r\nContent-Disposition: form-data; name="{name}"{place}\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, b"--swift--\r\n"]), "multipart/form-data; boundary=swift"
