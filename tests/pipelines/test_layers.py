"""Strengths by block: how they are written, and what networks lack; tests/diffusers has pixels."""

import pytest

from swiftpie import InputError
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.layers import GROUPS_OF_XL, NAMED, STYLE, read_form, scales_of

LAYERS = [f"{group}.transformer_blocks.0.attn2" for group in sorted(GROUPS_OF_XL)]


def test_a_form_is_named_written_or_a_mapping():
    assert read_form('{"up": {"block_0": [0, 1.0, 0]}}') == {"up": {"block_0": [0, 1, 0]}}
    assert read_form("layout, style") == {**NAMED["layout"], **NAMED["style"]}
    found = scales_of("style", LAYERS)
    assert [name for name, strength in found.items() if strength] == [
        f"{STYLE}.transformer_blocks.0.attn2"
    ]
    assert scales_of({"down": 0.5, "mid": 2.0, "up": 0}, LAYERS) == {
        name: {"d": 0.5, "m": 2.0, "u": 0}[name[0]] for name in LAYERS
    }


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"middle": 1.0}, "by part"),
        ({"up": {"block_9": 1.0}}, "up.block_9"),
        ({"up": {"block_0": [1.0, 0.5, 0.5, 1.0]}}, "4 strengths"),
        ({"up": -1.0}, "numbers from 0"),
        ({"up": "all"}, "numbers from 0"),
        ({"up": float("nan")}, "numbers from 0"),
        ({"up": {"block_0": []}}, "numbers from 0"),
        ({}, "by part"),
        ("faces", "by part"),
        ("[" * 999, "by part"),
        (" " * 1001, "by part"),
    ],
)
def test_what_a_network_lacks_is_named(form, message):
    with pytest.raises(InputError, match=message):
        scales_of(form, LAYERS)


@pytest.mark.parametrize(("form", "layers"), [("style", LAYERS[:3]), ({"up": 1.0}, [])])
def test_other_networks_refuse_the_names_of_blocks(form, layers):
    with pytest.raises(CapabilityError, match="Stable Diffusion XL"):
        scales_of(form, layers)
