"""Classifier-free guidance."""

import pytest
import torch

from swiftpie import ConfigError
from swiftpie.guidance import Branch
from swiftpie.guidance.cfg import ClassifierFree


def test_it_moves_from_nothing_past_text_and_identity():
    u, q = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    found = ClassifierFree((1.5,)).combine({Branch.UNCONDITIONAL: u, Branch.BOTH: q}, 0)
    assert torch.allclose(found, u + 1.5 * (q - u), atol=1e-5)


def test_each_step_asks_for_what_its_scale_needs():
    guidance = ClassifierFree((1.0, 1.5, 0.0))
    rows = [set(guidance.branches(step)) for step in range(3)]
    assert rows == [{Branch.BOTH}, {Branch.UNCONDITIONAL, Branch.BOTH}, {Branch.UNCONDITIONAL}]


def test_another_number_of_steps_is_refused():
    with pytest.raises(ConfigError, match="4 scales, and denoising takes 1 steps"):
        ClassifierFree((1.5,) * 4).check(1)
