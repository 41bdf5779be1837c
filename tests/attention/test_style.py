"""A style picture in attention is the equation of its paper, in float64; off is bit for bit."""

import pytest
import torch

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import Plan, install
from swiftpie.attention.kernels import StyleTokens
from tests.parity.ip_adapter import WIDTHS, tiny_unet, unet_inputs

BOUND = 1e-5
STRENGTH = 0.4


def heads_of(attn, states):
    return states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def softmax_of(query, key, value):
    counts = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).exp()
    return (counts / counts.sum(-1, keepdim=True) @ value).transpose(1, 2).flatten(2)


class Equations:
    """Attention of one layer, written out: to itself or to text, and to tokens of a style."""

    def __init__(self, *, read=None):
        self.read = read

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        del attention_mask  # diffusers reads this signature
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projections = (attn.to_q, attn.to_k, attn.to_v)
        given = (hidden_states, seen, seen)
        q, k, v = (heads_of(attn, to(x)) for to, x in zip(projections, given, strict=True))
        result = softmax_of(q, k, v)
        if self.read is not None:
            to_key, to_value, tokens = self.read
            k_s, v_s = (heads_of(attn, to(tokens)) for to in (to_key, to_value))
            result = result + STRENGTH * softmax_of(q, k_s, v_s)
        return attn.to_out[0](result)


class Networks:
    def __init__(self, backbone):
        self.theirs = tiny_unet(backbone, is_shallow=True).double()
        self.unet = tiny_unet(backbone, is_shallow=True)
        self.installation = install(self.unet, Plan(token_width=WIDTHS[backbone]))
        self.unet.double()
        call, extra = unet_inputs(self.unet)
        self.call, self.extra = (
            {
                k: x.double() if torch.is_tensor(x) and x.is_floating_point() else x
                for k, x in some.items()
            }
            for some in (call, extra)
        )
        self.silent = silent_condition(self.call["sample"], width=WIDTHS[backbone])

    def ours(self, condition):
        return self.unet(
            **self.call,
            added_cond_kwargs=self.extra,
            cross_attention_kwargs={"condition": condition, "notes": {}},
        ).sample

    def expected(self, processors):
        self.theirs.set_attn_processor({f"{name}.processor": x for name, x in processors.items()})
        return self.theirs(**self.call, added_cond_kwargs=self.extra).sample


@pytest.fixture(scope="module", params=["sd21", "sdxl"])
def networks(request):
    with torch.no_grad():
        yield Networks(request.param)


def test_tokens_of_a_style_are_read_beside_the_text(networks):
    parts, width = networks.installation, networks.installation.plan.token_width
    batch = len(networks.call["sample"])
    tokens = torch.randn(batch, 4, width, generator=torch.Generator().manual_seed(1)).double()
    scale = torch.full((batch,), STRENGTH).double()
    some = [*parts.semantic][1::2]
    rows = dict.fromkeys(some, StyleTokens(tokens, scale))
    found = networks.ours(networks.silent._replace(style=rows))
    written = dict.fromkeys([*parts.semantic, *parts.detail], Equations()) | {
        name: Equations(read=(parts.semantic[name].to_k_ip, parts.semantic[name].to_v_ip, tokens))
        for name in some
    }
    assert float((found - networks.expected(written)).abs().max()) < BOUND
    assert float((found - networks.ours(networks.silent)).abs().max()) > 100 * BOUND
