"""What drawing refuses, a row each: a call, its error, and a word that the message has."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from swiftpie import CapabilityError, InputError, MaskSource, Scales, Session, Subject, WeightsError
from swiftpie.backbones.presets import PRESETS
from swiftpie.errors import NoSubject
from swiftpie.models.denoiser import WrappedDenoiser
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.methods.chord import ChordForm
from swiftpie.pipelines.request import Output, PersonalizeRequest, cells_of
from swiftpie.pipelines.settings import EditSettings
from swiftpie.pipelines.tasks import EditRequest, RetouchRequest
from tests.parity.edit import photograph
from tests.pipelines.pictures import edit

PROMPT = "a dog on a beach"
HALF = "a \udcff dog"  # what Python makes of a byte that is no text
PHOTO, GREY = photograph(40, 40), Image.new("RGB", (64, 64), "grey")
FAINT, WHOLE, SPECK = (
    torch.full((1, 1, 40, 40), 0.49),
    torch.ones(1, 1, 40, 40),
    (0.5, 0.5, 0.501, 0.501),
)
BY_INVERSION = EditSettings(method="inversion")
NAN = float("nan")

VALUES = [  # that no request, subject or setting takes
    (lambda _: Scales(identity_scale=-0.1), "identity_scale"),
    (lambda _: Scales(identity_scale=NAN), "identity_scale"),
    (lambda _: replace(Scales.for_edit(), text_scale=4.5), "text_scale=4.5"),
    (lambda _: EditSettings(variation=1.5), "variation"),
    (lambda _: EditSettings(variation=NAN), "variation"),
    (lambda one: Subject(one, view=(61, 0)), "degrees"),
    (lambda one: Subject(one, view=(0, -31)), "degrees"),
    (lambda one: Subject(one, view=(NAN, 0)), "degrees"),
    (lambda one: Subject(one, box=(0.5, 0.2, 0.5, 0.8)), "box"),
    (lambda one: Subject(one, mask=torch.full((1, 1, 8, 8), torch.nan)), "eeded"),
    (lambda one: personalize(one, subjects=(Subject(one, name=HALF),)), "surrogate"),
    (lambda one: personalize(one, seeds=()), "pictures"),
    (lambda one: personalize(one, seeds=(-1,)), "seed"),
    *(
        (lambda one, size=size: personalize(one, size_px=size), "no pixels")
        for size in ((0, 0), (0, 256), (256, 0), (-16, 256))
    ),
    (lambda _: cells_of(PRESETS.get("mini"), (0, 0)), "nearest is 64x64"),
    (lambda _: EditSettings(size_px=0), "size_px=0"),
    (lambda one: personalize(one, prompt=" "), "empty"),
    (lambda one: personalize(one, prompt=(PROMPT,) * 3), "prompts"),
    (lambda one: personalize(one, negative_prompt=(PROMPT,) * 3), "prompts"),
    (lambda one: personalize(one, prompt=HALF), "surrogate"),
    (lambda one: personalize(one, negative_prompt=("", HALF)), "surrogate"),
    *(
        (lambda _, name=name: edit_request(**{name: HALF}), "surrogate")
        for name in ("prompt", "source_prompt", "keyword", "negative_prompt")
    ),
    (lambda _: edit_request(mask=(NAN, 0.2, 0.7, 0.8)), "box"),
    (lambda _: edit_request(mask=torch.full((1, 1, 8, 8), 255.0)), "eeded"),
    (lambda _: RetouchRequest(image=PHOTO, seed=1), "identity"),
    (lambda _: RetouchRequest(image=PHOTO, seed=1, mask=WHOLE, keep_pose=True), "subject"),
    (lambda one: garment(one, box=(0.1, 0.1, 0.9, 0.9)), "box"),
    (lambda one: garment(one, view=(30, 0)), "view"),
]


def personalize(identity, **changes):
    given = {"subjects": (Subject(identity),), "prompt": PROMPT, "seeds": (3, 4), **changes}
    return PersonalizeRequest(scene="words", **given)


def edit_request(**changes):
    return EditRequest(**{"image": PHOTO, "prompt": PROMPT, "seed": 0, **changes})


def garment(identity, **changes):
    given = {"image": PHOTO, "seed": 0, "source": identity, "keep_pose": True}
    return RetouchRequest(**given | changes)


@pytest.mark.parametrize(("make", "word"), VALUES)
def test_values_that_mean_nothing_are_refused(identity, make, word):
    with pytest.raises(InputError, match=word):
        make(identity)


def masked(identity):
    return [Subject(identity, mask=torch.ones(1, 1, 16, 16)), Subject(identity)]


def blank(identity):
    """An identity whose picture shows nothing, as that of a face."""
    return replace(identity, mask=torch.zeros_like(identity.mask))


CALLS = [  # on the embedded model, with an identity
    (lambda s, _: s.personalize((), PROMPT), CapabilityError, "subject"),
    (lambda s, _: s.personalize((), PROMPT, scene="words"), CapabilityError, "subject"),
    (lambda s, _: s.personalize((), PROMPT, mask="inline"), InputError, "mask"),
    (lambda s, _: s.personalize((), PROMPT, scene="castle"), InputError, "scene"),
    (lambda s, one: s.personalize(one, PROMPT, num_images=0), InputError, "requested"),
    (lambda s, one: s.personalize(one, PROMPT, num_images=10**9), InputError, "requested"),
    (lambda s, one: s.personalize(one, PROMPT, mask=MaskSource.BOX), InputError, "box"),
    (lambda s, one: s.personalize(one, PROMPT, size=(1920, 1080)), InputError, "is 1920x1088"),
    (lambda s, one: s.personalize(one, PROMPT, size=(3840, 2160)), InputError, "is 2048x1152"),
    (lambda s, _: s.edit(PHOTO, "a golden dog"), CapabilityError, "nothing stands out"),
    (lambda s, _: s.edit(PHOTO, "a knitted dog"), CapabilityError, "made of"),
    (lambda s, _: s.personalize("text", PROMPT), InputError, "subjects="),
    (lambda s, one: s.personalize([one, 3], PROMPT), InputError, "dentity"),
    (lambda s, one: s.personalize(masked(one), PROMPT, mask="inline"), InputError, "mask"),
    (lambda s, one: s.personalize(one, PROMPT, tilt=181), InputError, "tilt"),
    (lambda s, one: s.personalize(one, PROMPT, tilt=NAN), InputError, "tilt"),
    (lambda s, _: s.encode_identity([]), InputError, "8"),
    (lambda s, _: s.encode_identity([PHOTO] * 9), InputError, "8"),
    (lambda s, _: s.encode_identity([PHOTO] * 2, masks=[None]), InputError, "masks"),
    (lambda s, _: s.encode_identity([PHOTO] * 2, cutout=["auto"]), InputError, "cut-outs"),
    (lambda s, _: s.encode_identity(PHOTO, cutout="mask.png"), InputError, "cut"),
    (lambda s, _: s.remove(PHOTO), InputError, "points"),
    (lambda s, _: s.remove(PHOTO, mask=WHOLE, points=[(0.3, 0.5)]), InputError, "exclude"),
    (lambda s, _: s.remove(GREY, points=[(0.5, 0.5)]), NoSubject, "subject"),
    (lambda s, _: s.remove(PHOTO, mask=(0, 0, 1, 0.7)), InputError, "70%"),
    (lambda s, _: s.remove(PHOTO, mask=FAINT), InputError, "half"),
    (lambda s, _: s.edit(PHOTO, "at night", mask=FAINT), InputError, "half"),
    (lambda s, one: s.insert(PHOTO, one, box=(0.5, 0.1, 0.4, 0.9)), InputError, "box"),
    (lambda s, one: s.insert(PHOTO, one, box=SPECK), InputError, "pixel"),
    (lambda s, _: s.remove(PHOTO, mask=SPECK), InputError, "pixel"),
    (lambda s, _: s.edit(PHOTO, "at night", mask=SPECK), InputError, "pixel"),
    (lambda s, one: s.draw(garment(one, mask=WHOLE)), CapabilityError, "pose"),
    (
        lambda s, _: s.edit(PHOTO, PROMPT, settings=EditSettings(method="chord")),
        *(CapabilityError, "recipe"),
    ),
]


@pytest.mark.parametrize(("call", "error", "word"), CALLS)
def test_what_the_embedded_model_cannot_do_is_refused(session, identity, call, error, word):
    with pytest.raises(error, match=word):
        call(session, identity)


def lacking(components, name):
    return replace(components, **{name: None})


def chord(components, **changes):
    return edit(lacking(components, "inversion"), PHOTO, PROMPT, source_prompt="a cat", **changes)


def worn(components, *, has_detail=True, **changes):
    """A garment that the editor has encoded."""
    session = Session(components)
    shown = session.encode_identity(PHOTO, cutout="none")
    return session.draw(garment(shown if has_detail else shown.without_detail(), **changes))


EDITS = [
    (worn, InputError, "mask"),
    (lambda c: worn(c, mask=WHOLE, has_detail=False), CapabilityError, "joint"),
    (lambda c: edit(c, PHOTO, "  "), InputError, "empty"),
    (lambda c: edit(c, PHOTO, PROMPT, seed=-1), InputError, "seed"),
    (lambda c: edit(c, PHOTO, PROMPT, settings=EditSettings(size_px=130)), InputError, "130"),
    (lambda c: edit(c, PHOTO, PROMPT, mask=torch.ones(128, 128)), InputError, "shape"),
    (lambda c: edit(lacking(c, "image_encoder"), PHOTO, PROMPT), CapabilityError, "adapter"),
    (lambda c: chord(c, settings=BY_INVERSION), CapabilityError, "inversion"),
    (
        lambda c: chord(c, settings=replace(BY_INVERSION, chord=ChordForm.FAST)),
        *(InputError, "ChordEdit"),
    ),
    (
        lambda c: Session(c).insert(
            PHOTO, Session(c).encode_identity(PHOTO, cutout="none"), box=(0, 0, 1, 1), view=(20, 0)
        ),
        *(CapabilityError, "turn"),
    ),
]


@pytest.mark.parametrize(("call", "error", "word"), EDITS)
def test_edits_that_cannot_be_are_refused(editor, call, error, word):
    with pytest.raises(error, match=word):
        call(editor.components)


@pytest.mark.parametrize("output", list(Output))
def test_what_is_no_number_is_not_drawn(session, identity, output):
    broken = replace(identity, tokens=torch.full_like(identity.tokens, NAN))
    with pytest.raises(WeightsError, match="NaN"):
        session.draw(personalize(broken, output=output))


class Failing(WrappedDenoiser):
    def __init__(self, inner, error):
        super().__init__(inner)
        self.error = error

    def _predict(self, _):
        raise self.error


def test_a_failure_of_another_kind_is_not_taken_for_want_of_memory(session, identity):
    failing = Failing(session.components.denoiser, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="shapes"):
        draw(replace(session.components, denoiser=failing), personalize(identity))
