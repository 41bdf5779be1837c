"""Files are written, read and cleaned up under rules of Windows, which a fixture enforces."""

import errno
import fcntl
import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from swiftpie.backbones.load.safe import read_tensors
from swiftpie.imageio.atomic import atomic_folder, updated_folder, write_file
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.writing import save_image
from swiftpie.validation import is_portable_name

OPEN_FILES = Path("/proc/self/fd")


def _is_open(path):
    wanted = Path(path).resolve()
    return any(link.resolve() == wanted for link in OPEN_FILES.iterdir() if link.exists())


@pytest.fixture
def windows(monkeypatch):
    def refusing(call, *, checked):
        def checks(*places, **options):
            folder = options.get("dir_fd")
            root = Path() if folder is None else (OPEN_FILES / str(folder)).readlink()
            for place in places[:checked]:
                if _is_open(root / place):
                    raise PermissionError(errno.EACCES, "used by another process", str(place))
            return call(*places, **options)

        return checks

    def flushes(number):
        if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")

    def links(*_places, **_options):
        raise OSError(errno.EPERM, "A required privilege is not held by the client")

    monkeypatch.setattr(os, "unlink", refusing(os.unlink, checked=1))
    monkeypatch.setattr(os, "remove", refusing(os.remove, checked=1))
    monkeypatch.setattr(os, "rename", refusing(os.rename, checked=2))
    monkeypatch.setattr(os, "replace", refusing(os.replace, checked=2))
    monkeypatch.setattr(os, "fsync", flushes)
    monkeypatch.setattr(os, "symlink", links)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)


pytestmark = pytest.mark.skipif(
    not OPEN_FILES.is_dir(), reason="needs a list of open files, as Linux has"
)


@pytest.mark.usefixtures("windows")
def test_what_is_written_is_whole_and_nothing_else_stays(tmp_path):
    picture = Image.new("RGB", (8, 8), (200, 30, 30))
    for _ in range(2):
        save_image(picture, tmp_path / "red.png", metadata={"prompt": "red"}, force=True)
    write_file(tmp_path / "new.txt", b"new")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "one.txt").write_text("one")
    with updated_folder(tmp_path / "folder") as folder:
        (folder / "one.txt").write_text("two")
    assert load_image(tmp_path / "red.png").size == (8, 8)
    assert (tmp_path / "folder" / "one.txt").read_text() == "two"
    assert {path.name for path in tmp_path.iterdir()} == {"red.png", "new.txt", "folder"}


@pytest.mark.usefixtures("windows")
def test_weights_of_pickles_are_read_without_links(tmp_path):
    torch.save({"weight": torch.arange(6.0)}, tmp_path / "old.bin")
    state = read_tensors(tmp_path / "old.bin", allow_pickle=True)
    assert torch.equal(state["weight"], torch.arange(6.0))


@pytest.mark.parametrize(
    "name", ["con", "NUL.txt", "com1.safetensors", "a:b", "what?.png", "dot.", "space ", "", "a\\b"]
)
def test_names_that_windows_refuses_are_known(name):
    assert not is_portable_name(name)
    assert is_portable_name("a dog, red (2).png")
    assert is_portable_name("console.txt")
