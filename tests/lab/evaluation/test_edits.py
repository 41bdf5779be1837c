from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import Session
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from swiftpie_lab.evaluation.edits import EditDrawer, EditTask, MaskChoice
from swiftpie_lab.evaluation.run import score
from tests.parity.edit import photograph


@pytest.fixture(scope="module")
def task():
    source = photograph().resize((128, 128))
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 40:100] = 1
    return EditTask(
        name="0",
        source=source,
        source_prompt="a cat on the sofa",
        target_prompt="a dog on the sofa",
        mask=mask,
        seed=1,
        reference=Image.new("RGB", (64, 64), "red"),
        reference_mask=Image.new("L", (64, 64), 255),
    )


ALONE = None  # a benchmark is not needed where tasks are given one by one
CHORD = EditSettings(method="chord")


def edited(task, session, **choices):
    return dict(EditDrawer(ALONE, session, **choices).edit(task))


def changed(image, source):
    return (np.asarray(image) != np.asarray(source)).any(axis=-1)


@pytest.mark.parametrize("mask", MaskChoice)
def test_nothing_outside_of_the_used_mask_changes(editor, task, mask):
    files = edited(task, editor, mask=mask)
    used = files["edit-mask"][0, 0].numpy() > 0
    assert not changed(files["edit"], task.source)[~used].any()
    assert files["facts"]["total"] > 0
    if mask is MaskChoice.TRUE:
        assert torch.equal(files["edit-mask"], task.mask)
    if mask is MaskChoice.NONE:
        assert used.all()


def test_chordedit_needs_no_inversion(editor, task):
    session = Session(replace(editor.components, inversion=None))
    with pytest.raises(CapabilityError, match="inversion"):
        EditDrawer(ALONE, session)
    plain = replace(task, reference=None, reference_mask=None)
    files = edited(plain, session, settings=CHORD, mask=MaskChoice.TRUE)
    assert changed(files["edit"], task.source).any()


def test_every_choice_is_part_of_the_name(editor):
    choices = [
        {},
        {"mask": MaskChoice.TRUE},
        {"settings": EditSettings(mode=EditMode.RELEASED)},
        {"settings": EditSettings(scales=Scales(text_scale=1.5))},
        {"settings": CHORD},
    ]
    makers = {EditDrawer(ALONE, editor, **choice).maker for choice in choices}
    assert len(makers) == len(choices)


@pytest.mark.thorough
def test_edits_of_a_model_are_drawn_and_judged_to_the_end(editor, edits, networks, drawn):
    cases = edits.cases(1)[:3]
    results = drawn(edits, cases, EditDrawer(edits, editor))
    for row in score(edits, cases, results, networks):
        assert row.scores["stray-pixels"] == {"edit": 0}
        assert row.scores["time"]["edit"] > 0
        assert 0 <= row.scores["mask-iou"]["edit"] < 1
        assert {*row.scores["wish-success"]} == {"edit", "target", "source"}


def test_the_naive_paste_draws_the_prompt_inside_of_the_true_mask_only(session, edits):
    task = edits.task(edits.cases(1)[0])
    drawer = EditDrawer(ALONE, session, draws_naive=True)
    naive = drawer.naive(task)
    inside = task.mask[0, 0].numpy() > 0
    assert not changed(naive, task.source)[~inside].any()
    assert changed(naive, task.source)[inside].any()
    blind = replace(task, source_prompt="", reference=None, known={})
    assert not changed(drawer.naive(blind), naive).any()


def test_an_edit_that_the_model_refuses_is_the_untouched_source(session, edits, caplog):
    (case,) = edits.cases(1, kinds=["put_on"])
    task = edits.task(case)
    files = edited(task, session)
    assert files["edit"] is task.source
    assert not files["edit-mask"].any()
    assert files["facts"] == {}
    assert "stays unchanged" in caplog.text
