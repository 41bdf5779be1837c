import json
import resource
from contextlib import contextmanager

import pytest

from swiftpie.batch.folder import REPORT, Report, locked_folder, read_done
from swiftpie.errors import ConfigError, InputError


def row(name, **more):
    return {"id": name, "place": f"line {name}", "status": "done", "file": name, "bytes": 3, **more}


@pytest.fixture
def files(tmp_path):
    for name in "abc":
        (tmp_path / name).write_bytes(b"123")
    return tmp_path


@contextmanager
def no_file_beyond(size):
    """A disk that takes no more in one file, as a full one takes none at all."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
    (files / REPORT).write_bytes(b'null\n{"status": "done"}\n[1]\n\xff\n' + whole)
    assert [*read_done(files)] == ["a"]


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
