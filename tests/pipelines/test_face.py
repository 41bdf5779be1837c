from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from swiftpie import CapabilityError, EditRequest, EditSettings, InputError
from swiftpie.backbones.choices import schedule_of, with_steps
from swiftpie.backbones.presets import PRESETS
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.engine.session import Session
from swiftpie.faces import FACE_ENCODERS, METADATA, Face, FaceBox
from swiftpie.faces.choose import choose_face, find_faces
from swiftpie.models.inversion import UNetInversion
from swiftpie.pipelines.identity import face_identity
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditMode, IdentityGuidance, Scales, steering_of
from tests.parity.faces import no_face, open_face, someone
from tests.quick import thorough_but
from tests.tiny.faces import make_models, photo
from tests.tiny.folders import make_pipeline
from tests.tiny.networks import FACE, WIDTHS, tiny_unet

PLAIN, PLUS = "ip-adapter-faceid_sd15", "ip-adapter-faceid-plusv2_sd15"
PORTRAIT = "ip-adapter-faceid-portrait_sd15"
PROMPT = "a chef"
WAYS = {method: EditSettings(method=method) for method in ("inversion", "chord")}


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    make_pipeline(folder / "pipeline", "sd15")
    return {name: open_face(folder, name) for name in (PLAIN, PLUS, PORTRAIT)}


def picture(session, identity, *, scale=1.0):
    scales = Scales(identity_scale=scale, detail_scale=0.0)
    return session.personalize(identity, PROMPT, seed=0, scales=scales).images[0].tobytes()


@pytest.mark.parametrize(("name", "num_tokens"), [(PLAIN, 4), (PLUS, 4), (PORTRAIT, 16)])
def test_the_tokens_of_all_faces_stand_beside_each_other(opened, name, num_tokens):
    components = opened[name].components
    vectors, crops = someone(num_faces=3)
    identity = face_identity(components, vectors, crop=crops)
    assert identity.tokens.shape == (1, 3 * num_tokens, WIDTHS["sd15"])
    second = face_identity(components, vectors[1], crop=crops[1])
    assert torch.equal(identity.tokens[:, num_tokens : 2 * num_tokens], second.tokens)
    assert identity.fingerprint == components.fingerprint


def test_a_face_that_is_given_twice_counts_once(opened):
    session = opened[PLUS]
    vectors, crops = someone()
    once = face_identity(session.components, vectors, crop=crops)
    twice = face_identity(session.components, vectors.repeat(2, 1), crop=crops * 2)
    scales = Scales(identity_scale=1.0, detail_scale=0.0)
    first, second = (
        session.personalize(identity, PROMPT, seed=0, scales=scales).images[0]
        for identity in (once, twice)
    )
    assert max(most for _, most in ImageChops.difference(first, second).getextrema()) <= 1


def test_a_vector_may_be_an_array(opened):
    vectors, crops = someone()
    components = opened[PLUS].components
    identities = [
        face_identity(components, vector, crop=crops[0]) for vector in (vectors, vectors[0])
    ]
    identities.append(face_identity(components, vectors[0].numpy(), crop=crops))
    assert all(torch.equal(identity.tokens, identities[0].tokens) for identity in identities[1:])


def test_the_crop_is_the_picture_of_the_identity(opened):
    vectors, crops = someone()
    components = opened[PLAIN].components
    side = components.preset.image_size_px
    shown = face_identity(components, vectors, crop=crops)
    hidden = face_identity(components, vectors)
    assert shown.pixels.shape == hidden.pixels.shape == (1, 3, side, side)
    assert (shown.mask.min(), hidden.mask.max()) == (1, 0)
    assert shown.pixels.std() > 0.1
    assert torch.equal(shown.tokens, hidden.tokens)


def test_tokens_of_no_face_repeat_for_any_number_of_faces(opened):
    unseen = no_face(opened[PLUS].components, num_faces=2)
    vectors, crops = someone(num_faces=2)
    one_face = face_identity(opened[PLUS].components, vectors, crop=crops)
    assert unseen.tokens.shape == one_face.tokens.shape
    assert torch.equal(*unseen.tokens.chunk(2, dim=1))
    together = opened[PLUS].personalize([Subject(one_face), Subject(unseen)], PROMPT)
    assert len(together.images) == 1


