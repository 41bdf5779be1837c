import re

import pytest

from tests.golden.networks import random_networks
from tests.policy.project import ROOT
from tests.policy.test_ceilings import CEILINGS
from tests.traces import traces as traces_of

PAGE = ROOT / "docs" / "concepts.md"


@pytest.fixture(scope="module")
def traces(session):
    return traces_of(session, random_networks("sd15"))


def test_calls_go_through_no_more_files_than_their_ceilings(traces):
    found = {name: [len(one.files), len(one.handing_on)] for name, one in traces.items()}
    over = {
        name: counts
        for name, counts in found.items()
        if any(count > most for count, most in zip(counts, CEILINGS["traces"][name], strict=True))
    }
    assert over == {}, "see `python -m tests.traces`"


def test_the_page_lists_the_files_that_hand_a_drawing_on_in_order(traces):
    text = PAGE.read_text()
    section = text[text.index("## From call to pixels") :].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w/]+\.py)` \|", section, re.M) == traces["personalize"].handing_on
