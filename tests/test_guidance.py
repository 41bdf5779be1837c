"""Rows and refusals of guidance; the numbers are compared in tests/parity."""

import pytest
import torch

from swiftpie import ConfigError
from swiftpie.guidance import Branch, ClassifierFree, Decoupled, decoupled_for_steps

UNCONDITIONAL, _, IDENTITY, BOTH = Branch


def test_classifier_free_guidance_moves_from_nothing_past_text_and_identity():
    u, q = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    found = ClassifierFree((1.5,)).combine({UNCONDITIONAL: u, BOTH: q}, 0)
    assert torch.allclose(found, u + 1.5 * (q - u), atol=1e-5)


@pytest.mark.parametrize(
    ("guidance", "rows"),
    [
        (ClassifierFree((1.0,)), {BOTH}),
        (ClassifierFree((1.5,)), {UNCONDITIONAL, BOTH}),
        (ClassifierFree((0.0,)), {UNCONDITIONAL}),
        (Decoupled((1.5,), (3.0,)), {UNCONDITIONAL, IDENTITY, BOTH}),
        (Decoupled((2.0,), (2.0,)), {UNCONDITIONAL, BOTH}),
        (Decoupled((1.0,), (3.0,)), {IDENTITY, BOTH}),
        (Decoupled((1.0,), (1.0,)), {BOTH}),
        (Decoupled((1.0,), (0.0,)), {IDENTITY}),
        (Decoupled((0.0,), (0.0,)), {UNCONDITIONAL}),
    ],
)
def test_rows_of_weight_0_are_not_computed(guidance, rows):
    assert set(guidance.branches(0)) == rows


def test_a_single_row_is_returned_untouched():
    row = torch.randn(2, 4, 8, 8)
    assert Decoupled((1.0,), (0.0,)).combine({IDENTITY: row}, 0) is row


@pytest.mark.parametrize(
    ("num_steps", "a", "b"),
    [
        (1, (1,), (1,)),
        (2, (1, 1), (1, 1)),
        (4, (1, 1.5, 1.5, 1), (1, 3, 3, 1)),
        (8, (1, *[1.5] * 6, 1), (1, *[3] * 6, 1)),
    ],
)
def test_default_scales_are_plain_at_both_ends(num_steps, a, b):
    guidance = decoupled_for_steps(num_steps)
    assert (guidance.a, guidance.b) == (a, b)
    assert guidance.rescale == 0.75


@pytest.mark.parametrize(
    "build",
    [
        lambda: Decoupled((), ()),
        lambda: Decoupled((1.0, 1.5), (1.0,)),
        lambda: Decoupled((float("inf"),), (1.0,)),
        lambda: Decoupled((1.0,), (1.0,), rescale=1.1),
        lambda: Decoupled((1.0,), (1.0,), spans_batch=True),
        lambda: decoupled_for_steps(4).check(1),
        lambda: ClassifierFree((1.5,) * 4).check(1),
    ],
)
def test_scales_that_cannot_be_used_are_refused(build):
    with pytest.raises(
        ConfigError, match=r"needs|one scale a step|one a step|must lie|Give one|Give both"
    ):
        build()


@pytest.mark.parametrize(("renorm", "spans_batch"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_each_type_of_decoupled_guidance_is_that_of_the_released_code(kind, renorm, spans_batch):
    u, p, q = torch.randn(3, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    q[1] *= 3  # so that lengths differ between pictures
    guidance = Decoupled((1.5,), (3.0,), type=kind, renorm=renorm, spans_batch=spans_batch)
    found = guidance.combine(dict(zip(guidance.branches(0), (u, p, q), strict=True)), 0)

    def length(term):
        axes = (0, 1, 2, 3) if spans_batch else (1, 2, 3)
        return torch.linalg.vector_norm(term, dim=axes, keepdim=True)

    u, p, q = (row.double() for row in (u, p, q))
    first, second = p - u, q - (u if kind == 2 else p)
    if renorm:
        second = second * length(first) / length(second)
    guided = u + 1.5 * first + 3 * second
    spread = [row.std((1, 2, 3), keepdim=True) for row in (p, q, guided)]
    expected = guided * (0.75 * (spread[0] + spread[1]) / (2 * spread[2]) + 0.25)
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5)
