"""Nested arguments go through a flat list of tensors and come back as they were."""

import pytest
import torch

from swiftpie.attention.condition import Block, silent_condition
from swiftpie.attention.manipulate import Shaping, power, soft_mask
from swiftpie.engine.graphs.functions import flatten, outline, plain, rebuild

WIDTH = 8


def condition(*, batch=2, subjects=1, strength=1.3, kind=power):
    silent = silent_condition(torch.zeros(batch, 4, 6, 6), width=WIDTH, num_subjects=subjects)
    shaping = Shaping({Block.UP: (kind(strength),)})
    layers = {name: torch.randn(batch, subjects, 9, WIDTH) for name in ("up", "down")}
    return silent._replace(
        keys=layers,
        values={name: layers[name] + 1 for name in reversed(layers)},
        reshaping=shaping.at(0, like=silent.text_scale),
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        is_alike = type(one) is type(other) and len(one) == len(other)
        return is_alike and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == other


def test_arguments_come_back_as_they_were():
    given = (condition(), torch.arange(3), None, torch.zeros(2, 0, 5), torch.ones(2).bfloat16())
    tensors = [plain(value) for value in flatten(given)]
    assert {tensor.dtype for tensor in tensors} == {torch.float32, torch.int64}
    assert same(rebuild(outline(given), iter(tensors)), given)


def test_other_values_have_the_same_outline():
    assert repr(outline(condition())) == repr(outline(condition(strength=2.0)))


@pytest.mark.parametrize("change", [{"batch": 3}, {"subjects": 2}, {"kind": soft_mask}])
def test_other_shapes_and_settings_have_another_outline(change):
    assert repr(outline(condition())) != repr(outline(condition(**change)))


def test_the_order_of_a_dict_does_not_matter():
    one, two = torch.zeros(1), torch.ones(2)
    first, second = {"a": one, "b": two}, {"b": two, "a": one}
    assert repr(outline(first)) == repr(outline(second))
    assert same(tuple(flatten(first)), tuple(flatten(second)))
