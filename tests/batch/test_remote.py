"""A run whose folder is in a store of objects: the files of a folder here, and it goes on."""

import contextlib
import json
import os
import subprocess
import sys

import pytest

from swiftpie.batch.folder import PLAN, REPORT, RemoteFolder
from swiftpie.batch.run import draw, open_run
from swiftpie.errors import InputError
from tests.batch.conftest import SMALL

JOB = {**SMALL, "prompt": "a dog at sea"}
thorough = [pytest.mark.thorough, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def s3():
    """A server of S3 on the loopback interface."""
    pytest.importorskip("s3fs", reason="needs swiftpie[s3]")
    moto = pytest.importorskip("moto.server", reason="needs `pip install moto[server]`")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}
    settings = {**keys, "AWS_DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture
def drawn_to(working):
    """Draw jobs to an address, as many as are wanted; return the number that was done before."""

    def make(jobs, address, count=None):
        remote = RemoteFolder(address)
        work = working(remote.here)
        with (
            contextlib.closing(remote),
            open_run(jobs, work, batch=1, settings={}) as run,
            contextlib.closing(draw(run, work)) as outcomes,
        ):
            for number, _ in enumerate(remote.sending(outcomes), start=1):
                if number == count:
                    break
        return run.num_done

    return make


def contents(store, place):
    """Return all files of a run but its plan, and the report without what passes with time."""
    files = {name.removeprefix(place): store.cat_file(name) for name in store.find(place)}
    assert files.pop(f"/{PLAN}")
    rows = [json.loads(line) for line in files.pop(f"/{REPORT}").splitlines()]
    return files, [{**row, "ms": 0} for row in rows]


def test_a_run_goes_on_where_another_machine_left_it_and_longer_films_leave_no_frame(
    collected, drawn_to
):
    import fsspec

    store = fsspec.filesystem("memory")
    film = {"to": "a dog at sea at night", "format": "frames", "num_frames": 2, "id": "film"}
    jobs = collected({**JOB, "id": "one"}, {**JOB, "id": "two", "seed": 1}, {**JOB, **film})
    assert drawn_to(jobs, "memory://whole") == 0
    assert drawn_to(jobs, "memory://parts", count=1) == 0
    store.pipe_file("/parts/film/frame-0009.png", b"of a longer one")
    assert drawn_to(jobs, "memory://parts") == 1
    assert contents(store, "/parts") == contents(store, "/whole")
    assert len(contents(store, "/parts")[0]) == 4


def test_an_address_that_cannot_be_used_is_said():
    for address in ("nothing://a/b", "s3:///"):
        with pytest.raises(InputError, match="cannot be used"):
            RemoteFolder(address)


class TestS3:
    pytestmark = thorough

    def test_the_command_writes_to_s3_the_files_of_a_folder(self, s3, folder, collected):
        import s3fs

        collected(*({**JOB, "seed": seed} for seed in range(3)))
        ways = {"here": [], "plain": [], "ray": ["--ray", "local", "--processes", "1"]}
        for name, more in ways.items():
            out = str(folder / name) if name == "here" else f"{s3}/{name}"
            command = (sys.executable, "-m", "swiftpie", "batch", "jobs.jsonl", "--batch", "1")
            words = [*command, "--out", out, *more]
            subprocess.run(words, cwd=folder, env={**os.environ}, timeout=120, check=True)
        store = s3fs.S3FileSystem()
        here = {f"/{path.name}": path.read_bytes() for path in (folder / "here").glob("*.png")}
        assert len(here) == 3
        for name in ("plain", "ray"):
            files, rows = contents(store, f"bucket/{name}")
            assert files == here
            assert [row["status"] for row in rows] == ["done"] * 3

    def test_a_bucket_that_does_not_exist_is_said_before_anything_is_drawn(
        self, s3, collected, drawn_to
    ):
        assert s3
        jobs = collected(JOB)
        with pytest.raises(InputError, match="s3://nowhere/a' cannot be used"):
            drawn_to(jobs, "s3://nowhere/a")
