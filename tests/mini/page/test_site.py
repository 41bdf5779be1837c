"""The exported page is whole, small enough, and refers to nothing elsewhere."""

import json
import re
import tarfile

import pytest
from PIL import Image

from swiftpie.errors import InputError
from swiftpie.library import subject_library
from swiftpie.mini.page.site import (
    FOLDER,
    RUNTIME_FILES,
    SOURCES,
    SUBJECTS,
    VERSION,
    read_runtime,
    write_page,
)

LIMIT_BYTES = 32_000_000
RUNTIME_BYTES = 7_000_000  # its six files, packed
IMPORTED = re.compile(r'(?:from|import\() ?"\./([^"]+)"')
ADDRESS = re.compile(r"https?://[^\s\"'<>)]+")


def test_the_sources_name_no_other_address():
    for path in SOURCES.iterdir():
        if path.suffix in {".js", ".html", ".css"}:
            assert not ADDRESS.findall(path.read_text(encoding="utf-8")), path.name


def test_every_subject_is_in_the_library():
    assert len(set(SUBJECTS)) == len(SUBJECTS)
    assert set(SUBJECTS) <= set(subject_library().names())


@pytest.mark.thorough
def test_the_page_is_whole(tmp_path):
    runtime = {name: name.encode() for name in RUNTIME_FILES}
    size = write_page(tmp_path, runtime)
    listed = json.loads((tmp_path / "files.json").read_text())["files"]
    assert all((tmp_path / name).is_file() for name in listed)
    found = {
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    }
    assert found - {*listed} == {"files.json", "service-worker.js", "README.md"}
    assert size + RUNTIME_BYTES < LIMIT_BYTES
    for path in tmp_path.glob("*.js"):
        for name in IMPORTED.findall(path.read_text()):
            assert name in listed, f"{path.name} imports {name}"
    sheet = json.loads((tmp_path / "model" / "sheet.json").read_text())
    assert all(subject["file"] in listed for subject in sheet["subjects"])
    words = json.loads((tmp_path / "model" / "words.json").read_text())
    for place in words["places"]:
        with Image.open(tmp_path / f"scenes/{place['file']}-0.webp") as picture:
            width, height = picture.size
        assert width == height
        assert all(f"scenes/{place['file']}-{i}.webp" in listed for i in range(place["pictures"]))
    assert (
        "@" not in re.search(r'VERSION = "(.*)"', (tmp_path / "service-worker.js").read_text())[1]
    )
    assert "sdk: static" in (tmp_path / "README.md").read_text()


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
