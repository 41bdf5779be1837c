"""Work stops where it is when its caller leaves, deletes it or is late, unnoticed by others.

| | leaves | late | job deleted | live one hangs up | newer live one | SIGTERM |
|---|---|---|---|---|---|---|
| upload is read | ends | 408 | | | | goes on |
| pictures are decoded | ends | ends | | | | goes on |
| subject is encoded | ends | ends | | | | goes on |
| queued | ends | ends | ends | ends | goes on | goes on, a job ends |
| batched, drawn, any layer of a step | ends | ends | ends | ends | goes on | goes on, a job ends |
| made a file | ends | ends | ends | ends | goes on | goes on, a job ends |
| answer is sent | ends | ends | | ends | goes on | goes on |

An empty cell cannot be: jobs bring no pictures and send none. A live connection has one picture in
the queue or drawn, which the next one does not end: a user who types quicker than it draws would
never see any. Of those that come meanwhile only the newest is drawn. Jobs end with the server, as
they cannot be fetched any more; a second SIGTERM ends everything at once.
"""

import asyncio
import gc
import json
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from swiftpie.server import Limits
from swiftpie.server.app import make_app
from swiftpie.server.drawing import Stopped, _without_locals
from swiftpie.server.schemas import Drawing
from swiftpie.server.store import Caller, StoredIdentity
from tests.server.conftest import Call, drained, form, serving, to_png, turns_until, until

pytestmark = pytest.mark.anyio
PROMPT = "a dog on a beach"
thorough = pytest.mark.thorough
LATE_S = 0.1
VISITOR = "v" * 32
OWNER = f" {VISITOR}"
STAGES = [  # of a drawing, after which it may stop
    *(("leaves", "batched"), ("leaves", "check"), ("deleted", "check"), ("late", "step")),
    *(
        pytest.param("leaves", stage, marks=thorough)
        for stage in ("encode", "text", "place", "denoise", "step", "decode")
    ),
    pytest.param("hangs up", "batched", marks=thorough),
]

WAYS = ["leaves", "late", *(pytest.param(way, marks=thorough) for way in ("deleted", "hangs up"))]


class Gate:
    def __init__(self, worker):
        self.stage = None
        self.reached, self.opened = threading.Event(), threading.Event()
        self.stages = []  # ended since the gate was reached
        self.stopped = threading.Event()
        self._draw, worker.backend.answer = worker.backend.answer, self

    def __call__(self, work, check):
        def passed(stage):
            if self.reached.is_set():
                self.stages.append(stage)
            if stage == self.stage and not self.reached.is_set():
                self.reached.set()
                assert self.opened.wait(60)
            check(stage)

        try:
            passed("batched")
            return self._draw(work, passed)
        except Stopped:
            self.stopped.set()
            raise


class Server:
    """The application and what is behind it, in this process and without a network."""

    def __init__(self, app, worker, body):
        self.app, self.worker, self.body = app, worker, body
        self.gate = Gate(worker)

    @property
    def num_queued(self):
        return self.worker.scheduler.num_queued

    def call(self, method, path, body=b"", kind="application/json", **more):
        headers = {"cookie": f"swiftpie_visitor={VISITOR}", "content-type": kind}
        return Call(self.app, method, path, body, headers=headers, **more)

    def draw(self, seed, **more):
        body = {**self.body, "seed": seed, **more}
        return self.call("POST", "/v1/images/generations", body)

    async def job(self, **more):
        answer = await self.call("POST", "/v1/jobs", {**self.body, **more}).answer()
        return f"/v1/jobs/{answer['id']}"

    async def at(self, stage, seed=1, **more):
        """Return a drawing that has just ended a stage, and stays there."""
        self.gate.stage = stage
        call = self.draw(seed, **more)
        await reached(self.gate.reached)
        return call

    def limit(self, seconds):
        self.worker.limits = Limits(deadline_s=seconds)
        self.worker.scheduler.job_s = 0  # else what seems to be late is refused
        self.worker.scheduler._taken.clear()

    async def late(self, is_there, call):
        for power in range(10):
            if is_there():
                break
            self.gate.stopped.clear()
            self.limit(LATE_S * 2**power)  # as it may take longer to come so far
            one = call()
            await one.done
            assert one.status == 504

    async def ended(self, way, is_there, call):
        if way == "late":
            await self.late(is_there, call)
        elif way == "deleted":
            place = await self.job()
            await turns_until(is_there)
            assert (await self.call("DELETE", place).answer())["status"] == "cancelled"
        elif way == "hangs up":
            talk = Talk(self)
            talk.draw(1)
            await turns_until(is_there)
            talk.hang_up()
            await talk.done
            assert [message["type"] for message in talk.got] == ["websocket.accept"]
        else:
            one = call()
            await turns_until(is_there)
            one.left.set()
            await one.done
            assert one.status == 499

    def open(self):
        self.gate.opened.set()

    async def stops(self):
        for _ in range(3):
            await asyncio.sleep(0)
        self.open()
        await reached(self.gate.stopped)

    async def is_free(self):
        self.open()
        drawn = await self.draw(9).answer()
        await drained(self.worker.scheduler)
        return len(drawn["data"]) == 1


