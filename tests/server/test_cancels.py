"""Whoever leaves, deletes or is late stops the work where it is, and nobody else notices.

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
the queue or drawn, which the next one does not end: whoever types quicker than it draws would never
see any. Of those that come meanwhile only the newest is drawn. Jobs end with the server, where
nobody can ask for them any more; a second SIGTERM ends everything at once.
"""

import asyncio
import gc
import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from swiftpie.backbones.presets import PRESETS, describe
from swiftpie.server.app import make_app
from swiftpie.server.drawing import Stopped
from swiftpie.server.identities import IdentityInfo, Known
from swiftpie.server.limits import Limits
from swiftpie.server.store import Models, ServedModel
from swiftpie.server.worker import Worker
from tests.server.conftest import Call, drained, form, serving, to_png

PROMPT = "a dog on a beach"
thorough = pytest.mark.thorough
STAGES = [  # of a drawing, after which it may stop
    *("batched", "layer", "step", "decode"),
    *(pytest.param(one, marks=thorough) for one in ("encode", "text", "place", "denoise")),
]
LATE_S = 0.3
VISITOR = "v" * 32
OWNER = f" {VISITOR}"


class Gate:
    """Stops the thread that draws once it has ended a stage, until it is opened."""

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
                assert self.opened.wait(20)
            check(stage)

        try:
            passed("batched")
            return self._draw(work, passed)
        except Stopped:
            self.stopped.set()
            raise


class Server:
    """The application and what is behind it, in this process and without a network."""

    def __init__(self, app, worker, asked):
        self.app, self.worker, self.asked = app, worker, asked
        self.gate = Gate(worker)

    def call(self, method, path, body=b"", kind="application/json"):
        headers = {"cookie": f"swiftpie_visitor={VISITOR}", "content-type": kind}
        return Call(self.app, method, path, body, headers=headers)

    def draw(self, seed, **more):
        asked = {**self.asked, "seed": seed, **more}
        return self.call("POST", "/v1/images/generations", asked)

    async def at(self, stage, seed=1, **more):
        """Return a drawing that has just ended a stage, and stays there."""
        self.gate.stage = stage
        call = self.draw(seed, **more)
        await reached(self.gate.reached)
        return call

    def open(self):
        self.gate.opened.set()

    async def go_on(self):
        """Open the gate once the thread can have heard that nobody waits: turns of the loop."""
        for _ in range(3):
            await asyncio.sleep(0)
        self.open()

    async def is_free(self):
        """Draw for somebody else: nothing of what was stopped is in the way."""
        self.open()
        drawn = await self.draw(9).answer()
        scheduler = self.worker.scheduler
        assert not scheduler.num_queued
        assert not scheduler._running
        return len(drawn["data"]) == 1


async def reached(event):
    assert await asyncio.get_running_loop().run_in_executor(None, event.wait, 20)


@pytest.fixture(scope="module")
def loop():
    one = asyncio.new_event_loop()
    yield one
    one.close()


@pytest.fixture(scope="module")
def worker(session, loop):
    """What stands behind the application, ready in `loop`."""
    offer = ServedModel(lambda: session, describe(PRESETS.get("mini")))
    one = Worker(Models({"mini": offer}), limits=Limits(batch=2))
    loop.run_until_complete(one.__aenter__())
    loop.run_until_complete(one.getting_ready)
    yield one
    loop.run_until_complete(one.__aexit__())


@pytest.fixture
def running(worker, loop, identity):
    """Run a test with a server; `limits` are its own."""
    draw = worker.backend.answer

    def run(test, **limits):
        worker.limits = Limits(**limits)
        known = Known(IdentityInfo("", "mini", (), ()), identity, {})
        who = loop.run_until_complete(worker.identities.put(known, owner=OWNER))
        app = make_app(worker, hosts=["localhost"], token=None, limits=worker.limits)
        asked = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": who}]}}
        server = Server(app, worker, asked)
        try:
            loop.run_until_complete(asyncio.wait_for(test(server), 60))
        finally:
            server.open()
            worker.backend.answer = draw

    return run


