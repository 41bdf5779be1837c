import copy
from dataclasses import replace

import pytest
import torch

import swiftpie
from swiftpie import CapabilityError, ConfigError, InputError, Session
from swiftpie.backbones.presets import Capability
from swiftpie.engine.graphs.runtime import load as load_package
from swiftpie.engine.runner import Cache
from swiftpie.engine.transforms.offload import offloaded
from swiftpie.engine.transforms.openvino import to_openvino
from swiftpie.engine.verify import verify
from swiftpie.engine.warm_up import warm_up
from swiftpie.errors import MissingExtra
from tests.parity.edit import photograph

CPU = torch.device("cpu")


def changed(session, **parts):
    return replace(session.components, **parts)


def elsewhere(session):
    denoiser = copy.deepcopy(session.components.denoiser).to("meta")
    return to_openvino(changed(session, denoiser=denoiser))


def without_adapter(session):
    preset = replace(session.components.preset, capabilities={Capability.PERSONALIZE})
    return list(warm_up(Session(changed(session, image_encoder=None, preset=preset))))


CALLS = [
    (lambda _: Cache(-1), ConfigError, "more"),
    (lambda _: Cache(float("nan")), ConfigError, "more"),
    *(
        (lambda _, device=device: swiftpie.load("mini", device=device), ConfigError, "device")
        for device in ("meta", "nowhere", "cuda:99")
    ),
    (lambda _: swiftpie.load("mini", engine=["folded-upsample"]), ConfigError, "folded-upsampling"),
    (lambda s: s.generate("a dog", size_px=(192, 256)), TypeError, "size_px"),
    (lambda s: s.generate("a dog", size=256), InputError, "width"),
    (lambda s: s.generate("a dog", seed=[1, 2]), InputError, "whole"),
    (lambda s: s.generate("a dog", num_images="2"), InputError, "pictures"),
    (lambda s: s.generate("a dog", tilt="15"), InputError, "number"),
    (lambda s: s.generate("an elefant on a beach"), InputError, "elephant"),
    (lambda s: s.insert(photograph(), "elefant"), InputError, "elephant"),
    (lambda _: verify("mini"), CapabilityError, "compare"),
    (without_adapter, CapabilityError, "adapter"),
    (lambda s: to_openvino(offloaded(s.components, CPU)), CapabilityError, "offload"),
    (elsewhere, CapabilityError, "CPU"),
    (lambda _: load_package("no_such_package"), MissingExtra, "openvino"),
]


@pytest.mark.parametrize(("call", "error", "word"), CALLS)
def test_what_cannot_be_is_refused(session, call, error, word):
    with pytest.raises(error, match=word):
        call(session)
