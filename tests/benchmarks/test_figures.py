"""Numbers that stand on several pages are those of one file, and it has what the package holds."""

import json
import re

import pytest

from benchmarks.figures import FILE, MARKED, PRINTED, figures, filled, pages
from tests.policy.project import ROOT, shown

DISTINCT = re.compile(r"[1-9][\d.,]{3,}")  # such a number is hardly there by chance


def test_the_file_has_what_the_package_and_the_reports_hold():
    assert json.loads(FILE.read_text(encoding="utf-8")) == figures()
    assert all(command for command in PRINTED.values())


@pytest.mark.parametrize("page", pages(), ids=shown)
def test_marked_numbers_are_those_of_the_file_and_distinct_ones_are_marked(page):
    text, numbers = page.read_text(encoding="utf-8"), figures()
    assert filled(text, numbers) == text, "run `python -m benchmarks.figures`"
    plain = MARKED.sub("", text)
    for number in filter(DISTINCT.fullmatch, numbers.values()):
        assert not re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d.,]*\d)", plain), number


def test_every_number_of_the_file_is_on_a_page():
    marked = {found["name"] for page in pages() for found in MARKED.finditer(page.read_text())}
    assert marked == {*json.loads(FILE.read_text(encoding="utf-8"))}
    assert (ROOT / "README.md").read_text().count("<!--") > len(PRINTED)
