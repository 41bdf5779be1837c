from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import Session
from swiftpie.errors import CapabilityError
from swiftpie.evaluation.edits.editor import SourceEditor, TargetEditor, Task
from swiftpie.evaluation.edits.editors import MaskChoice, NaiveEditor, SwiftEditor
from swiftpie.evaluation.edits.folder import EditFolder
from swiftpie.evaluation.edits.generate import generate
from swiftpie.evaluation.edits.score import score
from swiftpie.pipelines.request import EditMode, EditSettings
from tests.parity.edit import photograph
from tests.pipelines.tiny_editor import tiny_editor


@pytest.fixture(scope="module")
def tiny():
    return Session(tiny_editor())


@pytest.fixture(scope="module")
def task():
    source = photograph().resize((128, 128))
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 40:100] = 1
    return Task(
        name="0",
        source=source,
        source_prompt="a cat on the sofa",
        target_prompt="a dog on the sofa",
        keyword="cat",
        mask=mask,
        seed=1,
        reference=Image.new("RGB", (64, 64), "red"),
        reference_mask=Image.new("L", (64, 64), 255),
        target=source.rotate(180),
    )


def changed(image, source):
    return (np.asarray(image) != np.asarray(source)).any(axis=-1)


@pytest.mark.parametrize("mask", MaskChoice)
def test_nothing_outside_of_the_used_mask_changes(tiny, task, mask):
    edited = SwiftEditor(tiny, mask=mask)(task)
    used = edited.mask[0, 0].numpy() > 0
    assert not changed(edited.image, task.source)[~used].any()
    assert edited.timings_ms["total"] > 0
    if mask is MaskChoice.TRUE:
        assert torch.equal(edited.mask, task.mask)
    if mask is MaskChoice.NONE:
        assert used.all()


def test_the_keyword_finds_another_mask_than_the_prompts(tiny, task):
    found, keyword = (
        SwiftEditor(tiny, mask=mask)(task).mask for mask in (MaskChoice.FOUND, MaskChoice.KEYWORD)
    )
    assert not torch.equal(found, keyword)


@pytest.mark.parametrize("mode", EditMode)
def test_the_reconstruction_is_neither_the_source_nor_the_edit(tiny, task, mode):
    editor = SwiftEditor(tiny, mask=MaskChoice.NONE, settings=EditSettings(mode=mode))
    edited = editor(task)
    assert edited.reconstruction.size == task.source.size
    assert changed(edited.reconstruction, task.source).mean() > 0.5
    assert changed(edited.reconstruction, edited.image).any()


def test_a_reference_changes_the_edit(tiny, task):
    editor = SwiftEditor(tiny, mask=MaskChoice.TRUE)
    without = editor(replace(task, reference=None, reference_mask=None))
    assert changed(editor(task).image, without.image).any()


def test_every_choice_is_part_of_the_name(tiny):
    editors = [
        SwiftEditor(tiny),
        SwiftEditor(tiny, mask=MaskChoice.TRUE),
        SwiftEditor(tiny, settings=EditSettings(mode=EditMode.RELEASED)),
        NaiveEditor(tiny),
        SourceEditor(),
        TargetEditor(),
    ]
    assert len({editor.name for editor in editors}) == len(editors)


def test_edits_of_a_model_are_drawn_and_judged_to_the_end(tiny, edits, panel, tmp_path):
    cases, folder = edits.cases(3), EditFolder(tmp_path)
    list(generate(SwiftEditor(tiny), edits, cases, folder=folder))
    for row in score(folder, cases, panel):
        assert row.scores["stray-pixels"] == {"edit": 0}
        assert row.scores["time"]["edit"] > 0
        assert 0 <= row.scores["mask-iou"]["edit"] < 1
        assert 0 < row.scores["reconstruction-psnr"]["edit"] < 40
        assert {*row.scores["edit-success"]} == {"edit", "target", "source"}


def test_a_preset_without_inversion_is_refused_before_any_work(tiny):
    with pytest.raises(CapabilityError, match="inversion"):
        SwiftEditor(Session(replace(tiny.components, inversion=None)))


def test_the_naive_paste_draws_the_prompt_inside_of_the_true_mask_only(session, edits, dealt):
    task = edits.task(dealt[0])
    edited = NaiveEditor(session)(task)
    inside = task.mask[0, 0].numpy() > 0
    assert not changed(edited.image, task.source)[~inside].any()
    assert changed(edited.image, task.source)[inside].any()
    told = replace(task, source_prompt="", keyword="", reference=None, target=None)
    assert not changed(NaiveEditor(session)(told).image, edited.image).any()


def test_the_bounds_return_source_and_target(task):
    assert SourceEditor()(task).image is task.source
    assert not SourceEditor()(task).mask.any()
    assert TargetEditor()(task).image is task.target
