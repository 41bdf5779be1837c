"""A style picture in attention is the equation of its paper, in float64."""

import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.kernels import StyleTokens
from swiftpie.attention.processors import SemanticAttention
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
