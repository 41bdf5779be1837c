"""Masks that the semantic branch finds; its numbers are compared in tests/parity."""

import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import ENERGY, INLINE_MASK, MAP_PREFIX, silent_condition
from swiftpie.attention.processors import MaskRole, SemanticAttention, masks_from_maps
from swiftpie.masks import attention_to_mask


def build():
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8)
    mapper = SemanticAttention("x", inner_width=24, token_width=16, mask_role=MaskRole.LAST)
    return layer, mapper


def inputs():
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(2, 64, 24, generator=generator)
    text = torch.randn(2, 5, 16, generator=generator)
    return states, text, torch.randn(2, 4, 16, generator=generator)


def condition_for(tokens, scale):
    silent = silent_condition(torch.zeros(2, 4, 8, 8), width=16)
    rows = torch.full((2, 1), scale)
    return silent._replace(
        identity_tokens=tokens[:, None], identity_scale=rows, identity_background_scale=rows
    )


@torch.no_grad()
def test_mapping_layers_note_a_map_and_later_layers_use_it():
    layer, mapper = build()
    states, text, tokens = inputs()
    notes = {}
    condition = condition_for(tokens, 1.0)._replace(
        is_inline=torch.ones(2), identity_background_scale=torch.zeros(2, 1)
    )
    mapper(layer, states, text, condition=condition, notes=notes)
    assert notes[f"{MAP_PREFIX}x"].shape == (2, 1, 8, 8)
    assert notes[INLINE_MASK].shape == (2, 1, 8, 8)
    notes[INLINE_MASK] = torch.eye(8).expand(2, 1, 8, 8).clone()
    later = SemanticAttention("y", inner_width=24, token_width=16)
    later.load_state_dict(mapper.state_dict())
    inline = later(layer, states, text, condition=condition, notes=notes)
    whole = later(layer, states, text, condition=condition, notes={})
    assert not torch.allclose(inline, whole)


@torch.no_grad()
def test_no_region_is_sought_without_a_subject():
    layer, mapper = build()
    states, text, tokens = inputs()
    silent, notes = silent_condition(torch.zeros(2, 4, 8, 8), width=16), {}
    found = mapper(layer, states, text, condition=silent, notes=notes)
    assert notes == {}
    expected = mapper(layer, states, text, condition=condition_for(tokens, 0.0), notes=notes)
    assert INLINE_MASK in notes
    assert found.equal(expected)
    named = silent._replace(class_tokens=torch.eye(5)[0].expand(2, 1, 5))
    mapper(layer, states, text, condition=named, notes=(sought := {}))
    assert INLINE_MASK in sought  # words name a subject, so the text alone tells


@torch.no_grad()
def test_an_inactive_layer_gives_the_output_of_the_text_whatever_the_identity():
    layer, active = build()
    states, text, tokens = inputs()
    inactive = SemanticAttention("x", inner_width=24, token_width=16, is_active=False)
    inactive.load_state_dict(active.state_dict())
    silent, shown, other = (
        inactive(layer, states, text, condition=condition_for(*given), notes={})
        for given in ((tokens, 0.0), (tokens, 1.0), (9 * tokens, 1.0))
    )
    assert silent.equal(shown)
    assert silent.equal(other)
    assert not silent.equal(
        active(layer, states, text, condition=condition_for(tokens, 1.0), notes={})
    )


@torch.no_grad()
def test_no_token_grows_beyond_its_cap_of_the_text():
    layer, ours = build()
    layer.to_out[0] = torch.nn.Identity()
    states, text, tokens = inputs()
    free = condition_for(tokens, 50.0)
    said, loud, held = (
        ours(layer, states, text, condition=one, notes={}).double()
        for one in (
            condition_for(tokens, 0.0),
            free,
            free._replace(caps={ENERGY: torch.tensor([1.5, 1e9])}),
        )
    )
    sizes = [one.square().mean(-1, keepdim=True).sqrt() for one in (loud, said)]
    growth = sizes[0] / sizes[1] / torch.tensor([1.5, 1e9])[:, None, None]
    torch.testing.assert_close(held, loud / growth.clamp_min(1), rtol=1e-4, atol=1e-5)
    assert held[1].equal(loud[1])
    assert growth[0].min() > 1


def test_a_subject_keeps_its_mask_where_none_attends_more():
    maps = torch.rand(1, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    maps[..., :4] += 1
    maps[0, 1, :4] = 0
    found = masks_from_maps({f"{MAP_PREFIX}x": maps})[0]
    leads = maps[0, 0] > maps[0, 1]
    alone = attention_to_mask(maps[0, :, None])[:, 0]
    torch.testing.assert_close(found[0][leads], alone[0][leads], rtol=1e-4, atol=1e-5)
    assert bool((found[1] <= alone[1] + 1e-5).all())
