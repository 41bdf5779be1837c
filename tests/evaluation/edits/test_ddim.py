"""DDIM inversion: up to noise and back, the finer the steps the closer."""

from dataclasses import replace

import pytest
import torch

from swiftpie import Session
from swiftpie.backbones.preset import trailing
from swiftpie.evaluation.edits.ddim import DdimEditor, invert, nobody
from swiftpie.evaluation.edits.editor import Task
from swiftpie.pipelines.denoise import denoise
from swiftpie.schedules import PredictionType, build_schedule
from tests.parity.edit import photograph
from tests.pipelines.tiny_editor import tiny_editor


def editor(num_steps):
    """A random model that starts half way: at pure noise its errors would fill the picture."""
    half = trailing(2 * num_steps)[num_steps:]
    schedule = build_schedule(half, PredictionType.EPSILON)
    return replace(tiny_editor(), schedule=schedule)


@torch.no_grad()
def error(num_steps):
    """How far the way up and down leads from where it began, in deviations of the latents."""
    components = editor(num_steps)
    latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    text = components.text.encode(["a cat on the sofa"])
    told = nobody(components, photograph(), latents)
    noisy = invert(components, latents, text, told)
    again = denoise(components, noisy, text, told, fresh=noisy.new_zeros(0, *noisy.shape)).latents
    return float((again - latents).square().mean().sqrt())


def test_finer_steps_lead_back_more_closely():
    coarse, fine = error(3), error(24)
    assert fine < 0.5 * coarse
    assert fine < 0.3


@pytest.fixture(scope="module")
def task():
    return Task(
        name="0",
        source=photograph(),
        source_prompt="a cat on the sofa",
        target_prompt="a dog on the sofa",
        keyword="cat",
        mask=torch.zeros(1, 1, 1, 1),
        seed=1,
    )


def test_an_edit_is_as_large_as_its_picture_and_claims_no_mask(task):
    edited = DdimEditor(Session(editor(3)))(task)
    assert edited.image.size == edited.reconstruction.size == task.source.size
    assert edited.mask is None
    assert {"encode", "invert", "denoise", "total"} <= set(edited.timings_ms)


def test_only_the_prompt_makes_an_edit_differ_from_the_reconstruction(task):
    edited = DdimEditor(Session(editor(3)))(replace(task, target_prompt=task.source_prompt))
    assert edited.image.tobytes() == edited.reconstruction.tobytes()
    assert DdimEditor(Session(editor(3)))(task).image.tobytes() != edited.image.tobytes()
