import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from swiftpie.errors import ImageError
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.evaluation.benchmarks.dreambench import read_dreambench
from swiftpie_lab.evaluation.case import Row
from tests.lab.evaluation.benchmarks.dream_folder import write_dreambench


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dog that is seen twice and a vase, as the dataset has them."""
    return write_dreambench(tmp_path_factory.mktemp("dreambench"))


def run(*arguments):
    return CliRunner().invoke(app, ["dreambench", *map(str, arguments)], catch_exceptions=False)


def test_subjects_have_the_prompts_of_their_kind(root):
    benchmark = read_dreambench(root, num_seeds=2, seed=5)
    assert [*benchmark.named] == ["dog", "vase"]  # of the others there are no photographs
    prompts = {(case.subject, case.number): case.prompt for case in benchmark.cases()}
    assert prompts["dog", 1] == "a dog wearing a red hat"
    assert prompts["vase", 1] == "a vase on top of a mirror"
    assert [case.name for case in benchmark.cases()][:3] == ["dog-00-5", "dog-00-6", "dog-01-5"]
    few = read_dreambench(root, limit=1, num_prompts=1, num_seeds=1)
    assert [case.name for case in few.cases()] == ["dog-00-0"]


def test_a_subject_that_cannot_be_cut_out_is_left_out_and_counted(root, tmp_path):
    copy = shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(copy / "vase")
    (copy / "vase").mkdir()
    Image.new("RGB", (64, 64), "grey").save(copy / "vase" / "00.png")
    benchmark = read_dreambench(copy, num_seeds=1)
    assert {case.subject for case in benchmark.cases()} == {"dog"}
    assert [(photo.name, photo.num_cases) for photo in benchmark.left_out] == [("vase", 3)]
    rows = [Row(case, {}) for case in benchmark.cases()]
    assert benchmark.facts(rows)["num_failed"] == 3
    assert "Left out vase, 3 cases" in benchmark.sentences(rows)[1]
    shutil.rmtree(copy / "dog")
    with pytest.raises(ImageError, match="None of 1 photographs"):
        read_dreambench(copy).cases()


@pytest.mark.thorough
def test_a_box_tells_where_the_subject_is_and_counts_as_another_run(tmp_path):
    root = write_dreambench(tmp_path)
    for mask in root.glob("*/*.mask.png"):
        mask.unlink()
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"dog": [0, 0, 0.6, 1]}))
    options = {"limit": 1, "num_prompts": 1, "num_seeds": 1}
    found, boxed = (read_dreambench(root, **options), read_dreambench(root, **options, boxes=path))
    first, second = boxed.references["dog"]
    assert first.mask.getbbox()[2] <= 0.65 * first.mask.width < second.mask.getbbox()[2]
    assert found.references["dog"][0].mask.getbbox()[2] > 0.65 * first.mask.width
    assert found.fingerprint != boxed.fingerprint
    assert boxed.facts([])["boxes"] == {"dog": [0, 0, 0.6, 1]}


@pytest.mark.thorough
def test_a_run_and_its_repetition_give_the_same_report_and_its_pictures_can_be_judged_again(
    root, tmp_path
):
    options = ["--prompts", 1, "--seeds", 1, "--json"]
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    done = run(root, *options, "--out", first)
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert report["num_cases"] == 2
    assert 0.2 < report["metrics"]["likeness-masked"]["candidates"]["drawn"]["mean"] <= 1
    assert "--dino-small" in report["not_computed"]["dino"]
    run(root, *options, "--out", second)
    for name in ("report.json", "index.html"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    for path in (first / "images").glob("*.drawn.png"):
        shutil.copy(path, theirs / path.name.replace(".drawn", ""))
    done = run(root, *options, "--results", theirs, "--out", third)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["run"]["preset"] == "pictures of theirs"
