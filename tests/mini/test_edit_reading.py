import tomllib
from pathlib import Path

import pytest

from swiftpie.backbones.presets import PRESETS
from swiftpie.lexicon import PLAIN
from swiftpie.mini.word_edits import EditReading, NotDrawn, read_edit
from swiftpie.places.reading import vocabulary_of

TAUGHT = vocabulary_of(PRESETS.get("mini"))
TABLES = tomllib.loads(Path(__file__).with_name("edit_reading.toml").read_text(encoding="utf-8"))
ROWS = [row for rows in TABLES.values() for row in rows]


def expected_of(row):
    if isinstance(row, str):
        return NotDrawn[row]
    setting = PLAIN._replace(**row["setting"]) if "setting" in row else None
    lost = tuple(map(tuple, row.get("lost", ())))
    return EditReading(setting, row.get("look"), "keeps_subject" in row, lost)


@pytest.mark.parametrize(("shown", "prompt", "expected"), ROWS)
def test_an_edit_is_what_two_prompts_do_not_share(shown, prompt, expected):
    assert read_edit(prompt, TAUGHT, shown=shown) == expected_of(expected)
