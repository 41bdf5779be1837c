"""Replicas of Ray Serve draw what the library draws, stop when a caller leaves, and may be killed.

Ray is started once, as two machines, with replicas that draw slowly on request.
"""

import os
import signal
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Event

import pytest
from PIL import Image

import swiftpie
from swiftpie.batch.ray import connected
from swiftpie.cli.serve import _replicas_of
from swiftpie.engine.session import Session
from swiftpie.errors import ConfigError
from swiftpie.server.ray import APPLICATION, DEPLOYMENT, RayBackend
from tests.fixtures.one_cluster import NODE, two_machines
from tests.fuzz.pictures import encoded
from tests.server.conftest import picture_in as picture
from tests.server.conftest import serving, until

PROMPT, SLOWLY, STAGE_S, STAGES = "a dog on a beach", "slowly", 0.3, 5
PATIENCE_S = 200
REQUESTS = int(os.environ.get("RAY_JOBS", "12"))
on_real_ray = [
    pytest.mark.usefixtures("cluster"),
    pytest.mark.thorough,
    pytest.mark.timeout(3 * PATIENCE_S),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]


def load_slow(notes):
    """Load what notes each stage of a slow picture, with its process, and takes its time."""

    class Slow(Session):
        def draw_chosen(self, choices, **more):
            clock, on_stage = choices[0].clock, choices[0].clock.on_stage

            def passed(stage):
                if stage != "check" and choices[0].request.negative_prompt == SLOWLY:
                    with notes.open("a") as file:
                        file.write(f"{os.getpid()}\n")
                    time.sleep(STAGE_S)
                if on_stage is not None:
                    on_stage(stage)

            clock.on_stage = passed
            return super().draw_chosen(choices, **more)

    return Slow(swiftpie.load("mini", size_px=128).components)


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return tmp_path_factory.mktemp("ray") / "stages"


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray.serve", reason="needs swiftpie[ray]")
    pytest.importorskip("ray").cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with two_machines(__name__) as made, connected(made.address, processes=2, cpus=1, gpus=0):
        yield made


def drawn_by_replicas(session, notes, **count):
    """Return a server whose pictures replicas draw."""
    backend = partial(RayBackend, **{"cpus": 0.9, "gpus": 0, "drain_s": 5, **count})
    load = partial(load_slow, notes)
    return serving(session, load=load, backend=backend, deadline_s=PATIENCE_S)


@pytest.fixture(scope="class")
def on_replicas(session, notes):
    with drawn_by_replicas(session, notes, least=2, most=2) as running:
        yield running


@pytest.fixture
def ask(on_replicas, picture_bytes, notes):
    """Ask for a picture of the same subject, which replicas encoded."""
    notes.write_text("")
    made = on_replicas.upload("/v1/identities", image=("dog.png", picture_bytes), name="dog")
    own = {"subjects": [{"identity_id": made.json["id"]}]}
    drawn = partial(on_replicas.draw, PROMPT, swiftpie=own)
    drawn.body = {"prompt": PROMPT, "negative_prompt": SLOWLY, "swiftpie": own}
    return drawn


def drawing(notes):
    return {int(line) for line in notes.read_text().splitlines()}


def replicas_below():
    import psutil

    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "ServeReplica" in "".join(process.cmdline()):
                yield process


