"""The journal: whole rows, each once, and TensorBoard on demand."""

import importlib.util
import json
import sys

import pytest

from swiftpie.errors import MissingExtra
from swiftpie.training.context import SINGLE_PROCESS
from swiftpie.training.state import LOG_FILE, MetricsLog, RunningFigures, open_log

HAS_TENSORBOARD = importlib.util.find_spec("tensorboard") is not None


def test_rows_beyond_the_state_and_half_rows_are_dropped(tmp_path):
    with open_log(tmp_path, step=0, tensorboard=False) as log:
        for step in (1, 2, 3):
            log.write(step, {"error": 1 / step})
    with (tmp_path / LOG_FILE).open("a") as log:
        log.write('{"step": 4, "er')
    with open_log(tmp_path, step=2, tensorboard=False) as log:
        log.write(3, {"error": 7.0})
    rows = [json.loads(row) for row in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert rows[-1]["error"] == 7.0


def test_a_silent_journal_writes_nothing(tmp_path):
    with MetricsLog() as log:
        log.write(1, {"error": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_means_are_over_batches_and_terms_may_be_absent():
    tally = RunningFigures()
    tally.add({"error": [1.0, 3.0]})
    tally.add({"error": [5.0], "rare": [2.0]})
    assert tally.steps == 2
    assert tally.means(SINGLE_PROCESS) == {"error": 3.0, "rare": 2.0}


@pytest.mark.skipif(not HAS_TENSORBOARD, reason="needs the extra train")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of packages below tensorboard
def test_tensorboard_gets_the_same_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_log(tmp_path, step=0, tensorboard=True) as log:
        for step in (1, 2):
            log.write(step, {"error": 0.5 * step})
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(row.step, row.value) for row in read.Scalars("error")] == [(1, 0.5), (2, 1.0)]


def test_without_tensorboard_the_error_names_the_extra(tmp_path, monkeypatch):
    # What an environment without it looks like: no folder on the path has it.
    folders = [folder for folder in sys.path if "site-packages" not in folder]
    monkeypatch.setattr(sys, "path", folders)
    monkeypatch.delitem(sys.modules, "tensorboard", raising=False)
    sys.path_importer_cache.clear()
    with pytest.raises(MissingExtra, match=r"swiftpie\[train\]"):
        open_log(tmp_path, step=0, tensorboard=True)
    assert list(tmp_path.iterdir()) == []
