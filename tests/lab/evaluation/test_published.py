"""Published figures: every row has a source, and reports keep them apart from what is measured."""

import json
import re
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.case import METRICS
from swiftpie_lab.evaluation.published import HEADING, Read, published_tables
from tests.lab.evaluation.benchmarks.pie_folder import write_pie

FOLDER = files("swiftpie_lab") / "assets" / "published"
NAMES = [path.name for path in FOLDER.iterdir()]
BENCHMARKS = sorted(name.removesuffix(".toml") for name in NAMES if name.endswith(".toml"))


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_every_published_row_has_a_source_and_metrics_of_ours(benchmark):
    tables = published_tables(benchmark)
    assert len({table.key for table in tables}) == len(tables) > 0
    for table in tables:
        assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", table.source)
        assert table.table
        for row in table.rows:
            assert {*row.figures} <= {*METRICS.names()}
            assert ("second-hand" in row.label) == (row.read is Read.SECOND_HAND)
        assert table.title.startswith(f"{HEADING}: {table.source}")


def test_figures_of_the_main_table_are_those_of_the_paper():
    first = {table.key: table for table in published_tables("pie")}["T1"]
    found, given = first.rows[:2]
    assert found.figures == {
        "unedited-psnr": 23.33,
        "unedited-mse": 6.60,
        "clip-whole": 25.16,
        "clip-edited": 21.25,
        "time": 230,
    }
    assert (given.setting, given.figures["unedited-mse"]) == ("ground-truth mask", 6.18)


def test_a_benchmark_without_a_file_has_no_published_figures():
    assert published_tables("world") == ()


def test_reports_show_published_figures_apart_from_their_own(tmp_path):
    root, out = write_pie(tmp_path), tmp_path / "out"
    arguments = ["pie", str(root), "--editor", "source", "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    for text in (result.stdout, (out / "index.html").read_text()):
        assert HEADING in text
        assert text.index("SSIM, unedited part") < text.index(HEADING) < text.index("TurboEdit")
    report = json.loads((out / "report.json").read_text())
    assert {table["key"] for table in report["published"]} == {"T1", "T6", "ChordEdit"}
    measured = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert measured["unedited-mse"] == 0  # of the untouched source, not theirs
