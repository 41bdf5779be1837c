import threading
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from swiftpie import Session
from swiftpie.engine.runner import (
    Cache,
    CachedAutoencoder,
    CachedPrompts,
    Key,
    content_key,
    reporting_layers,
    tensor_bytes,
)
from swiftpie.models.denoiser import sharing_weights
from swiftpie.pipelines.choose import CHECK
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from tests.parity.edit import photograph

BEACH = "a dog on a beach"
PROMPTS = ["a cat", "a red robot in the snow at night, with a hat and a scarf", "", "a cat"]


def a_mib(times=1.0):
    return torch.zeros(int(times * 2**18))


def ask(cache, name, make=a_mib):
    return cache.get_or_make(Key("thing", name), make)


def is_kept(cache, name):
    made = []
    ask(cache, name, lambda: made.append(name))
    return not made


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


def test_a_key_may_need_another_one():
    cache = Cache(4)
    assert ask(cache, "outer", lambda: ask(cache, "inner")) is ask(cache, "inner")


def test_an_error_is_not_remembered():
    cache = Cache(4)
    with pytest.raises(ZeroDivisionError):
        ask(cache, "a", lambda: 1 / 0)
    assert torch.equal(ask(cache, "a"), a_mib())
    assert is_kept(cache, "a")


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
    assert len({content_key("face", tensor) for tensor in tensors}) == len(tensors)
    table = torch.arange(6.0).reshape(2, 3)
    assert content_key("face", table.T) == content_key("face", table.T.contiguous())
    assert content_key("face", table.T) != content_key("face", table.reshape(3, 2))
    assert content_key("prompt", "ä", b"c") == content_key("prompt", "ä".encode(), "c")


class Recorder:
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


def test_each_prompt_is_encoded_once_for_the_same_weights(recorder, cached):
    cached.encode(PROMPTS)
    cached.encode(list(reversed(PROMPTS)))
    assert recorder.asked == [[PROMPTS[0]], [PROMPTS[1]], [PROMPTS[2]]]
    CachedPrompts(recorder, cached.cache, "other weights").encode(PROMPTS[:1])
    assert len(recorder.asked) == 4


@pytest.fixture(scope="module")
def components(editor):
    return editor.components


def edit(session, prompt="a red hat", *, picture=None, **options):
    return session.edit(picture or photograph(), prompt, source_prompt="a cat", seed=0, **options)


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


def test_what_networks_can_do_more_they_still_can(components):
    autoencoder = CachedAutoencoder(components.autoencoder, Cache(1), "")
    pixels = torch.zeros(1, 3, 64, 64)
    for mine, its in zip(
        autoencoder.posterior(pixels), components.autoencoder.posterior(pixels), strict=True
    ):
        assert torch.equal(mine, its)


class Enough(Exception):  # noqa: N818 - a state
    """Raised by a listener."""


def hooks_of(components):
    networks = (components.denoiser, components.autoencoder, components.image_encoder)
    return [
        hook
        for network in networks
        for part in network.modules()
        for hook in part._forward_pre_hooks
    ]


def test_layers_are_reported_within_a_step_and_change_nothing(session, identity):
    stages, request = [], request_of(session, identity)
    listened = session.draw(request, on_stage=stages.append)
    assert listened.images[0].tobytes() == session.draw(request).images[0].tobytes()
    first = stages.index("place") + 1
    assert stages[first : stages.index("step")].count(CHECK) > 20
    assert stages[stages.index("denoise") : stages.index("decode")].count(CHECK) > 5


@pytest.mark.parametrize("after", [1, 40])
def test_a_listener_that_raises_stops_inside_a_step_and_leaves_no_hook(session, identity, after):
    before, stages = hooks_of(session.components), []

    def listen(stage):
        stages.append(stage)
        if stages.count(CHECK) == after:
            raise Enough

    with pytest.raises(Enough):
        session.draw(request_of(session, identity), on_stage=listen)
    assert "step" not in stages
    assert hooks_of(session.components) == before


def test_another_thread_is_not_reported(session, identity):
    request, stages = request_of(session, identity), []
    with reporting_layers(session.components, stages.append):
        thread = threading.Thread(target=session.draw, args=(request,))
        thread.start()
        thread.join()
        assert stages == []
        session.draw(request)
    assert set(stages) == {CHECK}


def test_a_copy_made_meanwhile_reports_nothing_later(session):
    stages = []
    with reporting_layers(session.components, stages.append):
        copy = sharing_weights(session.components.autoencoder)
        latents = session.components.autoencoder.encode(torch.zeros(1, 3, 64, 64))
    stages.clear()
    assert copy.decode(latents).shape == (1, 3, 64, 64)
    assert stages == []


def request_of(session, identity):
    subjects = session.with_named(BEACH, [Subject(identity)])
    return PersonalizeRequest(subjects=subjects, prompt=BEACH, seeds=(3,))
