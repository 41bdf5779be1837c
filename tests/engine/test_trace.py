import re

import pytest

from tests.engine import tracing
from tests.policy.project import ROOT

PAGE = ROOT / "docs" / "concepts.md"
REMEDY = "Lists may only shrink: renew them by `python -m tests.engine.update_traces`."


@pytest.fixture(scope="module")
def traces(session):
    return tracing.traces(session)


def test_calls_go_through_the_files_that_are_listed(traces):
    assert tracing.describe(traces) == tracing.STORED.read_text().rstrip("\n"), REMEDY


def test_the_page_lists_the_files_that_hand_a_drawing_on_in_order(traces):
    text = PAGE.read_text()
    section = text[text.index("## From call to pixels") :].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w/]+\.py)` \|", section, re.M) == traces["personalize"].handing_on
