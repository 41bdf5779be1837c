"""`swiftpie train --fresh` keeps the old run."""

from swiftpie.cli.train import _announce


def make_run(folder, text):
    folder.mkdir()
    (folder / "state.safetensors").write_text(text)


def test_a_fresh_start_moves_old_runs_to_free_numbers(tmp_path, capsys):
    folder = tmp_path / "recipe"
    for number in (1, 2):
        make_run(folder, f"run {number}")
        _announce(folder, resumes=False)
        assert not folder.exists()
        assert (tmp_path / f"recipe-{number}" / "state.safetensors").read_text() == f"run {number}"
    told = capsys.readouterr().err
    assert "recipe-2" in told
    assert told.count("starting anew") == 2


def test_by_default_a_run_goes_on(tmp_path, capsys):
    folder = tmp_path / "recipe"
    make_run(folder, "run 1")
    _announce(folder, resumes=True)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe"]
    assert "going on" in capsys.readouterr().err
