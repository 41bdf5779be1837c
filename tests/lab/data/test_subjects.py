import json
import shutil
import zipfile
from importlib.resources import as_file, files

import pytest
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie_lab.data.subjects import (
    CROWN,
    INDEX_NAME,
    MAX_MEMBER_BYTES,
    TOP_HAT,
    is_held_out,
    load_subjects,
)


def test_split_depends_on_the_code_alone():
    assert is_held_out("1f439")
    assert not is_held_out("1f436")
    assert not is_held_out(CROWN)
    assert not is_held_out(TOP_HAT)
    share = sum(is_held_out(f"{code:x}") for code in range(0x1F300, 0x1F700)) / 0x400
    assert 0.06 < share < 0.14


@pytest.fixture
def pack(tmp_path):
    with as_file(files("swiftpie") / "assets" / "samples") as samples:
        entries = json.loads((samples / "subjects.json").read_text())[:3]
        for entry in entries:
            shutil.copy(samples / f"{entry['code']}.webp", tmp_path)
    (tmp_path / "subjects.json").write_text(json.dumps(entries))
    return tmp_path


def with_index(pack, text):
    (pack / INDEX_NAME).write_text(text)


def with_entry(pack, change):
    first, *others = json.loads((pack / INDEX_NAME).read_text())
    with_index(pack, json.dumps([first | change, *others]))


def with_large_sprites(pack, _):
    for sprite in pack.glob("*.webp"):
        Image.new("1", (12_000, 3300)).save(sprite, "PNG")


ENTRIES = (
    *({"code": "../../etc/passwd"}, {"code": ""}, {"code": 3}),
    {"code": "1f3a9"},  # that of the next
    *({"name": None}, {"name": ["crown"]}, {"name": "\x1b[31mcrown"}, {"name": "x" * 10_000}),
    *({"synonyms": "king"}, {"synonyms": [3]}, {"synonyms": ["king"] * 10_000}),
)
INDICES = ("[]", "{}", "3", "null", "[[]]", "[" * 5000, "[{}]", "\0")


@pytest.mark.parametrize(
    ("damage", "given", "word"),
    [
        (lambda pack, _: next(pack.glob("*.webp")).unlink(), None, "cannot be read"),
        (with_large_sprites, None, "more bytes or pixels together"),
        *((with_entry, change, "cannot be read") for change in ENTRIES),
        *((with_index, text, "cannot be read") for text in INDICES),
    ],
)
def test_damaged_packs_are_refused(pack, damage, given, word):
    assert len(load_subjects(pack)) == 3
    damage(pack, given)
    with pytest.raises(ConfigError, match=word):
        load_subjects(pack)


def test_a_pack_unpacks_to_no_more_than_it_may(pack, tmp_path):
    (pack / "1f3a9.webp").write_bytes(bytes(MAX_MEMBER_BYTES + 1))
    with pytest.raises(ConfigError, match="more than"):
        load_subjects(pack)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in pack.iterdir():
            if file.suffix != ".zip":
                archive.write(file, file.name)
    assert (tmp_path / "x.zip").stat().st_size < 1 << 20
    with pytest.raises(ConfigError, match="more than"):
        load_subjects(tmp_path / "x.zip")
