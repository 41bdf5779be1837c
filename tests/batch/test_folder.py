import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from swiftpie.batch.folder import (
    PLAN,
    REPORT,
    RemoteFolder,
    Report,
    differences,
    locked_folder,
    manifest_of,
    read_done,
    read_manifest,
    write_manifest,
)
from swiftpie.batch.jobs import batches_of
from swiftpie.batch.run import draw, open_run
from swiftpie.errors import ConfigError, InputError
from tests.batch.conftest import SMALL
from tests.processes import no_file_beyond

DEEP = b"[" * 100_000
JOB = {**SMALL, "prompt": "a dog at sea"}
thorough = [pytest.mark.thorough, pytest.mark.timeout(300)]


def row(name, **more):
    facts = {"id": name, "place": f"line {name}", "status": "done", "file": name, "bytes": 3}
    return {**facts, "sha256": hashlib.sha256(b"123").hexdigest(), **more}


@pytest.fixture
def files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"123")
    return tmp_path


def test_lines_are_there_at_once_and_in_order_at_the_end(files):
    refused = {"id": None, "place": "line 9", "status": "refused", "reason": "no"}
    report = Report(files, [refused], order=["a", "b", "c"])
    for number, name in enumerate("cab", start=2):
        report.add(row(name))
        assert len((files / REPORT).read_text().splitlines()) == number
    report.close()
    lines = [json.loads(line) for line in (files / REPORT).read_text().splitlines()]
    assert [line["id"] for line in lines] == ["a", "b", "c", None]
    assert lines == report.rows


def test_what_a_kill_cut_off_is_not_done_nor_is_what_has_no_file(files):
    report = Report(files, [row("a"), row("b", bytes=4), row("c", status="failed")], order="abc")
    report.add(row("d"))
    whole = (files / REPORT).read_bytes()
    assert [*read_done(files)] == ["a"]
    for end in range(0, len(whole), 7):
        (files / REPORT).write_bytes(whole[:end])
        assert [*read_done(files)] == (["a"] if end >= whole.index(b"\n") else [])
    (files / REPORT).write_bytes(b'null\n{"status": "done"}\n[1]\n\xff\n' + DEEP + b"\n" + whole)
    assert [*read_done(files)] == ["a"]


def test_a_picture_of_other_content_or_without_any_is_not_done(files):
    Report(files, [row("a"), row("b"), row("c")], order="abc").close()
    (files / "a").write_bytes(bytes(3))
    (files / "b").unlink()
    (files / "b").mkdir()
    assert [*read_done(files)] == ["c"]


def test_a_disk_that_is_full_keeps_what_was_reported(files):
    report = Report(files, [row("a")], order="ab")
    room = (files / REPORT).stat().st_size
    for size in (room, room + 5):
        with no_file_beyond(size), pytest.raises(InputError, match="continues where it stopped"):
            report.add(row("b"))
        assert [*read_done(files)] == ["a"]


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    with (
        locked_folder(tmp_path / "new"),
        pytest.raises(ConfigError, match="Another run"),
        locked_folder(tmp_path / "new"),
    ):
        pass
    with locked_folder(tmp_path / "new"):
        pass


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="folder"), locked_folder(tmp_path / "file"):
        pass


DOG = {"subject": "dog.webp", "prompt": "a dog"}
CAT = {"subject": "cat", "prompt": "a cat"}


def test_jobs_of_one_shape_go_together_and_those_of_one_subject_follow_each_other(collected):
    edit = {"image": "dog.webp", "prompt": "a cat"}
    rows = [DOG, edit, CAT, {"subject": "mask.png", "prompt": "x", "cutout": "none"}]
    jobs = collected(*rows, *({**row, "seed": 1} for row in rows), {**DOG, "size": "64x64"})
    batches = batches_of(jobs, 3, wanted=[job.id for job in jobs.jobs])
    lines = [[job.place.rpartition(" ")[2] for job in batch.jobs] for batch in batches]
    assert lines == [["1", "5", "4"], ["8"], ["2", "6"], ["3", "7"], ["9"]]


def test_what_is_done_stays_in_its_pass(collected):
    jobs = collected(*({**DOG, "seed": seed} for seed in range(7)))
    names = [job.id for job in jobs.jobs]
    (batch,) = batches_of(jobs, 3, wanted=names[4:5])
    assert batch.jobs == jobs.jobs[3:6]
    assert batch.wanted == {names[4]}


def test_what_differs_from_the_beginning_is_reported(collected, folder, tmp_path):
    first = manifest_of(
        collected({**DOG, "id": "a"}, {**CAT, "id": "b"}, CAT), {"batch": 4, "threads": 1}
    )
    write_manifest(tmp_path, first)
    before = read_manifest(tmp_path)
    (folder / "cat" / "side.webp").write_bytes((folder / "dog.webp").read_bytes())
    now = manifest_of(
        collected({**DOG, "id": "a", "seed": 5}, {**CAT, "id": "b"}, DOG),
        {"batch": 2, "threads": 1},
    )
    done = {"a", "b"}
    assert differences(before, first, done=done) == []
    run, changed, new, gone = differences(before, now, done=done)
    assert run == "batch was 4 and is 2."
    assert changed == "2 jobs changed: a (seed), b (files)."
    assert new.startswith("1 jobs are new: dog-a-dog-s0-")
    assert gone.startswith("1 jobs are gone: front-a-cat-s0-")
    assert differences(before, now, done={"b"})[1] == "1 jobs changed: b (files)."


def test_a_beginning_that_cannot_be_read_is_reported(tmp_path):
    assert read_manifest(tmp_path) is None
    run = '{"threads": 4}\n'
    wrong = (f'{{"threads": {value}}}' for value in ('"x"', "-5", "0", "true", "null", "1e400"))
    jobs = ('{"seed": 1}', '{"id": null}', '{"id": 7}', '{"id": []}', "[]", DEEP.decode())
    for text in ("", "[]", "{}", "\xff", *wrong, *(f"{run}{job}\n" for job in jobs)):
        (tmp_path / PLAN).write_text(text, encoding="latin-1")
        with pytest.raises(ConfigError, match="--force"):
            read_manifest(tmp_path)


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


@pytest.mark.parametrize(
    "name",
    [
        "../../../x.txt",
        "a/../../../x.txt",
        "/etc/x",
        "a/b/c.png",
        "a/x.txt",
        "nul",
        "a\\b.png",
        ".",
    ],
)
def test_objects_with_names_that_no_run_writes_stay_where_they_are(name, caplog):
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/kept/plan.jsonl", b"{}\n")
    store.pipe_file("/kept/film/frame-0001.png", b"x")
    key = f"/kept/{name}"
    store.store[key] = type(store.store["/kept/plan.jsonl"])(store, key, b"hostile")
    try:
        with contextlib.closing(RemoteFolder("memory://kept")) as folder:
            place = folder.here.parent
            copied = {file.relative_to(place).as_posix() for file in place.rglob("*.*")}
    finally:
        store.store.clear()
    assert copied == {"run/plan.jsonl", "run/film/frame-0001.png"}
    assert "stay where they are" in caplog.text


def test_more_than_the_disk_holds_is_refused_before_it_is_copied(monkeypatch):
    import fsspec

    fsspec.filesystem("memory").pipe_file("/large/one.png", bytes(1000))
    free = shutil.disk_usage("/")._replace(free=1999)
    monkeypatch.setattr("swiftpie.batch.folder.shutil.disk_usage", lambda _: free)
    with pytest.raises(InputError, match="more than half of what is free"):
        RemoteFolder("memory://large")


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