async def reached(event):
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, 60)


@pytest.fixture
def server(worker, identity):
    draw, worker.limits = worker.backend.answer, Limits()
    number = worker.identities.put(StoredIdentity(identity, "mini"), owner=OWNER)
    app = make_app(worker, hosts=["localhost"], token=None, limits=worker.limits)
    body = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": number}]}}
    one = Server(app, worker, body)
    yield one
    one.open()
    worker.backend.answer = draw


@pytest.mark.parametrize(("way", "stage"), STAGES)
async def test_a_drawing_stops_at_its_next_stage(server, way, stage):
    server.gate.stage = stage
    await server.ended(way, server.gate.reached.is_set, lambda: server.draw(1))
    await server.stops()
    assert server.gate.stages == []  # not one more
    server.worker.limits = Limits()
    assert await server.is_free()


async def test_a_job_of_an_animation_says_how_far_it_is_and_stops_in_a_pass(server):
    moves = {"to": [f"{PROMPT} at night"], "num_frames": 2}
    own = {**server.body["swiftpie"], "animate": moves}
    server.gate.stage = "check"
    place = await server.job(size="64x64", output_format="webp", swiftpie=own)
    await reached(server.gate.reached)
    answer = await server.call("GET", place).answer()
    stage = {"drawn": 0, "of": 1, "stage": "text"}
    assert answer == {"id": answer["id"], "status": "running", "progress": stage}
    await server.call("DELETE", place).answer()
    await server.stops()
    assert server.gate.stages == []
    assert await server.is_free()


@pytest.mark.parametrize("way", WAYS)
async def test_what_waits_in_the_queue_is_never_drawn(server, way):
    await drained(server.worker.scheduler)  # of what tests before have stopped
    before, first = server.worker.scheduler.batches, await server.at("batched")
    is_there = (lambda: False) if way == "late" else (lambda: server.num_queued)
    if way == "late":
        server.limit(LATE_S)
        one = server.draw(2)
        await one.done
        assert one.status == 504
    else:
        await server.ended(way, is_there, lambda: server.draw(2))
    await turns_until(lambda: not server.num_queued)
    server.open()
    assert len((await first.answer())["data"]) == 1
    await drained(server.worker.scheduler)
    assert server.worker.scheduler.batches == before + 1


async def test_a_prompt_that_names_no_subject_is_refused_while_others_are_drawn(server):
    first = await server.at("batched")
    for path in ("/v1/images/generations", "/v1/jobs"):
        answer = await server.call("POST", path, {"prompt": "an elefant on a beach"}).answer()
        assert answer["error"]["code"] == "subject_not_named"
        assert not server.num_queued
    server.open()
    await first.done


async def test_a_job_that_is_deleted_at_once_leaves_the_queue(server):
    first = await server.at("batched")
    worker, body = server.worker, Drawing.model_validate(server.body)
    jobs = await worker.builder.jobs_of(body, caller=Caller("key", OWNER))
    name = await worker.start(jobs, owner=OWNER, as_answer=bytes)
    drawing = worker.running[name].drawing
    drawing.cancel()  # before its first step
    await asyncio.wait([drawing])
    await turns_until(lambda: not server.num_queued)
    server.open()
    await first.done


@thorough
@pytest.mark.parametrize("size", ["512x512", "1024x128"])
async def test_the_largest_sizes_are_drawn_and_stop_within_a_second(server, size):
    assert (await server.draw(1, size=size).answer())["size"] == size
    call = await server.at("check", size=size)
    call.left.set()
    await call.done
    began = time.process_time()
    await server.stops()
    assert time.process_time() - began < 1
    assert await server.is_free()


@pytest.mark.parametrize("stage", ["step", pytest.param("batched", marks=thorough)])
async def test_neighbours_in_a_batch_get_the_same_picture(server, stage):
    async def together(leaves):
        server.gate.reached.clear()
        server.gate.opened.clear()
        first = await server.at("batched", seed=1)
        calls = [server.draw(seed) for seed in (2, 3)]
        await turns_until(lambda: server.num_queued == 2)
        server.gate.reached.clear()  # of the second batch, which these two are
        server.gate.stage = stage
        server.open()
        await first.done
        server.gate.opened.clear()
        await reached(server.gate.reached)
        if leaves:
            calls[0].left.set()
            await calls[0].done
        server.open()
        return (await calls[1].answer())["data"]

    assert await together(leaves=True) == await together(leaves=False)
    assert await server.is_free()


