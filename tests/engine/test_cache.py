"""The cache keeps what fits and computes once; networks that ask it return what others would."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from swiftpie import Session
from swiftpie.engine.cache import (
    Cache,
    CachedAutoencoder,
    CachedPrompts,
    Key,
    cached_inversion,
    content_key,
    tensor_bytes,
)
from swiftpie.errors import ConfigError, InputError
from swiftpie.models.inversion import EditInversion
from tests.parity.edit import photograph
from tests.pipelines.tiny_editor import tiny_editor

NUM_THREADS = 8
PROMPTS = ["a cat", "a red robot in the snow at night, with a hat and a scarf", "", "a cat"]


def a_mib(times=1.0):
    return torch.zeros(int(times * 2**18))


def ask(cache, name, make=a_mib):
    return cache.get_or_make(Key("thing", name), make)


def is_kept(cache, name):
    made = []
    ask(cache, name, lambda: made.append(name))
    return not made


def test_the_second_request_gets_the_very_same_value():
    cache = Cache(4)
    assert ask(cache, "a") is ask(cache, "a")
    report = cache.report()
    assert (report.hits, report.misses, report.num_entries) == ({"thing": 1}, {"thing": 1}, 1)


def test_the_least_recently_used_goes_first():
    cache = Cache(3)
    for name in "abc":
        ask(cache, name)
    ask(cache, "a")
    ask(cache, "d")
    assert cache.report().evictions == 1
    assert [is_kept(cache, name) for name in "acd"] == [True, True, True]
    assert not is_kept(cache, "b")


def test_the_bound_holds_after_every_request():
    cache = Cache(2.5)
    sizes = [0.5, 1, 2.5, 0.25, 2, 0.5, 1.5, 0.1]
    for number, size in enumerate(sizes):
        ask(cache, str(number), lambda size=size: a_mib(size))
        assert cache.report().held_mib <= 2.5
    assert cache.report().num_entries > 0
    assert 0 < cache.report().evictions < len(sizes)


def test_a_value_larger_than_the_cache_is_returned_and_displaces_nothing():
    cache = Cache(1)
    ask(cache, "small", lambda: a_mib(0.5))
    assert len(ask(cache, "large", lambda: a_mib(2))) == 2**19
    assert is_kept(cache, "small")
    assert not is_kept(cache, "large")


def test_no_room_keeps_nothing_at_all():
    cache = Cache(0)
    assert ask(cache, "a", lambda: "no tensor") == "no tensor"
    assert ask(cache, "a", lambda: "another") == "another"
    assert cache.report().num_entries == 0


@pytest.mark.parametrize("limit_mib", [-1, float("nan")])
def test_an_impossible_bound_is_refused(limit_mib):
    with pytest.raises(ConfigError, match="0 or more"):
        Cache(limit_mib)


def test_threads_that_ask_at_once_wait_for_one_computation():
    cache, started = Cache(4), threading.Barrier(NUM_THREADS + 1)
    release, made = threading.Event(), []

    def make():
        made.append(threading.get_ident())
        assert release.wait(timeout=60)
        return a_mib()

    def work(_):
        started.wait(timeout=60)
        return ask(cache, "a", make)

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        answers = [pool.submit(work, number) for number in range(NUM_THREADS)]
        started.wait(timeout=60)
        time.sleep(0.1)  # so that most of them wait; the result is the same if some come late
        release.set()
        values = [answer.result(timeout=60) for answer in answers]
    assert len(made) == 1
    assert all(value is values[0] for value in values)
    report = cache.report()
    assert (report.hits["thing"], report.misses["thing"]) == (NUM_THREADS - 1, 1)


def test_one_key_under_way_does_not_hold_up_another():
    cache, release = Cache(4), threading.Event()

    def slow():
        assert release.wait(timeout=60)
        return a_mib()

    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(ask, cache, "slow", slow)
        ask(cache, "quick")
        assert not pending.done()
        release.set()
        pending.result(timeout=60)


def test_a_key_may_need_another_one():
    cache = Cache(4)
    assert ask(cache, "outer", lambda: ask(cache, "inner")) is ask(cache, "inner")


def test_an_error_is_not_remembered_and_reaches_only_who_caused_it():
    cache, entered, release = Cache(4), threading.Event(), threading.Event()

    def fail():
        entered.set()
        assert release.wait(timeout=60)
        raise InputError("no subject")

    with ThreadPoolExecutor(2) as pool:
        failing = pool.submit(ask, cache, "a", fail)
        assert entered.wait(timeout=60)
        waiting = pool.submit(ask, cache, "a")
        release.set()
        with pytest.raises(InputError, match="no subject"):
            failing.result(timeout=60)
        assert torch.equal(waiting.result(timeout=60), a_mib())
    assert is_kept(cache, "a")


def ask_all(cache, names, make):
    return cache.get_or_make_all([Key("thing", name) for name in names], make)


def test_one_call_makes_all_that_is_missing():
    cache, asked = Cache(4), []

    def make(keys):
        asked.append([key.digest for key in keys])
        return [key.digest.upper() for key in keys]

    ask(cache, "b", lambda: "kept")
    assert ask_all(cache, "abcac", make) == ["A", "kept", "C", "A", "C"]
    assert ask_all(cache, "cb", make) == ["C", "kept"]
    assert ask_all(cache, "", make) == []
    assert asked == [["a", "c"]]
    assert (cache.report().hits, cache.report().misses) == ({"thing": 3}, {"thing": 3})


def test_what_two_threads_want_is_made_by_one_of_them():
    cache, meeting, made = Cache(4), threading.Barrier(2), []

    def make(keys):
        meeting.wait(timeout=60)  # each has something to make that the other does not want
        made.extend(key.digest for key in keys)
        return [key.digest for key in keys]

    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(ask_all, cache, names, make) for names in ("ax", "xb")]
        assert [answer.result(timeout=60) for answer in answers] == [["a", "x"], ["x", "b"]]
    assert sorted(made) == ["a", "b", "x"]


def test_nothing_is_remembered_of_a_call_that_fails():
    cache = Cache(4)

    def fail(keys):
        raise InputError(f"{len(keys)} pictures")

    with pytest.raises(InputError, match="2 pictures"):
        ask_all(cache, "ab", fail)
    assert ask_all(cache, "ab", lambda keys: [1, 2][: len(keys)]) == [1, 2]


def test_memory_is_counted_once_and_views_count_whole():
    @dataclass
    class Holder:
        plain: Tensor
        layers: dict[str, Tensor]
        name: str = "ignored"

    whole = a_mib(2)
    assert tensor_bytes(Holder(whole, {"half": whole[: 2**18], "own": a_mib()})) == 3 * 2**20
    assert tensor_bytes((whole[:1], [whole[1:]], "text", None)) == 2 * 2**20


def test_keys_tell_parts_kinds_and_order_apart():
    keys = [
        content_key("prompt", "ab", "c"),
        content_key("prompt", "a", "bc"),
        content_key("prompt", "abc"),
        content_key("prompt", "c", "ab"),
        content_key("prompt", "ab", "c", ""),
        content_key("identity", "ab", "c"),
    ]
    assert len(set(keys)) == len(keys)
    zeros = torch.zeros(4)
    tensors = [
        zeros[0],
        zeros,
        zeros[:0],
        zeros.reshape(2, 2),
        zeros.half(),
        zeros + 1,
        "",
        b"\0" * 16,
    ]
    assert len({content_key("face", one) for one in tensors}) == len(tensors)
    table = torch.arange(6.0).reshape(2, 3)
    assert content_key("face", table.T) == content_key("face", table.T.contiguous())
    assert content_key("face", table.T) != content_key("face", table.reshape(3, 2))
    assert content_key("prompt", "ä", b"c") == content_key("prompt", "ä".encode(), "c")


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


@pytest.fixture(scope="module")
def components():
    return tiny_editor()


def edit(session, prompt="a red hat", *, picture=None, **options):
    return session.edit(picture or photograph(), prompt, source_prompt="a cat", seed=0, **options)


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
    turned = photograph().rotate(180)
    other = edit(session, picture=turned)
    alone = edit(Session(components, cache_mib=0), picture=turned)
    assert other.image.tobytes() == alone.image.tobytes() != first.image.tobytes()


def test_what_networks_can_do_more_they_still_can(components):
    cache = Cache(1)
    autoencoder = CachedAutoencoder(components.autoencoder, cache, "")
    pixels = torch.zeros(1, 3, 64, 64)
    for mine, its in zip(
        autoencoder.posterior(pixels), components.autoencoder.posterior(pixels), strict=True
    ):
        assert torch.equal(mine, its)
    assert not isinstance(cached_inversion(components.inversion, cache, ""), EditInversion)


def test_a_network_that_reads_edits_is_asked_once_about_each_prompt(session):
    from swiftpie.mini.inversion import TinyInversion

    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = TinyInversion().eval().requires_grad_(False)
    cache = Cache(16)
    cached = cached_inversion(network, cache, "")
    assert isinstance(cached, EditInversion)
    latents = torch.randn(1, 32, 16, 16, generator=torch.Generator().manual_seed(0))
    text = session.components.text.encode(["a cat", "a dog"])
    for _ in range(2):
        both = cached.read(latents.expand(2, -1, -1, -1), text)
    assert cache.report().misses["reading"] == 2
    alone = network.read(latents, type(text)(*(part[:1] for part in text)))
    assert torch.equal(both.row(0).noise, alone.noise)
    assert torch.equal(both.row(0).subject, alone.subject)
    assert replace(cache.report(), hits={}).misses == {"reading": 2}
