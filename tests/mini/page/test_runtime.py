"""The runtime of the page is the tested version, or the error says what is needed."""

import tarfile

import pytest

from swiftpie.errors import InputError
from swiftpie.mini.page.site import FOLDER, RUNTIME_FILES, VERSION, read_runtime


def packed(folder, names):
    path = folder / "runtime.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            (folder / name).write_bytes(b"another version")
            archive.add(folder / name, f"{FOLDER}/{name}")
    return path


def test_another_version_is_refused(tmp_path):
    with pytest.raises(InputError, match=rf"npm pack onnxruntime-web@{VERSION}"):
        read_runtime(packed(tmp_path, RUNTIME_FILES))
    with pytest.raises(InputError, match="holds no"):
        read_runtime(packed(tmp_path, [next(iter(RUNTIME_FILES))]))


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "text.tgz").write_text("no archive")
    for place in (tmp_path / "text.tgz", tmp_path / "missing.tgz", tmp_path):
        with pytest.raises(InputError, match="cannot be read as ONNX Runtime Web"):
            read_runtime(place)
