"""The same cases in many variants: what is drawn is kept, and shown as tables, JSON and a page."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from swiftpie_lab.evaluation.benchmarks.ablations import VariedScenes, scene_study
from swiftpie_lab.evaluation.page import render
from swiftpie_lab.evaluation.study import measure, page_of, tabulate

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
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ablations")


@pytest.fixture(scope="module")
def study(session, benchmark):
    """Two cases in some variants; not drawn yet."""
    varied = VariedScenes(benchmark.subjects, seed=benchmark.seed, size_px=benchmark.size_px)
    planned = scene_study(session, varied, num_cases=NUM_CASES)
    some = [one for one in planned.variants if (one.group, one.title) in MEASURED]
    assert len(some) == len(MEASURED)
    return replace(planned, variants=some)


@pytest.fixture(scope="module")
def ablations(study, root):
    return tabulate(study, list(measure(study, root)))


@pytest.fixture
def variant_of(study):
    """Finds a variant by group and title."""

    def find(group, title):
        (one,) = [v for v in study.variants if (v.group, v.title) == (group, title)]
        return one

    return find


@pytest.fixture
def copy(root, ablations, tmp_path):
    """A copy of what was drawn, to change."""
    assert ablations.lines
    return Path(shutil.copytree(root, tmp_path / "copy"))


def stamps(root):
    return {path: path.stat().st_mtime_ns for path in root.glob("*/images/*")}


def line_of(ablations, group, title):
    return next(one for one in ablations.lines if (one.group, one.title) == (group, title))


def test_the_same_setting_again_is_the_same_variant(study, variant_of):
    assert study.key(variant_of("masks", "none")) == study.key(study.variants[0])


def test_found_regions_are_compared_with_the_truth(ablations):
    for title, is_found in (("inline", 1), ("predicted", 1), ("none", 0), ("true", 0)):
        assert ("region-iou" in line_of(ablations, "masks", title).figures) is bool(is_found)


def test_what_is_done_is_kept_unless_it_is_forced(study, copy, ablations):
    before = stamps(copy)
    assert tuple(measure(study, copy)) == ablations.lines
    assert stamps(copy) == before
    first = replace(study, variants=study.variants[:1])
    assert tuple(measure(first, copy, force=True)) == ablations.lines[:1]
    assert {path.parents[1] for path, stamp in stamps(copy).items() if stamp != before[path]} == {
        study.results(study.variants[0], copy).root
    }


def test_only_what_is_missing_is_done_again(study, copy, ablations):
    results = study.results(study.variants[1], copy)
    results.path(study.cases[0], "model").unlink()
    before = stamps(copy)
    assert tuple(measure(study, copy)) == ablations.lines
    changed = {path for path, stamp in stamps(copy).items() if before.get(path) != stamp}
    assert {path.parent.parent for path in changed} == {results.root}
    assert {path.name.split(".")[0] for path in changed} == {study.cases[0].name}


def test_another_seed_is_measured_anew(study):
    other = replace(study, benchmark=replace(study.benchmark, seed=1))
    assert other.key(study.variants[0]) != study.key(study.variants[0])


def test_every_variant_has_a_line_in_its_group(ablations, study):
    assert [(one.group, one.title) for one in ablations.lines] == [
        (one.group, one.title) for one in study.variants
    ]
    tables = ablations.tables()
    assert list(tables) == ["branches", "masks", "detail scale"]
    for heads, lines in tables.values():
        assert {len(line) for line in lines} == {len(heads)}


def test_changes_are_counted_from_everything(ablations):
    assert {one.mean for one in ablations.lines[0].change.values()} == {0.0}
    text_only = line_of(ablations, "branches", "text only")
    assert text_only.change["subject-psnr"].mean < -2


def test_json_holds_every_row(ablations):
    stored = json.loads(ablations.to_json())
    assert [one["title"] for one in stored["lines"]] == [one.title for one in ablations.lines]


def test_the_page_shows_every_group_and_needs_no_other_file(ablations, study, root):
    page = render(page_of(study, ablations, root))
    for group in {line.group for line in ablations.lines}:
        assert f"<h2>{group}</h2>" in page
    assert set(re.findall(r'href="([a-z]+:)', page)) == {"data:"}
    rows = len({study.key(one) for one in study.variants}) + 1  # and the truth
    assert page.count("<svg") == rows * len(study.cases)


def test_every_column_is_a_metric(study):
    assert set(study.columns) <= set(study.benchmark.metrics)