@pytest.mark.parametrize("stage", STAGES)
def test_a_drawing_stops_at_its_next_stage_when_whoever_asked_leaves(running, stage):
    async def test(server):
        call = await server.at(stage)
        call.left.set()
        await call.done
        assert call.status == 499
        await server.go_on()
        await reached(server.gate.stopped)
        assert server.gate.stages == []  # not one more
        assert await server.is_free()

    running(test)


@pytest.mark.parametrize("stage", ["batched", "layer", "step"])
def test_a_deleted_job_stops(running, stage):
    async def test(server):
        server.gate.stage = stage
        job = await server.call("POST", "/v1/jobs", server.asked).answer()
        await reached(server.gate.reached)
        place = f"/v1/jobs/{job['id']}"
        assert (await server.call("DELETE", place).answer())["status"] == "cancelled"
        await server.go_on()
        await reached(server.gate.stopped)
        assert server.gate.stages == []
        assert await server.is_free()

    running(test)


def test_a_job_that_does_not_fit_is_refused_and_every_other_one_is_drawn(running):
    async def test(server):
        first = await server.at("batched")
        calls = [
            server.call("POST", "/v1/jobs", {**server.asked, "n": 3, "seed": seed})
            for seed in range(5)
        ]
        answers = [await call.answer() for call in calls]
        assert [call.status for call in calls] == [202, 202, 429, 429, 429]
        assert all(int(call.headers["retry-after"]) > 0 for call in calls[2:])
        assert answers[2]["error"]["code"] == "rate_limit_exceeded"
        server.open()
        await first.done
        for answer in answers[:2]:
            place = f"/v1/jobs/{answer['id']}"
            while (told := await server.call("GET", place).answer())["status"] != "completed":
                assert told["status"] == "running", told
                await asyncio.sleep(0.01)

    running(test)


def test_a_job_that_is_deleted_at_once_leaves_the_queue(running):
    async def test(server):
        first = await server.at("batched")
        job = await server.call("POST", "/v1/jobs", server.asked).answer()
        task = server.worker.jobs.find(job["id"], owner=OWNER)
        task.cancel()
        await asyncio.wait([task.running])
        await asyncio.sleep(0)
        assert not server.worker.scheduler.num_queued
        server.open()
        await first.done

    running(test)


def test_a_size_that_takes_minutes_is_refused(running):
    async def test(server):
        own = {"edit": {"size_px": 2048}}
        for path in ("/v1/jobs", "/v1/images/generations"):
            call = server.call("POST", path, {**server.asked, "swiftpie": own})
            error = (await call.answer())["error"]
            assert (call.status, error["code"]) == (400, "size_too_large")
            assert "2048" in error["message"]
        talk = Talk(server)
        talk.draw(1, swiftpie=own)
        while len(talk.got) < 2:
            await asyncio.sleep(0)
        assert json.loads(talk.got[1]["text"])["error"]["code"] == "size_too_large"
        talk.hang_up()
        await talk.done

    running(test)


def test_an_edit_in_a_size_that_takes_minutes_is_refused(running, picture_bytes):
    own = json.dumps({"edit": {"size_px": 2048}})
    body, kind = form(image=("dog.png", picture_bytes), prompt=PROMPT, swiftpie=own)

    async def test(server):
        error = (await server.call("POST", "/v1/images/edits", body, kind).answer())["error"]
        assert error["param"] == "swiftpie.edit.size_px"

    running(test)


@pytest.mark.parametrize("size", ["512x512", "1024x128"])
def test_the_largest_sizes_are_drawn_and_stop_within_a_second(running, size):
    async def test(server):
        assert (await server.draw(1, size=size).answer())["size"] == size
        call = await server.at("layer", size=size)
        call.left.set()
        await call.done
        began = time.monotonic()
        await server.go_on()
        await reached(server.gate.stopped)
        assert time.monotonic() - began < 1
        assert await server.is_free()

    running(test)


