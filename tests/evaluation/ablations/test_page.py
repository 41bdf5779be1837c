import re

from swiftpie.evaluation.ablations.page import render_page
from swiftpie.evaluation.ablations.table import tabulate


def test_the_page_shows_every_group_and_needs_no_other_file(study):
    found = tabulate(study)
    page = render_page(found, study)
    for group in {line.group for line in found.lines}:
        assert f"<h2>{group}</h2>" in page
    assert set(re.findall(r'href="([a-z]+:)', page)) == {"data:"}
    rows = len({study.key(row) for row in study.rows}) + 1  # and the truth
    assert page.count("<svg") == rows * len(study.cases)
