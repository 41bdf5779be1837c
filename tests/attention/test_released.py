"""SwiftEdit's attention as released: what it controls, and that it leaves no trace.

That its numbers are those of the released code is compared in tests/parity/edit.py.
"""

import pytest
import torch

from swiftpie.attention.install import ReleasedAttention, install_released

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
