from importlib.resources import files

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.errors import ConfigError, InputError
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.run import FinishedPictures, Results, draw


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
    assert f"{options[1]} came with --results" in str(done.exception)
