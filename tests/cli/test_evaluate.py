import importlib.resources
import json

import pytest
from typer.testing import CliRunner

from swiftpie.cli.evaluate import app
from swiftpie.errors import ConfigError

SAMPLES = importlib.resources.files("swiftpie") / "assets" / "samples"


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluate")


def run(*options):
    arguments = ["stickers", "--data", str(SAMPLES), "--cases", "2", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_json_is_all_that_standard_output_gets(out):
    result = run("--out", str(out), "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert report["num_cases"] == 2
    assert "index.html" in result.stderr


def test_the_table_names_metrics_and_candidates(out):
    result = run("--out", str(out))
    assert result.exit_code == 0
    for word in ("PSNR", "truth", "naive paste", "held out"):
        assert word in result.stdout
    assert {path.name for path in out.iterdir()} == {
        "images",
        "index.html",
        "manifest.jsonl",
        "report.json",
        "rows.jsonl",
        "run.json",
    }


def test_two_numbers_of_cases_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="--full"):
        run("--full", "--out", str(tmp_path / "out"))
    assert not list(tmp_path.iterdir())
