import errno
import os
import stat
import threading
import time

import pytest

from swiftpie.errors import InputError
from swiftpie.imageio.atomic import (
    LEFT_S,
    TEMPORARY,
    are_one_place,
    atomic_file,
    atomic_folder,
    check_target,
    updated_folder,
    write_file,
)


def test_write_creates_replaces_only_by_force_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "out.bin"
    write_file(path, b"one")
    with pytest.raises(InputError, match="exists already"):
        write_file(path, b"two")
    assert path.read_bytes() == b"one"
    write_file(path, b"three", force=True)
    assert path.read_bytes() == b"three"
    assert list(tmp_path.iterdir()) == [path]


def test_write_refuses_places_that_cannot_hold_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"kept")
    for place in ("missing/out.png", "file/out.png", "nul\0.png"):
        with pytest.raises(InputError, match="writable"):
            write_file(tmp_path / place, b"data")
    with pytest.raises(InputError, match="is a folder"):
        write_file(tmp_path, b"data", force=True)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_link_that_leads_nowhere_takes_a_name(tmp_path):
    path = tmp_path / "out"
    path.symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="exists already"):
        check_target(path)
    with atomic_folder(path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    write_file(path, b"new", force=True)
    assert not path.is_symlink()
    assert path.read_bytes() == b"new"


def test_errors_name_the_place_that_was_asked_for(tmp_path):
    for block in (atomic_folder, updated_folder):
        with pytest.raises(FileNotFoundError) as raised, block(tmp_path / "out") as new:
            (new / "deep" / "file").write_bytes(b"data")
        assert raised.value.filename == str(tmp_path / "out")
        with pytest.raises(InputError) as refused, block(tmp_path / "out") as new:
            write_file(new / "deep" / "file", b"data")
        assert f"'{tmp_path / 'out' / 'deep' / 'file'}'" in str(refused.value)
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_folder(tmp_path / "out"):
        (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(OSError, match=r"left on device: '.*out'"), atomic_file(tmp_path / "out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_that_breaks_off_keeps_the_old_file(tmp_path):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_file(path, "text is not bytes", force=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "folder"
    with pytest.raises(FileNotFoundError), atomic_folder(path) as new:
        (new / "half").write_bytes((new / "missing").read_bytes())
    assert list(path.parent.iterdir()) == []
    with atomic_folder(path) as new:
        (new / "whole").touch()
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["whole"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_another_process_wrote_first_stays(tmp_path):
    path = tmp_path / "folder"
    with atomic_folder(path) as new:
        (new / "second").touch()
        path.mkdir()
        (path / "first").touch()
    assert [p.name for p in path.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_has_the_permissions_of_any_new_file(tmp_path):
    with (tmp_path / "plain").open("wb"):
        pass
    (tmp_path / "folder").mkdir()
    write_file(tmp_path / "file", b"data")
    with atomic_folder(tmp_path / "new"):
        pass
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes["file"] == modes["plain"]
    assert modes["new"] == modes["folder"]


def test_of_two_writers_without_force_one_succeeds(tmp_path):
    path, outcomes, start = tmp_path / "out.bin", [], threading.Barrier(8)

    def write(data):
        start.wait()
        try:
            write_file(path, data)
            outcomes.append(data)
        except InputError as error:
            assert "exists already" in str(error)  # noqa: PT017 - the others'

    for _ in range(10):
        writers = [threading.Thread(target=write, args=(bytes([i]) * 9,)) for i in range(8)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        assert outcomes == [path.read_bytes()]
        outcomes.clear()
        path.unlink()


def test_a_name_that_is_taken_meanwhile_is_left_alone(tmp_path):
    path = tmp_path / "out.bin"
    writing = atomic_file(path, force=False)
    writing.__enter__().write_bytes(b"mine")
    path.write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        writing.__exit__(None, None, None)
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_kill_left_is_gone_a_day_later_and_nothing_in_use_is(tmp_path):
    old, used = (tmp_path / TEMPORARY.replace("*", name) / "folder" for name in ("old", "used"))
    for folder in (old, used):
        folder.mkdir(parents=True)
        (folder / "weights").touch()
    for path in (old.parent, old, old / "weights", used.parent, used):
        os.utime(path, (0, time.time() - LEFT_S - 60))
    write_file(tmp_path / "file", b"data")
    assert {path.name for path in tmp_path.iterdir()} == {"file", used.parent.name}


def test_files_that_libraries_write_for_their_owner_alone_are_for_all_that_the_umask_lets(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "file") as temporary:
            temporary.write_bytes(b"data")
            temporary.chmod(0o600)
        for make in (atomic_folder, updated_folder):
            with make(tmp_path / make.__name__) as new:
                (new / "weights").write_bytes(b"data")
                (new / "weights").chmod(0o600)
    finally:
        os.umask(before)
    names = ("file", "atomic_folder/weights", "updated_folder/weights")
    for path in (tmp_path / name for name in names):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_folder_is_updated_file_by_file_and_only_by_a_block_that_ends(tmp_path):
    path = tmp_path / "folder"
    (path / "deep").mkdir(parents=True)
    for name in ("deep/kept", "deep/new"):
        (path / name).write_bytes(b"old")
    with pytest.raises(FileNotFoundError), updated_folder(path) as new:
        (new / "other").write_bytes((new / "missing").read_bytes())
    with updated_folder(path) as new:
        (new / "deep").mkdir()
        (new / "deep" / "new").write_bytes(b"new")
    found = {str(file.relative_to(path)): file.read_bytes() for file in path.glob("*/*")}
    assert found == {"deep/kept": b"old", "deep/new": b"new"}
    assert list(tmp_path.iterdir()) == [path]


def test_names_of_one_place_are_known_as_that(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert are_one_place(tmp_path / "a" / ".." / "o.png", tmp_path / "o.png")
    assert are_one_place(tmp_path / "link", tmp_path / "file")
    assert not are_one_place(tmp_path / "o.png", tmp_path / "p.png")


def write_both(temporary, path):
    temporary.write_bytes(b"late")
    path.write_bytes(b"of another process")


def test_without_hard_links_a_file_is_still_never_replaced(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "one.txt"
    write_file(path, b"first")
    assert path.read_bytes() == b"first"
    other = tmp_path / "other.txt"
    with pytest.raises(FileExistsError), atomic_file(other, force=False) as temporary:
        write_both(temporary, other)
    assert other.read_bytes() == b"of another process"
    assert {*tmp_path.iterdir()} == {path, other}
