import dataclasses
import re
from html.parser import HTMLParser

import pytest

from swiftpie.evaluation.page import format_interval, render_page
from swiftpie.evaluation.report import Interval, summarise
from swiftpie.evaluation.score import score
from tests.evaluation.conftest import NUM_CASES, NUM_PAIRS

EVIL = '<script>alert("x")</script>'


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def rows(drawn, panel):
    return list(score(drawn, panel))


def tags_of(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


def test_the_page_shows_all_pictures_and_needs_no_other_file(rows, drawn):
    page = render_page(summarise(rows, run=drawn.read_run(), gallery_size=12), rows, folder=drawn)
    sources = [attributes["href"] for tag, attributes in tags_of(page) if tag == "image"]
    shown = 2 * NUM_CASES + len(rows)  # worst, best and all cases
    assert len(sources) == 5 * shown  # five pictures each
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link", page)


def test_a_pair_is_shown_with_both_references(drawn_pairs, panel):
    rows = list(score(drawn_pairs, panel))
    report = summarise(rows, run=drawn_pairs.read_run(), gallery_size=12)
    page = render_page(report, rows, folder=drawn_pairs)
    pictures = [attributes for tag, attributes in tags_of(page) if tag == "image"]
    assert len(pictures) == 3 * NUM_PAIRS * 6
    assert "<title>Pairs in sticker scenes: mini</title>" in page


def test_words_from_outside_are_escaped(rows, drawn):
    evil = [dataclasses.replace(r, case=dataclasses.replace(r.case, prompt=EVIL)) for r in rows]
    run = dataclasses.replace(drawn.read_run(), preset=EVIL)
    page = render_page(summarise(evil, run=run, gallery_size=12), evil, folder=drawn)
    assert "script" not in {tag for tag, _ in tags_of(page)}
    assert "&lt;script&gt;alert(&quot;x&quot;)" in page


def test_shares_are_shown_in_percent():
    found = Interval(mean=0.5, low=0.25, high=0.75, num_cases=4)
    assert format_interval(found, unit="%") == "50.0 [25.0, 75.0]"
    assert format_interval(found) == "0.50 [0.25, 0.75]"
