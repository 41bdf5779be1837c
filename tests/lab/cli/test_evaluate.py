import importlib
import json
import sys

import pytest
import typer
from PIL import Image

from swiftpie.cli.main import app
from swiftpie_lab.cli.evaluate import CELL_PX
from swiftpie_lab.evaluation.benchmarks import BENCHMARKS
from swiftpie_lab.evaluation.benchmarks.world import USES

PARTS = ("world", "ablations", "grid", "leakage", "rescaling")


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


@pytest.fixture
def evaluate(call, samples):
    return lambda *words, **expected: call("evaluate", *words, "--data", samples, **expected)


@pytest.mark.thorough
def test_json_is_all_that_standard_output_gets_and_a_table_names_metrics_and_candidates(
    evaluate, out
):
    kinds = ("--kinds", "pose,two subjects")
    run = ("world", *kinds, "--size", 128, "--cases", 1, "--out", out / "one")
    result = evaluate(*run, "--json")
    report = json.loads(result.stdout)
    assert report == json.loads((out / "one" / "report.json").read_text())
    assert report["num_cases"] == 2
    assert "index.html" in result.stderr
    assert {path.name for path in (out / "one").iterdir()} == {
        "images",
        "index.html",
        "manifest.jsonl",
        "report.json",
        "rows.jsonl",
        "run.json",
    }
    result = evaluate(*run)
    for word in ("PSNR", "truth", "naive paste", "never seen in training"):
        assert word in result.stdout


def test_steps_that_were_not_trained_are_refused(evaluate, tmp_path):
    options = ("--size", 128, "--cases", 1, "--steps", 3)
    evaluate("world", *options, "--out", tmp_path / "out", code=2, says="1 or 2 or 4")
    assert not list(tmp_path.iterdir())


@pytest.mark.thorough
@pytest.mark.parametrize("command", ["insertions", "removals"])
def test_subjects_in_photographs_are_judged_beside_opencv(evaluate, command, tmp_path):
    pytest.importorskip("cv2", reason="needs swiftpie-lab[evaluate]")
    evaluate(command, "--photos", tmp_path, "--out", tmp_path / "out", code=2, says="one in five")
    result = evaluate(command, "--cases", 1, "--out", tmp_path / "out", "--json")
    report = json.loads(result.stdout)
    other = {"insertions": "poisson", "removals": "inpainted"}[command]
    assert {"model", "truth", other} <= report["metrics"]["seam"]["candidates"].keys()
    assert report["num_photos"] == 1


@pytest.mark.thorough
def test_a_grid_is_one_picture_that_says_what_it_shows(evaluate, tmp_path):
    options = ("--num-subjects", 1, "-o", tmp_path / "grid.png")
    result = evaluate("grid", *options, "--json")
    pictures = json.loads(result.stdout)["pictures"]
    assert [picture["use"] for picture in pictures] == [*USES]
    assert len({picture["subject"] for picture in pictures}) == 1
    with Image.open(tmp_path / "grid.png") as sheet:
        assert sheet.width == (1 + len(USES)) * CELL_PX
    evaluate("grid", *options, code=2)  # the file exists
    evaluate("grid", *options, "--force")


def test_every_benchmark_of_quality_loads_published_models():
    group = typer.main.get_command(app).commands["evaluate"]
    for name in group.list_commands(None):
        found = group.get_command(None, name).params
        options = {option for parameter in found for option in parameter.opts}
        wanted = {"--recipe", "--weights", "--base", "--adapter", "--image-encoder", "--yes"}
        assert wanted <= options, name
        shows_parts_of_swiftpie = name in {*PARTS}
        assert ("--results" in options) is not shows_parts_of_swiftpie, name


POND = """
from typing import ClassVar

from PIL import Image

from swiftpie_lab.evaluation.benchmarks.world import WorldBenchmark, WorldKind
from swiftpie_lab.evaluation.case import Evidence
from swiftpie_lab.evaluation.command import BenchmarkCommand, Trial, open_pack
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation import options as given
from swiftpie_lab.evaluation.run import Maker
from swiftpie.cli.options import DataPath


class Pond(WorldBenchmark):
    name = "pond"
    metrics = ("subject-retrieval",)
    candidates: ClassVar = {"model": "model"}
    strip: ClassVar = {"model": "model"}
    ranked_by = ("subject-retrieval",)

    def evidence(self, case, results, networks):
        yield "model", Evidence(picture=None, networks=networks, expected=None)


class Nothing:
    maker = Maker("nothing")

    def kinds(self, case):
        return ("model",)

    def draw(self, case, missing):
        yield "model", Image.new("RGB", (8, 8))


def open_pond(*, data: DataPath = None, cases: given.NumCases = 3):
    \"\"\"Draw nothing.\"\"\"
    pond = Pond(open_pack(data))
    return Trial(pond, list(pond.deal(WorldKind.PLAIN, cases)), Nothing(), Networks())


BENCHMARK = BenchmarkCommand(open_pond, ("swiftpie evaluate pond",))
"""


def test_a_benchmark_is_one_file(evaluate, call, tmp_path, monkeypatch):
    package = importlib.import_module(BENCHMARKS.package)
    (tmp_path / "pond.py").write_text(f'"""Ponds."""\n{POND}')
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    package.__spec__.submodule_search_locations.append(str(tmp_path))
    try:
        assert "Ponds." in call("evaluate", "--help").stdout
        assert "Draw nothing." in call("evaluate", "pond", "--help").stdout
        result = evaluate("pond", "--cases", 2, "--out", tmp_path / "out", "--json")
    finally:
        package.__spec__.submodule_search_locations.pop()
        sys.modules.pop(f"{BENCHMARKS.package}.pond", None)
    assert json.loads(result.stdout)["num_cases"] == 2
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2
