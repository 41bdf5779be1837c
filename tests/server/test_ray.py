"""Replicas of Ray Serve draw what the library draws, stop when the caller leaves, may be killed.

Ray is started once, with two replicas that draw slowly on request.
"""

import io
import json
import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import swiftpie
from swiftpie.backbones.presets import PRESETS, describe
from swiftpie.engine.session import Session
from swiftpie.errors import MissingExtra
from swiftpie.server.limits import RayReplicas
from swiftpie.server.metrics import Metrics
from swiftpie.server.ray import on_ray
from swiftpie.server.store import Models, ServedModel
from tests.server.conftest import picture_in as picture
from tests.server.conftest import serving

PROMPT = "a dog on a beach"
SLOWLY, STAGE_S = "slowly", 0.4
STAGES = 5  # of a drawing
PATIENCE_S = 300
on_real_ray = [
    pytest.mark.thorough,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]


class Slow(Session):
    """Notes each stage of what shall be drawn slowly, with its process, and takes its time."""

    notes: Path

    def draw_together(self, requests, *, on_stage=None, makes_ready=False):
        def passed(stage):
            if requests[0].negative_prompt == SLOWLY:
                with self.notes.open("a") as file:
                    file.write(f"{os.getpid()} {stage}\n")
                time.sleep(STAGE_S)
            if on_stage is not None:
                on_stage(stage)

        return super().draw_together(requests, on_stage=passed, makes_ready=makes_ready)


def load_slow(notes):
    session = Slow(swiftpie.load("mini", size_px=128).components)
    session.notes = notes
    return session


def models(load):
    return Models({"mini": ServedModel(load, describe(PRESETS.get("mini")))})


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("ray") / "stages"


@pytest.fixture(scope="module")
def on_replicas(session, notes):
    """A server whose pictures are drawn by two replicas."""
    ray = pytest.importorskip("ray", reason="needs swiftpie[ray]")
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    metrics, replicas = Metrics(), RayReplicas(replicas="2", replica_cpus=0.5)
    load = partial(models, partial(load_slow, notes))
    with (
        on_ray(load, replicas, drain_s=10, on_retry=metrics.retried.inc) as backend,
        serving(session, backend=backend, metrics=metrics, deadline_s=PATIENCE_S) as running,
    ):
        yield running


@pytest.fixture
def ask(on_replicas, picture_bytes, notes):
    """Ask for a picture of the same subject, which replicas encoded."""
    notes.write_text("")
    made = on_replicas.upload("/v1/identities", image=("dog.png", picture_bytes), name="dog")
    subjects = [{"identity_id": made.json["id"]}]

    def drawn(seed, **more):
        return on_replicas.draw(PROMPT, seed=seed, swiftpie={"subjects": subjects}, **more)

    drawn.subjects = subjects
    return drawn


def asking(ask, count):
    """Ask for slow pictures at once; the answers come into the list when all have ended."""
    answers = [None] * count

    def one(number):
        answers[number] = ask(number, negative_prompt=SLOWLY)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def stages(notes, *, least=1):
    """Return what was noted once there is so much: a process and a stage each."""
    end = time.monotonic() + PATIENCE_S
    while len(told := notes.read_text().splitlines()) < least:
        assert time.monotonic() < end
        time.sleep(0.02)
    return [(int(process), stage) for process, stage in map(str.split, told)]


def drawing(notes, *, count):
    """Return processes that draw, once there are so many."""
    while len(found := {process for process, _ in stages(notes)}) < count:
        time.sleep(0.02)
    return found


@pytest.mark.usefixtures("ask")
class TestOnRay:
    pytestmark = on_real_ray

    def test_pictures_are_the_librarys_bit_for_bit(self, ask, session, identity):
        for seed in (3, 4):
            expected = session.personalize(identity, PROMPT, seed=seed).images[0]
            assert picture(ask(seed)).tobytes() == expected.tobytes()

    def test_models_words_and_errors_are_as_without_ray(self, on_replicas, ask):
        assert on_replicas.ask("GET", "/v1/models/mini").json["swiftpie"]["is_loaded"]
        words = on_replicas.ask("GET", "/v1/models/mini/vocabulary").json["vocabulary"]["words"]
        assert "beach" in words
        grey = io.BytesIO()
        Image.new("RGBA", (64, 64)).save(grey, "PNG")
        error = on_replicas.upload("/v1/cutouts", image=("grey.png", grey.getvalue()))
        assert error.json["error"]["code"] == "subject_not_found"
        assert ask(1, size="16x16").status == 400

    def test_two_replicas_draw_at_once(self, ask, notes):
        threads, answers = asking(ask, 2)
        assert len(drawing(notes, count=2)) == 2
        for one in threads:
            one.join()
        assert [one.status for one in answers] == [200, 200]

    def test_a_caller_who_leaves_stops_the_replica_at_its_next_stage(self, on_replicas, ask, notes):
        own = {"subjects": ask.subjects}
        body = {"prompt": PROMPT, "negative_prompt": SLOWLY, "swiftpie": own}
        text = json.dumps(body).encode()
        with socket.create_connection(("127.0.0.1", on_replicas.port)) as raw:
            raw.sendall(
                b"POST /v1/images/generations HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                % (len(text), text)
            )
            before = stages(notes)
        assert picture(ask(1)).size == (128, 128)
        time.sleep(STAGES * STAGE_S)  # in which all others would have ended
        assert len(stages(notes)) <= len(before) + 1

    def test_a_killed_replica_loses_nothing(self, ask, notes, session, identity):
        threads, answers = asking(ask, 2)
        (victim, _) = drawing(notes, count=2)
        os.kill(victim, signal.SIGKILL)
        for one in threads:
            one.join()
        for seed, answer in enumerate(answers):
            expected = session.personalize(
                identity, PROMPT, seed=seed, negative_prompt=SLOWLY
            ).images[0]
            assert picture(answer).tobytes() == expected.tobytes()

    def test_a_picture_whose_replicas_are_lost_twice_is_refused(self, on_replicas, ask, notes):
        before = on_replicas.ask("GET", "/metrics").content
        threads, answers = asking(ask, 1)
        killed = set()
        while len(killed) < 2:
            for process in drawing(notes, count=len(killed) + 1) - killed:
                os.kill(process, signal.SIGKILL)
                killed.add(process)
        threads[0].join()
        assert answers[0].status == 503
        assert answers[0].json["error"]["code"] == "replica_lost"
        assert on_replicas.ask("GET", "/metrics").content != before
        assert picture(ask(1)).size == (128, 128)  # by a new one


def test_without_ray_the_extra_is_named(session):
    try:
        import ray.serve  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("Ray is installed")
    with (
        pytest.raises(MissingExtra, match=r"swiftpie\[serve,ray\]"),
        on_ray(partial(models, lambda: session), RayReplicas(), drain_s=1),
    ):
        pass


@pytest.mark.parametrize(("text", "least", "most"), [("3", 3, 3), ("1-4", 1, 4), ("2-2", 2, 2)])
def test_replicas_are_a_number_or_a_range(text, least, most):
    replicas = RayReplicas(replicas=text)
    assert (replicas.least, replicas.most) == (least, most)
