import json

import pytest

from swiftpie.data.subjects import CROWN, TOP_HAT, is_held_out, load_subjects
from swiftpie.errors import ConfigError


def test_split_is_disjoint_and_complete(subjects):
    train, held_out = set(subjects.indices("train")), set(subjects.indices("held_out"))
    assert train.isdisjoint(held_out)
    assert train | held_out == set(range(len(subjects)))
    assert len(held_out) == 12


def test_split_depends_on_the_code_alone():
    assert is_held_out("1f439")
    assert not is_held_out("1f436")
    assert not is_held_out(CROWN)
    assert not is_held_out(TOP_HAT)
    share = sum(is_held_out(f"{code:x}") for code in range(0x1F300, 0x1F700)) / 0x400
    assert 0.06 < share < 0.14


def test_samples_have_names_and_visible_tiles(subjects):
    assert subjects.tiles.shape == (21, 4, 96, 96)
    assert subjects.names[subjects.index(CROWN)] == "crown"
    assert (subjects.tiles[:, 3].amax(dim=(1, 2)) > 200).all()
    assert (subjects.tiles[:, :3] <= subjects.tiles[:, 3:]).all()


def test_missing_pack_says_how_to_get_one(tmp_path):
    with pytest.raises(ConfigError, match="swiftpie data prepare"):
        load_subjects(tmp_path / "absent.zip")


@pytest.mark.parametrize("content", [b"not a zip", b""])
def test_damaged_pack_is_refused(tmp_path, content):
    pack = tmp_path / "stickers.zip"
    pack.write_bytes(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        load_subjects(pack)


def test_folder_without_its_sprites_is_refused(tmp_path):
    entry = {"code": "1f600", "name": "face", "group": 0, "synonyms": []}
    (tmp_path / "subjects.json").write_text(json.dumps([entry]))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_subjects(tmp_path)


def test_unknown_subject_is_named(subjects):
    with pytest.raises(ConfigError, match="1f4a9"):
        subjects.index("1f4a9")
