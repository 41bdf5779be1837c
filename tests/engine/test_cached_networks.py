"""What is remembered is what the networks would return, and the second edit starts from it."""

from dataclasses import replace

import pytest
import torch

from swiftpie import Session
from swiftpie.engine.cache import Cache
from swiftpie.engine.cached_networks import (
    CachedAutoencoder,
    CachedPrompts,
    cached_inversion,
)
from swiftpie.models.inversion import ReadsEdits
from tests.parity.edit import photograph
from tests.pipelines.tiny_editor import tiny_editor

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


@pytest.fixture(scope="module")
def components():
    return tiny_editor()


def edit(session, prompt="a red hat", **options):
    return session.edit(photograph(), prompt, source_prompt="a cat", **options)


def test_a_remembered_edit_is_the_edit_bit_for_bit(components):
    session = Session(components)
    first, again = edit(session), edit(session)
    plain = edit(Session(components, cache_mib=0))
    assert first.image.tobytes() == again.image.tobytes() == plain.image.tobytes()
    assert first.region.tobytes() == plain.region.tobytes()


def test_another_edit_of_one_picture_encodes_nothing_and_inverts_its_own_prompt_alone(components):
    session = Session(components)
    edit(session)
    before = session.cache
    edit(session, "a red sofa")
    after = session.cache
    assert after.misses["latents"] == before.misses["latents"]
    assert after.misses["inversion"] == before.misses["inversion"] + 1
    assert after.misses["appearance"] == before.misses["appearance"] == 1
    edit(session, "a dog", mask=(0.1, 0.1, 0.6, 0.6))
    assert session.cache.misses["inversion"] == after.misses["inversion"]


def test_another_picture_is_not_mistaken_for_the_first(components):
    session = Session(components)
    first = edit(session)
    other = session.edit(photograph().rotate(180), "a red hat", source_prompt="a cat")
    alone = Session(components, cache_mib=0).edit(
        photograph().rotate(180), "a red hat", source_prompt="a cat"
    )
    assert other.image.tobytes() == alone.image.tobytes() != first.image.tobytes()


def test_what_networks_can_do_more_they_still_can(components):
    cache = Cache(1)
    autoencoder = CachedAutoencoder(components.autoencoder, cache, "")
    pixels = torch.zeros(1, 3, 64, 64)
    for mine, its in zip(
        autoencoder.posterior(pixels), components.autoencoder.posterior(pixels), strict=True
    ):
        assert torch.equal(mine, its)
    assert not isinstance(cached_inversion(components.inversion, cache, ""), ReadsEdits)


def test_a_network_that_reads_edits_is_asked_once_about_each_prompt(session):
    from swiftpie.models.inversion import TinyInversion

    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = TinyInversion().eval().requires_grad_(False)
    cache = Cache(16)
    cached = cached_inversion(network, cache, "")
    assert isinstance(cached, ReadsEdits)
    latents = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    text = session.components.text.encode(["a cat", "a dog"])
    for _ in range(2):
        both = cached.read(latents.expand(2, -1, -1, -1), text)
    assert cache.report().misses["reading"] == 2
    alone = network.read(latents, type(text)(*(part[:1] for part in text)))
    assert torch.equal(both.row(0).noise, alone.noise)
    assert torch.equal(both.row(0).subject, alone.subject)
    assert replace(cache.report(), hits={}).misses == {"reading": 2}