def test_a_saved_pipeline_knows_faces_too(opened, tmp_path):
    session = opened[PLUS]
    vectors, crops = someone()
    SwiftPiePipeline.from_components(session.components).save_pretrained(tmp_path)
    loaded = Session(SwiftPiePipeline.from_pretrained(tmp_path).to_components())
    pair = [
        picture(drawer, face_identity(drawer.components, vectors, crop=crops))
        for drawer in (session, loaded)
    ]
    assert pair[0] == pair[1]


@dataclass
class OneFace:
    face: Face
    name: str = "one"
    fingerprint: str = "one"

    def find(self, image):
        del image
        return [self.face]


@pytest.fixture(scope="module")
def found():
    vectors, crops = someone()
    photo = crops[0].resize((160, 160))
    landmarks = np.array([[55, 60], [105, 60], [80, 90], [60, 115], [100, 115]], dtype=np.float32)
    box = FaceBox(30, 20, 130, 140)
    return OneFace(Face(box, landmarks, 1.0, crops[0], vectors[0].numpy())), photo


def test_a_session_draws_a_face_as_the_subject_that_it_is(opened):
    session = opened[PLUS]
    vectors, crops = someone()
    identity = face_identity(session.components, vectors, crop=crops)
    for style in (IdentityGuidance.PLAIN, IdentityGuidance.AM2):
        expected = session.personalize(
            identity, PROMPT, seed=4, num_images=2, **steering_of(style, 1)
        )
        drawn = session.personalize(identity, PROMPT, identity_guidance=style, seed=4, num_images=2)
        assert [image.tobytes() for image in drawn.images] == [
            image.tobytes() for image in expected.images
        ]
        assert drawn.seeds == (4, 5)
    request = PersonalizeRequest(
        subjects=(Subject(identity),),
        prompt=PROMPT,
        seeds=(4, 5),
        identity_guidance=IdentityGuidance.AM2,
    )
    assert session.draw(request).images[1].tobytes() == drawn.images[1].tobytes()


@pytest.mark.parametrize("name", thorough_but(["sdxl-turbo", "lcm-lora-sdxl"], ["lcm-lora-sdxl"]))
def test_every_style_of_four_steps_draws_with_the_steps_of_turbo_and_of_consistency(opened, name):
    steps = schedule_of(with_steps(PRESETS.get(name), 4))
    components = replace(opened[PLAIN].components, schedule=steps)
    session = Session(components)
    vectors, _ = someone()
    identity = face_identity(components, vectors)
    pictures = {
        style: session.personalize(
            identity, PROMPT, identity_guidance=style, seed=0, size=(64, 64)
        ).images[0]
        for style in (
            IdentityGuidance.PLAIN,
            IdentityGuidance.DCG,
            IdentityGuidance.AM1,
            IdentityGuidance.DCG_AM2,
        )
    }
    assert len({picture.tobytes() for picture in pictures.values()}) == len(pictures)
    assert all(np.asarray(picture).std() > 1 for picture in pictures.values())


def test_a_face_is_encoded_once(opened):
    session = opened[PLUS]
    vectors, crops = someone()
    first = session.encode_face(vectors, crop=crops)
    assert session.encode_face(vectors.numpy(), crop=crops[0]) is first
    assert session.encode_face(-vectors, crop=crops) is not first
    other = [crop.rotate(90) for crop in crops]
    assert session.encode_face(vectors, crop=other) is not first


@pytest.mark.parametrize("name", [PLAIN, PLUS])
def test_a_photograph_is_searched_for_its_face(opened, found, name):
    session, (encoder, photo) = opened[name], found
    chosen = choose_face(find_faces(encoder, photo))
    pictures = [
        session.personalize(session.encode_face(face, encoder=encoder), PROMPT, seed=4).images[0]
        for face in (photo, chosen)
    ]
    assert len({picture.tobytes() for picture in pictures}) == 1
    with pytest.raises(InputError, match="needs a face encoder"):
        session.encode_face(photo)


def test_adapters_that_look_at_pictures_look_at_the_crop(session, found):
    encoder, photo = found
    identity = session.encode_face(choose_face(find_faces(encoder, photo)))
    assert identity.mask.min() == 1
    assert identity.keys
    assert session.personalize(identity, PROMPT, seed=4).images[0].size == (128, 128)


