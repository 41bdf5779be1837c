"""A style picture in attention is the equation of its papers, in float64."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import StyleTokens, silent_condition
from swiftpie.attention.processors import DetailAttention, Merge, SelfAttention, SemanticAttention
from tests.parity.dense import attended, leave, weight_of

STRENGTH = 0.4
SIZES = ((64, 24), (5, 16), (4, 16))  # of states, text and tokens of the style


@torch.no_grad()
def test_tokens_of_a_style_are_read_beside_the_text_in_place_of_a_subject():
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8).double()
    branch = SemanticAttention("x", inner_width=24, token_width=16).double()
    states, text, tokens = (torch.randn(2, count, width).double() for count, width in SIZES)
    silent = silent_condition(torch.zeros(2, 4, 8, 8).double(), width=16)
    styled = silent._replace(
        style={"x": StyleTokens(tokens, torch.full((2,), STRENGTH, dtype=torch.float64))},
        identity_tokens=tokens[:, None],
        identity_scale=torch.ones(2, 1).double(),
        identity_background_scale=torch.ones(2, 1).double(),
    )
    found = branch(layer, states, text, condition=styled, notes={})
    for row in range(2):
        query = states[row] @ weight_of(layer.to_q).T
        said, seen = (
            attended(query, words @ weight_of(key).T, words @ weight_of(value).T, 3)
            for words, key, value in (
                (text[row], layer.to_k, layer.to_v),
                (tokens[row], branch.to_k_ip, branch.to_v_ip),
            )
        )
        expected = leave(layer, said + STRENGTH * seen)
        torch.testing.assert_close(found[row], expected, rtol=1e-9, atol=1e-9)
        assert (leave(layer, said) - expected).abs().max() > 1e-3


def moments(values):
    """Mean and deviation over tokens, by head and channel."""
    return values.mean(0), ((values - values.mean(0)).square().mean(0) + 1e-5).sqrt()


def takes_on(values, like):
    (mean, deviation), (its_mean, its_deviation) = moments(values), moments(like)
    return (values - mean) / deviation * its_deviation + its_mean


@pytest.mark.parametrize("kind", ["plain", "decoupled", "joint"])
@torch.no_grad()
def test_self_attention_is_shared_as_in_style_aligned(kind):
    torch.manual_seed(0)
    layer = Attention(query_dim=24, heads=3, dim_head=8).double()
    settings = {"width": 24, "heads": 3, "gate": 0.5, "merge": Merge("joint")}
    if kind == "decoupled":
        settings |= {"merge": Merge("decoupled")}
    branch = SelfAttention("x") if kind == "plain" else DetailAttention("x", **settings)
    states, tokens = torch.randn(2, 64, 24).double(), torch.randn(2, 16, 24).double()
    shown = torch.randn(2, 1, 16, 24).double()  # keys and values of a subject in 16 cells
    scale = torch.tensor([1.0, 0.0]).double()
    reference = {"x": shown} if kind == "joint" else {}
    styled = silent_condition(torch.zeros(2, 4, 8, 8).double(), width=16)._replace(
        style={"x": StyleTokens(tokens, scale)},
        keys=reference,
        values=reference,
        coverage=torch.ones(2, 1, 1, 8, 8).double(),
        detail_scale=torch.ones(2, 1).double(),
        detail_background_scale=torch.ones(2, 1).double(),
    )
    found = branch.double()(layer, states, condition=styled, notes={})
    query, key, value = (
        states[0] @ weight_of(part).T for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    seen = [tokens[0] @ weight_of(part).T for part in (layer.to_q, layer.to_k, layer.to_v)]
    # Four tokens of the drawing stand against each of the style, which weighs as much in all.
    more = [rows[0, 0] for rows in reference.values()]
    keys = torch.cat([takes_on(key, seen[1]), *[seen[1]] * 4, *more])
    values = torch.cat([value, *[seen[2]] * 4, *more])
    expected = leave(layer, attended(takes_on(query, seen[0]), keys, values, 3))
    torch.testing.assert_close(found[0], expected, rtol=1e-9, atol=1e-9)
    silent = branch(layer, states, condition=styled._replace(style={}), notes={})
    torch.testing.assert_close(found[1], silent[1], rtol=1e-9, atol=1e-9)
