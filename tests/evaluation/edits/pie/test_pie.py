"""From a folder of PIE-Bench's layout to figures, as one command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from swiftpie.cli.evaluate import app
from swiftpie.errors import InputError
from swiftpie.evaluation.edits.editor import SourceEditor
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.pie.dataset import read_pie, task_of
from swiftpie.evaluation.edits.pie.generate import ResultsEditor, generate, last_square
from swiftpie.evaluation.edits.pie.score import Networks, edited_part, score
from swiftpie.files import load_image
from tests.evaluation.edits.pie.conftest import SIDE_PX, random_picture


@pytest.fixture
def results(write, mapping, tmp_path):
    """The dataset, and other random pictures as the results of some method: strips of four."""
    root = write(mapping)
    folder = tmp_path / "results" / "annotation_images" / "1_change_object_80"
    folder.mkdir(parents=True)
    for number in range(2):
        strip = Image.new("RGB", (4 * SIDE_PX, SIDE_PX))
        strip.paste(random_picture(10 + number), (3 * SIDE_PX, 0))
        strip.save(folder / f"{number:012d}.jpg", quality=95)
    return root, tmp_path / "results"


def run(*arguments):
    return CliRunner().invoke(app, ["pie", *map(str, arguments)], catch_exceptions=False)


def test_results_of_others_are_judged_by_the_definitions(results, tmp_path):
    root, other = results
    result = run(root, "--results", other, "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    errors, pie = [], read_pie(root)
    for case in pie.cases:
        task = task_of(case)
        strip = np.asarray(load_image(other / case.picture.relative_to(root.resolve())))
        keep = 1 - task.mask[0, 0].numpy()[..., None]
        pair = np.asarray(task.source) / 255, strip[:, -SIDE_PX:] / 255
        errors.append(np.mean((pair[0] * keep - pair[1] * keep) ** 2))
    means = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert means["mse"] == pytest.approx(1e4 * np.mean(errors), rel=1e-4)
    assert means["psnr"] == pytest.approx(np.mean(-10 * np.log10(errors)), rel=1e-4)
    missing = {"structure-distance", "lpips", "clip-whole", "clip-edited"}
    assert {*report["not_computed"]} == missing
    assert not missing & {*means}
    assert "--clip" in report["not_computed"]["clip-whole"]


def test_the_table_says_what_was_not_computed(write, mapping, tmp_path):
    result = run(write(mapping), "--editor", "source", "--cases", "1", "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "Not computed" in result.stdout
    assert (tmp_path / "out" / "index.html").is_file()


def test_an_untouched_source_preserves_all(write, mapping, tmp_path):
    pie, folder = read_pie(write(mapping)), EditFolder(tmp_path / "out")
    list(generate(SourceEditor(), pie, folder=folder))
    rows = list(score(folder, pie.cases, Networks()))
    assert [row.type_id for row in rows] == [1, 2]
    for row in rows:
        assert row.scores["mse"] == {"edit": 0.0, "source": 0.0}
        assert row.scores["ssim"]["edit"] == pytest.approx(100)
        assert "psnr" not in row.scores  # infinite


def test_a_run_goes_on_where_it_stopped_and_refuses_other_editors(write, mapping, tmp_path):
    pie, folder = read_pie(write(mapping)), EditFolder(tmp_path / "out")
    next(generate(SourceEditor(), pie, folder=folder))
    first = folder.picture(pie.cases[0], "edit")
    before = first.stat().st_mtime_ns
    assert len(list(generate(SourceEditor(), pie, folder=folder))) == 2
    assert first.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="--force"):
        next(generate(SourceEditor(name="another"), pie, folder=folder))


def test_an_edit_of_another_size_is_refused(results, tmp_path):
    root, other = results
    pie = read_pie(root)
    for path in other.rglob("*.jpg"):
        random_picture(0, side=20).save(path)
    with pytest.raises(InputError, match="Equal sizes"):
        next(generate(ResultsEditor(other, pie), pie, folder=EditFolder(tmp_path / "out")))


def test_the_last_square_of_a_strip_is_its_right_end():
    strip = Image.new("RGB", (12, 6))
    strip.paste("red", (8, 2, 12, 6))
    cropped = last_square(strip, size=(4, 4))
    assert cropped.getcolors() == [(16, (255, 0, 0))]
    assert last_square(cropped, size=(2, 2)) is cropped


def test_the_edited_part_is_black_outside():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 1:3, 1:3] = 1
    part = np.asarray(edited_part(Image.new("RGB", (4, 4), (9, 8, 7)), mask))
    assert part.sum() == 4 * (9 + 8 + 7)
    assert (part[1:3, 1:3] == (9, 8, 7)).all()
