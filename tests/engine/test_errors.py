import copy
import inspect
import io
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie import (
    CapabilityError,
    ConfigError,
    EditSettings,
    InputError,
    PersonalizeRequest,
    Scales,
    Session,
    Subject,
    SwiftPieError,
)
from swiftpie.backbones.presets import Capability
from swiftpie.engine.graphs.runtime import load as load_package
from swiftpie.engine.offload import offloaded
from swiftpie.engine.openvino import to_openvino
from swiftpie.engine.runner import Cache
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
    return list(
        warm_up(Session(changed(session, image_encoder=None, inversion=None, preset=preset)))
    )


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


PHOTO, PROMPT, NIGHT = photograph(40, 40), "a dog on a beach", "at night"
FLOATS, TENSOR = np.zeros((8, 8, 3)), torch.zeros(3, 8, 8)
HALF_BOX = (0.1, 0.2, 0.3)
PICTURE_CALLS = [
    lambda s, _, given: s.encode_identity(given),
    lambda s, _, given: s.encode_identity([PHOTO, given]),
    lambda s, one, given: s.personalize(one, PROMPT, scene=given),
    lambda s, one, given: s.personalize(one, PROMPT, style_reference=given),
    lambda s, _, given: s.edit(given, NIGHT),
    lambda s, one, given: s.insert(given, one),
    lambda s, _, given: s.remove(given, mask=(0.1, 0.1, 0.5, 0.5)),
    lambda s, one, given: s.replace(given, one, mask=(0.1, 0.1, 0.5, 0.5)),
    lambda _s, _, given: swiftpie.load_image(given),
]
STRANGE = [5, TENSOR, FLOATS, np.zeros((8, 8, 2), np.uint8), io.StringIO("text"), io.BytesIO()]


@pytest.mark.parametrize("given", STRANGE, ids=lambda given: type(given).__name__)
@pytest.mark.parametrize("call", PICTURE_CALLS, ids=range(len(PICTURE_CALLS)))
def test_what_is_no_picture_is_refused_in_a_sentence(session, identity, call, given):
    with pytest.raises(InputError, match=r"picture|Image") as refused:
        call(session, identity, given)
    assert str(refused.value).endswith(".") or "astype" in str(refused.value)


WRONG = tomllib.loads(Path(__file__).with_name("errors.toml").read_text(encoding="utf-8"))["wrong"]


@pytest.mark.parametrize(("call", "word"), WRONG, ids=range(len(WRONG)))
def test_wrong_calls_end_in_a_sentence(session, identity, call, word):
    with pytest.raises(SwiftPieError) as refused:
        eval(call, {**globals(), "s": session, "one": identity})
    message = str(refused.value)
    assert word in message
    assert "__init__" not in message
    assert len(message) < 600


def test_none_stands_for_the_default_and_values_for_their_members(session):
    assert Scales(identity_scale=None) == Scales()
    assert EditSettings(method="chord").method == "chord"
    box = session.edit(PHOTO, NIGHT, mask=[0.1, 0.1, 0.9, 0.9], source_prompt=None, seed=1)
    same = session.edit(PHOTO, NIGHT, mask=(0.1, 0.1, 0.9, 0.9), seed=1)
    assert box.image.tobytes() == same.image.tobytes()


def test_help_names_every_option(session):
    help_page = session.personalize.__doc__
    assert all(f"    {name}: " in help_page for name in ("box", "scene", "flip", "size", "seed"))
    assert "--" not in help_page
    assert "style_scale" in str(inspect.signature(session.personalize))


def forms_of(path):
    """What people have of a picture, all of the same pixels."""
    data = path.read_bytes()
    with Image.open(path) as opened:
        opened.load()
    stream = io.BytesIO(data)
    stream.seek(5)  # where another reader left it
    return [path, str(path), data, bytearray(data), stream, opened]


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(60, 40).save(path, exif=exif)


def hidden(path):
    picture = photograph(60, 40).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((60, 40)).point(lambda v: 255 * (v > 99)))
    picture.save(path)


def deep(path):
    Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27).save(path)


@pytest.mark.parametrize("save", [turned, hidden, deep])
def test_a_picture_object_is_the_same_picture_as_its_file(session, identity, tmp_path, save):
    save(path := tmp_path / "picture.png")
    forms = forms_of(path)
    plain = [swiftpie.load_image(form) for form in forms]
    assert {(each.mode, each.size, each.tobytes()) for each in plain} == {
        (plain[0].mode, plain[0].size, plain[0].tobytes())
    }
    request = PersonalizeRequest(
        subjects=(Subject(identity),), prompt=PROMPT, seeds=(1,), scene=forms[-1]
    )
    assert session.resolved(request).scene.tobytes() == plain[0].tobytes()
    scenes = [session.personalize(identity, PROMPT, seed=1, scene=form) for form in forms[-3:]]
    of_file = session.personalize(identity, PROMPT, seed=1, scene=Path(path))
    assert {each.images[0].tobytes() for each in scenes} == {of_file.images[0].tobytes()}


def test_an_array_of_bytes_is_a_picture_and_a_mask(session):
    picture, mask = np.asarray(PHOTO), np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    drawn = session.edit(picture, NIGHT, mask=mask, seed=1)
    same = session.edit(PHOTO, NIGHT, mask=Image.fromarray(mask), seed=1)
    assert drawn.image.tobytes() == same.image.tobytes()
    assert np.array_equal(np.asarray(swiftpie.load_image(picture)), picture)
