from functools import partial

import pytest
from PIL import Image

from swiftpie.guidance import ClassifierFree, Plain, decoupled_for_steps
from swiftpie.pipelines.request import PersonalizeRequest, Subject
from swiftpie.pipelines.settings import EditMode, EditSettings, IdentityGuidance, MaskSource, Scales
from tests.golden.networks import reading_networks
from tests.parity.edit import photograph

BOX = (0.2, 0.2, 0.8, 0.9)


@pytest.fixture(scope="module")
def whole(editor):
    return editor.encode_identity(photograph(), masks=Image.new("L", (128, 128), 255))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"scales": Scales(detail_scale=0.5)}, "`detail_scale=0.5` has no effect"),
        ({"scales": Scales(detail_scale=0.0)}, "`detail_scale=0.0` has no effect"),
        ({"scales": Scales(background_scale=0.2)}, "`background_scale=0.2` has no effect"),
        ({"scales": Scales(text_background_scale=0.0)}, "`text_background_scale=0.0`"),
        ({"detail_mask": MaskSource.INLINE}, "`detail_mask=` has no effect"),
        ({"box": BOX}, "`box=` has no effect"),
        ({"box": BOX, "mask": MaskSource.INLINE}, "`box=` has no effect"),
        ({"negative_prompt": "blue"}, "`negative_prompt=` has no effect"),
        ({"guidance": decoupled_for_steps(1)}, "Guidance has no effect in 1 steps"),
        ({"guidance": ClassifierFree((1.0,)), "negative_prompt": "blue"}, "Guidance has no effect"),
        ({"scene": "beach", "detail_mask": MaskSource.INLINE}, "`detail_mask=` has no effect"),
        ({"scene": "beach", "scales": Scales(detail_scale=0.5)}, "`detail_scale=0.5` has no"),
        ({"scene": "beach", "scales": Scales(background_scale=0.5)}, "`background_scale=0.5`"),
        ({"scene": "beach", "mask": MaskSource.BOX}, "`mask=` has no effect"),
        ({"scene": "beach", "box": BOX}, ""),
        ({}, ""),
        ({"guidance": Plain()}, ""),
        ({"scales": Scales(energy_cap=1.0)}, ""),
        ({"guidance": ClassifierFree((2.0,)), "negative_prompt": "blue"}, ""),
        ({"box": BOX, "mask": MaskSource.BOX, "scales": Scales(background_scale=0.2)}, ""),
    ],
)
def test_a_drawing_says_what_has_no_effect(editor, whole, caplog, asked, said):
    plain = {name: value for name, value in asked.items() if name in {"guidance", "mask", "scene"}}
    public = whole.without_detail()  # as public adapters encode it
    drawn = editor.personalize(public, "a cat", seed=1, **asked).images[0]
    assert said in caplog.text
    assert len(caplog.records) == bool(said)
    if said and "mask" not in asked:  # and it is true
        left = {} if "guidance" in asked else plain
        assert (
            drawn.tobytes()
            == editor.personalize(public, "a cat", seed=1, **left).images[0].tobytes()
        )


def test_an_insertion_says_what_has_no_effect(editor, whole, session, identity, caplog):
    public, photo = whole.without_detail(), photograph()
    for one_session, subject in ((editor, public), (session, identity)):
        one, other = (
            one_session.insert(
                photo, subject, prompt="a cat", box=BOX, seed=1, scales=scales
            ).image.tobytes()
            for scales in (Scales(), Scales(detail_scale=0.5))
        )
        assert one == other
        assert "`detail_scale=0.5` has no effect" in caplog.text
        caplog.clear()


def test_strengths_of_subjects_have_no_effect_without_one(editor, caplog):
    plain = editor.generate("a cat", seed=1)
    asked = editor.generate("a cat", seed=1, scales=Scales(identity_scale=0.2))
    assert "`identity_scale=0.2` has no effect, because no subject is shown" in caplog.text
    assert len(caplog.records) == 1
    assert asked.images[0].tobytes() == plain.images[0].tobytes()


def test_a_model_with_a_detail_branch_and_places_heeds_both(session, identity, editor, caplog):
    session.personalize(identity, "a dog", seed=1, scales=Scales(detail_scale=0.5), box=BOX)
    encoded = editor.encode_identity(photograph(), masks=Image.new("L", (128, 128), 255))
    assert encoded.keys
    editor.personalize(encoded, "a cat", seed=1, scales=Scales(detail_scale=0.5))
    assert caplog.text == ""


def test_a_style_without_effect_in_so_few_steps_is_reported(editor, whole, caplog):
    request = PersonalizeRequest(
        subjects=(Subject(whole),),
        prompt="a cat",
        seeds=(1,),
        identity_guidance=IdentityGuidance.DCG,
    )
    editor.draw(request)
    assert "Guidance has no effect in 1 steps" in caplog.text


RELEASED = EditSettings(mode=EditMode.RELEASED)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"mask": BOX, "keyword": "cat"}, '`keyword="cat"` has no effect'),
        (
            {"settings": EditSettings(scales=Scales(detail_scale=0.5))},
            "`detail_scale=0.5` has no effect in an edit",
        ),
        (
            {
                "settings": EditSettings(
                    mode=EditMode.RELEASED, scales=Scales(text_background_scale=2.0)
                )
            },
            "`text_background_scale=2.0` has no effect in an edit in the released mode",
        ),
        ({"negative_prompt": "red"}, "`negative_prompt=` has no effect"),
        ({"mask": BOX, "settings": RELEASED}, ""),
    ],
)
def test_an_edit_says_what_has_no_effect(editor, caplog, asked, said):
    editor.edit(photograph(64, 48), "a dog", seed=1, **asked)
    assert said in caplog.text
    assert len(caplog.records) == bool(said)


def test_a_cap_where_no_branch_adds_anything_is_said_to_have_no_effect(caplog):
    session = reading_networks()
    shown = session.encode_identity(photograph())
    session.personalize(shown, "a cat", seed=1, scales=Scales(energy_cap=1.0))
    assert "`energy_cap=1.0` has no effect" in caplog.text


IDLE = "Guidance has no effect here, because no denoiser draws this."


def test_guidance_of_what_no_denoiser_draws_has_no_effect_and_that_is_said(session):
    edit = partial(session.edit, photograph(40, 40), "at night", seed=1)
    for draw in (edit, partial(session.generate, "a beach at night", seed=1)):
        plain, guided = (draw(guidance=each) for each in (None, ClassifierFree((2.0,))))
        assert guided._repr_html_().split("<code>")[0] == plain._repr_html_().split("<code>")[0]
        assert [each.warnings[-1:] for each in (plain, guided)] == [(), (IDLE,)]
