from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import swiftpie
from swiftpie.backbones.load.weights import StoredWeights
from swiftpie.engine import offload
from swiftpie.engine.offload import DeviceSlot, offloaded
from swiftpie.engine.session import Session
from swiftpie.engine.wrappers import JoinedAutoencoder
from swiftpie.errors import CapabilityError, WeightsError
from swiftpie.pipelines.settings import EditMode, EditSettings
from tests.quick import thorough_but
from tests.tiny.adapters import make_public_adapter
from tests.tiny.editor import tiny_editor
from tests.tiny.folders import choices_in, make_model

CPU = torch.device("cpu")
PROMPT = "a subject on a beach"
SMALL = (128, 128)


class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.sent = []

    def to(self, device):
        self.sent.append(str(device))
        return self


@pytest.fixture(scope="module")
def resting(session):
    return Session(offloaded(session.components, CPU), cache_mib=0)


def test_only_one_network_is_on_the_device():
    slot, first, second = DeviceSlot(torch.device("meta")), Watched(), Watched()
    for network in (first, first, second, first):
        with slot.hold(network):
            pass
    assert first.sent == ["meta", "cpu", "meta"]
    assert second.sent == ["meta", "cpu"]


def test_a_failing_network_gives_its_turn_up():
    slot = DeviceSlot(CPU)
    with pytest.raises(ValueError, match="broken"), slot.hold(Watched()):
        raise ValueError("broken")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: slot.acquire(Watched())).result(timeout=10)


def test_pictures_and_identities_are_the_same(session, resting, sprite, identity):
    found = resting.encode_identity(sprite)
    assert all(torch.equal(found.keys[name], identity.keys[name]) for name in identity.keys)
    ours = resting.personalize(found, PROMPT, seed=3).images[0]
    assert np.array_equal(ours, session.personalize(identity, PROMPT, seed=3).images[0])


def test_threads_take_turns(session, resting, identity):
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(resting.personalize, identity, PROMPT, seed=seed) for seed in range(3)]
        found = [np.asarray(job.result(timeout=120).images[0], dtype=np.int16) for job in jobs]
    for seed, picture in enumerate(found):
        alone = np.asarray(session.personalize(identity, PROMPT, seed=seed).images[0], np.int16)
        assert np.abs(picture - alone).max() <= 1


@pytest.mark.parametrize("mode", thorough_but([*EditMode], [EditMode.PAPER]))
def test_edits_are_the_same(sprite, mode):
    plain = tiny_editor()
    arguments = (sprite.convert("RGB"), "a dog on the sofa")
    settings = {"source_prompt": "a cat", "seed": 0, "settings": EditSettings(mode=mode)}
    ours = Session(offloaded(plain, CPU)).edit(*arguments, **settings).image
    assert np.array_equal(ours, Session(plain).edit(*arguments, **settings).image)


@torch.no_grad()
def test_decoders_and_encoders_that_were_joined_come_too():
    plain = tiny_editor()
    joined = JoinedAutoencoder(plain.autoencoder, plain.autoencoder)
    made = offloaded(replace(plain, autoencoder=joined), CPU)
    latents, pixels = torch.zeros(1, 4, 8, 8), torch.zeros(1, 3, 64, 64)
    for compute, given in ((joined.decode, latents), (joined.encode, pixels)):
        other = Watched()
        with made.text.slot.hold(other):
            pass
        assert torch.equal(getattr(made.autoencoder, compute.__name__)(given), compute(given))
        assert other.sent == ["cpu", "cpu"]  # it left again


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    root = tmp_path_factory.mktemp("stored")
    make_model(root, "sdxl", adapter="public")
    make_public_adapter(root / "face.safetensors", "sdxl", name="ip-adapter-faceid_sdxl")

    def load(*, adapter="public.safetensors", **choices):
        return swiftpie.load(
            "sdxl-turbo", **choices_in(root, adapter), offline=True, device="cpu", **choices
        )

    return load


def networks_of(session):
    parts = session.components
    return {
        "first": parts.text.first.encoder,
        "second": parts.text.second,
        "tower": parts.image_encoder.tower,
        "unet": parts.denoiser.unet,
    }


