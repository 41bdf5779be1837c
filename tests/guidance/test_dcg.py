"""Rows and refusals of decoupled guidance; the numbers are compared in tests/parity."""

import pytest
import torch

from swiftpie import ConfigError
from swiftpie.guidance import Branch
from swiftpie.guidance.dcg import Decoupled, GuidancePath, Renorm, for_steps

UNCONDITIONAL, TEXT, IDENTITY, BOTH = Branch


@pytest.mark.parametrize(
    ("a", "b", "path", "rows"),
    [
        (1.5, 3.0, GuidancePath.IDENTITY_FIRST, {UNCONDITIONAL, IDENTITY, BOTH}),
        (1.5, 3.0, GuidancePath.TEXT_FIRST, {UNCONDITIONAL, TEXT, BOTH}),
        (1.5, 3.0, GuidancePath.APART, {UNCONDITIONAL, TEXT, IDENTITY}),
        (2.0, 2.0, GuidancePath.IDENTITY_FIRST, {UNCONDITIONAL, BOTH}),
        (2.0, 2.0, GuidancePath.TEXT_FIRST, {UNCONDITIONAL, BOTH}),
        (1.0, 3.0, GuidancePath.IDENTITY_FIRST, {IDENTITY, BOTH}),
        (1.0, 1.0, GuidancePath.IDENTITY_FIRST, {BOTH}),
        (1.0, 0.0, GuidancePath.IDENTITY_FIRST, {IDENTITY}),
        (0.0, 0.0, GuidancePath.IDENTITY_FIRST, {UNCONDITIONAL}),
        (0.0, 1.0, GuidancePath.APART, {IDENTITY}),
    ],
)
def test_rows_of_weight_0_are_not_asked_for(a, b, path, rows):
    assert set(Decoupled((a,), (b,), path=path).branches(0)) == rows


@pytest.mark.parametrize("settings", [{"computes_all": True}, {"renorm": Renorm.SAMPLE}])
def test_what_measures_all_rows_asks_for_them(settings):
    assert len(Decoupled((1.0,), (1.0,), **settings).branches(0)) == 3


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
    guidance = for_steps(num_steps)
    assert (guidance.a, guidance.b) == (a, b)
    assert guidance.rescale == 0.75
    assert guidance.renorm is Renorm.OFF


def test_full_rescaling_gives_the_mean_deviation_of_the_rows():
    rows = {
        name: torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        for seed, name in enumerate((UNCONDITIONAL, IDENTITY, BOTH))
    }
    found = Decoupled((1.5,), (3.0,), rescale=1.0).combine(rows, 0).std((1, 2, 3))
    expected = (rows[IDENTITY].std((1, 2, 3)) + rows[BOTH].std((1, 2, 3))) / 2
    assert torch.allclose(found, expected, rtol=1e-5)


def test_batch_renorm_alone_lets_pictures_influence_each_other():
    rows = {
        name: torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        * torch.tensor([1.0, 5.0 - seed])[:, None, None, None]
        for seed, name in enumerate((UNCONDITIONAL, IDENTITY, BOTH))
    }
    first = {name: one[:1] for name, one in rows.items()}
    for renorm, depends in ((Renorm.SAMPLE, False), (Renorm.BATCH, True)):
        guidance = Decoupled((1.5,), (3.0,), renorm=renorm, rescale=0.0)
        apart = (guidance.combine(rows, 0)[:1] - guidance.combine(first, 0)).abs().max()
        assert bool(apart > 0.01) == depends


@pytest.mark.parametrize(
    "build",
    [
        lambda: Decoupled((), ()),
        lambda: Decoupled((1.0, 1.5), (1.0,)),
        lambda: Decoupled((float("inf"),), (1.0,)),
        lambda: Decoupled((1.0,), (1.0,), rescale=1.1),
        lambda: for_steps(4).check(1),
    ],
)
def test_scales_that_cannot_be_used_are_refused(build):
    with pytest.raises(ConfigError, match=r"needs|one scale a step|one a step|must lie|Give one"):
        build()
