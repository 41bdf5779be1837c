"""Actors of Ray draw the files and the report of one process, though some of them are killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import pytest

import swiftpie
from swiftpie.batch.folder import REPORT
from swiftpie.batch.ray import _check_room, connected, on_ray
from swiftpie.batch.run import draw, open_run
from swiftpie.errors import SwiftPieError
from tests.batch.conftest import SMALL
from tests.fixtures.one_cluster import two_machines

JOBS = int(os.environ.get("RAY_JOBS", "10"))
PATIENCE_S = 300
on_real_ray = [
    pytest.mark.thorough,
    pytest.mark.timeout(2 * PATIENCE_S),
    pytest.mark.filterwarnings("ignore"),  # of Ray's own
]


@pytest.fixture(scope="module")
def cluster():
    with two_machines(__name__) as made:  # the first test kills one
        yield made


@pytest.fixture
def jobs(collected):
    return collected(*({**SMALL, "prompt": "a dog at sea", "seed": n} for n in range(JOBS)))


def actors_that_draw():
    import psutil

    titles = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            titles[process.pid] = " ".join(process.cmdline())
    return [number for number, title in titles.items() if "Actor.draw" in title]


def drawn_by_ray(jobs, work, address, **options):
    """Yield outcomes, drawn job by job by two actors."""
    ray = {"processes": 2, "threads": 1, "cpus": 1, "gpus": 0} | options
    with (
        open_run(jobs, work, batch=1, settings={}, processes=2, threads=1) as run,
        on_ray(address, work, **ray) as workers,
    ):
        yield from draw(run, work, workers=workers)


class TestOnRay:
    pytestmark = on_real_ray

    def test_a_killed_actor_and_a_killed_machine_lose_nothing_and_double_nothing(
        self, cluster, jobs, working, run, folder
    ):
        run(jobs, "whole", batch=1)
        work = replace(working(), load=partial(swiftpie.load, size_px=128))
        outcomes = drawn_by_ray(jobs, work, cluster.address)
        drawn, until = [next(outcomes)], time.monotonic() + PATIENCE_S
        while not (drawing := actors_that_draw()) and time.monotonic() < until:
            time.sleep(0.001)
        os.kill(drawing[0], signal.SIGKILL)
        drawn += [next(outcomes) for _ in range(JOBS // 3)]
        (machine,) = cluster.worker_nodes
        cluster.remove_node(machine, allow_graceful=False)
        drawn += outcomes
        assert sorted(row["id"] for row in drawn) == sorted(job.id for job in jobs.jobs)
        assert {row["status"] for row in drawn} == {"done"}
        assert contents(folder / "out") == contents(folder / "whole")

    def test_reasons_and_animations_are_those_of_one_process(
        self, cluster, collected, working, run, folder
    ):
        film = {**SMALL, "prompt": "a dog at sea", "to": "a dog at sea at night", "num_frames": 2}
        (folder / "late.png").write_bytes((folder / "mask.png").read_bytes())
        late = {**SMALL, "subject": "late.png", "cutout": "none", "prompt": "a dog", "id": "late"}
        jobs = collected({**film, "format": "frames", "id": "film"}, late)
        (folder / "late.png").write_bytes(b"no picture any more")
        run(jobs, "whole", batch=1)
        work = replace(working(), load=partial(swiftpie.load, size_px=128))
        drawn = [*drawn_by_ray(jobs, work, cluster.address, processes=1)]
        assert sorted(row["status"] for row in drawn) == ["done", "failed"]
        assert contents(folder / "out") == contents(folder / "whole")

    def test_ray_that_runs_already_is_used_as_the_local_one(self, cluster):
        held = {"processes": 1, "cpus": 1, "gpus": 0}
        with connected(cluster.address, **held) as ray, connected("local", **held) as same:
            assert (same, "RAY_AUTH_TOKEN" in os.environ) == (ray, False)


def contents(folder):
    """Return all files of a run but its plan, and the report without what passes with time."""
    rows = [json.loads(line) for line in (folder / REPORT).read_text().splitlines()]
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*.png")
        if path.is_file()
    }
    return [{**row, "ms": 0} for row in rows], files


def test_what_would_wait_forever_is_refused_and_what_may_wait_is_said(caplog):
    held = {"processes": 2, "cpus": 1, "gpus": 0.5}
    _check_room({"CPU": 2, "GPU": 1}, "local", **held)
    assert not caplog.text
    with pytest.raises(SwiftPieError, match=r"0\.5 for each of 2 .* has 2 processors and 0 accel"):
        _check_room({"CPU": 2}, "local", **held)
    _check_room({"CPU": 2}, "auto", **held)
    assert "has 2 processors and 0 accelerators now. Drawing waits" in caplog.text


def test_an_address_without_a_cluster_is_refused_at_once(working):
    pytest.importorskip("ray", reason="needs swiftpie[ray]")
    with (
        pytest.raises(SwiftPieError, match=r"127\.0\.0\.1:1 cannot be used.*`ray start`"),
        on_ray("127.0.0.1:1", working(), processes=1, threads=1, cpus=1, gpus=0),
    ):
        pass


LOCAL = """
import contextlib, os, ssl, socket, sys, time
import psutil
from swiftpie.batch.ray import connected
with connected("local", processes=1, cpus=1, gpus=0):
    from ray import serve
    serve.start(proxy_location="Disabled")
    serve.run(serve.deployment(dict).bind(), name="any", route_prefix=None)
    processes = psutil.Process().children(recursive=True)
    sockets = [each for process in processes for each in process.net_connections("tcp")]
    places = {each.laddr for each in sockets if each.status == "LISTEN"}
    assert len(places) > 5, places
    for address, port in places:
        if address.removeprefix("::ffff:") in ("127.0.0.1", "::1"):
            continue
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
                with context.wrap_socket(plain) as stream:
                    assert stream.recv(9) == b"", (address, port)
    print(*(process.pid for process in processes), flush=True)
    os.kill(os.getpid(), 9)
"""


@pytest.mark.thorough
@pytest.mark.timeout(PATIENCE_S)
def test_a_cluster_of_its_own_is_closed_to_others_and_ends_with_its_process(tmp_path):
    pytest.importorskip("ray.serve", reason="needs swiftpie[ray]")
    import psutil

    run = subprocess.run(
        [sys.executable, "-c", LOCAL], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == -signal.SIGKILL, run.stderr
    processes = [int(pid) for pid in run.stdout.splitlines()[-1].split()]
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(map(psutil.pid_exists, processes)):
        time.sleep(0.2)
    assert not any(map(psutil.pid_exists, processes))


def test_a_cluster_of_its_own_is_refused_where_ray_would_listen_on_all_interfaces():
    pytest.importorskip("ray")
    with (
        pytest.raises(SwiftPieError, match="Ray was imported before"),
        connected("local", processes=1, cpus=1, gpus=0),
    ):
        pass
    assert not {"RAY_AUTH_TOKEN", "RAY_USE_TLS"} & {*os.environ}
