import importlib.resources
import json

from typer.testing import CliRunner

from swiftpie.cli.evaluate import app

SAMPLES = importlib.resources.files("swiftpie") / "assets" / "samples"


def run(*options):
    arguments = ["edits", "--data", str(SAMPLES), "--editor", "source", *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_bound_is_judged_without_a_model_and_said_in_json_and_on_a_page(tmp_path):
    out = tmp_path / "out"
    result = run("--cases", "2", "--out", str(out), "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert report["num_cases"] == 2
    assert report["run"]["preset"] == "untouched source"
    assert {path.name for path in out.iterdir()} == {
        "images",
        "index.html",
        "manifest.jsonl",
        "report.json",
        "rows.jsonl",
        "run.json",
    }
    table = run("--cases", "2", "--out", str(out))
    for word in ("PSNR outside", "exact target", "Not computed"):
        assert word in table.stdout
