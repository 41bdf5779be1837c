import math

import numpy as np
import pytest
import torch

from swiftpie import MaskSource, Scales, Subject
from swiftpie.attention.condition import silent_condition
from swiftpie.geometry.layout import seen_view, to_affine
from swiftpie.imageio.images import to_pil
from swiftpie.mini.layout_predictor import side_by_side
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.noise import draw_noise
from swiftpie.pipelines.choose import Clock
from swiftpie.pipelines.denoise import decode
from swiftpie.pipelines.request import PersonalizeRequest
from swiftpie.pipelines.techniques.personalize import prepare_subjects

PROMPT = "a photo of a subject on a beach"
OFF = Scales(identity_scale=0.0, detail_scale=0.0)


def pixels(result, index=0):
    return np.asarray(result.images[index], dtype=np.int16)


def test_switched_off_identity_equals_the_bare_model(session, identity):
    components = session.components
    denoiser = components.denoiser
    noise = draw_noise([7], (32, 16, 16))
    width = identity.tokens.shape[-1]
    without_subject = SubjectCondition(
        attention=silent_condition(noise, width=width),
        pooled=torch.zeros(1, 1, width),
        aligned=torch.zeros(1, 1, 32 + 64, 16, 16),
        pose=torch.zeros(1, 1, 4),
    )
    personalized = session.personalize(identity, PROMPT, seed=7, scales=OFF, scene="words")
    placed = without_subject.attention._replace(
        affine=to_affine(personalized.layouts[0])[:, None], has_layout=torch.ones(1, 1)
    )
    bare = without_subject._replace(attention=placed, pose=personalized.layouts[0].pose[:, None])
    installed = dict(denoiser.unet.attn_processors)
    denoiser.installation.undo()
    try:
        with torch.no_grad():
            prediction = denoiser(noise, 999, components.text.encode([PROMPT]), bare, {})
    finally:
        denoiser.unet.set_attn_processor(installed)
    image = to_pil(decode(components, prediction.sample))[0]
    assert image.tobytes() == personalized.images[0].tobytes()


def test_a_box_places_the_subject(session, identity):
    left = session.personalize(identity, PROMPT, seed=3, box=(0.05, 0.3, 0.45, 0.7), scene="words")
    right = session.personalize(identity, PROMPT, seed=3, box=(0.55, 0.3, 0.95, 0.7), scene="words")
    assert left.layouts[0].centre[0, 0] == pytest.approx(0.25)
    columns = [
        np.asarray(r.subject_masks[0], dtype=float).sum(0) @ np.arange(128) for r in (left, right)
    ]
    totals = [np.asarray(r.subject_masks[0], dtype=float).sum() for r in (left, right)]
    assert columns[0] / totals[0] + 25 < columns[1] / totals[1]


@pytest.mark.parametrize("wide_or_tall", [(256, 128), (128, 256)])
def test_subjects_keep_their_shape_in_pictures_that_are_not_square(session, identity, wide_or_tall):
    box, shapes = (0.2, 0.3, 0.8, 0.7), []
    for size in ((128, 128), wide_or_tall):
        result = session.personalize(identity, PROMPT, seed=3, box=box, size=size, scene="words")
        left, top, right, bottom = (
            result.subject_masks[0].point(lambda v: 255 * (v > 127)).getbbox()
        )
        shapes.append((right - left) / (bottom - top))
    assert shapes[1] == pytest.approx(shapes[0], rel=0.25)


def test_a_very_long_prompt_is_cut_and_said_so(session, identity, caplog):
    assert len(session.personalize(identity, "a dog " * 100, scene="words").images) == 1
    assert "A prompt was cut" in caplog.text


