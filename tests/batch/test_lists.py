import os
import unicodedata

import pytest

from swiftpie.batch.lists import MAX_LINE_BYTES, grid, read_lines, read_prompts, read_seeds
from swiftpie.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("7", (7,)), ("1-3", (1, 2, 3)), ("1-2, 40", (1, 2, 40)), ("5-5", (5,)), ("9,3", (9, 3))],
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "x", "3-1", "1,1", "1-3,2", "-4", "1-", "0-99999", "1;2"])
def test_other_seeds_are_refused(text):
    with pytest.raises(ConfigError, match="seeds"):
        read_seeds(text)


def test_prompt_files_are_found_beside_the_jobs(tmp_path):
    (tmp_path / "some.txt").write_bytes(b"\xef\xbb\xbfa dog\r\n\r\n# no\r\n  a cat\n")
    assert read_prompts("@some.txt", folder=tmp_path) == ["a dog", "a cat"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        *((b"# only\n \n", "prompts"), (b"\xff\xfe\x00", "UTF-8"), (b"a dog\n" * 1001, "1001")),
        *((b"a" * (2 << 20), "bytes"), (None, "read")),
    ],
    ids=range(5),
)
def test_a_file_of_no_prompts_or_too_many_is_refused(tmp_path, content, word):
    if content is not None:
        (tmp_path / "some.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=word):
        read_prompts("@some.txt", folder=tmp_path)


def rows_of(path):
    return [(line.place.rpartition(" ")[2], line.row) for line in read_lines(path)]


def test_lines_of_json_keep_their_numbers_and_faults_are_reported(tmp_path):
    path = tmp_path / "jobs.jsonl"
    lines = [
        b'\xef\xbb\xbf{"prompt": "a"}',
        b"",
        b'{"prompt": ',
        b'{"prompt": "a", "prompt": "b"}',
        b'{"seed": NaN}',
        b'["a"]',
        b"[" * 100_000,
        b'{"prompt": "' + b"x" * MAX_LINE_BYTES + b'"}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "z"}',
    ]
    path.write_bytes(b"\n".join(lines))
    rows = dict(rows_of(path))
    assert rows["1"] == {"prompt": "a"}
    assert rows["10"] == {"prompt": "z"}
    assert sorted(map(int, rows)) == [1, *range(3, 11)]
    assert all(isinstance(rows[str(number)], ConfigError) for number in range(3, 10))
    assert "twice" in str(rows["4"])
    assert "bytes" in str(rows["8"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_have_bom_quotes_and_the_separator_of_their_language(tmp_path, delimiter):
    path = tmp_path / "jobs.csv"
    rows = [
        ("subject", "prompt", "seed"),
        ("dog.png", '"a ""big"" dog, at sea; or\na\tlake"', "7"),
        ("", "", ""),
        ("cat.png", "a cat", ""),
        ("a", "b", "c", "d"),
    ]
    text = "\r\n".join(delimiter.join(row) for row in rows)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    first, second, third = rows_of(path)
    wanted = {"subject": "dog.png", "prompt": 'a "big" dog, at sea; or\na\tlake', "seed": "7"}
    assert first == ("2", wanted)
    assert second == ("5", {"subject": "cat.png", "prompt": "a cat"})
    assert third[0] == "6"
    assert isinstance(third[1], ConfigError)


@pytest.mark.parametrize("text", [b"a,a\n1,2\n", b"\xff\xfea", None])
def test_files_that_are_no_lists_are_refused(tmp_path, text):
    path = tmp_path / "jobs.csv"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises(ConfigError, match=r"jobs\.csv"):
        list(read_lines(path))


def test_a_folder_of_subjects_is_drawn_with_every_prompt(folder, caplog):
    (folder / "me.spid").touch()
    (folder / "notes.txt").touch()
    (folder / ".DS_Store").touch()
    found = [row.row for row in grid(folder, ["a {name} at sea", "snow"])]
    assert [row["subject"] for row in found] == [
        *("cat", "cat", "dog.webp", "dog.webp", "mask.png", "mask.png", "me.spid", "me.spid")
    ]
    assert [row["prompt"] for row in found[2:4]] == ["a dog at sea", "snow"]
    assert "left out: notes.txt." in caplog.text
    assert "DS_Store" not in caplog.text
    assert [row.row["subject"] for row in grid(folder / "dog.webp", ["x"])] == ["dog.webp"]


HINDI, THAI = "\u0915\u0941\u0924\u094d\u0924\u093e", "\u0e2a\u0e38\u0e19\u0e31\u0e02"
POLISH = "\u017c\u00f3\u0142w"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f466"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("dr. whiskers", "dr whiskers"),
        ("v1.2_hamster", "v1 2 hamster"),
        (unicodedata.normalize("NFD", POLISH), POLISH),
        (HINDI, HINDI),
        (THAI, THAI),
        (FAMILY, FAMILY),
        ("---", "---"),
    ],
)
def test_the_name_of_a_folder_is_read_in_any_script(folder, name, words):
    (folder / "cat").rename(folder / name)
    found = [row.row["prompt"] for row in grid(folder, ["a {name} at sea"])]
    assert f"a {words} at sea" in found


def test_a_folder_without_subjects_is_refused(tmp_path):
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match="--subjects"):
            list(grid(place, ["x"]))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_regular_file_is_refused_before_it_is_read(tmp_path, kind):
    path = tmp_path / "jobs.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="regular file"):
        read_prompts(f"@{path}")
    with pytest.raises(ConfigError, match="regular file"):
        list(read_lines(path))