class TestOnRay:
    pytestmark = on_real_ray

    def test_pictures_are_the_librarys_bit_for_bit_and_errors_the_servers(
        self, on_replicas, ask, session, identity
    ):
        for seed in (3, 4):
            expected = session.personalize(identity, PROMPT, seed=seed).images[0]
            assert picture(ask(seed=seed)).tobytes() == expected.tobytes()
        words = on_replicas.ask("GET", "/v1/models/mini/vocabulary").json["vocabulary"]["words"]
        assert "beach" in words
        assert on_replicas.ask("GET", "/v1/models/mini").json["swiftpie"]["is_loaded"]
        grey = encoded(Image.new("RGBA", (64, 64)))
        error = on_replicas.upload("/v1/cutouts", image=("grey.png", grey))
        assert error.json["error"]["code"] == "subject_not_found"
        assert ask(size="16x16").status == 400

    def test_a_caller_who_leaves_stops_the_replica_at_its_next_stage(self, on_replicas, ask, notes):
        with on_replicas.asked(ask.body):
            until(lambda: drawing(notes), seconds=PATIENCE_S)
        time.sleep(STAGES * STAGE_S)  # in which all others would have ended
        assert len(notes.read_text().splitlines()) < STAGES

    def test_a_picture_whose_replicas_are_lost_again_and_again_is_refused(self, ask, notes):
        with ThreadPoolExecutor(1) as callers:
            asked = callers.submit(ask, negative_prompt=SLOWLY)
            killed = set()
            for _ in range(2):
                found = until(lambda: drawing(notes) - killed, seconds=PATIENCE_S)  # noqa: B023
                killed |= found
                os.kill(min(found), signal.SIGKILL)
            lost = asked.result()
        assert (lost.status, lost.json["error"]["code"]) == (503, "replica_lost")
        assert int(lost.headers["retry-after"]) >= 1
        assert until(lambda: ask().status == 200, seconds=PATIENCE_S)

    def test_of_many_requests_none_is_lost_with_a_replica_and_then_a_machine(
        self, ask, cluster, session, identity
    ):
        drawn = [session.personalize(identity, PROMPT, seed=seed).images[0] for seed in range(4)]

        def pixels(number):
            return picture(ask(seed=number % 4)).tobytes()

        with ThreadPoolExecutor(6) as callers:
            asked = [callers.submit(pixels, number) for number in range(REQUESTS)]
            until(lambda: sum(map(Future.done, asked)) > REQUESTS // 3, seconds=PATIENCE_S)
            next(replicas_below()).kill()
            until(lambda: sum(map(Future.done, asked)) > REQUESTS * 2 // 3, seconds=PATIENCE_S)
            (machine,) = cluster.worker_nodes
            cluster.remove_node(machine, allow_graceful=False)
            found = [each.result() for each in asked]
        assert found == [drawn[number % 4].tobytes() for number in range(REQUESTS)]
        cluster.add_node(**NODE)

    def test_it_is_not_ready_without_replicas_and_ready_again_with_new_ones(self, on_replicas):
        def status():
            return on_replicas.ask("GET", "/health/ready").status

        for process in replicas_below():
            process.kill()
        until(lambda: status() == 503, seconds=PATIENCE_S)
        until(lambda: status() == 200, seconds=PATIENCE_S)
        assert on_replicas.draw(PROMPT, size="64x64").status == 200


class TestScaling:
    pytestmark = on_real_ray

    def test_replicas_come_with_the_queue_and_go_without_it(self, session, notes):
        def replicas():
            found = serve.status().applications[APPLICATION].deployments[DEPLOYMENT]
            return found.replica_states.get("RUNNING", 0)

        from ray import serve

        notes.write_text("")
        with (
            drawn_by_replicas(session, notes, least=1, most=2, down_s=1.0) as server,
            ThreadPoolExecutor(4) as callers,
        ):
            assert replicas() == 1
            enough = Event()

            def draw_on():  # an empty queue would end a replica while it starts
                while not enough.is_set():
                    assert server.draw(PROMPT, negative_prompt=SLOWLY).status == 200

            asked = [callers.submit(draw_on) for _ in range(4)]
            try:
                until(lambda: replicas() == 2, seconds=PATIENCE_S)
                until(lambda: len(drawing(notes)) > 1, seconds=PATIENCE_S)
            finally:
                enough.set()
            assert [each.result() for each in asked] == [None] * 4
            until(lambda: replicas() == 1, seconds=PATIENCE_S)
            assert server.draw(PROMPT).status == 200


@pytest.mark.parametrize(("text", "count"), [("3", (3, 3)), ("1-4", (1, 4)), ("2-2", (2, 2))])
def test_replicas_are_a_number_or_a_range(text, count):
    assert _replicas_of(text) == count
    for bad in ("0", "4-1", "two", "1-", "-2"):
        with pytest.raises(ConfigError, match=r"--replicas"):
            _replicas_of(bad)
