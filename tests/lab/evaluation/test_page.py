import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from swiftpie_lab.evaluation.page import labelled_sheet, page_of
from swiftpie_lab.evaluation.report import summarise
from swiftpie_lab.evaluation.run import score
from tests.lab.evaluation.conftest import NUM_CASES


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def rows(benchmark, drawn, dealt, networks):
    return list(score(benchmark, dealt, drawn, networks))


def page(benchmark, rows, results, networks, *, run=None):
    report = summarise(benchmark, rows, run=run or results.read_run(), networks=networks)
    return page_of(benchmark, report, rows, results)


def tags_of(page):
    parser = Tags()
    parser.feed(page)
    return parser.seen


@pytest.mark.thorough
def test_the_page_shows_all_pictures_and_needs_no_other_file(benchmark, rows, drawn, networks):
    text = page(benchmark, rows, drawn, networks)
    sources = [attributes["href"] for tag, attributes in tags_of(text) if tag == "image"]
    shown = NUM_CASES + len(rows)  # the worst and all cases
    assert len(sources) == 5 * shown  # five pictures each
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert not re.search(r"https?://|<script|<link", text)


def test_a_sheet_has_pictures_and_labels_where_they_belong():
    red, blue = (Image.new("RGB", (10, 10), colour) for colour in ("red", "blue"))
    sheet = labelled_sheet([[red, blue]], columns=["", "a word"], captions=[["row"]], cell_px=40)
    assert sheet.width == 80
    top = next(y for y in range(sheet.height) if sheet.getpixel((20, y)) == (255, 0, 0))
    assert sheet.getpixel((60, top + 20)) == (0, 0, 255)
    head = sheet.crop((40, 0, 80, top))
    name = sheet.crop((0, top + 40, 80, sheet.height))
    blank = sheet.crop((0, 0, 40, top))
    assert [min(part.convert("L").getextrema()) < 100 for part in (head, name, blank)] == [
        True,
        True,
        False,
    ]
