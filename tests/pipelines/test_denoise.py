from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import ImageChops, ImageOps
from transformers import CLIPVisionModelWithProjection

from swiftpie import ConfigError, MaskSource, Scales, Session, Subject
from swiftpie.attention.manipulate import AM1, AM2, STABLE_AM2, Shaping
from swiftpie.backbones.presets import trailing_timesteps
from swiftpie.guidance import ClassifierFree, Decoupled, Plain, decoupled_for_steps
from swiftpie.models.projection import projector_for
from swiftpie.models.vision import (
    ClipIdentityEncoder,
    ConvImageEncoder,
    FaceIdentityEncoder,
    Feature,
)
from swiftpie.noise import build_schedule
from swiftpie.pipelines.choose import Clock
from swiftpie.pipelines.denoise import without_identity
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.techniques.personalize import prepare_subjects
from tests.parity.tiny import Recorder, Spy
from tests.pipelines.pictures import personalize
from tests.quick import thorough_but
from tests.tiny.adapters import projector_tensors
from tests.tiny.folders import make_image_encoder
from tests.tiny.networks import EMBEDS, FACE

PROMPT = "a photo of a subject on a beach"
ADAPTERS = {  # a public adapter of each feature
    Feature.EMBEDS: "ip-adapter_sd15",
    Feature.HIDDEN: "ip-adapter-plus_sd15",
    Feature.FACE: "ip-adapter-faceid_sd15",
    Feature.FACE_AND_HIDDEN: "ip-adapter-faceid-plusv2_sd15",
}
TOLERANCE = 5e-4  # of the largest latent, after four steps of a batch of another size
BOXES = ((0.05, 0.3, 0.45, 0.7), (0.55, 0.35, 0.95, 0.75))
DCG = decoupled_for_steps
TWO_STEPS = Decoupled((1.5, 1.2), (3.0, 2.0))
STEERED = [
    {"guidance": TWO_STEPS},
    {"shaping": AM1},
    {"guidance": TWO_STEPS, "shaping": STABLE_AM2},
    {"guidance": ClassifierFree((1.5, 1.5)), "shaping": AM2},
]


def drawing(session, subjects, *, steps=4, **settings):
    schedule = build_schedule(trailing_timesteps(steps), "sample")
    spy, recorder = (Spy(session.components.denoiser), Recorder(session.components.autoencoder))
    components = replace(session.components, schedule=schedule, denoiser=spy, autoencoder=recorder)
    result = personalize(components, subjects, PROMPT, **settings)
    return recorder.last.latents, result, [len(latents) for latents, *_ in spy.calls]


def test_what_steers_nothing_gives_the_same_bits(session, identity):
    plain, _, calls = drawing(session, identity, steps=2)
    assert calls == [1] * 2
    for steering in (
        {"guidance": None, "shaping": None},
        {"guidance": Plain()},
        {"shaping": Shaping({})},
    ):
        found, _, rows = drawing(session, identity, steps=2, **steering)
        assert torch.equal(found, plain), steering
        assert rows == calls, steering


@pytest.fixture(scope="module")
def plain(session, identity):
    return drawing(session, identity, seeds=(1, 2))[0]


@pytest.mark.parametrize(
    ("guidance", "rows"),
    [
        (DCG(4), [2, 6, 6, 2]),
        pytest.param(
            *(Decoupled((2.0,) * 4, (2.0,) * 4), [4, 4, 4, 4]), marks=pytest.mark.thorough
        ),
        pytest.param(
            *(ClassifierFree((1.0, 1.5, 1.5, 1.0)), [2, 4, 4, 2]), marks=pytest.mark.thorough
        ),
    ],
    ids=str,
)
def test_a_step_is_one_call_with_the_rows_that_count(session, identity, plain, guidance, rows):
    found, _, calls = drawing(session, identity, seeds=(1, 2), guidance=guidance)
    assert calls == rows
    assert (found - plain).abs().max() > 0.01


@pytest.mark.parametrize("steering", thorough_but(STEERED, STEERED[2:3]))
def test_a_picture_does_not_depend_on_its_batch(session, identity, steering):
    together, _, _ = drawing(session, identity, steps=2, seeds=(4, 5), **steering)
    for row, seed in enumerate((4, 5)):
        alone, _, _ = drawing(session, identity, steps=2, seeds=(seed,), **steering)
        assert (together[row] - alone[0]).abs().max() / alone.abs().max() < TOLERANCE


def test_several_subjects_in_masks_with_detail_are_steered_too(session, identity):
    subjects = [Subject(identity, box=box) for box in BOXES]
    settings = {
        "mask": MaskSource.BOX,
        "scales": Scales(identity_scale=1.0, detail_scale=0.7, background_scale=0.1),
    }
    pictures = [
        drawing(session, subjects, steps=2, seeds=(1,), **settings, **steering)[0]
        for steering in ({}, {"guidance": TWO_STEPS}, {"shaping": AM2})
    ]
    assert all(picture.isfinite().all() for picture in pictures)
    assert all((pictures[0] - other).abs().max() > 0.01 for other in pictures[1:])


