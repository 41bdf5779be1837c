"""Strengths by layer are those of diffusers' IP-Adapters, in float64, and off is bit for bit."""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import Plan, install
from swiftpie.attention.layer_scales import LAYOUT, STYLE, read_form, scales_of
from swiftpie.attention.processors import SemanticAttention
from swiftpie.backbones.adapters import load_into, read_ip_adapter
from swiftpie.errors import InputError
from tests.parity.ip_adapter import adapter_tensors, features_for, theirs, tiny_unet, unet_inputs

BOUND = 1e-5
SCALES = ("identity_scale", "identity_background_scale")
FORMS = [STYLE, LAYOUT, {**STYLE, **LAYOUT}, {"mid": 0.7, "up": {"block_1": 0.5}}, {"down": 1.0}]


def as_lists(form):
    if hasattr(form, "items"):
        return {name: as_lists(value) for name, value in form.items()}
    return list(form) if isinstance(form, tuple) else form


def test_a_written_form_is_the_same_as_a_mapping():
    assert read_form('{"up": {"block_0": [0, 1.0, 0]}}') == as_lists(STYLE)
    assert read_form("layout") is LAYOUT


def doubled(value):
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.double()
    return value


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["ip-adapter_sdxl_vit-h", pytest.param("ip-adapter_sd15", marks=pytest.mark.thorough)]
)
def test_a_network_with_strengths_by_layer_answers_as_in_diffusers(name):
    backbone = name.split("_")[1]
    tensors = adapter_tensors(name, tiny_unet(backbone))
    pipeline = theirs(tiny_unet(backbone), tensors)
    pipeline.unet.double()
    unet = tiny_unet(backbone)
    adapter = read_ip_adapter(tensors)
    features = [feature.double() for feature in features_for(adapter.projector)]
    tokens = adapter.projector.module.double()(*features)
    installation = install(unet, Plan(token_width=tokens.shape[-1]))
    load_into(adapter, installation)
    unet.double()
    call, extra = unet_inputs(unet)
    call, extra = ({key: doubled(part) for key, part in some.items()} for some in (call, extra))
    silent = silent_condition(call["sample"], width=tokens.shape[-1])
    ones = torch.ones_like(silent.identity_scale)
    whole = silent._replace(
        identity_tokens=tokens[:, None], identity_scale=ones, identity_background_scale=ones
    )

    def ours(layer_scales):
        keywords = {"condition": whole._replace(layer_scales=layer_scales), "notes": {}}
        return unet(**call, added_cond_kwargs=extra, cross_attention_kwargs=keywords).sample

    plain = ours({})
    with torch.no_grad():
        assert torch.equal(ours(dict.fromkeys(installation.semantic, ones)), plain)
        for form in FORMS if backbone == "sdxl" else FORMS[3:]:
            scales = scales_of(form, installation.semantic)
            found = ours({layer: number * ones for layer, number in scales.items()})
            pipeline.set_ip_adapter_scale(as_lists(form))
            seen = {**extra, "image_embeds": [features[0][:, None]]}
            expected = pipeline.unet(**call, added_cond_kwargs=seen).sample
            assert float((found - expected).abs().max()) < BOUND
            assert float((found - plain).abs().max()) > 100 * BOUND


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"middle": 1.0}, "no part"),
        ({"up": {"block_9": 1.0}}, "up.block_9"),
        ({"up": {"block_0": [1.0, 0.5, 0.5, 1.0]}}, "4 strengths"),
        ({"up": -1.0}, "numbers from 0"),
        ({"up": "all"}, "numbers from 0"),
        ({"up": float("nan")}, "numbers from 0"),
        ({"up": {"block_0": []}}, "numbers from 0"),
        ("style", "Stable Diffusion XL"),
        ("faces", "'style', 'layout' or numbers"),
        ("[" * 999, "'style', 'layout' or numbers"),
        (" " * 1001, "1000 are the most"),
    ],
)
def test_what_the_network_lacks_is_named(form, message):
    layers = [f"up_blocks.0.attentions.{n}.transformer_blocks.0.attn2" for n in range(3)]
    with pytest.raises(InputError, match=message):
        scales_of(form, layers)


@torch.no_grad()
def test_the_scale_of_a_layer_weighs_what_it_reads_of_the_identity():
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8)
    branch = SemanticAttention("x", inner_width=24, token_width=16)
    states, text = torch.randn(2, 64, 24), torch.randn(2, 5, 16)
    whole = silent_condition(torch.zeros(2, 4, 8, 8), width=16)._replace(
        identity_tokens=torch.randn(2, 1, 4, 16),
        identity_scale=torch.ones(2, 1),
        identity_background_scale=torch.ones(2, 1),
    )

    def read(layer_scales, **changes):
        condition = whole._replace(layer_scales=layer_scales, **changes)
        return branch(layer, states, text, condition=condition, notes={})

    full, none = read({}), read({}, **{name: torch.zeros(2, 1) for name in SCALES})
    assert torch.equal(read({"y": torch.zeros(2, 1)}), full)
    for scale in (0.0, 0.5, 1.0):
        found = read({"x": torch.full((2, 1), scale)})
        torch.testing.assert_close(found, torch.lerp(none, full, scale), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(none, full, atol=1e-2)