def drawn(session, sprite):
    shown = session.encode_identity(sprite)
    return session.personalize(shown, PROMPT, seed=3, size=SMALL).images[0].tobytes()


def here(session):
    return [
        name for name, one in networks_of(session).items() if not one.stored_weights.is_away(one)
    ]


@pytest.mark.parametrize("dtype", thorough_but(["float32", "bfloat16"], ["bfloat16"]))
def test_encoders_rest_in_their_files_on_the_processor(stored, sprite, dtype):
    plain, resting = stored(dtype=dtype), stored(dtype=dtype, engine="offload")
    assert here(resting) == []
    first = drawn(resting, sprite)
    assert first == drawn(plain, sprite)
    assert first == drawn(resting, sprite)  # from the cache
    assert here(resting) == ["unet"]
    resting.components.text.encode(["elsewhere"])
    assert here(resting) == ["second", "unet"]  # there is room


def test_without_room_networks_are_alone(stored, sprite, monkeypatch):
    plain, resting = stored(), stored(engine="offload")
    networks, seen = networks_of(resting), []
    sizes = {name: one.stored_weights.num_bytes for name, one in networks.items()}
    limit = offload.SPARE_BYTES + max(sizes.values())
    monkeypatch.setattr(
        offload, "free_memory", lambda _: limit - sum(sizes[name] for name in here(resting))
    )
    monkeypatch.setattr(offload, "NUMBERS_A_PIXEL", limit)  # decoders need much
    for name, network in networks.items():
        note = partial(lambda name, *_: seen.append((name, here(resting))), name)
        network.register_forward_pre_hook(note)
    vae = resting.components.autoencoder.network
    vae.decoder.register_forward_pre_hook(lambda *_: seen.append(("decoder", here(resting))))
    assert drawn(resting, sprite) == drawn(plain, sprite)
    turns = [(name, [name]) for name in ("tower", "first", "second", "unet")]
    assert seen == [*turns, ("decoder", [])]


@pytest.mark.thorough
def test_an_engine_that_rebuilds_a_unet_finds_its_weights(stored, sprite):
    rebuilt, plain = (stored(engine=[*others, "folded-upsampling"]) for others in (["offload"], []))
    assert not rebuilt.components.denoiser.unet.stored_weights.fits(
        rebuilt.components.denoiser.unet
    )
    assert drawn(rebuilt, sprite) == drawn(plain, sprite)


@pytest.mark.thorough
def test_a_unet_comes_back_with_what_was_fused_into_it(stored):
    face = "face.safetensors"  # which has a LoRA
    plain, resting = stored(adapter=face), stored(adapter=face, engine="offload")
    unet = resting.components.denoiser.unet
    unet.stored_weights.leave(unet)
    unet.stored_weights.arrive(unet)
    found, expected = unet.state_dict(), plain.components.denoiser.unet.state_dict()
    assert all(torch.equal(found[name], one) for name, one in expected.items())


def test_openvino_is_no_engine_for_networks_that_take_turns(stored):
    with pytest.raises(CapabilityError, match="Leave one of the two out"):
        stored(engine=["offload", "openvino"])


@pytest.mark.thorough
def test_without_room_encoders_rest_by_themselves(stored, monkeypatch):
    monkeypatch.setattr(
        "swiftpie.backbones.load.networks.NUMBERS_A_PIXEL", 1 << 40
    )  # of a picture without end
    assert stored().components.engine.device == CPU
    monkeypatch.undo()
    assert stored().components.engine.device is None


def test_weights_that_change_meanwhile_are_refused():
    network = nn.Linear(2, 3)
    stored = StoredWeights.of(network, lambda: nn.Linear(1, 3), stays=False)
    with pytest.raises(WeightsError, match="have changed since it was loaded"):
        stored.arrive(network)


@pytest.mark.gpu
def test_networks_rest_in_main_memory(sprite):
    session = swiftpie.load("mini", device="cuda", engine=["offload"])
    identity = session.encode_identity(sprite)
    session.personalize(identity, PROMPT)
    plain = swiftpie.load("mini", device="cuda").personalize(identity, PROMPT).images[0]
    assert np.array_equal(session.personalize(identity, PROMPT).images[0], plain)
    assert next(session.components.denoiser.parameters()).device.type == "cpu"
