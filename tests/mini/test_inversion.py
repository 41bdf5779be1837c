"""Edits by the inversion network of the embedded model: of what its denoiser drew, and no more."""

import pytest
import torch
from PIL import Image

from swiftpie.errors import CapabilityError
from swiftpie.imageio.images import plane, sample_pictures, to_tensor
from swiftpie.masks import iou
from swiftpie.pipelines.settings import EditSettings

BY_INVERSION = EditSettings(method="inversion")
DOG = "a dog in a forest"


@pytest.fixture(scope="module")
def drawn(session):
    """A picture that the denoiser draws from words alone, with where its subject is."""
    result = session.generate(DOG, seed=1, scene="words")
    return result.images[0], plane(result.subject_masks[0])


def edited(session, picture, prompt, settings=BY_INVERSION, **more):
    return session.edit(picture, prompt, source_prompt=DOG, settings=settings, seed=0, **more)


def colour(image, mask):
    """Return the mean colour where `mask` is, three numbers."""
    return (to_tensor(image) * mask).sum((0, 2, 3)) / mask.sum()


def test_a_dye_is_found_and_drawn(session, drawn):
    picture, subject = drawn
    result = edited(session, picture, "a blue dog in a forest")
    before, after = (colour(image, subject) for image in (picture, result.image))
    assert after[2] > before[2] + 0.15  # woods are dim
    assert before[0] > after[0] + 0.5
    assert iou(plane(result.region), subject) > 0.35
    outside = plane(result.region) == 0
    assert torch.equal(to_tensor(result.image) * outside, to_tensor(picture) * outside)
    error = ((to_tensor(result.edited) - to_tensor(picture)) * outside).square().sum()
    assert error / (3 * outside.sum()) < 4 * 10**-3.0  # 30 dB, before pixels are put back


def test_a_given_subject_comes_where_the_old_one_was(session, drawn):
    picture, _ = drawn
    result = edited(session, picture, "a fox in a forest", identity="fox")
    assert colour(result.image, plane(result.region))[0] > 0.1


def test_inversion_is_never_chosen_by_itself(session, drawn):
    result = edited(session, drawn[0], "a dog in a forest at night", EditSettings())
    assert result.branches == ()  # no denoiser has drawn


def test_a_photograph_is_refused_until_its_smear_is_accepted(session):
    photo = Image.open(sample_pictures(1)[0]).convert("RGB").resize((128, 128))
    with pytest.raises(CapabilityError, match="accept_smear"):
        edited(session, photo, "a blue dog")
    settings = EditSettings(method="inversion", accept_smear=True)
    assert any("smear" in said for said in edited(session, photo, "a blue dog", settings).warnings)


def test_words_alone_for_another_subject_are_warned_of(session, drawn):
    said = edited(session, drawn[0], "a fox in a forest").warnings
    assert any("picture of the new" in sentence for sentence in said)