def test_a_job_that_waits_is_deleted_and_never_drawn(running):
    async def test(server):
        before = server.worker.scheduler.batches
        first = await server.at("batched")
        job = await server.call("POST", "/v1/jobs", {**server.asked, "n": 2}).answer()
        while server.worker.scheduler.num_queued < 2:
            await asyncio.sleep(0)
        await server.call("DELETE", f"/v1/jobs/{job['id']}").answer()
        while server.worker.scheduler.num_queued:
            await asyncio.sleep(0)
        server.open()
        assert len((await first.answer())["data"]) == 1
        assert await server.is_free()
        assert server.worker.scheduler.batches == before + 2  # the first, and whoever came last

    running(test)


@pytest.mark.parametrize("stage", ["batched", "layer", "step"])
def test_a_drawing_that_is_late_stops(running, stage):
    async def test(server):
        server.gate.stage, seconds = stage, LATE_S
        while not server.gate.reached.is_set():
            server.gate.stopped.clear()
            server.worker.limits = Limits(deadline_s=seconds)
            call = server.draw(1)
            assert (await call.answer())["error"]["code"] == "timeout"
            assert call.status == 504
            seconds *= 2  # as it may take longer to come so far
        await server.go_on()
        await reached(server.gate.stopped)
        assert server.gate.stages == []

    running(test)


def test_those_who_leave_or_are_late_in_the_queue_are_never_drawn(running):
    async def test(server):
        await drained(server.worker.scheduler)  # of what tests before have stopped
        before = server.worker.scheduler.batches
        first = await server.at("batched")
        leaves, late = server.draw(2), server.draw(3)
        while server.worker.scheduler.num_queued < 2:
            await asyncio.sleep(0)
        leaves.left.set()
        await leaves.done
        assert server.worker.scheduler.num_queued == 1
        for call in (late, first):
            await call.done
        assert (leaves.status, late.status, first.status) == (499, 504, 504)
        server.open()
        await drained(server.worker.scheduler)
        assert server.worker.scheduler.batches == before + 1

    running(test, deadline_s=LATE_S)


@pytest.mark.parametrize("stage", ["step", pytest.param("batched", marks=thorough)])
def test_neighbours_in_a_batch_get_the_same_picture(running, stage):
    async def test(server):
        async def together(leaves):
            server.gate.reached.clear()
            server.gate.opened.clear()
            first = await server.at("batched", seed=1)
            calls = [server.draw(seed) for seed in (2, 3)]
            while server.worker.scheduler.num_queued < 2:
                await asyncio.sleep(0)
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

    running(test)


UPLOADS = ("/v1/images/edits", "/v1/identities", "/v1/cutouts", "/v1/pictures")


def upload(path, data):
    """Return a form for a route, and its type."""
    return form(image=("dog.png", data), **({"prompt": PROMPT} if path == UPLOADS[0] else {}))


def test_pictures_that_are_decoded_or_encoded_are_given_up(running, picture_bytes):

    async def decoding(server):
        free = server.worker._decoders._free
        child = await free.get()  # so that everyone waits for one
        for path in UPLOADS:
            call = server.call("POST", path, *upload(path, picture_bytes))
            while not free._getters:
                await asyncio.sleep(0)
            call.left.set()
            await call.done
            assert call.status == 499
            assert all(one.done() for one in free._getters)
        free.put_nowait(child)

    async def encoding(server):
        known = await server.worker.identities.items(owner=OWNER)
        server.gate.stage = "batched"
        path = "/v1/identities"
        call = server.call("POST", path, *upload(path, picture_bytes))
        await reached(server.gate.reached)
        call.left.set()
        await call.done
        await server.go_on()
        await reached(server.gate.stopped)
        assert await server.worker.identities.items(owner=OWNER) == known
        assert await server.is_free()

    running(decoding)
    running(encoding)


