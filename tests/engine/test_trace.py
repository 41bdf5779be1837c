import operator
import re

import pytest

import swiftpie
from tests.golden.networks import random_networks
from tests.policy.project import ROOT
from tests.policy.test_ceilings import CEILINGS
from tests.traces import traces as traces_of

PAGE = ROOT / "docs" / "concepts.md"


@pytest.fixture(scope="module")
def traces():
    return traces_of(swiftpie.load("mini"), random_networks("sd15"))


def test_no_count_of_a_call_is_above_its_ceiling(traces):
    over = {
        name: trace.counts
        for name, trace in traces.items()
        if any(map(operator.gt, trace.counts, CEILINGS["traces"][name]))
    }
    assert over == {}, "see `python -m tests.traces`"


def test_the_page_lists_the_files_that_hand_a_drawing_on_in_order(traces):
    text = PAGE.read_text()
    section = text[text.index("## From call to pixels") :].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w/]+\.py)` \|", section, re.M) == traces["personalize"].handing_on
