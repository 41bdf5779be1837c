"""Formulas of attention against plain dense computation in float64."""

import pytest
import torch

from swiftpie.attention.condition import (
    MASKED,
    attend_near,
    mass_on,
    merge_heads,
    split_heads,
    token_grid,
)
from swiftpie.geometry.layout import cell_positions


def dense_near(query, key, value, *, positions, key_positions, sharpness, key_bias):
    """The formula of `attend_near`, written out in float64."""
    logits = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
    offset = positions.double()[:, :, None] - key_positions.double()[None, None]
    logits = logits - sharpness.double()[:, :, None, None] * offset.square().sum(-1)[:, None]
    logits = logits + key_bias.double()[:, None, None]
    return logits.softmax(-1) @ value.double()


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return {
        "query": draw(2, 3, 24, 16),
        "key": draw(2, 3, 40, 16),
        "value": draw(2, 3, 40, 16),
        "positions": 3 * draw(2, 24, 2),
        "key_positions": cell_positions(5, 8, like=draw(1)) * 4,
        "sharpness": draw(2, 3).exp(),
        "key_bias": torch.where(draw(2, 40) < 0, MASKED, 0.0),
    }


def test_columns_equal_a_dense_bias(case):
    difference = attend_near(**case).double() - dense_near(**case)
    assert difference.abs().max() < 1e-5


def test_bfloat16_keeps_coordinates_to_a_fraction_of_a_cell(case):
    half = {name: value.bfloat16() for name, value in case.items() if name in "query key value"}
    exact = {**case, **{name: value.float() for name, value in half.items()}}
    exact["sharpness"] = case["sharpness"].bfloat16().float()
    difference = attend_near(**{**case, **half}).double() - dense_near(**exact)
    assert difference.abs().max() < 0.05


def test_mass_equals_the_share_of_one_joint_softmax():
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, 2, 9, 8, generator=generator)
    ours = torch.randn(2, 3, 2, 4, 8, generator=generator)
    text = torch.randn(2, 2, 6, 8, generator=generator)
    named = torch.zeros(2, 3, 6)
    named[:, 1, 2] = 1
    got = mass_on(query, ours, text, text_mask=None, is_ours=named)
    for subject in range(3):
        keys = torch.cat([ours[:, subject], text], 2).double()
        weights = (query.double() @ keys.transpose(-1, -2) / 8**0.5).softmax(-1)
        counted = [0, 1, 2, 3] + ([4 + 2] if subject == 1 else [])
        expected = weights[..., counted].sum(-1).mean(1)
        assert torch.allclose(got[:, subject].double(), expected, atol=1e-5)


def test_views_that_show_the_same_weigh_as_much_as_one_of_them():
    generator = torch.Generator().manual_seed(2)
    query, text = (torch.randn(1, 2, count, 8, generator=generator) for count in (9, 6))
    view = torch.randn(1, 1, 2, 4, 8, generator=generator)
    rest = {"text_mask": None, "is_ours": torch.zeros(1, 1, 6)}
    three = mass_on(query, view.repeat(1, 1, 1, 3, 1), text, num_views=3, **rest)
    torch.testing.assert_close(three, mass_on(query, view, text, **rest), rtol=1e-5, atol=1e-5)


def test_mass_without_identity_is_that_of_the_words_that_name_the_subject():
    generator = torch.Generator().manual_seed(0)
    query, text = (torch.randn(1, 2, count, 4, generator=generator) for count in (5, 3))
    named = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])
    shares = (query @ text.transpose(-1, -2) / 2).softmax(-1).mean(1)  # (1, N, T)
    got = mass_on(query, None, text, text_mask=None, is_ours=named)
    torch.testing.assert_close(got, named @ shares.transpose(1, 2))


def test_heads_split_and_merge_back():
    states = torch.randn(2, 5, 12)
    assert torch.equal(merge_heads(split_heads(states, 3)), states)


@pytest.mark.parametrize(
    ("num_tokens", "latents", "grid"),
    [
        (256, (16, 16), (16, 16)),
        (64, (16, 16), (8, 8)),
        (960, (48, 80), (24, 40)),
        (15, (9, 20), (3, 5)),
    ],
)
def test_grid_follows_the_halving_of_the_latents(num_tokens, latents, grid):
    assert token_grid(num_tokens, *latents) == grid


@pytest.mark.parametrize("num_tokens", [63, 0, -1])
def test_tokens_that_fit_no_grid_are_refused(num_tokens):
    with pytest.raises(ValueError, match=f"{num_tokens} tokens"):
        token_grid(num_tokens, 16, 16)
