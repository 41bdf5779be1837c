"""Edits in the manner of diffusers, on a random model of Stable Diffusion's shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import EditMode, EditSettings, InputError, Scales, Session
from swiftpie.diffusers.edit import SwiftEditPipeline
from swiftpie.guidance import ClassifierFree
from tests.pipelines.pictures import edit

PROMPT, SOURCE = "a dog on the sofa", "a cat on the sofa"
BOX = (0.25, 0.25, 0.75, 0.75)


@pytest.fixture(scope="module")
def components(editor):
    return editor.components


@pytest.fixture
def pipe(components):
    return SwiftEditPipeline.from_components(components)


@pytest.fixture(scope="module")
def photo():
    values = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.fixture(scope="module")
def mask():
    values = np.zeros((128, 128), dtype=np.uint8)
    values[32:96, 32:96] = 255
    return Image.fromarray(values)


def test_strengths_and_mode_arrive(pipe, components, photo):
    scales = replace(Scales.for_edit(), identity_scale=0.5, background_scale=0.8, text_scale=1.5)
    settings = EditSettings(scales=scales)
    reference = edit(components, photo, PROMPT, mask=BOX, settings=settings)
    called = pipe(PROMPT, photo, box=BOX, settings=settings)
    assert called.images[0].tobytes() == reference.image.tobytes()
    settings = EditSettings(mode=EditMode.RELEASED)
    released = edit(components, photo, PROMPT, mask=BOX, seed=7, settings=settings)
    called = pipe(PROMPT, photo, box=BOX, settings=settings, seeds=[7])
    assert called.images[0].tobytes() == released.image.tobytes()


def test_drawn_seeds_are_returned_and_repeat_the_pictures(pipe, photo):
    call = {"image": photo, "box": BOX, "settings": EditSettings(mode=EditMode.RELEASED)}
    torch.manual_seed(0)
    first, other = (pipe([PROMPT] * 2, **call) for _ in range(2))
    assert len({*first.seeds, *other.seeds}) == 4
    for image, seed in zip(first.images, first.seeds, strict=True):
        assert pipe(PROMPT, **call, seeds=[seed]).images[0].tobytes() == image.tobytes()
    torch.manual_seed(0)
    assert pipe([PROMPT] * 2, **call).seeds == first.seeds


@pytest.mark.parametrize("form", ["pil", "array", "flat", "tensor"])
def test_the_mask_says_what_stays(pipe, photo, mask, form):
    values = np.asarray(mask)
    forms = {
        "pil": mask,
        "array": values[:, :, None],
        "flat": values,
        "tensor": torch.from_numpy(values.copy())[None, None] / 255,
    }
    called = pipe(PROMPT, photo, forms[form])
    changed = np.asarray(called.images[0]) != np.asarray(photo)
    assert changed[40:88, 40:88].any()
    assert not changed[values == 0].any()


def test_lists_are_edits_of_their_own(pipe, photo, mask):
    prompts = [PROMPT, "a red hat"]
    both = pipe(prompts, photo, mask)
    assert [image.tobytes() for image in both.images] == [
        pipe(prompt, photo, mask).images[0].tobytes() for prompt in prompts
    ]
    twice = pipe(prompts, photo, mask, num_images_per_prompt=2).images
    assert [image.tobytes() for image in twice[::2]] == [image.tobytes() for image in both.images]
    pair = pipe(prompts, [photo, photo.rotate(90)], mask, return_dict=False)
    assert pair[0][0].tobytes() == both.images[0].tobytes()
    assert pair[0][1].tobytes() != both.images[1].tobytes()


def test_output_types_show_one_picture(pipe, photo, mask):
    pil = np.asarray(pipe(PROMPT, photo, mask).images[0])
    array = pipe(PROMPT, photo, mask, output_type="np").images
    tensor = pipe(PROMPT, photo, mask, output_type="pt").images
    assert np.abs(array[0] * 255 - pil).max() < 0.01
    assert np.array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)


def test_a_callback_changes_an_edit(pipe, photo, mask):
    seen = []

    def erase(*arguments):
        seen.append(arguments[1:3])
        return {"latents": torch.zeros_like(arguments[-1]["latents"])}

    plain = pipe(PROMPT, photo, mask)
    erased = pipe(PROMPT, photo, mask, callback_on_step_end=erase)
    assert seen == [(0, 999)]
    assert erased.images[0].tobytes() != plain.images[0].tobytes()


def test_guidance_is_that_of_a_session(pipe, components, photo, mask):
    drawn = Session(components).edit(
        photo, PROMPT, mask=mask, guidance=ClassifierFree((2.0,)), negative_prompt="a cat"
    )
    called = pipe(PROMPT, photo, mask, guidance_scale=2.0, negative_prompt="a cat")
    assert called.images[0].tobytes() == drawn.image.tobytes()
    others = [pipe(PROMPT, photo, mask), pipe(PROMPT, photo, mask, guidance_scale=2.0)]
    assert called.images[0].tobytes() not in [other.images[0].tobytes() for other in others]


def test_a_subject_is_shown_or_encoded(pipe, components, photo, sprite):
    identity = Session(components).encode_identity(sprite)
    drawn = edit(components, photo, PROMPT, mask=BOX, source=identity, seed=3)
    for given in ({"ip_adapter_image": sprite}, {"identity": identity}):
        called = pipe(PROMPT, photo, box=BOX, seeds=[3], **given)
        assert called.images[0].tobytes() == drawn.image.tobytes()
    with pytest.raises(InputError, match="identity"):
        pipe(PROMPT, photo, ip_adapter_image=sprite, identity=identity)


def test_pictures_of_several_sizes_are_no_array(pipe, photo):
    wide = photo.resize((192, 128))
    drawn = pipe(PROMPT, [photo, wide], box=BOX)
    assert [image.size for image in drawn.images] == [(128, 128), (192, 128)]
