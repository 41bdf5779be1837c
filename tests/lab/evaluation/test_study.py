"""The same cases in many variants: what is done is kept, and told as tables, JSON and a page."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from swiftpie import Session
from swiftpie_lab.evaluation.benchmarks.ablations import VariedScenes, scene_study
from swiftpie_lab.evaluation.benchmarks.edit_ablations import EDIT_COLUMNS, edit_study
from swiftpie_lab.evaluation.page import render
from swiftpie_lab.evaluation.study import Sweep, describe_sweep, measure, page_of, tabulate
from tests.pipelines.tiny_editor import tiny_editor

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


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("ablations")


@pytest.fixture(scope="module")
def study(session, benchmark):
    """Two cases in some variants, with the same weights once more as others; not drawn yet."""
    varied = VariedScenes(benchmark.subjects, seed=benchmark.seed, size_px=benchmark.size_px)
    planned = scene_study(session, varied, num_cases=NUM_CASES, against={"earlier": session})
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


def test_the_same_weights_again_are_the_same_variant(study, variant_of):
    assert study.key(variant_of("other weights", "earlier")) == study.key(study.variants[0])


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
    assert list(tables) == ["branches", "masks", "detail scale", "other weights"]
    for heads, lines in tables.values():
        assert {len(line) for line in lines} == {len(heads)}


def test_changes_are_counted_from_everything(ablations):
    assert {one.mean for one in ablations.lines[0].change.values()} == {0.0}
    text_only = line_of(ablations, "branches", "text only")
    assert text_only.change["subject-psnr"].mean < -2


def test_a_scale_that_raises_the_subject_is_told(ablations):
    assert ("detail scale", "subject-psnr") in {(one.group, one.metric) for one in ablations.sweeps}
    for sweep in ablations.sweeps:
        assert sweep.is_monotone is (sorted(sweep.means) == list(sweep.means))
    rising = Sweep("detail scale", "subject-psnr", (13.0, 15.5), is_monotone=True, largest_fall=0.0)
    assert "13.0, 15.5; it rises or stays" in describe_sweep(rising)


def test_a_fall_is_told_in_the_metrics_own_unit():
    sweep = Sweep("detail scale", "subject-recognition", (0.5, 0.25), False, 0.25)
    assert "50.0, 25.0; it falls by up to 25.00" in describe_sweep(sweep)


def test_markdown_and_json_hold_every_row(ablations):
    text, stored = ablations.to_markdown(), json.loads(ablations.to_json())
    for line in ablations.lines:
        assert f"| {line.title} | " in text
    assert len(stored["lines"]) == len(ablations.lines)
    assert "own training" in text


def test_the_page_shows_every_group_and_needs_no_other_file(ablations, study, root):
    page = render(page_of(study, ablations, root))
    for group in {line.group for line in ablations.lines}:
        assert f"<h2>{group}</h2>" in page
    assert set(re.findall(r'href="([a-z]+:)', page)) == {"data:"}
    rows = len({study.key(one) for one in study.variants}) + 1  # and the truth
    assert page.count("<svg") == rows * len(study.cases)


@pytest.fixture(scope="module")
def tiny():
    return Session(tiny_editor())


@pytest.fixture(scope="module")
def edited(tiny, edits):
    return edit_study(tiny, edits, num_cases=1, inversions={"first stage": tiny}, teacher=tiny)


def test_every_edit_variant_differs_from_what_is_shipped_in_name_or_network(edited):
    titles = [(one.group, one.title) for one in edited.variants]
    assert len({*titles}) == len(titles)
    shipped, *others = edited.variants
    assert {one.group for one in others} == {"inversion", "mask", "scales", "baseline"}
    same = [one.title for one in others if one.drawer.maker.name == shipped.drawer.maker.name]
    assert same == ["first stage"]


def test_scales_that_are_the_default_get_no_row(edited):
    titles = {one.title for one in edited.variants}
    assert "text scale 2" not in titles
    assert "text scale 1.5" in titles


def test_every_column_is_a_metric(edited, study):
    assert set(EDIT_COLUMNS) <= set(edited.benchmark.metrics)
    assert set(study.columns) <= set(study.benchmark.metrics)
