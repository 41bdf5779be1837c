"""The chain of runs: it leads from nothing to every weight of the package, and counts its cost."""

import json
import re

import pytest

from swiftpie.backbones.families.tiny import Tiny
from swiftpie.backbones.presets import PRESETS
from swiftpie.errors import ConfigError
from swiftpie_lab.training import context
from swiftpie_lab.training.chain import CHAIN, RUNS, parts_of_package
from swiftpie_lab.training.speedrun import LEDGER, Ledger, Spent, fitting
from swiftpie_lab.training.stages import autoencoder
from tests.policy.project import ROOT

SOURCES = ROOT / "src"
BOARD = ROOT / "docs" / "speedrun.md"
SIZE = ("num_subjects=1", "views=1", "validation_pictures=2")
MODEL = (*SIZE, "sceneries=0", "tasks.insert=0", "pixel_samples=1")
SMALL = {  # what the runs of a rehearsal are made of, so that each takes a second
    **dict.fromkeys(("model_128", "model_256", "model_both", "semantic"), MODEL),
    **dict.fromkeys(
        ("sharpening", "renditions", "semantic_sharpening"), tuple(f"model.{one}" for one in MODEL)
    ),
    **dict.fromkeys(
        ("inversion_128", "inversion_256"),
        ("scenes.num_subjects=1", "scenes.views=2", "validation_pictures=2"),
    ),
    "autoencoder": ("num_subjects=2",),
    "light": ("num_pictures=2", "validation_pictures=4"),
    "scene": ("batch_size=1", "validation_pictures=1"),
    "cutout": ("num_textures=8", "batch_size=2"),
    "judges": ("num_subjects=4",),
}


def weights_of_the_package():
    return [path.relative_to(SOURCES) for path in SOURCES.glob("*/assets/**/*.safetensors")]


def test_every_weights_file_of_the_package_comes_from_a_run_and_nothing_else_does():
    folders = parts_of_package()
    assert {str(path.parent) for path in weights_of_the_package()} <= {*folders}
    assert all((SOURCES / folder).is_dir() for folder in folders)


def test_each_run_goes_on_from_earlier_ones_and_each_result_is_used():
    names = [run.name for run in CHAIN]
    assert len(RUNS) == len(CHAIN)
    for number, run in enumerate(CHAIN):
        assert {*run.reads()} <= {*names[:number]}
    used = {name for run in CHAIN for name in run.reads()}
    assert {run.name for run in CHAIN if not run.ships} <= used
    assert not any("mini" in run.configured().stage.sources for run in CHAIN if run.reads())


def test_hours_left_follow_the_steps_that_are_left(tmp_path):
    ledger = Ledger.open(tmp_path, scale=0.5)
    run = RUNS["autoencoder"]
    assert ledger.hours_left(run) == pytest.approx(run.core_hours / 2)
    half = ledger.with_spent("autoencoder", Spent(575, 360.0))
    assert half.hours_left(run) == pytest.approx(run.core_hours / 4)
    done = half.with_spent("autoencoder", Spent(1150, 720.0, is_done=True))
    assert done.hours_left(run) == 0
    again = Ledger.open(tmp_path, scale=0.5)
    assert again == done
    assert again.core_hours == pytest.approx(0.2)


def test_runs_of_one_folder_have_one_scale_and_a_ledger_that_can_be_read(tmp_path):
    Ledger.open(tmp_path, scale=0.5).with_spent("light", Spent(1, 2.0))
    with pytest.raises(ConfigError, match=r"begun with --scale 0\.5 .* not with --scale 1"):
        Ledger.open(tmp_path, scale=1.0)
    for text in ("{", "[]", '{"scale": 1, "settings": [], "runs": {"light": {"hours": 1}}}'):
        (tmp_path / LEDGER).write_text(text)
        with pytest.raises(ConfigError, match="cannot be read as the ledger"):
            Ledger.open(tmp_path, scale=1.0)


def test_a_setting_may_be_for_one_run():
    given = ["loop.log_every=1", "light:stage.num_pictures=2", "scene:stage.photos=C:/x"]
    assert fitting(RUNS["light"], given) == ["loop.log_every=1", "stage.num_pictures=2"]
    assert fitting(RUNS["judges"], ["stage.start=C:/x"]) == ["stage.start=C:/x"]


def test_the_list_shows_runs_steps_and_hours_and_starts_nothing(call, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    result = call("speedrun", "--list", "--scale", 0.01, "--out", tmp_path / "runs")
    assert result.exit_code == 0, result.output
    for run in CHAIN:
        assert re.search(rf"^{run.name} +{run.recipe_name} ", result.stdout, re.M)
    assert re.search(r"^model_128 .* 85 +0 +9\.00", result.stdout, re.M)
    assert f"{sum(run.core_hours for run in CHAIN) / 100:.2f} core hours left" in result.stderr
    assert not (tmp_path / "runs").exists()


def test_the_board_names_the_packaged_weights_and_the_hours_of_the_chain():
    board = BOARD.read_text()
    fingerprint = Tiny().packaged_fingerprint(PRESETS.get("mini"))
    assert f"| `{fingerprint[:12]}` |" in board
    mini = sum(run.core_hours for run in CHAIN if not run.is_judge)
    assert f"| {mini:.1f} |" in board
    for run in CHAIN:
        assert f"| `{run.name}` | `{run.recipe_name}` |" in board


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_rehearsal_of_the_whole_chain_ends_in_weights_that_are_judged(
    call, training_pack, tmp_path, monkeypatch
):
    monkeypatch.setattr(autoencoder, "PCA_BATCHES", 1)
    monkeypatch.setitem(context.SURFACES, "train", (8, 0))
    monkeypatch.setitem(context.SURFACES, "held_out", (8, 1))
    settings = [f"{run}:stage.{one}" for run, many in SMALL.items() for one in many]
    options = [word for one in settings for word in ("--set", one)]
    options += ["--scale", 1e-6, "--cases", 1, "--data", training_pack, "--out", tmp_path]
    stopped = call("speedrun", *options, "--time-limit", "1s")
    assert stopped.exit_code == 0, stopped.output
    assert "time limit reached" in stopped.stderr
    result = call("speedrun", *options)
    assert result.exit_code == 0, result.output
    row = result.stdout.splitlines()[-1]
    assert row.startswith("| 20")
    assert row.endswith("| a rehearsal, 1e-06 of all steps |")
    collected = {path.relative_to(tmp_path / "package") for path in tmp_path.glob("package/**/*")}
    assert {*weights_of_the_package()} <= collected
    ledger = json.loads((tmp_path / LEDGER).read_text())
    assert all(row["is_done"] and row["core_s"] > 0 for row in ledger["runs"].values())
    again = call("speedrun", *options)
    assert "run 1 of" not in again.stderr
