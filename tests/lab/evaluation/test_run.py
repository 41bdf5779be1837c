import dataclasses
import shutil

import pytest
from PIL import Image

from swiftpie.errors import InputError
from swiftpie_lab.evaluation.benchmarks.world import WorldDrawer
from swiftpie_lab.evaluation.run import FACTS, Results, draw
from tests.lab.evaluation.conftest import NUM_EDITS, TargetDrawer

KINDS = (
    *("reference", "reference-mask", "truth", "truth-mask"),
    *("model", "model-mask", "text", "paste"),
)


def filled(root, run, case):
    results = Results(root)
    results.start(run)
    for kind in (*KINDS, "other-reference"):
        results.write(case, kind, Image.new("RGB", (4, 4)))
    results.write(case, FACTS, {"total": 1.0})
    return results


def test_another_run_is_refused_unless_forced(tmp_path, run, case):
    results = filled(tmp_path, run, case)
    other = dataclasses.replace(run, weights="others")
    with pytest.raises(InputError, match="--force"):
        results.start(other)
    assert results.missing(case, KINDS) == set()
    results.start(other, force=True)
    assert not list((tmp_path / "images").iterdir())
    assert results.read_run() == other
    filled_again = filled(tmp_path / "again", run, case)
    (filled_again.root / "run.json").write_text("{")
    with pytest.raises(InputError, match="one run"):
        filled_again.start(run)


def test_pictures_of_unknown_origin_are_refused_and_never_removed(tmp_path, run):
    (tmp_path / "images").mkdir()
    holiday = tmp_path / "images" / "holiday.png"
    holiday.write_bytes(b"dear")
    with pytest.raises(InputError, match="holds pictures"):
        Results(tmp_path).start(run)
    Results(tmp_path).start(run, force=True)
    assert holiday.read_bytes() == b"dear"


@pytest.fixture
def copy(drawn, tmp_path):
    shutil.copytree(drawn.root, tmp_path / "copy")
    return Results(tmp_path / "copy")


def stamps(results):
    return {path.name: path.stat().st_mtime_ns for path in (results.root / "images").iterdir()}


@pytest.fixture
def again(session, benchmark, dealt):
    def draw_again(results, **options):
        drawer = WorldDrawer(session, benchmark, "words")
        return list(draw(benchmark, dealt, drawer, results=results, **options))

    return draw_again


def test_a_complete_folder_is_left_as_it_is(again, dealt, copy):
    before = stamps(copy)
    assert again(copy) == dealt
    assert stamps(copy) == before


@pytest.mark.parametrize("kind", ["truth", "model-mask", "text"])
def test_only_a_missing_picture_is_drawn_again_and_comes_out_the_same(
    again, dealt, copy, drawn, kind
):
    path, before = copy.path(dealt[1], kind), stamps(copy)
    path.unlink()
    again(copy)
    after = stamps(copy)
    assert {name for name in before if before[name] != after[name]} == {path.name}
    assert path.read_bytes() == drawn.path(dealt[1], kind).read_bytes()


@pytest.fixture
def copied_edits(drawn_edits, tmp_path):
    shutil.copytree(drawn_edits.root, tmp_path / "copy")
    return Results(tmp_path / "copy")


def test_an_edit_whose_facts_are_damaged_is_drawn_again(edits, copied_edits):
    before, case = stamps(copied_edits), edits.cases(1)[1]
    copied_edits.path(case, FACTS).write_text("{}")
    list(draw(edits, edits.cases(1)[:NUM_EDITS], TargetDrawer(edits), results=copied_edits))
    after = stamps(copied_edits)
    assert {name.split(".")[0] for name in before if before[name] != after[name]} == {case.name}