def test_a_box_acts_softly_beyond_its_edge(session, identity):
    subject = Subject(identity, box=(0.25, 0.25, 0.75, 0.75))
    request = PersonalizeRequest(
        prompt=PROMPT, subjects=(subject,), seeds=(3,), mask=MaskSource.BOX
    )
    region = prepare_subjects(session.components, request, Clock()).condition.attention.region[0, 0]
    inside = torch.zeros_like(region)
    quarter = len(region) // 4
    inside[quarter:-quarter, quarter:-quarter] = 1
    assert bool((region[inside > 0] == 1).all())
    assert 0 < region[quarter - 1, len(region) // 2] < 1
    assert region[0, 0] == 0


def test_detail_alone_is_kept_to_the_same_mask_as_everything_is(session, identity):
    source = MaskSource.INLINE

    def condition_of(**where):
        request = PersonalizeRequest(
            scene="words", subjects=(Subject(identity),), prompt=PROMPT, seeds=(3,), **where
        )
        return prepare_subjects(session.components, request, Clock()).condition.attention

    both, detail = condition_of(mask=source), condition_of(detail_mask=source)
    assert both.detail_mask.min() == detail.region.min() == 1
    assert torch.equal(both.region, detail.detail_mask)
    assert (both.is_inline, both.detail_is_inline) == (detail.detail_is_inline, detail.is_inline)
    limited = session.personalize(identity, PROMPT, seed=3, detail_mask=source, scene="words")
    assert (
        np.abs(
            pixels(limited) - pixels(session.personalize(identity, PROMPT, seed=3, scene="words"))
        ).max()
        > 4
    )


def test_the_result_names_the_branches_that_acted(session, identity):
    acting = {
        Scales(): ["semantic", "detail", "aligned detail"],
        Scales(detail_scale=0.0): ["semantic"],
        Scales(identity_scale=0.0): ["detail", "aligned detail"],
        OFF: [],
    }
    for scales, branches in acting.items():
        assert [
            *session.personalize(identity, PROMPT, seed=3, scales=scales, scene="words").branches
        ] == branches
    nowhere = torch.zeros(1, 1, 128, 128)
    assert session.personalize(identity, PROMPT, seed=3, mask=nowhere, scene="words").branches == ()
    semantic = session.personalize(identity.without_detail(), PROMPT, seed=3, scene="words")
    assert "detail" not in semantic.branches


def test_several_subjects_without_boxes_stand_side_by_side(session, sprite):
    identity = session.encode_identity(sprite)
    result = session.personalize(
        [identity, Subject(identity)], "two dogs on a beach", scene="words"
    )
    left, right = (layout.centre[0] for layout in result.layouts)
    assert left[0] == pytest.approx(0.25)
    assert right[0] == pytest.approx(0.75)
    assert left[1] == pytest.approx(right[1])
    boxed = [Subject(identity, box=(0.1, 0.1, 0.6, 0.6)), Subject(identity)]
    assert side_by_side(boxed) is boxed


def test_a_view_turns_the_subject_in_its_place(session, identity):
    box = (0.2, 0.3, 0.8, 0.9)
    plain, same, turned, mirrored = (
        session.personalize(identity, PROMPT, seed=3, box=box, view=view, scene="words")
        for view in (None, (0, 0), (40, 0), (-40, 0))
    )
    assert plain.images[0].tobytes() == same.images[0].tobytes()
    assert turned.layouts[0].pose[0, 0].item() == pytest.approx(math.radians(40))
    pictures = [np.asarray(result.images[0], float) for result in (plain, turned, mirrored)]
    assert all(np.abs(pictures[0] - other).mean() > 1 for other in pictures[1:])
    assert np.abs(pictures[1] - pictures[2]).mean() > 1


def test_a_view_without_a_box_keeps_the_place(session, identity):
    plain = session.personalize(identity, PROMPT, seed=3, scene="words").layouts[0]
    for seed in (3, 4):
        turned = session.personalize(
            identity, PROMPT, seed=seed, view=(-30, 15), scene="words"
        ).layouts[0]
        wanted = [math.radians(-30), math.radians(15)]
        assert seen_view(turned)[0].tolist() == pytest.approx(wanted)
    first = session.personalize(identity, PROMPT, seed=3, view=(-30, 15), scene="words").layouts[0]
    assert torch.equal(plain.centre, first.centre)


def layouts(session, identity, prompt, *, box=None, **options):
    request = PersonalizeRequest(
        subjects=(Subject(identity, box=box),),
        prompt=prompt,
        seeds=range(1, 9),
        scene="words",
        **options,
    )
    return prepare_subjects(session.components, request, Clock()).layouts[0]


def test_subjects_are_upright_and_as_shown_unless_words_or_options_say_otherwise(session, identity):
    usual = layouts(session, identity, "a dog on a beach")
    assert not usual.flip.any()
    assert not usual.rotation.any()
    assert len({*usual.centre[:, 0].tolist()}) == 8
    mirrored = layouts(session, identity, "a dog on a beach", flip=True, tilt=30)
    assert mirrored.flip.all()
    assert mirrored.rotation.tolist() == pytest.approx([math.pi / 6] * 8)
    assert torch.allclose(seen_view(mirrored), seen_view(usual))
    lying = layouts(session, identity, "a dog lying down on a beach")
    assert not lying.flip.any()
    assert (lying.rotation.abs() > 0.5).float().mean() > 0.6


def test_a_subject_in_a_box_leans_and_is_mirrored_where_that_is_asked(session, identity):
    box = (0.3, 0.3, 0.8, 0.8)
    shown, leaning = (
        layouts(session, identity, PROMPT, box=box, **options)
        for options in ({}, {"flip": True, "tilt": -45})
    )
    assert not shown.flip.any()
    assert leaning.flip.all()
    assert leaning.rotation.tolist() == pytest.approx([-math.pi / 4] * 8)
