"""A style picture in attention is the equations of its papers, in float64; off is bit for bit."""

import pytest
import torch

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import Plan, install
from swiftpie.attention.kernels import StyleTokens, features_of
from swiftpie.attention.layer_scales import STYLE, scales_of
from swiftpie.attention.processors import Merge
from tests.parity.ip_adapter import WIDTHS, tiny_unet, unet_inputs

BOUND = 1e-5
STRENGTH = 0.4


def heads_of(attn, states):
    return states.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def adain(values, like):
    """Equation 8 of arXiv:1703.06868 over tokens, with the variance that the code of both has."""
    own, other = ((x.mean(2, True), (x.var(2, keepdim=True) + 1e-5).sqrt()) for x in (values, like))
    return other[1] * (values - own[0]) / own[1] + other[0]


def softmax_of(query, key, value, weight=None):
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    counts = logits.exp() if weight is None else logits.exp() * weight
    shares = counts / counts.sum(-1, keepdim=True)
    return (shares @ value).transpose(1, 2).flatten(2)


class Equations:
    """Attention of one layer, written out: to itself and a style picture, or to text and tokens."""

    def __init__(self, *, noted=None, read=None, strength=1.0):
        self.noted, self.read, self.strength = noted, read, strength

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        del attention_mask  # diffusers reads this signature
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        projections = (attn.to_q, attn.to_k, attn.to_v)
        given = (hidden_states, seen, seen)
        q, k, v = (heads_of(attn, to(x)) for to, x in zip(projections, given, strict=True))
        if self.noted is not None:
            q_s, k_s, v_s = (heads_of(attn, to(self.noted)) for to in projections)
            own = (adain(q, q_s) * self.strength + q * (1 - self.strength), adain(k, k_s))
            q, k = own[0], own[1] * self.strength + k * (1 - self.strength)
            weight = torch.cat([torch.ones(k.shape[2]), torch.full((k_s.shape[2],), self.strength)])
            result = softmax_of(q, torch.cat([k, k_s], 2), torch.cat([v, v_s], 2), weight.double())
        else:
            result = softmax_of(q, k, v)
        if self.read is not None:
            to_key, to_value, tokens = self.read
            k_s, v_s = (heads_of(attn, to(tokens)) for to in (to_key, to_value))
            result = result + self.strength * softmax_of(q, k_s, v_s)
        return attn.to_out[0](result)


class Networks:
    def __init__(self, backbone, merge=Merge.DECOUPLED):
        self.theirs = tiny_unet(backbone, is_shallow=True).double()
        self.unet = tiny_unet(backbone, is_shallow=True)
        plan = Plan(token_width=WIDTHS[backbone], merge=merge)
        self.installation = install(self.unet, plan)
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
        self.notes = {}
        flipped = {**self.call, "sample": self.call["sample"].flip(-1) * 0.7}
        self.ours(self.silent, call=flipped, notes=self.notes)

    def ours(self, condition, *, call=None, notes=None):
        keywords = {"condition": condition, "notes": {} if notes is None else notes}
        return self.unet(
            **(call or self.call), added_cond_kwargs=self.extra, cross_attention_kwargs=keywords
        ).sample

    def expected(self, processors):
        self.theirs.set_attn_processor({f"{name}.processor": x for name, x in processors.items()})
        return self.theirs(**self.call, added_cond_kwargs=self.extra).sample


@pytest.fixture(scope="module", params=["sd21", "sdxl"])
def networks(request):
    with torch.no_grad():
        yield Networks(request.param)


@pytest.mark.parametrize("strength", [1.0, STRENGTH])
def test_shared_attention_is_that_of_style_aligned(networks, strength):
    parts = networks.installation
    shared = {}
    for name in parts.detail:
        attn, noted = networks.unet.get_submodule(name), networks.notes[name]
        read = features_of(attn.to_q(noted), attn.to_k(noted), attn.to_v(noted))
        shared[name] = read._replace(scale=torch.full_like(read.scale, strength))
    found = networks.ours(networks.silent._replace(shared=shared))
    written = {name: Equations(noted=networks.notes[name], strength=strength) for name in shared}
    expected = networks.expected(written | dict.fromkeys(parts.semantic, Equations()))
    assert float((found - expected).abs().max()) < BOUND
    assert float((found - networks.ours(networks.silent)).abs().max()) > 100 * BOUND


def test_tokens_of_a_style_are_read_beside_the_text(networks):
    parts, width = networks.installation, networks.installation.plan.token_width
    batch = len(networks.call["sample"])
    tokens = torch.randn(batch, 4, width, generator=torch.Generator().manual_seed(1)).double()
    scale = torch.full((batch,), STRENGTH).double()
    some = [*parts.semantic][1::2]
    rows = dict.fromkeys(some, StyleTokens(tokens, scale))
    found = networks.ours(networks.silent._replace(style=rows))
    written = dict.fromkeys([*parts.semantic, *parts.detail], Equations()) | {
        name: Equations(
            read=(parts.semantic[name].to_k_ip, parts.semantic[name].to_v_ip, tokens),
            strength=STRENGTH,
        )
        for name in some
    }
    assert float((found - networks.expected(written)).abs().max()) < BOUND
    assert float((found - networks.ours(networks.silent)).abs().max()) > 100 * BOUND


def test_style_reads_one_group_of_a_whole_u_net():
    names = install(tiny_unet("sdxl"), Plan(token_width=WIDTHS["sdxl"])).semantic
    chosen = {name.split(".transformer")[0] for name, x in scales_of(STYLE, names).items() if x}
    assert chosen == {"up_blocks.0.attentions.1"}


@torch.no_grad()
def test_a_subject_that_is_read_jointly_and_a_style_do_not_disturb_each_other():
    networks = Networks("sd21", Merge.JOINT)
    name = next(iter(networks.installation.detail))
    attn, noted = networks.unet.get_submodule(name), networks.notes[name]
    read = features_of(attn.to_q(noted), attn.to_k(noted), attn.to_v(noted))
    keys, values = networks.installation.project(networks.notes)
    ones = torch.ones_like(networks.silent.identity_scale)
    jointly = networks.silent._replace(
        keys={name: keys[name][:, None]},
        values={name: values[name][:, None]},
        coverage=torch.ones_like(networks.silent.coverage),
    )
    silent = networks.ours(jointly._replace(shared={name: read}))
    alone = networks.ours(networks.silent._replace(shared={name: read}))
    assert float((silent - alone).abs().max()) < BOUND
    heard = jointly._replace(detail_scale=ones, detail_background_scale=ones)
    assert float((networks.ours(heard._replace(shared={name: read})) - alone).abs().max()) > BOUND
