import importlib.resources
import json

import pytest
import torch
from typer.testing import CliRunner

from swiftpie.errors import ConfigError
from swiftpie.imageio.images import to_tensor
from swiftpie_lab.cli.evaluate import app
from swiftpie_lab.data.subjects import is_held_out
from swiftpie_lab.evaluation.benchmarks.edit_cases import EditKind
from swiftpie_lab.evaluation.benchmarks.edits import NUM_CASES, EditBenchmark
from swiftpie_lab.stickers.renderer import MIN_CHANGE_LEVELS
from swiftpie_lab.stickers.scenes import SCENES

# From one level of a file to the next, in pixels of [-1, 1].
LEVEL = 2 / 255
SAMPLES = importlib.resources.files("swiftpie") / "assets" / "samples"


def of_kind(cases, *kinds):
    found = [case for case in cases if case.kind in kinds]
    assert found
    return found


def test_by_default_there_are_as_many_cases_as_in_pie_bench(edits):
    cases = edits.cases()
    assert len(cases) == NUM_CASES == 700
    assert len({case.name for case in cases}) == NUM_CASES
    assert len({case.seed for case in cases}) == NUM_CASES


def test_a_longer_list_begins_with_the_shorter_one(edits):
    assert edits.cases(40)[:11] == edits.cases(11)


def test_only_held_out_subjects_are_shown(edits):
    cases = edits.cases()
    assert all(is_held_out(case.code) for case in cases)
    assert all(is_held_out(case.other_code) for case in cases if case.other_code)
    assert {case.code for case in cases} == {*edits.stickers.codes}


def test_that_a_picture_has_colours_is_not_said(dealt_edits):
    for case in of_kind(dealt_edits, EditKind.GREY, EditKind.COLOUR):
        assert "coloured" in {case.before, case.after}
        assert "coloured" not in case.source_prompt + case.target_prompt


def test_outside_of_the_mask_both_renderings_agree(answers):
    for answer in answers.values():
        far = ((answer.source - answer.target).abs() * (answer.mask <= 0)).max()
        assert float(far) <= (MIN_CHANGE_LEVELS + 1) * LEVEL


def test_every_edit_changes_something(answers):
    for answer in answers.values():
        assert ((answer.source - answer.target).abs() > 10 * LEVEL).any()
        assert answer.mask.any()


def test_a_new_hat_changes_nothing_but_the_head(dealt_edits, answers):
    for case in of_kind(dealt_edits, EditKind.HAT, EditKind.SWAP):
        assert float(answers[case.name].mask.mean()) < 0.25


def test_a_moved_or_replaced_subject_lies_in_the_mask_as_a_whole(dealt_edits, answers):
    for case in of_kind(
        dealt_edits, EditKind.OBJECT, EditKind.DELETE, EditKind.SIZE, EditKind.SIDE
    ):
        answer = answers[case.name]
        union = (answer.before > 0) | (answer.kept > 0) | (answer.asked > 0)
        assert not (union & (answer.mask <= 0)).any()


def test_a_deleted_subject_leaves_the_empty_scene(dealt_edits, answers):
    for case in of_kind(dealt_edits, EditKind.DELETE):
        assert not answers[case.name].kept.any()
        assert case.keyword in case.source_prompt
        assert case.keyword not in case.target_prompt


def test_the_second_subject_comes_beside_the_first_that_stays(dealt_edits, answers):
    for case in of_kind(dealt_edits, EditKind.SECOND):
        answer = answers[case.name]
        assert torch.equal(answer.before, answer.kept)
        columns = torch.linspace(0, 1, answer.mask.shape[-1])
        first, second = (
            float((mask * columns).sum() / mask.sum()) for mask in (answer.before, answer.asked)
        )
        assert (first < second) == (case.before == "left")


def test_half_of_the_replaced_subjects_come_with_a_reference(edits):
    cases = of_kind(edits.cases(), EditKind.OBJECT)
    with_reference = [case for case in cases if case.has_reference]
    assert 0.4 < len(with_reference) / len(cases) < 0.6
    task = edits.task(with_reference[0])
    assert task.reference.size == task.source.size == task.reference_mask.size
    assert edits.task(of_kind(edits.cases(40), EditKind.GREY)[0]).reference is None


def test_a_task_is_the_answer_through_eight_bits(edits, dealt_edits, answers):
    task, answer = edits.task(dealt_edits[0]), answers[dealt_edits[0].name]
    assert float((to_tensor(task.source) - answer.source).abs().max()) <= LEVEL
    assert float((to_tensor(task.target) - answer.target).abs().max()) <= LEVEL
    assert torch.equal(task.mask, answer.mask)


def test_scenes_of_a_case_exist(edits):
    names = {scene.name for scene in SCENES}
    assert {name for case in edits.cases() for name in (case.scene, case.target_scene)} <= names


def test_a_pack_with_one_held_out_subject_is_refused(edits):
    subjects = edits.subjects
    rows = [subjects.index(code) for code in ("1f451", "1f3a9", "1f980")]
    few = type(subjects)(
        subjects.tiles[rows],
        *(tuple(field[row] for row in rows) for field in (subjects.codes, subjects.names)),
        tuple(subjects.synonyms[row] for row in rows),
        subjects.held_out[rows],
    )
    with pytest.raises(ConfigError, match="1 held-out"):
        EditBenchmark(few).cases(3)


MINE = ("--weights", "my-weights")  # never read here


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


@pytest.mark.parametrize(
    "options", [("--mask", "true"), ("--rule", "smooth"), ("--text-scale", "2")]
)
def test_choices_that_an_editor_does_not_heed_are_refused(tmp_path, options):
    for editor in ("source", "naive"):
        with pytest.raises(ConfigError, match=f"{options[0]} came with --editor {editor}"):
            run("--editor", editor, *options, *MINE, "--out", str(tmp_path / "out"))


def test_a_rule_finds_nothing_where_the_true_mask_is_given(tmp_path):
    options = ("--editor", "swiftedit", "--mask", "true", "--rule", "smooth", *MINE)
    with pytest.raises(ConfigError, match="--rule came with --mask true"):
        run(*options, "--out", str(tmp_path))
