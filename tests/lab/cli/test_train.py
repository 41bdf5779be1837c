import pytest

from swiftpie.errors import ConfigError
from swiftpie_lab.cli.train import _announce, _check_data
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages import autoencoder


def test_a_fresh_start_moves_old_runs_to_free_numbers(tmp_path, capsys):
    folder = tmp_path / "recipe"
    for number in (1, 2):
        folder.mkdir()
        (folder / "state.safetensors").write_text(f"run {number}")
        _announce(folder, resumes=False)
        assert not folder.exists()
        assert (tmp_path / f"recipe-{number}" / "state.safetensors").read_text() == f"run {number}"
    message = capsys.readouterr().err
    assert "recipe-2" in message
    assert message.count("starting anew") == 2


def test_a_stage_that_is_missing_is_named_with_the_command(call, tmp_path, training_pack):
    options = ("--out", tmp_path / "runs", "--data", training_pack)
    result = call("train", "world-light", *options, code=2)
    assert "swiftpie train mini-world" in " ".join(result.stderr.split())


def test_a_folder_of_weights_stands_for_a_run(call, tmp_path):
    (tmp_path / "weights").mkdir()
    chosen = ("--data", "missing.zip", "--set", f"stage.start={tmp_path / 'weights'}")
    call("train", "mini-world", "--out", tmp_path, *chosen, code=2, says="no pack of subjects")


@pytest.mark.slow
def test_one_command_trains_several_stages_and_goes_on_with_each(
    call, tmp_path, training_pack, monkeypatch
):
    # Of 600 pictures that the second stage measures, few show that it had its turn.
    monkeypatch.setattr(autoencoder, "PCA_BATCHES", 1)
    monkeypatch.setattr(autoencoder.AutoencoderStage, "export", lambda *_: None)
    small = ("--set", "stage.num_subjects=2")
    options = ("--data", training_pack, "--out", tmp_path, *small)
    names = ("world-judges", "world-autoencoder")
    first = call("train", *names, *options, "--set", "loop.steps=1")
    assert first.stderr.count("starting anew") == 2
    second = call("train", *names, *options, "--set", "loop.steps=1")
    assert second.stderr.count("going on from") == 2
    late = call("train", *names, *options, "--set", "loop.steps=9", "--time-limit", "0.001s")
    assert "time limit reached" in late.stderr
    assert "world_autoencoder" not in late.stderr  # its turn comes when the first is trained


def test_a_sticker_pack_that_is_not_read_is_refused(tmp_path, samples):
    context = Context(data=samples, runs=tmp_path, device="cpu")
    _check_data(None, context, "adapter")
    with pytest.raises(
        ConfigError, match="--data names a pack of subjects, and adapter reads none"
    ):
        _check_data(samples, context, "adapter")
    context.world()
    _check_data(samples, context, "world_judges")
