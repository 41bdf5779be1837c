"""Stable Diffusion presets, tiny and random: what their networks draw."""

from dataclasses import replace

import pytest
import torch

from swiftpie.attention.detail import Merge
from swiftpie.attention.install import Plan
from swiftpie.backbones.components import FAMILIES
from swiftpie.backbones.preset import trailing
from swiftpie.engine.session import Session
from swiftpie.pipelines.request import Subject
from swiftpie.pipelines.settings import MaskSource, Scales
from tests.parity import pipelines
from tests.parity.ip_adapter import WIDTHS
from tests.parity.pipelines import SIDE_PX, preset_of, subject

NAMES = ("sd15", "sd21", "sdxl")
PROMPT = "a red cube and a blue cone"


def drawn(session, subjects, **changes):
    """Decoded pixels, before they are rounded to a picture."""
    recorder = pipelines.Recorder(session.components.autoencoder)
    seen = Session(replace(session.components, autoencoder=recorder))
    result = seen.personalize(subjects, PROMPT, **{"seed": 0, **changes})
    assert torch.isfinite(recorder.pixels).all()
    return result, recorder.pixels


@pytest.mark.parametrize("family", NAMES)
@pytest.mark.parametrize("adapter", ["own", "public"])
def test_every_family_draws_with_every_source_of_masks(opened, family, adapter):
    session = opened(family, adapter)
    identity = session.encode_identity([subject(), subject()])
    plain = drawn(session, identity, scales=Scales(identity_scale=0, detail_scale=0))[1]
    for source in MaskSource:
        result, pixels = drawn(session, identity, mask=source, box=(0.2, 0.2, 0.8, 0.9))
        assert result.images[0].size == (SIDE_PX, SIDE_PX)
        assert (pixels - plain).abs().max() > 1e-3, source
    mask = torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    inside = drawn(session, identity, mask=mask)[1]
    torch.testing.assert_close(inside, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", NAMES)
def test_every_family_draws_two_subjects_in_a_wide_picture(opened, family):
    session = opened(family)
    identity = session.encode_identity(subject())
    other = session.encode_identity(subject().rotate(180))
    both = [
        Subject(identity, box=(0.0, 0.2, 0.5, 1.0), name="cube"),
        Subject(other, box=(0.5, 0.2, 1.0, 1.0), name="cone"),
    ]
    size = (SIDE_PX, SIDE_PX + 48)
    for source in (MaskSource.BOX, MaskSource.INLINE):
        result, _ = drawn(session, both, mask=source, size_px=size)
        assert result.images[0].size == (size[1], size[0])
        assert result.regions.shape == (1, 2, size[0] // 8, size[1] // 8)


@pytest.mark.parametrize("renoise", ["ddim", "lcm", "euler_ancestral", "tcd"])
@pytest.mark.parametrize("num_steps", [2, 4])
def test_few_steps_repeat_by_seed(opened, renoise, num_steps):
    changes = {"timesteps": trailing(num_steps), "renoise": renoise, "eta": 0.3}
    session = opened("sd15", preset=preset_of("sd15", **changes))
    identity = session.encode_identity(subject())
    both = drawn(session, identity, seed=4, num_images=2)[1]
    alone = drawn(session, identity, seed=5)[1]
    assert (both[0] - both[1]).abs().max() > 1e-2
    torch.testing.assert_close(both[1:], alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", NAMES)
def test_pictures_equal_those_of_diffusers(family):
    for name, largest, bound in pipelines.rows([family]):
        assert largest <= bound, name


def test_joint_merging_shows_the_subject_without_training(opened):
    plan = Plan(token_width=WIDTHS["sd21"], merge=Merge.JOINT)
    session = opened("sd21", "public", plan=plan)
    identity = session.encode_identity(subject())
    without = drawn(session, identity, scales=Scales(detail_scale=0.0))[1]
    assert (
        drawn(session, identity, scales=Scales(detail_scale=1.0))[1] - without
    ).abs().max() > 1e-2


def test_a_reference_network_of_its_own_reads_the_references(opened, place):
    own = opened("sd21").encode_identity(subject())
    other = opened("sd21", reference=place / "sd21" / "other_unet").encode_identity(subject())
    assert own.keys.keys() == other.keys.keys()
    assert all(not torch.equal(own.keys[name], other.keys[name]) for name in own.keys)
    assert own.fingerprint != other.fingerprint


@pytest.mark.parametrize("family", NAMES)
def test_bfloat16_gives_about_the_same_latents(opened, family):
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        session = opened(family, dtype=dtype)
        weights = session.components.denoiser.state_dict().values()
        assert {weight.dtype for weight in weights} == {dtype}
        pictures.append(drawn(session, session.encode_identity(subject()))[1])
    similarity = torch.cosine_similarity(pictures[0].flatten(), pictures[1].flatten(), dim=0)
    assert similarity > 0.98


def test_without_a_prompt_xl_reads_zeros_and_hides_nothing(session):
    text = session.components.text.encode(["a cat"])
    null = FAMILIES.get("sdxl").null_text(session.components.text)
    assert not null.hidden_states.any()
    assert not null.pooled.any()
    assert null.attention_mask.all()
    assert [one.shape for one in null] == [one.shape for one in text]


def test_without_a_prompt_others_read_an_empty_one(session):
    empty = session.components.text.encode([""])
    null = FAMILIES.get("sd15").null_text(session.components.text)
    assert all(torch.equal(one, other) for one, other in zip(null, empty, strict=True))