def test_masks_are_those_of_the_row_with_text_and_identity(session, identity):
    settings = {"steps": 1, "mask": MaskSource.INLINE}
    _, plain, _ = drawing(session, identity, **settings)
    _, guided, rows = drawing(session, identity, guidance=Decoupled((1.5,), (3.0,)), **settings)
    assert rows == [3]
    assert guided.regions.shape == plain.regions.shape
    assert (guided.regions - plain.regions).abs().max() < TOLERANCE
    differ = ImageChops.difference(guided.subject_masks[0], plain.subject_masks[0])
    assert differ.getextrema()[1] <= 1  # level of 255
    assert guided.images[0].tobytes() != plain.images[0].tobytes()


def test_without_an_identity_row_no_subject_is_shown(session, identity, sprite):
    other = session.encode_identity(ImageOps.mirror(sprite))
    guidance = Decoupled((0.0,), (0.0,))
    box = (0.2, 0.2, 0.8, 0.8)
    first, _, _ = drawing(session, identity, steps=1, guidance=guidance, box=box)
    second, _, _ = drawing(session, other, steps=1, guidance=guidance, box=box)
    assert torch.equal(first, second)


@pytest.mark.thorough
def test_threads_with_different_steering_do_not_meet(session, identity):
    def draw(settings):
        return drawing(session, identity, steps=2, **settings)[0]

    expected = [draw(settings) for settings in STEERED]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(draw, STEERED * 2))
    assert all(map(torch.equal, found, expected * 2))
    assert not torch.equal(expected[0], expected[2])


def test_scales_for_another_number_of_steps_are_refused_before_any_call(session, identity):
    with pytest.raises(ConfigError, match="4 scales, and denoising takes 1 steps"):
        drawing(session, identity, steps=1, guidance=DCG(4))


@pytest.fixture(params=sorted(ADAPTERS))
def encoder(request, tmp_path):
    make_image_encoder(tmp_path / "encoder")
    tower = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "encoder")
    tensors = projector_tensors(ADAPTERS[request.param])
    version = 2 if request.param is Feature.FACE_AND_HIDDEN else None
    projector = projector_for(tensors, face_version=version)
    assert projector.feature is request.param
    if projector.face_width:
        return FaceIdentityEncoder(tower, projector).eval(), projector
    return ClipIdentityEncoder(tower, projector.module, projector.feature).eval(), projector


def test_zero_features_go_through_the_projector(session, encoder):
    network, projector = encoder
    tokens = replace(session.components, image_encoder=network).null_tokens
    assert tokens.shape == (1, projector.num_tokens, projector.width)
    assert tokens.isfinite().all()
    assert tokens.abs().max() > 0.01
    seen = network.tower(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states[-2]
    vectors = {
        Feature.EMBEDS: [torch.zeros(1, EMBEDS)],
        Feature.HIDDEN: [seen],
        Feature.FACE: [torch.zeros(1, FACE)],
        Feature.FACE_AND_HIDDEN: [torch.zeros(1, FACE), seen],
    }
    assert torch.equal(tokens, projector.module(*vectors[projector.feature]))


def test_an_encoder_that_knows_no_zero_has_no_tokens(session):
    for encoder in (ConvImageEncoder(width=8), None):
        assert replace(session.components, image_encoder=encoder).null_tokens is None


def test_edits_of_a_session_share_the_identity_of_no_subject(session, encoder):
    network, _ = encoder
    components = replace(session.components, image_encoder=network)
    assert torch.equal(Session(components)._runner.editing.null_tokens, components.null_tokens)


@pytest.mark.parametrize("has_tokens", [True, False])
def test_no_subject_is_shown_and_places_stay(session, identity, has_tokens):
    components = session.components
    noise = torch.randn(1, 1, components.preset.latent_channels, 16, 16)
    request = PersonalizeRequest(
        scene="words", subjects=(Subject(identity),), prompt="a cat", noise=noise
    )
    condition = prepare_subjects(components, request, Clock()).condition
    tokens = torch.randn(1, 1, identity.tokens.shape[-1]) if has_tokens else None
    found = without_identity(condition, tokens)
    assert not found.pooled.any()
    assert not found.attention.detail_scale.any()
    assert not found.attention.detail_background_scale.any()
    assert torch.equal(found.attention.affine, condition.attention.affine)
    if has_tokens:
        assert (found.attention.identity_tokens == tokens[:, None]).all()
        assert torch.equal(found.attention.identity_scale, condition.attention.identity_scale)
    else:
        assert not found.attention.identity_scale.any()
