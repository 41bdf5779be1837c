"""Editing with a model that knows places: what stays is one more subject, in place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import swiftpie
from swiftpie.mini.inpainting import inpainting_condition, new_subject, original_subject
from swiftpie.mini.inversion import TinyInversion
from swiftpie.pipelines.edit_region import EditRegion, InvertedImage
from swiftpie.pipelines.settings import EditMethod, EditSettings, Scales
from swiftpie_lab.data.subjects import sample_subjects
from swiftpie_world.sampler import World
from tests.parity.edit import photograph

SIDES = ("left", "right")
BOX = (0.25, 0.25, 0.75, 0.75)
BY_NETWORKS = EditSettings(method=EditMethod.INVERSION)
STRENGTH = replace(Scales.for_edit(), identity_scale=0.0, background_scale=1.0, text_scale=1.0)


@pytest.fixture(scope="module")
def components():
    """The packaged model with a random inversion network: enough to see what goes where."""
    session = swiftpie.load("mini", size_px=128)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        inversion = TinyInversion().eval().requires_grad_(False)
    return replace(session.components, inversion=inversion)


@pytest.fixture(scope="module")
def session(components):
    return swiftpie.Session(components)


def pixels():
    return torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1


def condition(components, changes, identity=None):
    names = [""] * (1 if identity is None else 2)
    return inpainting_condition(
        components,
        pixels(),
        changes,
        subject=None if identity is None else new_subject(identity, changes),
        class_tokens=components.text.find_words("a dog on a beach", names),
        scales=STRENGTH,
    )


def centre():
    changes = torch.zeros(1, 1, 128, 128)
    changes[..., 32:96, 32:96] = 1
    return changes


def test_what_stays_is_aligned_with_itself(components):
    aligned = condition(components, centre()).aligned[:, 0, :32]
    kept = components.autoencoder.encode(pixels() * (1 - centre()))
    assert torch.allclose(aligned[..., 0, :], kept[..., 0, :], atol=1e-4)
    assert aligned[..., 5:11, 5:11].abs().max() == 0


def test_what_changes_is_never_shown(components):
    other = pixels() + centre() * 0.5
    again = inpainting_condition(
        components,
        other,
        centre(),
        subject=None,
        class_tokens=components.text.find_words("a dog on a beach", [""]),
        scales=STRENGTH,
    )
    first = condition(components, centre())
    assert torch.equal(first.aligned, again.aligned)
    assert torch.equal(first.attention.identity_tokens, again.attention.identity_tokens)


def test_a_new_subject_fills_the_mask_in_front(components, session, sprite):
    identity = session.encode_identity(sprite)
    both = condition(components, centre(), identity)
    assert both.attention.region.shape[1] == 2
    front, behind = both.attention.region[0]
    assert torch.allclose(front + behind, torch.ones_like(front))
    assert front[8, 8] == 1
    shape = both.aligned[0, 0, 32:].mean(dim=0)
    assert shape[5:11, 5:11].mean() > 0.3
    assert shape[:3].max() == 0


def test_the_released_mode_is_refused_in_plain_words(session):
    settings = replace(BY_NETWORKS, mode=swiftpie.EditMode.RELEASED)
    with pytest.raises(swiftpie.CapabilityError, match=r"`mode=EditMode\.PAPER`"):
        session.edit(photograph(), "a dog on a beach", mask=BOX, settings=settings)


def test_an_edit_changes_nothing_outside_its_box_and_something_inside(session):
    before = photograph(160, 96)
    after = session.edit(before, "a dog on a beach", mask=BOX, settings=BY_NETWORKS).image
    assert after.size == before.size
    changed = (np.asarray(before, int) != np.asarray(after, int)).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert rows.min() >= 24 - 1
    assert rows.max() <= 72
    assert columns.min() >= 40 - 1
    assert columns.max() <= 120
    assert changed[30:66, 50:110].mean() > 0.9


def test_the_network_that_was_taught_finds_the_mask_unless_a_rule_is_asked_for(session):
    before = Image.new("RGB", (128, 128), (90, 140, 200))
    learned = session.edit(before, "a dog", source_prompt="a cat", settings=BY_NETWORKS)
    rule = replace(BY_NETWORKS, rule=swiftpie.MaskRule.SMOOTH)
    asked = session.edit(before, "a dog", source_prompt="a cat", settings=rule)
    assert np.asarray(learned.region).shape == (128, 128)
    assert not np.array_equal(np.asarray(learned.region), np.asarray(asked.region))


def inverted(batch, row, *, keeps_subject):
    region = EditRegion(batch.mask[:1, :, ::8, ::8], torch.ones(1, 1, 128, 128))
    mask = batch.mask[row : row + 1]
    return InvertedImage(batch.noise[row : row + 1], region, mask, keeps_subject=keeps_subject)


@pytest.fixture(scope="module")
def batch():
    return World(sample_subjects(), "held_out").batch(4, 1, seed=3, augment=False)


@pytest.mark.parametrize("row", range(2))
def test_a_subject_keeps_its_place_where_only_its_surroundings_change(components, batch, row):
    around = 1 - batch.mask[row : row + 1].ceil()
    kept = original_subject(
        components,
        batch.pixels[row : row + 1],
        around,
        inverted=inverted(batch, row, keeps_subject=False),
        prompts=("a photo", "a photo on the moon"),
    )
    assert kept is not None
    assert (kept.layout.centre[0] - batch.layout.centre[row]).abs().max() < 0.25


@pytest.mark.parametrize("keeps_subject", [True, False])
def test_a_subject_that_is_drawn_anew_is_shown_only_if_the_prompt_keeps_it(
    components, batch, keeps_subject
):
    kept = original_subject(
        components,
        batch.pixels[:1],
        torch.ones(1, 1, 128, 128),
        inverted=inverted(batch, 0, keeps_subject=keeps_subject),
        prompts=("a photo of a dog", "a photo of a cat"),
    )
    assert (kept is not None) == keeps_subject


def test_words_move_and_resize_a_subject_that_is_drawn_anew(components, batch):
    def layout(prompt):
        kept = original_subject(
            components,
            batch.pixels[:1],
            torch.ones(1, 1, 128, 128),
            inverted=inverted(batch, 0, keeps_subject=True),
            prompts=("a photo of a dog", prompt),
        )
        return kept.layout

    same, tiny, huge = (layout(f"a photo of a {size}dog") for size in ("", "tiny ", "huge "))
    assert tiny.scale < 0.8 * same.scale
    assert huge.scale > 1.2 * same.scale
    left, right = (layout(f"a photo of a dog on the {side}").centre[0, 0] for side in SIDES)
    assert right - left > 0.2
