import shutil
from dataclasses import replace

import pytest

from swiftpie.evaluation.ablations.measure import REGION_IOU, measure
from swiftpie.evaluation.metric import METRICS
from swiftpie.evaluation.score import score_case


@pytest.fixture
def copy(study, tmp_path):
    """The study in a folder of its own, to change."""
    shutil.copytree(study.root, tmp_path / "copy")
    return replace(study, root=tmp_path / "copy")


def stamps(study):
    return {path: path.stat().st_mtime_ns for path in study.root.rglob("*.*")}


def test_everything_is_scored_as_the_sticker_benchmark_does(study, drawn, panel):
    for case in study.cases:
        expected = score_case(drawn, case, panel=panel, metrics=METRICS.all())
        found = study.scores(case)[study.key(study.rows[0])]
        assert found == {
            name: by_kind["model"] for name, by_kind in expected.items() if "model" in by_kind
        }


def test_rows_that_are_the_same_are_drawn_once(study):
    keys = {study.key(row) for row in study.rows}
    assert len(keys) < len(study.rows)
    pictures = list((study.root / "images").iterdir())
    assert len(pictures) == len(keys) * len(study.cases)
    assert len(study.scores(study.cases[0])) == len(keys)


def test_the_same_weights_again_are_the_same_row(study, row_of):
    assert study.key(row_of("other weights", "earlier")) == study.key(study.rows[0])


def test_found_regions_are_compared_with_the_truth(study, row_of):
    scores = study.scores(study.cases[0])
    for title, is_found in (
        ("inline", True),
        ("predicted", True),
        ("none", False),
        ("true", False),
    ):
        assert (REGION_IOU in scores[study.key(row_of("masks", title))]) is is_found


def test_what_is_done_is_kept(copy):
    before = stamps(copy)
    assert list(measure(copy)) == list(copy.cases)
    assert stamps(copy) == before


def test_only_what_is_missing_is_done_again(copy, study):
    first = copy.cases[0]
    (copy.root / "scores" / f"{first.name}.json").write_text('{"case": 1')
    before = stamps(copy)
    list(measure(copy))
    changed = {
        path.name.split(".")[0] for path, stamp in stamps(copy).items() if before[path] != stamp
    }
    assert changed == {first.name}
    assert copy.scores(first) == study.scores(first)


def test_other_facts_are_measured_anew(study):
    other = replace(study, facts={**study.facts, "judges": "others"})
    known = study.scores(study.cases[0])
    assert study.key(study.rows[0]) in known
    assert other.key(study.rows[0]) not in known
