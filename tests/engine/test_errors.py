import copy
import inspect
import io
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
    EditRequest,
    EditSettings,
    InputError,
    PersonalizeRequest,
    RetouchRequest,
    Scales,
    Session,
    Subject,
    SwiftPieError,
    TuneSettings,
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


WRONG = [  # calls of the public interface, with an identity, and a word of the message
    (lambda s, _: s.encode_identity(None), "images=None"),
    (lambda s, _: s.encode_identity({"image": PHOTO}), "dict"),
    (lambda s, _: s.encode_identity(), "'images'"),
    (lambda s, _: s.encode_identity(PHOTO, mask=PHOTO), "Did you mean masks"),
    (lambda s, _: s.encode_identity(PHOTO, masks=5), "picture"),
    (lambda s, _: s.encode_identity(PHOTO, cutout=5), "cutout=5"),
    (lambda s, _: s.encode_identity(PHOTO, cutout=(0.1, 0.2, 0.9, 0.9)), "text"),
    (lambda s, _: s.encode_face(None), "face=None"),
    (lambda s, _: s.encode_face(PHOTO, encoder=5), "FaceEncoder"),
    (lambda s, _: s.personalize(None, PROMPT), "encode_identity"),
    (lambda s, _: s.personalize(PHOTO, PROMPT), "encode_identity"),
    (lambda s, one: s.personalize({"a": one}, PROMPT), "dict"),
    (lambda s, one: s.personalize(one), "'prompt'"),
    (lambda s, one: s.personalize(one, 5), "prompt=5"),
    (lambda s, one: s.personalize(one, None), "prompt=None"),
    (lambda s, one: s.personalize(one, b"a dog"), "bytes"),
    (lambda s, one: s.personalize(one, PROMPT, sede=3), "Did you mean seed"),
    (lambda s, one: s.personalize(one, PROMPT, seed="3"), "whole"),
    (lambda s, one: s.personalize(one, PROMPT, seed=1.5), "whole"),
    (lambda s, one: s.personalize(one, PROMPT, seed=True), "whole"),
    (lambda s, one: s.personalize(one, PROMPT, box=HALF_BOX), "left, top"),
    (lambda s, one: s.personalize(one, PROMPT, box="0,0,1,1"), "left, top"),
    (lambda s, one: s.personalize(one, PROMPT, box=("a", 0, 1, 1)), "left, top"),
    (lambda s, one: s.personalize(one, PROMPT, view=5), "yaw"),
    (lambda s, one: s.personalize(one, PROMPT, view=(1, 2, 3)), "yaw"),
    (lambda s, one: s.personalize(one, PROMPT, scales={"identity_scale": 1.0}), "Scales"),
    (lambda s, one: s.personalize(one, PROMPT, scales=0.5), "Scales"),
    (lambda s, one: s.personalize(one, PROMPT, size=(512,)), "width"),
    (lambda s, one: s.personalize(one, PROMPT, size="512x512"), "width"),
    (lambda s, one: s.personalize(one, PROMPT, size=(512.0, 512.0)), "width"),
    (lambda s, one: s.personalize(one, PROMPT, size_px=(512, 512)), "Did you mean size"),
    (lambda s, one: s.personalize(one, PROMPT, mask=5), "mask=5"),
    (lambda s, one: s.personalize(one, PROMPT, mask=torch.ones(8, 8)), "shape"),
    (lambda s, one: s.personalize(one, PROMPT, mask=FLOATS), "ndarray"),
    (lambda s, one: s.personalize(one, PROMPT, mask="inlien"), "inline"),
    (lambda s, one: s.personalize(one, PROMPT, detail_mask=5), "detail_mask=5"),
    (lambda s, one: s.personalize(one, PROMPT, guidance="dcg"), "identity_guidance"),
    (lambda s, one: s.personalize(one, PROMPT, shaping=5), "shaping=5"),
    (lambda s, one: s.personalize(one, PROMPT, identity_guidance="dgc"), "'dcg"),
    (lambda s, one: s.personalize(one, PROMPT, negative_prompt=5), "text"),
    (lambda s, one: s.personalize(one, PROMPT, flip="yes"), "True or False"),
    (lambda s, one: s.personalize(one, PROMPT, flip=5), "True or False"),
    (lambda s, _: s.generate("a dog", subjects=5), "subjects=5"),
    (lambda s, _: s.generate("a dog", sede=3), "Did you mean seed"),
    (lambda s, one: s.animate(one, PROMPT, to=5), "to=5"),
    (lambda s, one: s.animate(one, PROMPT, to_box=HALF_BOX), "left, top"),
    (lambda s, one: s.animate(one, PROMPT, to_view=5), "yaw"),
    (lambda s, one: s.animate(one, PROMPT, num_frames="5"), "whole"),
    (lambda s, one: s.animate(one, PROMPT, num_images=2), "num_images"),
    (lambda s, _: s.edit(PHOTO), "'prompt'"),
    (lambda s, _: s.edit(PHOTO, 5), "prompt=5"),
    (lambda s, _: s.edit(PHOTO, NIGHT, mask=5), "mask=5"),
    (lambda s, _: s.edit(PHOTO, NIGHT, mask=(0, 1, 2)), "mask="),
    (lambda s, _: s.edit(PHOTO, NIGHT, mask="none.png"), "exist"),
    (lambda s, _: s.edit(PHOTO, NIGHT, settings={"method": "chord"}), "EditSettings"),
    (lambda s, _: s.edit(PHOTO, NIGHT, source_prompt=5), "source_prompt=5"),
    (lambda s, _: s.edit(PHOTO, NIGHT, keyword=5), "keyword=5"),
    (lambda s, _: s.edit(PHOTO, NIGHT, identity=PHOTO), "identity of session"),
    (lambda s, _: s.edit(PHOTO, NIGHT, box=(0, 0, 1, 1)), "`mask=("),
    (lambda s, _: s.edit(PHOTO, NIGHT, scales=Scales()), "settings="),
    (lambda s, _: s.insert(PHOTO), "'identity'"),
    (lambda s, _: s.insert(PHOTO, PHOTO), "identity of session"),
    (lambda s, one: s.insert(PHOTO, one, box=HALF_BOX), "left, top"),
    (lambda s, one: s.insert(PHOTO, one, view=5), "yaw"),
    (lambda s, one: s.insert(PHOTO, one, prompt=5), "prompt=5"),
    (lambda s, one: s.insert(PHOTO, one, scales={}), "Scales"),
    (lambda s, one: s.insert(PHOTO, one, mask=PHOTO), "`box=` says where"),
    (lambda s, _: s.remove(PHOTO, mask=5), "mask=5"),
    (lambda s, _: s.remove(PHOTO, points=(0.5, 0.5)), "points"),
    (lambda s, _: s.remove(PHOTO, points=[("a", "b")]), "points"),
    (lambda s, _: s.remove(PHOTO, point=(0.5, 0.5)), "Did you mean points"),
    (lambda s, one: s.replace(PHOTO, one, points=[5]), "points"),
    (lambda s, one: s.replace(PHOTO, one, mask=(0, 0, 1, 1), keep_pose="yes"), "True or False"),
    (lambda s, _: s.tune(None), "identity=None"),
    (lambda s, one: s.tune(one, {"steps": 5}), "TuneSettings"),
    (lambda s, _: s.save_identity(None, "x.spid"), "identity=None"),
    (lambda s, one: s.save_identity(one, 5), "path=5"),
    (lambda s, _: s.load_identity(None), "path=None"),
    (lambda s, _: s.named(5), "word=5"),
    (lambda s, _: s.identity_of(5), "source=5"),
    (lambda s, _: s.draw(None), "request=None"),
    (lambda s, _: s.draw_together([5]), "requests"),
    (lambda s, _: s.find_region(5), "request=5"),
    (lambda s, _: s.advice_on(None), "request=None"),
    (lambda s, _: s.with_named(5), "prompt=5"),
    (lambda *_: swiftpie.load(5), "preset=5"),
    (lambda *_: swiftpie.load("mini", engine=5), "swiftpie engine"),
    (lambda *_: swiftpie.load("mini", device=5), "device=5"),
    (lambda *_: swiftpie.load("mini", cache_mib="a"), "number"),
    (lambda *_: swiftpie.load(recipe=5), "Recipe"),
    (lambda *_: swiftpie.load("mini", weights=5), "weights=5"),
    (lambda *_: Session(None), "Components"),
    (lambda *_: Subject("dog"), "Identity"),
    (lambda _s, one: Subject(one, box=(0, 1)), "left, top"),
    (lambda _s, one: Subject(one, mask=PHOTO), "tensor"),
    (lambda _s, one: Subject(one, name=5), "text"),
    (lambda _s, one: Subject(one, bxo=(0, 0, 1, 1)), "Did you mean box"),
    (lambda *_: Scales(idenity_scale=1), "Did you mean identity_scale"),
    (lambda *_: EditSettings(method="chrod"), "'chord'"),
    (lambda *_: EditSettings(scales=5), "Scales"),
    (lambda *_: TuneSettings(steps=0.5), "whole"),
    (lambda _s, one: PersonalizeRequest(subjects=one, prompt=PROMPT, seeds=(1,)), "subjects"),
    (lambda *_: PersonalizeRequest(subjects=(), prompt=PROMPT, seeds=5), "seeds=5"),
    (lambda *_: EditRequest(image=PHOTO, prompt=PROMPT), "'seed'"),
    (lambda *_: RetouchRequest(image=PHOTO, seed=1, source=5), "source=5"),
    (lambda *_: swiftpie.check_box(5), "box"),
    (lambda *_: swiftpie.check_box("0,0,1,1"), "box"),
    (lambda *_: swiftpie.bounding_box(PHOTO), "tensor"),
    (lambda *_: swiftpie.load_mask(PHOTO, (40,)), "width"),
    (lambda *_: swiftpie.cut_out(None), "picture"),
    (lambda *_: swiftpie.contact_sheet([[5]], cell_px=8), "picture"),
    (lambda *_: swiftpie.save_animation([], "x.webp", fps=8, metadata={}), "frames"),
    (lambda *_: swiftpie.save_identity(5, "x.spid"), "identity=5"),
    (lambda *_: swiftpie.change_of(None, {}, image=PHOTO, source=None, seed=1), "Task"),
    (lambda *_: swiftpie.options_of(5), "source=5"),
    (lambda *_: swiftpie.open_face_encoder(None), "FaceSettings"),
    (lambda *_: swiftpie.is_downloaded(5), "Recipe"),
]


@pytest.mark.parametrize(("call", "word"), WRONG, ids=range(len(WRONG)))
def test_wrong_calls_end_in_a_sentence(session, identity, call, word):
    with pytest.raises(SwiftPieError) as refused:
        call(session, identity)
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