CROP = Image.new("RGB", (32, 40))
REFUSED = [
    *((PLAIN, torch.ones(*shape), {}, "vectors") for shape in ((9, FACE), (0, FACE), (1, 1, FACE))),
    (PLAIN, torch.ones(FACE + 1), {}, str(FACE + 1)),
    (PLAIN, torch.full((FACE,), torch.nan), {}, "finite"),
    (PLAIN, torch.ones(FACE, dtype=torch.long), {}, "finite"),
    (PLUS, torch.ones(2, FACE), {}, "embeddings"),
    (PLUS, torch.ones(2, FACE), {"crop": [CROP]}, "embeddings"),
    (PLUS, torch.ones(FACE), {"crop": CROP}, "32x40"),
]


@pytest.mark.parametrize(("name", "vectors", "options", "word"), REFUSED)
def test_what_is_no_face_is_refused(opened, name, vectors, options, word):
    with pytest.raises(InputError, match=word):
        face_identity(opened[name].components, vectors, **options)


def test_pictures_and_faces_are_distinguished(opened, session):
    with pytest.raises(CapabilityError, match="encode_identity"):
        face_identity(session.components, torch.ones(FACE))
    with pytest.raises(CapabilityError, match="face_identity"):
        opened[PLAIN].encode_identity(someone()[1][0], masks=Image.new("L", (32, 32), 255))


@pytest.fixture(scope="module")
def editor(opened, tmp_path_factory):
    components = opened[PLUS].components
    inversion = UNetInversion(tiny_unet("sd15"))
    encoder = FACE_ENCODERS.get("opencv").open(make_models(tmp_path_factory.mktemp("models")))
    preset = replace(components.preset, image_size_px=64)
    own = replace(components, inversion=inversion, preset=preset)
    return Session(own).with_face_encoder(encoder)


@pytest.fixture(scope="module")
def people(editor):
    vectors, crops = someone(num_faces=2)
    return [face_identity(editor.components, vectors[i], crop=crops[i]) for i in range(2)]


def edited(editor, person, settings, **options):
    return editor.edit(photo(), PROMPT, identity=person, seed=1, settings=settings, **options)


@pytest.mark.parametrize("method", thorough_but(WAYS, ["inversion"]))
def test_the_face_changes_and_all_else_stays_to_the_last_bit(editor, people, method):
    before = np.asarray(photo())
    results = [edited(editor, person, WAYS[method]) for person in people]
    first, second = (np.asarray(result.image) for result in results)
    outside = np.asarray(results[0].region) == 0
    assert 0.5 < outside.mean() < 0.9
    assert (first[outside] == before[outside]).all()
    assert (first[~outside] != before[~outside]).any()
    assert (first != second).any()  # so it is the person who is drawn
    assert results[0].origin["face"] == METADATA["face"]


@pytest.mark.parametrize("place", [{"mask": (0.0, 0.0, 0.5, 1.0)}, {"keyword": "a dog"}])
def test_a_place_that_is_named_goes_before_the_face(editor, people, place):
    brought = {"source": people[0], "finds_face": True}
    request = EditRequest(image=photo(), prompt=PROMPT, seed=1, **brought, **place)
    assert editor.resolved(request).mask == place.get("mask")
    assert editor.resolved(replace(request, mask=None, keyword="")).mask is not None


@pytest.mark.thorough
def test_a_style_steers_an_edit_and_is_kept_with_it(editor, people):
    plain, steered = (
        edited(editor, people[0], WAYS["inversion"], identity_guidance=style)
        for style in (IdentityGuidance.PLAIN, IdentityGuidance.AM1)
    )
    assert plain.image.tobytes() != steered.image.tobytes()
    assert ("identity_guidance" in plain.origin, steered.origin["identity_guidance"]) == (
        False,
        "am1",
    )


@pytest.mark.parametrize("settings", [WAYS["chord"], EditSettings(mode=EditMode.RELEASED)])
def test_what_cannot_be_steered_refuses_a_style(editor, people, settings):
    with pytest.raises(InputError, match="guidance"):
        edited(editor, people[0], settings, identity_guidance=IdentityGuidance.DCG)
