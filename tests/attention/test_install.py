import torch

from swiftpie.attention.condition import Block, silent_condition
from swiftpie.attention.install import BranchPlan, install
from tests.tiny.networks import WIDTH, tiny_unet


def test_undo_restores_the_same_objects(unet):
    before = dict(unet.attn_processors)
    with install(unet, BranchPlan(token_width=WIDTH)):
        assert all(unet.attn_processors[name] is not before[name] for name in before)
    after = unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())


def test_silent_condition_is_bit_equal_to_the_plain_model(latents, text):
    unet = tiny_unet("plain")
    plain = unet(latents, 999, text).sample
    install(unet, BranchPlan(token_width=WIDTH, gate=1.0))
    keywords = {"condition": silent_condition(latents, width=WIDTH), "notes": {}}
    assert torch.equal(plain, unet(latents, 999, text, cross_attention_kwargs=keywords).sample)


def test_zero_scales_are_bit_equal_even_with_references(latents, text, predict, condition):
    zero = torch.zeros(2, 1)
    silenced = condition._replace(
        identity_scale=zero,
        identity_background_scale=zero,
        detail_scale=zero,
        detail_background_scale=zero,
    )
    assert torch.equal(predict(silenced), unet_without_processors(latents, text))
    assert not torch.equal(predict(condition), predict(silenced))


def unet_without_processors(latents, text):
    return tiny_unet("plain")(latents, 999, text).sample


def test_layers_of_blocks_that_a_preset_leaves_out_ignore_the_identity(latents, text, condition):
    outputs = []
    for blocks in (frozenset(), {Block.DOWN}, {*Block}):
        unet = tiny_unet("plain")
        install(unet, BranchPlan(token_width=WIDTH, gate=1.0, detail=frozenset(), semantic=blocks))
        for tokens in (condition.identity_tokens, -condition.identity_tokens):
            given = condition._replace(identity_tokens=tokens)
            keywords = {"condition": given, "notes": {}}
            outputs.append(unet(latents, 999, text, cross_attention_kwargs=keywords).sample)
    assert torch.equal(outputs[0], unet_without_processors(latents, text))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[2], outputs[3])
    assert not torch.equal(outputs[2], outputs[4]), "other blocks act where they are not left out"


def test_text_padding_is_never_read(unet, latents, text, condition):
    keep = torch.ones(2, 7)
    keep[:, 5:] = 0
    changed = text.clone()
    changed[:, 5:] = 9.0
    outputs = [
        unet(
            latents,
            999,
            states,
            encoder_attention_mask=keep,
            cross_attention_kwargs={"condition": condition, "notes": {}},
        ).sample
        for states in (text, changed)
    ]
    assert torch.allclose(*outputs, atol=1e-5)
