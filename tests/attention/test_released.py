"""SwiftEdit's attention as released: what it controls, and that it leaves no trace.

That its numbers are those of the released code is compared in tests/parity/edit.py.
"""

import pytest
import torch
from diffusers.models.attention_processor import Attention

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import ReleasedAttention, install_released
from swiftpie.attention.processors import SemanticAttention
from tests.attention.conftest import WIDTH

STRENGTHS = {"identity_scale": 0.3, "identity_background_scale": 0.8, "text_scale": 1.6}


@pytest.fixture
def rescaled(condition):
    """A condition without detail, with the same tokens and mask in both rows."""
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 4:12, 2:10] = 1
    scales = {
        name: torch.full_like(getattr(condition, name), value) for name, value in STRENGTHS.items()
    }
    tokens = condition.identity_tokens[:1].expand(2, -1, -1, -1)
    return condition._replace(identity_tokens=tokens, keys={}, values={}, region=mask, **scales)


def test_undo_restores_the_very_same_objects(unet, installation):
    before = dict(unet.attn_processors)
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    with install_released(installation):
        during = dict(unet.attn_processors)
    after = unet.attn_processors
    assert {*after} == {*before}
    assert all(after[name] is processor for name, processor in before.items())
    assert all(torch.equal(weights[name], weight) for name, weight in unet.state_dict().items())
    replaced = {name for name in before if during[name] is not before[name]}
    assert replaced == {f"{name}.processor" for name in installation.semantic}
    assert all(isinstance(during[name], ReleasedAttention) for name in replaced)


def test_an_exception_inside_undoes_too(unet, installation):
    before = dict(unet.attn_processors)
    with pytest.raises(RuntimeError, match="stop"), install_released(installation):
        raise RuntimeError("stop")
    assert all(unet.attn_processors[name] is processor for name, processor in before.items())


def test_only_up_blocks_are_controlled(unet, installation):
    with install_released(installation):
        controlled = {
            name.split(".")[0]
            for name, one in unet.attn_processors.items()
            if isinstance(one, ReleasedAttention) and one.is_controlled
        }
    assert controlled == {"up_blocks"}


@torch.no_grad()
def test_strengths_never_touch_the_source_row(installation, predict, rescaled):
    others = {name: getattr(rescaled, name) * 0.5 for name in STRENGTHS}
    with install_released(installation):
        first, second = predict(rescaled), predict(rescaled._replace(**others))
    assert torch.equal(first[0], second[0])
    assert (first[1] - second[1]).abs().max() > 1e-3


@torch.no_grad()
def test_the_background_of_an_edit_is_what_the_source_row_sees(installation, rescaled):
    same = {"region": torch.zeros_like(rescaled.region)}
    same |= {name: torch.ones_like(getattr(rescaled, name)) for name in STRENGTHS}
    with install_released(installation):
        unet = installation.network
        latents = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
        text = torch.randn(1, 7, WIDTH, generator=torch.Generator().manual_seed(2))
        keywords = {"condition": rescaled._replace(**same), "notes": {}}
        rows = unet(
            latents.expand(2, -1, -1, -1),
            999,
            text.expand(2, -1, -1),
            cross_attention_kwargs=keywords,
        ).sample
    assert torch.allclose(rows[0], rows[1], atol=1e-5)


@torch.no_grad()
def test_text_padding_is_not_read(installation, latents, text, rescaled):
    keep = torch.ones(2, 7)
    keep[:, 5:] = 0
    changed = text.clone()
    changed[:, 5:] = 9.0
    with install_released(installation):
        outputs = [
            installation.network(
                latents,
                999,
                states,
                encoder_attention_mask=keep,
                cross_attention_kwargs={"condition": rescaled, "notes": {}},
            ).sample
            for states in (text, changed)
        ]
    assert torch.allclose(*outputs, atol=1e-5)


@torch.no_grad()
def test_outside_of_the_region_an_edit_gets_a_share_of_its_source_and_inside_of_all_tokens():
    torch.manual_seed(0)
    layer = Attention(query_dim=24, cross_attention_dim=16, heads=3, dim_head=8)
    layer.to_out[0] = torch.nn.Identity()
    branch = SemanticAttention("x", inner_width=24, token_width=16)
    states, tokens = torch.randn(2, 64, 24), torch.randn(2, 1, 4, 16)  # of source and edit
    left = torch.zeros(2, 1, 8, 8)
    left[..., :3] = 1
    condition = silent_condition(torch.zeros(2, 4, 8, 8), width=16)._replace(
        identity_tokens=tokens,
        region=left,
        identity_scale=torch.full((2, 1), 0.3),
        identity_background_scale=torch.full((2, 1), 0.8),
    )
    silent_text = torch.zeros(2, 5, 16)
    attend = ReleasedAttention(branch, is_controlled=True)
    source, edit = attend(layer, states, silent_text, condition=condition, notes={})
    inside = left[1].flatten() > 0
    assert torch.allclose(edit[~inside], 0.8 * source[~inside], atol=1e-5)
    assert torch.allclose(edit[inside], 0.3 * branch.to_v_ip(tokens[1, 0]).mean(0), atol=1e-5)
