"""Remembered prompts are the prompts that the encoder would return."""

import pytest
import torch

from swiftpie.engine.cache import Cache
from swiftpie.engine.prompts import CachedPrompts

PROMPTS = ["a cat", "a red robot in the snow at night, with a hat and a scarf", "", "a cat"]


class Recorder:
    """A prompt encoder that tells what it was asked."""

    def __init__(self, encoder):
        self.encoder, self.asked = encoder, []

    def encode(self, prompts):
        self.asked.append(prompts)
        return self.encoder.encode(prompts)

    def find_words(self, prompt, names):
        return self.encoder.find_words(prompt, names)


@pytest.fixture
def recorder(session):
    return Recorder(session.components.text)


@pytest.fixture
def cached(recorder):
    return CachedPrompts(recorder, Cache(16), "weights")


def assert_same(one, other):
    for name, expected in other._asdict().items():
        assert torch.equal(getattr(one, name), expected), name


def test_rows_of_a_batch_equal_the_prompts_alone_bit_for_bit(session, cached):
    plain = session.components.text
    batch = cached.encode(PROMPTS)
    for index, prompt in enumerate(PROMPTS):
        alone = plain.encode([prompt])
        assert_same(type(batch)(*(part[index : index + 1] for part in batch)), alone)
        assert_same(cached.encode([prompt]), alone)


def test_short_and_long_prompts_keep_the_length_that_the_encoder_pads_to(session, cached):
    batch, plain = cached.encode(PROMPTS), session.components.text.encode(PROMPTS)
    assert [part.shape for part in batch] == [part.shape for part in plain]
    assert torch.equal(batch.attention_mask, plain.attention_mask)
    torch.testing.assert_close(batch.hidden_states, plain.hidden_states)


def test_each_prompt_is_encoded_once_however_it_is_batched(recorder, cached):
    cached.encode(PROMPTS)
    cached.encode(PROMPTS[:1])
    cached.encode(list(reversed(PROMPTS)))
    assert recorder.asked == [[PROMPTS[0]], [PROMPTS[1]], [PROMPTS[2]]]


def test_other_weights_never_share_a_prompt(recorder, cached):
    cached.encode(["a cat"])
    CachedPrompts(recorder, cached.cache, "other weights").encode(["a cat"])
    assert len(recorder.asked) == 2


def test_what_is_kept_holds_no_graph(cached):
    with torch.enable_grad():
        assert not cached.encode(["a cat"]).hidden_states.requires_grad


def test_words_are_found_as_before(session, cached):
    names = ["robot", "cat"]
    plain = session.components.text.find_words(PROMPTS[1], names)
    assert torch.equal(cached.find_words(PROMPTS[1], names), plain)
