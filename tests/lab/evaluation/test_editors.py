from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import Session
from swiftpie.backbones.presets import trailing
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.denoise import Prepared, denoise
from swiftpie.pipelines.settings import EditMode, EditSettings
from swiftpie.schedules import PredictionType, build_schedule
from swiftpie_lab.evaluation.editors import (
    DdimEditor,
    EditTask,
    MaskChoice,
    NaiveEditor,
    SourceEditor,
    SwiftEditor,
    TargetEditor,
    invert,
    text_alone,
)
from swiftpie_lab.evaluation.run import Results, draw, score
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
    return EditTask(
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


ALONE = None  # a benchmark is not needed where tasks are given one by one


def changed(image, source):
    return (np.asarray(image) != np.asarray(source)).any(axis=-1)


@pytest.mark.parametrize("mask", MaskChoice)
def test_nothing_outside_of_the_used_mask_changes(tiny, task, mask):
    edited = SwiftEditor(ALONE, tiny, mask=mask).edit(task)
    used = edited.mask[0, 0].numpy() > 0
    assert not changed(edited.image, task.source)[~used].any()
    assert edited.timings_ms["total"] > 0
    if mask is MaskChoice.TRUE:
        assert torch.equal(edited.mask, task.mask)
    if mask is MaskChoice.NONE:
        assert used.all()


def test_the_keyword_finds_another_mask_than_the_prompts(tiny, task):
    found, keyword = (
        SwiftEditor(ALONE, tiny, mask=mask).edit(task).mask
        for mask in (MaskChoice.FOUND, MaskChoice.KEYWORD)
    )
    assert not torch.equal(found, keyword)


@pytest.mark.parametrize("mode", EditMode)
def test_the_reconstruction_is_neither_the_source_nor_the_edit(tiny, task, mode):
    editor = SwiftEditor(ALONE, tiny, mask=MaskChoice.NONE, settings=EditSettings(mode=mode))
    edited = editor.edit(task)
    assert edited.reconstruction.size == task.source.size
    assert changed(edited.reconstruction, task.source).mean() > 0.5
    assert changed(edited.reconstruction, edited.image).any()


def test_a_reference_changes_the_edit(tiny, task):
    editor = SwiftEditor(ALONE, tiny, mask=MaskChoice.TRUE)
    without = editor.edit(replace(task, reference=None, reference_mask=None))
    assert changed(editor.edit(task).image, without.image).any()


def test_every_choice_is_part_of_the_name(tiny):
    editors = [
        SwiftEditor(ALONE, tiny),
        SwiftEditor(ALONE, tiny, mask=MaskChoice.TRUE),
        SwiftEditor(ALONE, tiny, settings=EditSettings(mode=EditMode.RELEASED)),
        NaiveEditor(ALONE, tiny),
        SourceEditor(ALONE),
        TargetEditor(ALONE),
    ]
    assert len({editor.maker for editor in editors}) == len(editors)


def test_edits_of_a_model_are_drawn_and_judged_to_the_end(tiny, edits, networks, tmp_path):
    cases, results = edits.cases(1)[:3], Results(tmp_path)
    list(draw(edits, cases, SwiftEditor(edits, tiny), results=results))
    for row in score(edits, cases, results, networks):
        assert row.scores["stray-pixels"] == {"edit": 0}
        assert row.scores["time"]["edit"] > 0
        assert 0 <= row.scores["mask-iou"]["edit"] < 1
        assert 0 < row.scores["reconstruction-psnr"]["edit"] < 40
        assert {*row.scores["wish-success"]} == {"edit", "target", "source"}


def test_a_preset_without_inversion_is_refused_before_any_work(tiny):
    with pytest.raises(CapabilityError, match="inversion"):
        SwiftEditor(ALONE, Session(replace(tiny.components, inversion=None)))


def test_the_naive_paste_draws_the_prompt_inside_of_the_true_mask_only(session, edits, dealt_edits):
    task = edits.task(dealt_edits[0])
    edited = NaiveEditor(ALONE, session).edit(task)
    inside = task.mask[0, 0].numpy() > 0
    assert not changed(edited.image, task.source)[~inside].any()
    assert changed(edited.image, task.source)[inside].any()
    told = replace(task, source_prompt="", keyword="", reference=None, target=None)
    assert not changed(NaiveEditor(ALONE, session).edit(told).image, edited.image).any()


def test_the_bounds_return_source_and_target(task):
    assert SourceEditor(ALONE).edit(task).image is task.source
    assert not SourceEditor(ALONE).edit(task).mask.any()
    assert TargetEditor(ALONE).edit(task).image is task.target


def inverter(num_steps):
    """A random model that starts half way: at pure noise its errors would fill the picture."""
    half = trailing(2 * num_steps)[num_steps:]
    schedule = build_schedule(half, PredictionType.EPSILON)
    return replace(tiny_editor(), schedule=schedule)


@torch.no_grad()
def error(num_steps):
    """How far the way up and down leads from where it began, in deviations of the latents."""
    components = inverter(num_steps)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    text = components.text.encode(["a cat on the sofa"])
    told = text_alone(components, photograph(), latents)
    noisy = invert(components, latents, text, told)
    fresh = noisy.new_zeros(0, *noisy.shape)
    again = denoise(Prepared(components, noisy, text, None, told, fresh)).latents
    return float((again - latents).square().mean().sqrt())


@pytest.mark.thorough
def test_finer_steps_lead_back_more_closely():
    coarse, fine = error(3), error(24)
    assert fine < 0.5 * coarse
    assert fine < 0.3


def test_ddim_returns_an_edit_as_large_as_its_picture_and_claims_no_mask(task):
    edited = DdimEditor(ALONE, Session(inverter(3))).edit(task)
    assert edited.image.size == edited.reconstruction.size == task.source.size
    assert edited.mask is None
    assert {"encode", "invert", "denoise", "total"} <= set(edited.timings_ms)


def test_only_the_prompt_makes_an_edit_differ_from_the_reconstruction(task):
    edited = DdimEditor(ALONE, Session(inverter(3))).edit(
        replace(task, target_prompt=task.source_prompt)
    )
    assert edited.image.tobytes() == edited.reconstruction.tobytes()
    assert (
        DdimEditor(ALONE, Session(inverter(3))).edit(task).image.tobytes() != edited.image.tobytes()
    )
