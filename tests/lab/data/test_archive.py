import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.imageio.decoding import load_image
from swiftpie.library import subject_library
from swiftpie_lab.data.archive import (
    EVERYDAY,
    SIDE_PX,
    SPRITE_PX,
    SPRITES,
    build_from_archives,
    build_library,
    build_pack,
    list_subjects,
    normalise,
    read_members,
    write_pack,
)
from swiftpie_lab.data.subjects import load_subjects
from tests.fuzz.pictures import encoded

TABLE = [
    {"label": "Crown", "hexcode": "1F451", "group": 7, "tags": ["king", "crown"]},
    {"label": "Top hat", "hexcode": "1F3A9", "group": 7, "tags": ["top", "hat"]},
    {"label": "man\N{RIGHT SINGLE QUOTATION MARK}s shoe", "hexcode": "1F45E", "group": 7},
    {"label": "red flag", "hexcode": "1F6A9", "group": 9},
    {"label": "regional indicator A", "hexcode": "1F1E6"},
]


def sprite(width=40, height=20):
    image = Image.new("RGBA", (64, 64))
    image.paste((250, 20, 20, 255), (5, 30, 5 + width, 30 + height))
    return encoded(image, "WEBP", lossless=True)


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_sprites_are_centred_and_scaled_to_the_frame():
    with Image.open(io.BytesIO(normalise(sprite()))) as image:
        assert image.size == (SPRITE_PX, SPRITE_PX)
        left, top, right, bottom = image.getchannel("A").point(lambda a: 255 * (a > 128)).getbbox()
    assert right - left == pytest.approx(SUBJECT_FILL * SPRITE_PX, abs=2)
    assert bottom - top == pytest.approx(SUBJECT_FILL * SPRITE_PX / 2, abs=2)
    assert (left + right) / 2 == pytest.approx(SPRITE_PX / 2, abs=1)
    assert (top + bottom) / 2 == pytest.approx(SPRITE_PX / 2, abs=1)


def test_only_things_become_subjects_and_names_are_plain():
    entries = {entry["code"]: entry for entry in list_subjects(TABLE)}
    assert set(entries) == {"1f451", "1f3a9", "1f45e"}
    assert entries["1f45e"]["name"] == "man's shoe"
    assert entries["1f451"]["synonyms"] == ["king"]
    assert entries["1f3a9"]["synonyms"] == ["hat"]


def archives(codes, table):
    sprites = archive({f"package/assets/{code}.webp": sprite() for code in codes})
    return sprites, archive({"package/en/data.json": json.dumps(table).encode()})


def test_archives_become_a_pack_that_can_be_read_back(tmp_path):
    pack = tmp_path / "deep" / "subjects.zip"
    write_pack(pack, build_pack(*archives(("1f451", "1f3a9", "1f45e", "1f6a9"), TABLE)))
    subjects = load_subjects(pack)
    assert subjects.names == ("top hat", "crown", "man's shoe")
    assert subjects.synonyms[0] == ("hat",)
    middle = subjects.tiles[0, :, 48, 48].numpy().astype(int)
    assert np.abs(middle - np.array([250, 20, 20, 255])).max() < 12
    assert [path.name for path in pack.parent.iterdir()] == ["subjects.zip"]


def test_wrong_checksum_names_both_and_the_remedy(tmp_path):
    given = tmp_path / "sprites.tgz"
    given.write_bytes(archive({"package/assets/1f451.webp": sprite()}))
    with pytest.raises(ConfigError, match=r"checksum(.|\n)*npm pack") as caught:
        build_from_archives(tmp_path / "out.zip", build_pack, sprites=given, names=given)
    assert SPRITES.sha256 in str(caught.value)
    assert not (tmp_path / "out.zip").exists()


def test_paths_that_leave_the_archive_are_ignored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = archive(
        {
            "package/assets/1f451.webp": b"inside",
            "package/assets/../../1f3a9.webp": b"outside",
            "/package/assets/1f3a9.webp": b"absolute",
        }
    )
    assert read_members(data, r"package/assets/[0-9a-f-]+\.webp") == {"1f451.webp": b"inside"}
    assert list(tmp_path.iterdir()) == []


LIBRARY_TABLE = [
    {"label": "airplane", "hexcode": "2708", "group": 5, "tags": ["jet"]},
    {"label": "health worker", "hexcode": "1F9D1-200D-2695-FE0F", "group": 1},
    {"label": "nobody's", "hexcode": "1F9D2", "group": 1},
]


def test_a_library_is_made_of_the_archives_and_brings_its_licence(tmp_path):
    both = archives(("2708-fe0f", "1f9d1-200d-2695-fe0f"), LIBRARY_TABLE)
    for name in ("first.zip", "second.zip"):
        write_pack(tmp_path / name, build_library(*both))
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "first.zip") as pack:
        assert b"MIT License" in pack.read("LICENSE.txt")
        rows = {row["name"]: row for row in json.loads(pack.read("subjects.json"))}
        assert {*rows} == {"airplane", "health worker"}  # whose sprites there are
        assert rows["airplane"]["meant"] == list(EVERYDAY["airplane"])
        assert load_image(pack.read(f"{rows['airplane']['code']}.webp")).size == (SIDE_PX, SIDE_PX)
    assert len(load_subjects(tmp_path / "first.zip")) == 2  # it is a sticker pack, too


def test_every_everyday_word_means_one_subject_that_there_is():
    words = [word for group in EVERYDAY.values() for word in group]
    assert len(set(words)) == len(words)
    assert {*EVERYDAY} <= {*subject_library().names()}
    assert not {*words} & {*subject_library().names()}, "such a word is a name already"
