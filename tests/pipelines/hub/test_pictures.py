"""Pictures and masks in every form of diffusers become the same subjects."""

import numpy as np
import pytest
import torch
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image

from swiftpie import InputError, Subject

PROMPT = "a photo of a subject on a beach"


def bytes_of(pictures):
    return [picture.tobytes() for picture in pictures]


@pytest.fixture(scope="module")
def expected(session, identity):
    """What a session draws for the seed 3."""
    return bytes_of(session.personalize(identity, PROMPT, seed=3).images)


@pytest.fixture(scope="module")
def left_and_right():
    """Two masks, as diffusers' own processor makes them."""
    left = np.zeros((64, 64), dtype=np.uint8)
    left[:, :32] = 255
    masks = [Image.fromarray(left), Image.fromarray(255 - left)]
    return IPAdapterMaskProcessor().preprocess(masks, height=128, width=128)


@pytest.mark.parametrize("form", ["array", "bytes", "tensor", "batch", "nested"])
def test_a_reference_may_come_in_every_form_of_diffusers(pipe, sprite, form, expected):
    values = np.asarray(sprite)
    forms = {
        "array": values.astype(np.float32) / 255,
        "bytes": values,
        "tensor": torch.from_numpy(values.copy()).permute(2, 0, 1) / 255,
        "batch": torch.from_numpy(values.copy()).permute(2, 0, 1)[None] / 255,
        "nested": [[sprite]],
    }
    assert bytes_of(pipe(PROMPT, ip_adapter_image=forms[form], seeds=[3]).images) == expected


def test_masks_of_diffusers_are_regions_of_subjects(pipe, session, identity, left_and_right):
    whole = [one[None] for one in left_and_right]
    subjects = [Subject(identity, mask=one) for one in whole]
    reference = session.personalize(subjects, PROMPT, seed=3).images
    stacked = left_and_right.reshape(1, 2, 128, 128)
    for masks in (left_and_right, whole, [stacked]):
        drawn = pipe(
            PROMPT,
            ip_adapter_image_embeds=[identity, identity],
            cross_attention_kwargs={"ip_adapter_masks": masks},
            seeds=[3],
        )
        assert bytes_of(drawn.images) == bytes_of(reference)


def test_a_mask_of_two_layers_makes_two_subjects_of_one_entry(
    pipe, session, identity, sprite, left_and_right
):
    drawn = pipe(
        PROMPT,
        ip_adapter_image=[[sprite, sprite]],
        cross_attention_kwargs={"ip_adapter_masks": [left_and_right.reshape(1, 2, 128, 128)]},
        seeds=[3],
    )
    subjects = [Subject(identity, mask=one[None]) for one in left_and_right]
    reference = session.personalize(subjects, PROMPT, seed=3)
    assert bytes_of(drawn.images) == bytes_of(reference.images)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (torch.ones(1, 1, 8, 8), "1 masks were given for 2"),
        ([torch.ones(8, 8)] * 2, "tensors"),
        ([torch.full((1, 1, 8, 8), 255.0)] * 2, "tensors"),
    ],
)
def test_masks_that_do_not_fit_are_refused(pipe, identity, masks, message):
    with pytest.raises(InputError, match=message):
        pipe(
            PROMPT,
            ip_adapter_image_embeds=[identity, identity],
            cross_attention_kwargs={"ip_adapter_masks": masks},
        )
