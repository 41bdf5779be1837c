from dataclasses import replace

import pytest

from swiftpie.evaluation.ablations.measure import measure
from swiftpie.evaluation.ablations.plan import plan_study

NUM_CASES = 2
MEASURED = {
    ("branches", "everything"),
    ("branches", "text only"),
    ("masks", "none"),
    ("masks", "inline"),
    ("masks", "predicted"),
    ("masks", "true"),
    ("detail scale", "0"),
    ("detail scale", "1"),
    ("other weights", "earlier"),
}


@pytest.fixture(scope="package")
def planned(session, benchmark, tmp_path_factory):
    """Two cases, with the same weights once more as others."""
    components = session.components
    return plan_study(
        components,
        benchmark,
        num_cases=NUM_CASES,
        root=tmp_path_factory.mktemp("ablations"),
        against={"earlier": components},
    )


@pytest.fixture(scope="package")
def study(planned):
    """Some rows of it, measured; do not change its folder."""
    some = [row for row in planned.rows if (row.setting.group, row.setting.title) in MEASURED]
    assert len(some) == len(MEASURED)
    measured = replace(planned, rows=some)
    assert list(measure(measured)) == list(measured.cases)
    return measured


@pytest.fixture
def row_of(planned):
    """Finds a row by group and title."""

    def find(group, title):
        wanted = (group, title)
        (row,) = [r for r in planned.rows if (r.setting.group, r.setting.title) == wanted]
        return row

    return find
