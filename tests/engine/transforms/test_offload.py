"""Networks that take turns draw what they draw together."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from swiftpie.engine.session import Session
from swiftpie.engine.transform import transform
from swiftpie.engine.transforms.offload import DeviceSlot, offloaded
from swiftpie.errors import CapabilityError
from swiftpie.pipelines.settings import EditMode, EditSettings
from tests.pipelines.tiny_editor import tiny_editor

CPU = torch.device("cpu")
PROMPT = "a subject on a beach"


class Watched(nn.Module):
    """A network that notes where it is sent."""

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


@pytest.mark.parametrize("mode", list(EditMode))
def test_edits_are_the_same(sprite, mode):
    plain = tiny_editor()
    arguments = (sprite.convert("RGB"), "a dog on the sofa")
    settings = {"source_prompt": "a cat", "seed": 0, "settings": EditSettings(mode=mode)}
    ours = Session(offloaded(plain, CPU)).edit(*arguments, **settings).image
    assert np.array_equal(ours, Session(plain).edit(*arguments, **settings).image)


def test_offloaded_networks_are_not_compiled(session):
    with pytest.raises(CapabilityError, match="offload"):
        transform(offloaded(session.components, CPU), ["compile"])


@pytest.mark.gpu
def test_networks_rest_in_main_memory(sprite):
    import swiftpie

    session = swiftpie.load("mini", device="cuda", engine=["offload"])
    identity = session.encode_identity(sprite)
    session.personalize(identity, PROMPT)
    plain = swiftpie.load("mini", device="cuda").personalize(identity, PROMPT).images[0]
    assert np.array_equal(session.personalize(identity, PROMPT).images[0], plain)
    assert next(session.components.denoiser.parameters()).device.type == "cpu"
