import dataclasses
from importlib.resources import files

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.errors import ConfigError, InputError
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.run import FACTS, FinishedPictures, Results, draw
from tests.lab.evaluation.conftest import TargetDrawer


def test_another_run_is_refused_unless_forced(tmp_path, run, case):
    results, kinds = Results(tmp_path), ("reference", "model", "model-mask", "other-reference")
    results.start(run)
    for kind in kinds:
        results.write(case, kind, Image.new("RGB", (4, 4)))
    results.write(case, FACTS, {"total": 1.0})
    other = dataclasses.replace(run, weights="others")
    with pytest.raises(InputError, match="--force"):
        results.start(other)
    assert results.missing(case, kinds) == set()
    results.start(other, force=True)
    assert not list((tmp_path / "images").iterdir())
    assert results.read_run() == other
    results.write(case, "model", Image.new("RGB", (4, 4)))
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="one run"):
        results.start(run)


def test_pictures_of_unknown_origin_are_refused_and_never_removed(tmp_path, run):
    (tmp_path / "images").mkdir()
    holiday = tmp_path / "images" / "holiday.png"
    holiday.write_bytes(b"dear")
    with pytest.raises(InputError, match="holds pictures"):
        Results(tmp_path).start(run)
    Results(tmp_path).start(run, force=True)
    assert holiday.read_bytes() == b"dear"


def files_of(results):
    paths = (results.root / "images").iterdir()
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}


def test_only_what_is_missing_or_damaged_is_drawn_again_and_comes_out_the_same(edits, drawn):
    cases, drawer = edits.cases(1)[:3], TargetDrawer(edits)
    results = drawn(edits, cases, drawer)
    before = files_of(results)
    assert list(draw(edits, cases, drawer, results=results)) == cases
    assert files_of(results) == before
    results.path(cases[0], "naive").unlink()
    results.path(cases[1], FACTS).write_text("{}")
    list(draw(edits, cases, drawer, results=results))
    after = files_of(results)
    changed = {name for name in before if before[name][0] != after[name][0]}
    assert {name for name in changed if name.startswith(f"{cases[0].name}.")} == {
        results.path(cases[0], "naive").name
    }
    assert {name.split(".")[0] for name in changed} == {cases[0].name, cases[1].name}
    assert {name: after[name][1] for name in before} == {n: b for n, (_, b) in before.items()}


def test_finished_pictures_of_another_size_are_refused(edits, tmp_path):
    (case,) = edits.cases(1, kinds=["colour"])
    Image.new("RGB", (8, 8)).save(tmp_path / f"{case.name}.png")
    pictures = FinishedPictures(edits, tmp_path, [case])
    with pytest.raises(InputError, match="Equal sizes are needed"):
        list(draw(edits, [case], pictures, results=Results(tmp_path / "out")))


@pytest.mark.parametrize(
    "options",
    [
        ("removals", "--preset", "mini"),
        ("world-edits", "--mask", "true"),
        ("world-edits", "--text-scale", "1"),
    ],
)
def test_choices_that_finished_pictures_do_not_heed_are_refused(tmp_path, options):
    samples = files("swiftpie") / "assets" / "samples"
    where = ["--results", "x", "--data", str(samples), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*options, *where])
    assert isinstance(done.exception, ConfigError), done.output
    assert f"{options[1]} cannot be combined with --results" in str(done.exception)
