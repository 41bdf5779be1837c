"""A shared copy shares memory with its original and nothing else."""

import torch

from swiftpie.engine.wrappers import shared_copy, with_text_encoders


def test_a_copy_takes_no_memory_for_weights(session):
    denoiser = session.components.denoiser
    made = shared_copy(denoiser)
    pairs = list(zip(denoiser.parameters(), made.parameters(), strict=True))
    assert pairs
    assert all(one is not other and one.data_ptr() == other.data_ptr() for one, other in pairs)


def test_its_installation_is_its_own(session):
    made = shared_copy(session.components.denoiser)
    assert made.installation.network is made.unet
    processors = {id(processor) for processor in made.unet.attn_processors.values()}
    installed = [*made.installation.semantic.values(), *made.installation.detail.values()]
    assert {id(kind) for kind in installed} == processors


def test_what_is_done_to_a_copy_leaves_the_original_alone(session):
    predictor = session.components.own.layout_predictor
    before = [parameter.clone() for parameter in predictor.parameters()]
    shared_copy(predictor).to(torch.float64).layers[0].weight.data += 1
    assert all(torch.equal(a, b) for a, b in zip(before, predictor.parameters(), strict=True))


def test_a_prompt_encoder_of_others_stays_as_it_is(session):
    assert with_text_encoders(session, shared_copy) is session
    text = with_text_encoders(session.components.text, shared_copy)
    assert text.encoder is not session.components.text.encoder
    assert text.tokenizer is session.components.text.tokenizer
