"""`swiftpie evaluate fastface` from photographs to a page, with tiny models."""

import json

from typer.testing import CliRunner

from swiftpie.cli.evaluate import app
from swiftpie.faces.face import CONSENT
from tests.faces.tiny_world import options


def run(world, out, *more):
    arguments = ["fastface", "--identities", world / "people", "--prompts", world / "prompts.txt"]
    arguments += ["--out", out, *options(world), *more]
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def pictures(out):
    return {path.name: path for path in (out / "images").glob("*.drawn.png")}


def test_people_are_drawn_once_judged_apart_and_failures_counted(world, tmp_path):
    out = tmp_path / "out"
    result = run(world, out, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["num_people"], report["num_drawn"], report["num_failed"]) == (2, 4, 2)
    assert [(one["name"], one["num_cases"]) for one in report["lost"]] == [("c.png", 2)]
    assert (report["encoder"], report["judge"]) == ("opencv", "arcface")
    assert {*report["groups"][0]["figures"]} == {"identity", "face-ratio"}
    assert {*report["not_computed"]} == {
        *("clip-large", "clip-small", "style", "aesthetic", "image-reward")
    }
    assert "64 px" in report["run"]["preset"]
    rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    assert [row["name"] for row in rows] == ["000-000", "000-001", "001-000", "001-001"]
    assert [row["style"] for row in rows] == ["", "oil painting"] * 2
    page = (out / "index.html").read_text()
    assert page.count("<image ") == 8
    assert "No face was found" in page
    assert CONSENT.split(";")[0] in page

    drawn = pictures(out)
    before = {name: path.read_bytes() for name, path in drawn.items()}
    times = {name: path.stat().st_mtime_ns for name, path in drawn.items()}
    drawn["000-001.drawn.png"].unlink()
    again = run(world, out)
    assert again.exit_code == 0, again.output
    assert "likeness to the person" in again.stdout
    kept = [name for name, path in pictures(out).items() if path.stat().st_mtime_ns == times[name]]
    assert sorted(kept) == ["000-000.drawn.png", "001-000.drawn.png", "001-001.drawn.png"]
    assert {name: path.read_bytes() for name, path in pictures(out).items()} == before

    arguments = ["fastface", "--identities", world / "people", "--prompts", world / "prompts.txt"]
    arguments += ["--out", out, *options(world), "--style", "dcg"]
    mixed = CliRunner().invoke(app, [str(one) for one in arguments])
    assert mixed.exit_code != 0
    assert "pictures of other weights" in str(mixed.exception)