UPLOADS = ("/v1/images/edits", "/v1/identities", "/v1/cutouts", "/v1/pictures")


def upload(path, data):
    own = {"prompt": PROMPT, "swiftpie": json.dumps({"source_prompt": PROMPT})}
    return form(image=("dog.png", data), **(own if path == UPLOADS[0] else {}))


@asynccontextmanager
async def without_decoder(server):
    """Let all pictures wait to be decoded; yields the lock that they wait for."""
    decoder = server.worker.decoder
    async with decoder._free, decoder._spare._free:
        yield decoder._spare._free


@pytest.mark.parametrize("is_late", [False, True], ids=["leaves", "late"])
async def test_pictures_that_wait_to_be_decoded_are_given_up(server, picture_bytes, is_late):
    server.worker.limits = Limits(**({"deadline_s": LATE_S} if is_late else {}))
    async with without_decoder(server) as free:
        for path in UPLOADS:
            call = server.call("POST", path, *upload(path, picture_bytes))
            await turns_until(lambda call=call: free._waiters or call.done.done())
            if not is_late:
                call.left.set()
            await call.done
            assert call.status == (504 if is_late else 499)
            assert not free._waiters


@pytest.mark.parametrize("way", ["leaves", "late"])
async def test_a_subject_whose_caller_does_not_wait_is_not_kept(server, picture_bytes, way):
    sent = ("POST", "/v1/identities", *upload("/v1/identities", picture_bytes))
    known = server.worker.identities.items(owner=OWNER)
    server.gate.stage = "batched"
    await server.ended(way, server.gate.reached.is_set, lambda: server.call(*sent))
    await server.stops()
    assert server.worker.identities.items(owner=OWNER) == known
    server.worker.limits = Limits()
    assert await server.is_free()


async def test_an_upload_whose_caller_leaves_is_forgotten(server, caplog):
    for path in UPLOADS:
        body, kind = upload(path, bytes(5000))
        call = server.call("POST", path, body[:4000], kind, is_whole=False)
        await turns_until(lambda call=call: not call._body)
        call.left.set()
        await call.done
        assert call.status == 499
        assert not server.worker.decoder._free.locked()
        assert not server.num_queued
    assert "failed" not in caplog.text


@pytest.mark.parametrize("is_late", [False, True], ids=["leaves", "late"])
async def test_a_picture_that_is_being_decoded_is_given_up(server, picture_bytes, is_late):
    sent = ("POST", "/v1/pictures", *upload("/v1/pictures", picture_bytes))
    server.worker.limits = Limits(**({"deadline_s": 3 * LATE_S} if is_late else {}))
    decoder = server.worker.decoder
    child = decoder._child
    os.kill(child.pid, signal.SIGSTOP)  # in the midst of it, for ever
    call = server.call(*sent)
    await turns_until(decoder._free.locked)
    if not is_late:
        call.left.set()
    await call.done
    assert call.status == (504 if is_late else 499)
    server.worker.limits = Limits()  # as a new process takes its time
    assert (await server.call(*sent).answer())["id"]
    assert child.returncode == -signal.SIGKILL
    assert child is not decoder._child


PLAIN = {"prompt": "a cat", "swiftpie": '{"task": "personalize"}'}  # of what shows no subject
NETWORKS = {"prompt": "a cat", "swiftpie": '{"task": "insert", "box": [0, 0, 0.5, 0.5]}'}
EDITS = "/v1/images/edits"
ENDS = [
    ("draws", EDITS, {"prompt": "at night"}, None),
    ("fails", EDITS, PLAIN | {"stream": "true"}, None),
    ("leaves", "/v1/cutouts", {}, "batched"),
    *(
        pytest.param(*end, marks=thorough)
        for end in (
            ("fails", EDITS, PLAIN, None),
            ("fails", EDITS, {"prompt": "x", "swiftpie": '{"task": "replace"}'}, None),
            ("leaves", EDITS, NETWORKS, "check"),
            ("late", EDITS, NETWORKS, "decode"),
        )
    ),
]


