import json
import zipfile

from swiftpie.imageio.decoding import load_image
from swiftpie.library import packaged
from swiftpie_lab.data.archive import write_pack
from swiftpie_lab.data.library import EVERYDAY, SIDE_PX, build_library
from swiftpie_lab.data.subjects import load_subjects
from tests.lab.data.test_archive import archive, sprite

TABLE = [
    {"label": "airplane", "hexcode": "2708", "group": 5, "tags": ["jet"]},
    {"label": "health worker", "hexcode": "1F9D1-200D-2695-FE0F", "group": 1},
    {"label": "nobody's", "hexcode": "1F9D2", "group": 1},
]


def test_a_library_is_made_of_the_archives_and_brings_its_licence(tmp_path):
    codes = ("2708-fe0f", "1f9d1-200d-2695-fe0f")
    sprites = archive({f"package/assets/{code}.webp": sprite() for code in codes})
    names = archive({"package/en/data.json": json.dumps(TABLE).encode()})
    for name in ("first.zip", "second.zip"):
        write_pack(tmp_path / name, build_library(sprites, names))
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
    assert {*EVERYDAY} <= {*packaged().names()}
    assert not {*words} & {*packaged().names()}, "such a word is a name already"