def test_a_subject_that_is_encoded_too_late_is_not_kept(running, picture_bytes):
    body, kind = form(image=("dog.png", picture_bytes))

    async def test(server):
        known = await server.worker.identities.items(owner=OWNER)
        server.gate.stage, seconds = "batched", LATE_S
        while not server.gate.reached.is_set():
            server.worker.limits = Limits(deadline_s=seconds)
            call = server.call("POST", "/v1/identities", body, kind)
            assert (await call.answer())["error"]["code"] == "timeout"
            seconds *= 2  # as decoding may take longer than that
        await server.go_on()
        await reached(server.gate.stopped)
        assert await server.worker.identities.items(owner=OWNER) == known

    running(test)


def test_whoever_leaves_while_files_are_made_or_sent_stops_the_rest(running):
    async def test(server):
        pool, shut = ThreadPoolExecutor(1), threading.Event()
        stream = server.draw(1, n=4, stream=True)
        await asyncio.wait_for(stream.came.wait(), 20)
        asyncio.get_running_loop().set_default_executor(pool)  # which makes files from now on
        blocked = asyncio.get_running_loop().run_in_executor(pool, shut.wait, 20)
        call = server.draw(2)
        while pool._work_queue.empty():
            await asyncio.sleep(0)
        for one in (stream, call):
            one.left.set()
            await one.done
        assert call.status == 499
        shut.set()
        await blocked
        assert stream.content.count(b"completed") < 2 * 4  # each names it twice
        assert await server.is_free()

    running(test)


@pytest.mark.parametrize("path", UPLOADS)
def test_whoever_leaves_amid_an_upload_is_forgotten(running, caplog, path):
    body, kind = upload(path, bytes(5000))

    async def test(server):
        decoders = server.worker._decoders
        call = Call(
            server.app, "POST", path, body[:4000], headers={"content-type": kind}, is_whole=False
        )
        while call._body:
            await asyncio.sleep(0)
        call.left.set()
        await call.done
        assert call.status == 499
        assert decoders._free.qsize() == len(decoders._all)
        assert not server.worker.scheduler.num_queued

    running(test)
    assert "failed" not in caplog.text


def test_pictures_that_are_not_decoded_in_time_are_given_up(running, picture_bytes):
    async def test(server):
        free = server.worker._decoders._free
        child = await free.get()  # so that everyone waits for one
        calls = [server.call("POST", path, *upload(path, picture_bytes)) for path in UPLOADS]
        for call in calls:
            assert (await call.answer())["error"]["code"] == "timeout"
            assert call.status == 504
        assert all(one.done() for one in free._getters)
        free.put_nowait(child)

    running(test, deadline_s=LATE_S)


@pytest.mark.parametrize("is_late", [False, True], ids=["leaves", "late"])
def test_a_picture_that_is_being_decoded_is_given_up(running, picture_bytes, is_late):
    body, kind = form(image=("dog.png", picture_bytes))

    async def test(server):
        decoders = server.worker._decoders
        (child,) = decoders._all
        os.kill(child._process.pid, signal.SIGSTOP)  # in the midst of it, for ever
        call = server.call("POST", "/v1/pictures", body, kind)
        while not decoders._free.empty():
            await asyncio.sleep(0)
        if not is_late:
            call.left.set()
        await call.done
        assert call.status == (504 if is_late else 499)
        server.worker.limits = Limits()  # as a new process takes its time
        assert (await server.call("POST", "/v1/pictures", body, kind).answer())["id"]
        assert child._process.returncode == -signal.SIGKILL
        assert child not in decoders._all

    running(test, **({"deadline_s": LATE_S} if is_late else {}))


PLAIN = {"prompt": "a cat", "swiftpie": '{"task": "personalize"}'}  # of what shows no subject
NETWORKS = '{"edit": {"method": "inversion"}}'  # an edit that is decoded
ENDS = [
    *(("/v1/images/edits", PLAIN | {"stream": stream}, None) for stream in ("true", "false")),
    ("/v1/images/edits", {"prompt": "x", "swiftpie": '{"task": "replace"}'}, None),
    ("/v1/find", {"where": "dog"}, None),
    *(
        ("/v1/images/edits", {"prompt": PROMPT, "swiftpie": NETWORKS}, stage)
        for stage in ("batched", "layer", "decode")
    ),
    ("/v1/cutouts", {}, "batched"),
]


