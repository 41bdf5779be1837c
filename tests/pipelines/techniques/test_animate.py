"""Animations by motion modules: what every frame shows, windows of time, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor2_0

from swiftpie import (
    AnimateRequest,
    CapabilityError,
    InputError,
    MaskSource,
    Session,
    Subject,
    WeightsError,
)
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.diffusers.personalize import SwiftPiePipeline
from swiftpie.geometry.layout import from_box
from swiftpie.masks import box_mask, subject_extent
from swiftpie.models.denoiser import predict
from swiftpie.noise import linear_step
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.denoise import cut_rows, denoise, join_rows, without_identity
from swiftpie.pipelines.draw import draw
from swiftpie.pipelines.techniques.animate import prepare_animation
from swiftpie.pipelines.techniques.panorama import WindowedDenoiser
from swiftpie.pipelines.techniques.personalize import BOX_FEATHER, read_prompts
from tests.golden.networks import UNET_FILE, moving_networks, pipeline_folder, random_networks
from tests.parity.tiny import picture
from tests.tiny.folders import make_motion

PROMPT, TO = "a red cube on the moon", "a blue cone at sea"
LEFT, RIGHT, WHOLE = (0.0, 0.2, 0.5, 0.9), (0.4, 0.2, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0)
SEED, FRAMES, LONG = 3, 3, 24


@pytest.fixture(scope="module")
def session():
    return moving_networks()


def asked(session, subject=None, **changes):
    subjects = () if subject is None else (Subject(session.encode_identity(picture(0)), **subject),)
    base = {"subjects": subjects, "prompt": PROMPT, "seeds": (SEED,), "num_frames": FRAMES}
    return AnimateRequest(**base | changes)


def prepared(session, request):
    return prepare_animation(choose(session.components, request)).start


def latents(session, request):
    return denoise(prepared(session, request)).latents


def largest(first, second):
    return float((first - second).abs().max() / second.abs().max())


def test_a_box_of_the_whole_frame_is_no_box(session):
    whole, none = (latents(session, asked(session, where)) for where in ({"box": WHOLE}, {}))
    assert torch.equal(whole, none)
    assert largest(latents(session, asked(session, {"box": LEFT})), none) > 1e-3


def test_a_box_that_stays_is_the_mask_box(session):
    stays = asked(session, {"box": LEFT}, to_boxes=(LEFT,))
    masked = asked(session, {"box": LEFT}, mask=MaskSource.BOX)
    assert torch.equal(latents(session, stays), latents(session, masked))


def test_regions_and_layouts_follow_the_box(session):
    request = asked(session, {"box": LEFT}, to_boxes=(RIGHT,))
    result, start = session.draw(request), prepared(session, request)
    extent = subject_extent(request.subjects[0].identity.mask[:1])
    middle = tuple((a + b) / 2 for a, b in zip(LEFT, RIGHT, strict=True))
    for frame, box in enumerate((LEFT, middle, RIGHT)):
        expected = box_mask(box, height=16, width=16, feather=BOX_FEATHER)
        torch.testing.assert_close(result.regions[frame : frame + 1], expected)
        for value, row in zip(
            from_box(box, size=(16, 16), extent=extent), start.layouts[0], strict=True
        ):
            torch.testing.assert_close(row[frame], value[0])
    assert len(result.images) == FRAMES
    assert result.seeds == (SEED,)
    assert result.origin["frames"] == str(FRAMES)


def test_a_reference_is_read_once_for_all_frames(session):
    attention = prepared(session, asked(session, {})).condition.attention
    assert attention.keys
    shared = (attention.identity_tokens, *attention.keys.values(), *attention.values.values())
    assert {tensor.stride(0) for tensor in shared} == {0}


def test_frames_read_each_other_and_rows_of_other_presets_do_not(session):
    whole = latents(session, asked(session))
    start = prepared(session, asked(session))
    alone = start._replace(
        components=replace(start.components, denoiser=start.components.denoiser.inner)
    )
    assert largest(denoise(alone).latents, whole) > 1e-3


def test_words_between_two_prompts_are_mixed_evenly(session):
    start = prepared(session, asked(session, {"name": "cube"}, to=(TO,), num_frames=5))
    first, last = read_prompts(session.components, (PROMPT, TO), rows=2).hidden_states
    for frame, states in enumerate(start.text.hidden_states):
        torch.testing.assert_close(states, torch.lerp(first, last, frame / 4))
    named = start.condition.attention.class_tokens[:, 0]
    assert named.any(dim=1).tolist() == [True] * 4 + [False]  # the last prompt names no cube


def test_motion_modules_keep_their_attention_and_places_give_theirs_back(session):
    installation = session.components.denoiser.installation
    unet = installation.network
    moving = {name for name in unet.attn_processors if ".motion_modules." in name}
    assert moving
    for name, processor in unet.attn_processors.items():
        assert isinstance(processor, AttnProcessor2_0) == (name in moving)
        assert (processor is installation.originals[name]) == (name in moving)


def test_windows_of_time_are_fused_by_their_weights(session):
    """Two windows of 16 over 24 frames, which count as a triangle does; each is an animation."""
    request = asked(session, {"box": LEFT}, to_boxes=(RIGHT,), num_frames=LONG)
    start = prepared(session, request)
    assert isinstance(start.components.denoiser, WindowedDenoiser)
    short = prepared(session, asked(session, num_frames=16)).components.denoiser
    assert not isinstance(short, WindowedDenoiser)
    call = (start.latents, torch.tensor(999), start.text, start.condition)
    found, *_ = predict(start.components.denoiser, *call)
    windows = [
        predict(short, start.latents[rows], call[1], *cut_rows(call[2:], rows))[0]
        for rows in (slice(0, 16), slice(8, 24))
    ]
    weights = 1 - (2 * (torch.arange(16) + 0.5) / 16 - 1).abs()
    expected = torch.zeros_like(found)
    expected[:8], expected[16:] = windows[0][:8], windows[1][8:]
    share = (weights[:8] / (weights[:8] + weights[8:])).view(-1, 1, 1, 1)
    expected[8:16] = torch.lerp(windows[0][8:], windows[1][:8], share)
    assert largest(found, expected) < 1e-5


@pytest.mark.thorough
def test_windows_leave_the_rows_of_guidance_apart(session):
    start = prepared(session, asked(session, {"box": LEFT}, to_boxes=(RIGHT,), num_frames=LONG))
    timestep, silent = torch.tensor(999), without_identity(start.condition, None)
    rows = [(start.latents, start.text, start.condition), (start.latents, start.text, silent)]
    denoiser = start.components.denoiser
    alone = [predict(denoiser, one, timestep, text, cond)[0] for one, text, cond in rows]
    assert largest(*alone) > 1e-3
    latents, text, condition = join_rows(rows)
    together = predict(denoiser, latents, timestep, text, condition)[0]
    assert largest(together, torch.cat(alone)) < 1e-5


@pytest.mark.thorough
def test_a_region_that_attention_finds_is_one_of_each_frame_in_windows_as_well(session):
    request = asked(session, {"name": "cube"}, mask=MaskSource.INLINE, num_frames=LONG)
    regions = session.draw(request).regions
    assert regions.shape == (LONG, 1, 16, 16)
    found = (regions.flatten(1).std(dim=1) > 0).float()  # random maps may show nothing
    assert found.mean() > 0.5


def test_a_picture_is_an_animation_of_one_frame(session):
    result = session.personalize(session.encode_identity(picture(0)), PROMPT, seed=1, num_images=2)
    both = [np.asarray(image).astype(int) for image in result.images]
    alone = session.personalize(session.encode_identity(picture(0)), PROMPT, seed=2).images[0]
    assert np.abs(both[1] - np.asarray(alone)).max() <= 2  # rows of one pass


def test_noise_rises_as_in_animatediff():
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear")
    for timestep in (0, 499, 999):
        kept = float(scheduler.alphas_cumprod[timestep])
        assert linear_step(timestep).alpha ** 2 == pytest.approx(kept, rel=1e-4)


REFUSED = [
    ({}, {"to_views": ((30.0, 0.0),)}, CapabilityError, "turn"),
    ({"view": (30.0, 0.0)}, {}, CapabilityError, "turn"),
    ({}, {"scene": "beach"}, CapabilityError, "place"),
    ({}, {"to_boxes": (RIGHT,)}, InputError, "first box"),
    ({"box": LEFT}, {"to_boxes": (RIGHT,), "mask": MaskSource.INLINE}, InputError, "moves"),
    ({"box": LEFT, "mask": torch.ones(1, 1, 8, 8)}, {"to_boxes": (RIGHT,)}, InputError, "moves"),
]


@pytest.mark.parametrize(("subject", "change", "error", "word"), REFUSED)
def test_what_these_networks_cannot_draw_is_refused(session, subject, change, error, word):
    with pytest.raises(error, match=word):
        draw(session.components, asked(session, subject, **change))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_networks_without_motion_modules_refuse_animations(family):
    session = random_networks(family)
    with pytest.raises(CapabilityError, match="AnimateRequest"):
        draw(session.components, asked(session))


def opened(weights, preset="motion-lightning-2"):
    base = pipeline_folder("sd15") / "pipeline"
    return load_components(
        replace(PRESETS.get(preset), image_size_px=64), weights=weights, base=base
    )


@pytest.mark.thorough
def test_motion_modules_are_a_file_or_a_folder_with_a_lora(tmp_path):
    pytest.importorskip("peft", reason="needs swiftpie[lora]")
    folder = make_motion(tmp_path / "motion")
    alone, together = opened(folder / UNET_FILE), opened(folder, "animatelcm")
    assert alone.fingerprint != together.fingerprint
    query = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    motion = "down_blocks.0.motion_modules.0.proj_in.weight"
    weights = [each.denoiser.unet.state_dict() for each in (alone, together)]
    assert torch.equal(*(each[motion] for each in weights))
    assert not torch.equal(*(each[query] for each in weights))
    (folder / PRESETS.get("animatelcm").lora).unlink()
    with pytest.raises(WeightsError, match="does not exist"):
        opened(folder, "animatelcm")


@pytest.mark.thorough
def test_a_saved_pipeline_animates_as_the_one_that_was_loaded(session, tmp_path):
    SwiftPiePipeline.from_components(session.components).save_pretrained(tmp_path)
    again = Session(SwiftPiePipeline.from_pretrained(tmp_path).to_components())
    both = [each.draw(asked(each, {"box": LEFT})).images for each in (session, again)]
    first, second = (np.stack(images).astype(int) for images in both)
    assert np.abs(first - second).max() <= 1


def test_motion_modules_of_another_network_are_refused(tmp_path):
    folder = make_motion(tmp_path / "motion", is_shallow=False)
    for weights in (folder, folder / UNET_FILE):
        with pytest.raises(WeightsError, match="fit"):
            opened(weights)