@pytest.mark.parametrize(("way", "path", "fields", "stage"), ENDS, ids=range(len(ENDS)))
async def test_the_pixels_of_a_request_are_freed_however_it_ends(server, way, path, fields, stage):
    picture = to_png(Image.new("RGB", (640, 480), (90, 120, 90)))
    sent = ("POST", path, *form(image=("a.png", picture), **fields))
    budgets = server.worker.decoder._budgets.values()
    server.gate.stage = stage
    gc.collect()
    gc.disable()
    try:
        if stage is None:
            await server.call(*sent).done
        else:
            await server.ended(way, server.gate.reached.is_set, lambda: server.call(*sent))
        for _ in range(3):
            await asyncio.sleep(0)
        server.open()
        await drained(server.worker.scheduler)
        await turns_until(lambda: not any(budget.taken for budget in budgets))
    finally:
        gc.enable()


@pytest.mark.parametrize("way", WAYS)
async def test_files_whose_caller_does_not_wait_are_not_made(server, way):
    pool, shut = ThreadPoolExecutor(1), threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(pool)  # which makes the files
    blocked = loop.run_in_executor(pool, shut.wait, 60)
    try:
        waits = lambda: not pool._work_queue.empty()  # noqa: E731
        await server.ended(way, waits, lambda: server.draw(1))
        await turns_until(pool._work_queue.get_nowait().future.cancelled)
    finally:
        shut.set()
        await blocked
        loop.set_default_executor(ThreadPoolExecutor())
    server.worker.limits = Limits()
    assert await server.is_free()


async def test_a_stream_whose_caller_leaves_sends_no_more(server):
    stream = server.draw(1, n=4, stream=True)
    await asyncio.wait_for(stream.came.wait(), 60)
    stream.left.set()
    await stream.done
    assert stream.content.count(b"completed") < 2 * 4  # each names it twice
    assert await server.is_free()


class Talk:
    def __init__(self, server):
        self._sent, self.got = asyncio.Queue(), []
        self.say({"type": "websocket.connect"})
        cookie = f"swiftpie_visitor={VISITOR}".encode()
        scope = {
            "type": "websocket",
            "path": "/v1/live",
            "raw_path": b"/v1/live",
            "query_string": b"",
            "scheme": "ws",
            "subprotocols": [],
            "headers": [(b"host", b"localhost"), (b"cookie", cookie)],
            "client": ("127.0.0.1", 1),
        }
        self._body = server.body
        self.done = asyncio.ensure_future(server.app(scope, self._sent.get, self._hear))

    async def _hear(self, message):
        self.got.append(message)

    def say(self, message):
        self._sent.put_nowait(message)

    def draw(self, number, **more):
        body = {"type": "draw", "id": number, "seed": number, **self._body, **more}
        self.say({"type": "websocket.receive", "text": json.dumps(body)})

    def hang_up(self):
        self.say({"type": "websocket.disconnect", "code": 1001})


async def test_a_server_that_is_to_stop_reads_and_decodes_what_is_on_its_way(server, picture_bytes):
    for path in UPLOADS:
        server.app.is_draining = False
        body, kind = upload(path, picture_bytes)
        async with without_decoder(server) as free:
            call = server.call("POST", path, body[:4000], kind, is_whole=False)
            await turns_until(lambda call=call: not call._body)
            server.app.is_draining = True  # as of SIGTERM
            call.send_rest(body[4000:])
            await turns_until(lambda free=free: free._waiters)
        await call.done
        assert call.status in {200, 201}, call.content


async def test_a_server_that_is_to_stop_draws_what_it_accepted_and_no_more(server):
    call = await server.at("step")
    server.app.is_draining = True  # as of SIGTERM
    refused = server.draw(2)
    assert (await refused.answer())["error"]["code"] == "draining"
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) > 0
    server.open()
    assert len((await call.answer())["data"]) == 1


def test_jobs_end_with_the_server(session):
    with serving(session) as alone:
        worker = alone.worker
        before = worker.scheduler.batches
        gate = Gate(worker)
        gate.stage = "step"
        job = alone.ask("POST", "/v1/jobs", body={"prompt": PROMPT, "n": 3}).json["id"]
        assert gate.reached.wait(60)
        task = worker.running[job].drawing
        alone.server.should_exit = True
        until(task.done)
        gate.opened.set()
        assert gate.stopped.wait(60)
    assert task.cancelled()
    assert worker.scheduler.batches <= before + 1


def test_unexpected_errors_keep_no_locals_and_their_traceback():
    def fails():
        pixels = Image.new("RGB", (4, 4))
        held.append(weakref.ref(pixels))
        raise RuntimeError("no memory")

    held, errors = [], []
    try:
        fails()
    except RuntimeError as error:
        errors.append(error)
    assert _without_locals(errors)[0].__traceback__ is not None
    assert held[0]() is None
