import json
from functools import partial

import numpy as np
import pytest
from typer.testing import CliRunner

from swiftpie.engine.session import Session
from swiftpie.errors import InputError
from swiftpie.imageio.decoding import load_image
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks.pie import COMPOSITE, decode_mask, read_pie
from swiftpie_lab.evaluation.edits import EditDrawer, MaskChoice
from swiftpie_lab.evaluation.judges import Networks
from swiftpie_lab.evaluation.run import Results, draw, score
from tests.lab.evaluation.benchmarks.pie_folder import (
    RUNS,
    SIDE_PX,
    pie_entries,
    random_picture,
    write_pie,
)
from tests.tiny.editor import tiny_editor


@pytest.fixture
def mapping():
    return pie_entries()


@pytest.fixture
def write(tmp_path):
    return partial(write_pie, tmp_path)


def plain_mask(runs, height, width):
    flat = [0] * (height * width)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for place in range(start, min(start + length, height * width)):
            flat[place] = 1
    mask = np.array(flat).reshape(height, width)
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = 1
    return mask


def test_entries_are_read_without_brackets(write, mapping):
    pie = read_pie(write(mapping))
    assert [case.name for case in pie.cases] == list(mapping)
    assert [case.type_id for case in pie.cases] == [1, 2]
    first = pie.cases[0]
    task = pie.task(first)
    assert task.source.size == (SIDE_PX, SIDE_PX)
    assert np.array_equal(task.mask[0, 0].numpy(), plain_mask(RUNS, SIDE_PX, SIDE_PX))
    assert (first.source_prompt, first.target_prompt) == ("a cat on a sofa", "a dog on a sofa")
    assert len(read_pie(write(mapping), limit=1).cases) == 1


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [0, 9],
        [5, 0],
        [33, 100],
        [34, 10**30],
        [7, 3, 8, 1],
        [35, 1],
        [36, 1],
        [3, 2, 99, 5, 7, 1],
    ],
)
def test_any_runs_decode_as_the_definition_says(runs):
    found = decode_mask(runs, height=5, width=7)[0, 0]
    assert np.array_equal(found.numpy(), plain_mask(runs, 5, 7))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mask", [1]),
        ("mask", [1, -2]),
        ("mask", [True, 2]),
        ("image_path", "../../secret.jpg"),
        ("image_path", "link.jpg"),
        ("image_path", "nowhere.jpg"),
        ("image_path", "a\0b"),
        ("image_path", 7),
        ("original_prompt", None),
        ("editing_prompt", " "),
        ("editing_type_id", "10"),
        ("editing_type_id", None),
    ],
)
def test_a_hostile_entry_is_named(write, mapping, tmp_path, key, value):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    name = list(mapping)[1]
    mapping[name][key] = value
    root = write(mapping)
    (root / "annotation_images" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(InputError, match=name):
        read_pie(root)


@pytest.fixture
def results(write, mapping, tmp_path):
    """The dataset, and other random pictures as the results of some method."""
    root = write(mapping)
    folder = tmp_path / "results" / "annotation_images" / "1_change_object_80"
    folder.mkdir(parents=True)
    for number in range(2):
        random_picture(10 + number).save(folder / f"{number:012d}.jpg", quality=95)
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
        task = pie.task(case)
        drawn = np.asarray(load_image(other / case.picture.relative_to(root.resolve())))
        keep = 1 - task.mask[0, 0].numpy()[..., None]
        pair = np.asarray(task.source) / 255, drawn / 255
        errors.append(np.mean((pair[0] * keep - pair[1] * keep) ** 2))
    means = {name: one["candidates"]["edit"]["mean"] for name, one in report["metrics"].items()}
    assert means["unedited-mse"] == pytest.approx(1e4 * np.mean(errors), rel=1e-4)
    assert means["unedited-psnr"] == pytest.approx(np.mean(-10 * np.log10(errors)), rel=1e-4)
    missing = {"structure-distance", "unedited-lpips", "clip-whole", "clip-edited"}
    assert {*report["not_computed"]} == missing
    assert not missing & {*means}
    assert {"unedited-ssim", *missing, *means} - {"time"} == {*report["released_names"]}
    assert "--clip" in report["not_computed"]["clip-whole"]


def test_an_edit_is_judged_before_pixels_of_the_source_are_put_back(write, mapping, tmp_path):
    pie, results = read_pie(write(mapping), limit=1), Results(tmp_path / "out")
    (case,) = pie.cases
    drawer = EditDrawer(pie, Session(tiny_editor()), mask=MaskChoice.TRUE)
    list(draw(pie, pie.cases, drawer, results=results))
    (row,) = score(pie, pie.cases, results, Networks())
    scores, task = row.scores["unedited-mse"], pie.task(case)
    keep, source = 1 - task.mask[0], to_tensor(task.source)[0]
    for candidate, kind in (("edit", "uncomposed"), (COMPOSITE, "edit")):
        picture = to_tensor(results.read(case, kind))[0]
        error = ((picture - source) / 2 * keep).square().mean().item()
        assert scores[candidate] == pytest.approx(1e4 * error, rel=1e-4)
    assert scores["edit"] > 10 * scores[COMPOSITE]
    assert next(iter(pie.candidates)) == "edit"  # which the table and the page rank by
