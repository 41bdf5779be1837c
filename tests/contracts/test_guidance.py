"""What every guidance method has to do."""

import pickle
from dataclasses import is_dataclass

import pytest
import torch

from swiftpie.guidance import Branch, ClassifierFree, Plain, decoupled_for_steps

STEP_COUNTS = (1, 2, 4, 8)

METHODS = {
    "plain": lambda _: Plain(),
    "cfg": lambda steps: ClassifierFree((1.5 if steps > 1 else 1.0,) * steps),
    "dcg": decoupled_for_steps,
}


@pytest.fixture(params=METHODS)
def build(request):
    return METHODS[request.param]


def predictions_of(guidance, step):
    draws = torch.Generator().manual_seed(step)
    return {branch: torch.randn(2, 4, 8, 8, generator=draws) for branch in guidance.branches(step)}


@pytest.mark.parametrize("num_steps", STEP_COUNTS)
def test_its_default_serves_any_number_of_steps(build, num_steps):
    guidance = build(num_steps)
    guidance.check(num_steps)
    for step in range(num_steps):
        branches = guidance.branches(step)
        assert branches
        assert len({*branches}) == len(branches)
        merged = guidance.combine(predictions_of(guidance, step), step)
        assert merged.shape == (2, 4, 8, 8)
        assert merged.isfinite().all()


def test_at_a_single_step_its_default_is_the_plain_prediction(build):
    guidance = build(1)
    assert guidance.branches(0) == (Branch.BOTH,)
    predictions = predictions_of(guidance, 0)
    assert guidance.combine(predictions, 0) is predictions[Branch.BOTH]


def test_equal_predictions_stay_as_they_are(build):
    guidance = build(4)
    same = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for step in range(4):
        merged = guidance.combine(dict.fromkeys(guidance.branches(step), same), step)
        assert (merged - same).abs().max() < 1e-5


def test_a_picture_does_not_depend_on_its_batch(build):
    guidance = build(4)
    for step in range(4):
        predictions = predictions_of(guidance, step)
        whole = guidance.combine(predictions, step)
        first = guidance.combine({name: one[:1] for name, one in predictions.items()}, step)
        assert (whole[:1] - first).abs().max() < 1e-5


def test_it_is_a_frozen_value(build):
    guidance = build(4)
    assert is_dataclass(guidance)
    assert type(guidance).__dataclass_params__.frozen
    assert pickle.loads(pickle.dumps(guidance)) == guidance