ENDS = [(*end, way) for end in ENDS for way in (("leaves", "late") if end[-1] else ("fails",))]


@pytest.mark.parametrize(("path", "fields", "stage", "way"), ENDS, ids=range(len(ENDS)))
def test_the_pixels_of_a_request_are_freed_when_it_fails_is_late_or_its_caller_leaves(
    running, path, fields, stage, way
):
    photo = to_png(Image.new("RGB", (640, 480), (90, 120, 90)))
    body, kind = form(image=("a.png", photo), **fields)

    async def test(server):
        held = server.worker._decoders._held
        server.gate.stage = stage
        gc.collect()
        gc.disable()
        try:
            seconds = LATE_S
            while way == "late" and not server.gate.reached.is_set():
                server.worker.limits = Limits(deadline_s=seconds)
                call = server.call("POST", path, body, kind)
                await call.done
                assert call.status == 504
                seconds *= 2  # as decoding may take longer than that
            if way != "late":
                call = server.call("POST", path, body, kind)
            if way == "leaves":
                await reached(server.gate.reached)
                call.left.set()
            await call.done
            await server.go_on()
            async with asyncio.timeout(20):
                while server.worker.scheduler._running:
                    await asyncio.sleep(0.01)
            for _ in range(100):
                await asyncio.sleep(0.01 if held else 0)
            assert not held
        finally:
            gc.enable()

    running(test)


@pytest.mark.parametrize("way", ["late", "deleted"])
def test_files_that_nobody_waits_for_are_not_made(running, way):
    async def test(server):
        pool, shut = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(pool)  # which makes the files
        blocked = asyncio.get_running_loop().run_in_executor(pool, shut.wait, 20)
        try:
            seconds = LATE_S
            while pool._work_queue.empty():
                if way == "late":
                    server.worker.limits = Limits(deadline_s=seconds)
                    call = server.draw(1)
                    await call.done
                    assert call.status == 504
                    seconds *= 2  # as drawing may take longer than that
                else:
                    job = await server.call("POST", "/v1/jobs", server.asked).answer()
                    while pool._work_queue.empty():
                        await asyncio.sleep(0)
                    await server.call("DELETE", f"/v1/jobs/{job['id']}").answer()
            await asyncio.sleep(0)
            assert pool._work_queue.get_nowait().future.cancelled()
            server.worker.limits = Limits()
        finally:
            shut.set()
            await blocked
        assert await server.is_free()

    running(test)


class Talk:
    """A live connection to the application itself."""

    def __init__(self, server):
        self._sent, self.got = asyncio.Queue(), []
        self.say({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "path": "/v1/live",
            "raw_path": b"/v1/live",
            "query_string": b"",
            "scheme": "ws",
            "subprotocols": [],
            "headers": [
                (b"host", b"localhost"),
                (b"cookie", f"swiftpie_visitor={VISITOR}".encode()),
            ],
            "client": ("127.0.0.1", 1),
        }
        self._asked = server.asked
        self.done = asyncio.ensure_future(server.app(scope, self._sent.get, self._hear))

    async def _hear(self, message):
        self.got.append(message)

    def say(self, message):
        self._sent.put_nowait(message)

    def draw(self, number, **more):
        asked = {"type": "draw", "id": number, "seed": number, **self._asked, **more}
        self.say({"type": "websocket.receive", "text": json.dumps(asked)})

    def hang_up(self):
        self.say({"type": "websocket.disconnect", "code": 1001})


@pytest.mark.parametrize("stage", ["batched", "step"])
def test_a_live_drawing_stops_when_whoever_asked_hangs_up(running, stage):
    async def test(server):
        server.gate.stage = stage
        talk = Talk(server)
        talk.draw(1)
        await reached(server.gate.reached)
        talk.hang_up()
        await server.go_on()
        await talk.done
        await reached(server.gate.stopped)
        assert server.gate.stages == []
        assert await server.is_free()

    running(test)


def test_what_waits_is_never_drawn_for_who_hangs_up_live(running):
    async def test(server):
        before = server.worker.scheduler.batches
        first, talk = await server.at("batched"), Talk(server)
        talk.draw(1)
        while server.worker.scheduler.num_queued < 1:
            await asyncio.sleep(0)
        talk.hang_up()
        await talk.done
        assert not server.worker.scheduler.num_queued
        server.open()
        assert len((await first.answer())["data"]) == 1
        assert server.worker.scheduler.batches == before + 1

    running(test)


def test_who_hangs_up_live_while_the_file_is_made_gets_none(running):
    async def test(server):
        pool, shut = ThreadPoolExecutor(1), threading.Event()
        asyncio.get_running_loop().set_default_executor(pool)  # which makes the files
        blocked = asyncio.get_running_loop().run_in_executor(pool, shut.wait, 20)
        talk = Talk(server)
        talk.draw(1)
        while pool._work_queue.empty():
            await asyncio.sleep(0)
        talk.hang_up()
        await talk.done
        assert pool._work_queue.get_nowait().future.cancelled()
        shut.set()
        await blocked
        assert [message["type"] for message in talk.got] == ["websocket.accept"]
        assert await server.is_free()

    running(test)


@pytest.mark.parametrize("path", UPLOADS)
def test_a_server_that_is_to_stop_reads_and_decodes_what_is_on_its_way(
    running, picture_bytes, path
):
    own = json.dumps({"source_prompt": PROMPT})
    more = {"prompt": PROMPT, "swiftpie": own} if path == UPLOADS[0] else {}
    body, kind = form(image=("dog.png", picture_bytes), **more)

    async def test(server):
        free = server.worker._decoders._free
        child = await free.get()  # so that it can be decoded only once this is given back
        headers = {"cookie": f"swiftpie_visitor={VISITOR}", "content-type": kind}
        call = Call(server.app, "POST", path, body[:4000], headers=headers, is_whole=False)
        while call._body:
            await asyncio.sleep(0)
        server.app.is_draining = True  # as of SIGTERM
        call.send_rest(body[4000:])
        while not free._getters:
            await asyncio.sleep(0)
        free.put_nowait(child)
        await call.done
        assert call.status in {200, 201}, call.content

    running(test)


@pytest.mark.parametrize("stage", ["batched", "step"])
def test_a_server_that_is_to_stop_draws_what_it_accepted_and_no_more(running, stage):
    async def test(server):
        call = await server.at(stage)
        server.app.is_draining = True  # as of SIGTERM
        refused = server.draw(2)
        assert (await refused.answer())["error"]["code"] == "draining"
        assert refused.status == 503
        assert int(refused.headers["retry-after"]) > 0
        server.open()
        assert len((await call.answer())["data"]) == 1

    running(test)


def test_jobs_end_with_the_server(session, picture_bytes):
    body, kind = form(image=("dog.png", picture_bytes))
    with serving(session) as alone:
        worker = alone.worker
        made = alone.ask("POST", "/v1/identities", body=body, headers={"content-type": kind}).json
        before = worker.scheduler.batches
        asked = {"prompt": PROMPT, "swiftpie": {"subjects": [{"identity_id": made["id"]}]}}
        gate = Gate(worker)
        gate.stage = "step"
        job = alone.ask("POST", "/v1/jobs", body={**asked, "n": 3}).json["id"]
        assert gate.reached.wait(20)
        task = worker.jobs.find(job, owner=" ").running
        alone.server.should_exit = True
        while not task.done():
            assert alone.thread.is_alive()
            time.sleep(0.01)
        gate.opened.set()
        assert gate.stopped.wait(20)
    assert task.cancelled()
    assert worker.scheduler.batches <= before + 1
