import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import Session
from swiftpie.backbones.choices import schedule_of
from swiftpie.backbones.presets import RECIPES
from swiftpie.masks import from_noise_difference
from swiftpie.pipelines.choose import choose
from swiftpie.pipelines.edit_region import blend_mask
from swiftpie.pipelines.settings import EditMode, EditSettings, Scales
from swiftpie.pipelines.tasks import EditRequest
from swiftpie.types import Posterior
from tests.parity.edit import changed, photograph, values
from tests.pipelines.pictures import edit
from tests.tiny.editor import PRESET

PROMPT = "a dog on the sofa"
NEUTRAL = replace(
    Scales.for_edit(),
    identity_scale=1.0,
    background_scale=1.0,
    text_scale=1.0,
    text_background_scale=1.0,
)
RELEASED = EditSettings(mode=EditMode.RELEASED)
MODES = [EditSettings(), RELEASED]


@pytest.fixture(scope="module")
def components(editor):
    return editor.components


@pytest.fixture(scope="module")
def photo():
    return photograph()


def calls_of(module):
    seen = []
    return seen, module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))


def test_pixels_outside_the_mask_never_change():
    draw = np.random.default_rng(0)
    for _ in range(200):
        height, width = (int(side) for side in draw.integers(5, 90, 2))
        cells = torch.from_numpy(draw.random((1, 1, *draw.integers(1, 9, 2)), dtype=np.float32))
        mask = torch.nn.functional.interpolate(cells, (height, width))
        mask = torch.where(mask < draw.random(), 0.0, mask if draw.random() < 0.5 else 1.0)
        edited, original = (
            Image.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8))
            for _ in range(2)
        )
        joined = values(Image.composite(edited, original, blend_mask(mask)))
        outside = mask[0, 0].numpy() == 0
        assert np.array_equal(joined[outside], values(original)[outside])


def test_a_feathered_edge_lies_inside_the_mask():
    mask = torch.zeros(1, 1, 60, 60)
    mask[..., 10:50, 0:40] = 1
    white, black = (Image.new("RGB", (60, 60), colour) for colour in ("white", "black"))
    profile = values(Image.composite(white, black, blend_mask(mask)))[:, 20, 0]
    assert np.all(profile[:10] == 0)
    assert 0 < profile[10] < profile[12] < 255
    assert profile[30] == 255
    assert values(blend_mask(mask))[30, 0] == 255  # the border is no edge


def test_a_small_mask_has_a_window(components):
    image = photograph(400, 300)
    result = edit(components, image, PROMPT, mask=(0.4, 0.4, 0.5, 0.5))
    assert (values(result.edited) != values(image)).any(axis=-1).mean() < 0.3
    assert not changed(result, image)[values(result.region) == 0].any()
    assert changed(result, image).any()


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
@pytest.mark.parametrize("size", [(90, 250), (37, 41)])
def test_any_shape_keeps_its_size_and_all_pixels_outside(components, settings, size):
    image = photograph(*size)
    result = edit(components, image, PROMPT, source_prompt="a cat", settings=settings)
    assert {result.image.size, result.region.size, result.edited.size} == {size}
    assert not (changed(result, image) & (values(result.region) == 0)).any()
    assert np.abs(values(result.edited) - values(image)).max() > 10
    assert (result.reconstruction is not None) == (settings is RELEASED)


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
def test_a_mask_of_the_user_bounds_the_change(components, photo, settings):
    mask = torch.zeros(1, 1, 50, 40)
    mask[..., 10:30, 5:20] = 1
    where = changed(edit(components, photo, PROMPT, mask=mask, settings=settings), photo)
    assert where[30:70, 20:60].mean() > 0.9
    assert not where[:24].any()
    assert not where[:, 66:].any()


def test_a_mask_below_half_is_outside_and_stays_to_the_bit(components, photo):
    mask = torch.full((1, 1, 50, 40), 1 / 255)
    mask[..., :5, :] = 0.45
    mask[..., 10:30, 5:20] = 1
    where = changed(edit(components, photo, PROMPT, mask=mask), photo)
    assert where[30:70, 20:60].mean() > 0.9
    assert not where[:24].any()
    assert not where[:, 66:].any()


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
def test_attention_sees_the_mask_softly_in_the_paper_and_hard_as_released(
    components, photo, settings
):
    mask = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    full = mask.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    region = edit(components, photo, PROMPT, mask=full, settings=settings).latent_region
    expected = (mask > 0.5).float() * (1 if settings is RELEASED else mask)
    assert torch.allclose(region, expected, atol=1 / 255)


def test_a_found_mask_holds_its_region_and_a_border_around_it(components, photo):
    result = edit(components, photo, PROMPT, source_prompt="a cat")
    region = torch.zeros_like(result.latent_region)
    region[..., 1:-1, 1:-1] = result.latent_region[..., 1:-1, 1:-1]
    assert 0 < region.mean() < 0.9
    cells = np.kron(region[0, 0].numpy(), np.ones((8, 8))) > 0
    allowed = values(result.region)
    assert allowed[cells].min() == 255
    assert (allowed > 0).mean() > cells.mean()


def test_a_box_equals_the_mask_that_it_draws(components, photo):
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 32:96, 16:64] = 1
    boxed = edit(components, photo, PROMPT, mask=(0.125, 0.25, 0.5, 0.75))
    masked = edit(components, photo, PROMPT, mask=mask)
    assert boxed.image.tobytes() == masked.image.tobytes()
    assert changed(boxed, photo).any()


def test_a_mask_that_was_returned_can_be_given_back(components, photo):
    session = Session(components)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 10:30, 5:21] = 0.7
    first = session.edit(photo, PROMPT, mask=mask)
    again = session.edit(photo, PROMPT, mask=first.region)
    assert again.image.tobytes() == first.image.tobytes()
    found = session.edit(photo, PROMPT)
    given = session.edit(photo, PROMPT, mask=found.region)
    assert given.region.tobytes() == found.region.tobytes()


@pytest.mark.parametrize(
    ("settings", "asked", "num_inverted", "num_drawn"),
    [
        (EditSettings(), {"source_prompt": "a cat"}, 2, 1),
        (EditSettings(), {"source_prompt": "a cat", "keyword": "cat"}, 3, 1),
        (EditSettings(), {"keyword": "cat"}, 2, 1),
        (EditSettings(), {"mask": (0.0, 0.0, 0.5, 0.5)}, 1, 1),
        (RELEASED, {"source_prompt": "cat"}, 2, 2),
        (RELEASED, {"mask": (0.0, 0.0, 0.5, 0.5)}, 1, 2),
    ],
)
def test_networks_run_once_with_no_row_too_many(
    components, photo, settings, asked, num_inverted, num_drawn
):
    components = replace(components)  # nothing is derived from them yet, so hooks are seen
    inverted, first = calls_of(components.inversion.unet)
    drawn, second = calls_of(components.denoiser.unet)
    try:
        edit(components, photo, PROMPT, settings=settings, **asked)
    finally:
        first.remove()
        second.remove()
    assert inverted == [num_inverted]
    assert drawn == [num_drawn]


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
def test_source_prompt_and_keyword_matter_and_may_be_empty_or_one_word(components, photo, settings):
    asked = [{}, {"source_prompt": "cat"}, {"keyword": "hat"}]
    results = [edit(components, photo, PROMPT, settings=settings, **option) for option in asked]
    assert len({result.edited.tobytes() for result in results}) == 3
    assert len({result.region.tobytes() for result in results}) == 3


def test_a_keyword_decides_the_mask_and_not_the_noise(components, photo):
    box = (0.0, 0.0, 1.0, 0.5)
    plain = edit(components, photo, PROMPT, mask=box)
    named = edit(components, photo, PROMPT, mask=box, keyword="hat")
    assert named.edited.tobytes() == plain.edited.tobytes()


def test_without_a_seed_one_is_drawn_and_reported(components, photo):
    session, call = Session(components), {"mask": (0.2, 0.2, 0.8, 0.8), "settings": RELEASED}
    first, other = (session.edit(photo, PROMPT, **call) for _ in range(2))
    assert first.seed != other.seed
    assert first.image.tobytes() != other.image.tobytes()
    again = session.edit(photo, PROMPT, seed=first.seed, **call)
    assert (again.seed, again.image.tobytes()) == (first.seed, first.image.tobytes())


def test_neutral_strengths_do_not_see_the_mask(components, photo):
    settings = EditSettings(scales=NEUTRAL)
    masks = [torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(i)) for i in (0, 1)]
    for chosen, is_equal in ((settings, True), (EditSettings(), False)):
        edits = [edit(components, photo, PROMPT, mask=m, settings=chosen).edited for m in masks]
        assert (edits[0].tobytes() == edits[1].tobytes()) == is_equal


def test_an_identity_replaces_the_picture_as_condition(components, photo):
    session = Session(components)
    identity = session.encode_identity(photograph(seed=5), masks=Image.new("L", (128, 128), 255))
    assert identity.keys  # a whole identity has detail, which an edit leaves out
    scales = replace(Scales.for_edit(), identity_scale=1.0)
    whole, other, tokens_only = (
        session.edit(photo, PROMPT, identity=shown, settings=EditSettings(scales=scales)).edited
        for shown in (None, identity, replace(identity, keys={}, values={}))
    )
    assert other.tobytes() != whole.tobytes()
    assert other.tobytes() == tokens_only.tobytes()


def test_the_released_mode_leaves_the_shared_networks_alone(components, photo):
    before = dict(components.denoiser.unet.attn_processors)
    assert components.released.denoiser is components.released.denoiser is not components.denoiser
    alone = [edit(components, photo, PROMPT, settings=mode).image.tobytes() for mode in MODES]
    with ThreadPoolExecutor(4) as pool:
        jobs = MODES * 2
        together = list(pool.map(lambda s: edit(components, photo, PROMPT, settings=s), jobs))
    assert [edit.image.tobytes() for edit in together] == alone * 2
    after = components.denoiser.unet.attn_processors
    assert all(after[name] is processor for name, processor in before.items())


def test_schedules_of_several_steps_and_fresh_noise_edit_too(components, photo):
    preset = replace(PRESET, timesteps=(999, 749, 499), renoise="lcm")
    several = replace(components, preset=preset, schedule=schedule_of(preset))
    edits = [edit(several, photo, PROMPT, seed=seed).edited.tobytes() for seed in (0, 0, 1)]
    assert edits[0] == edits[1] != edits[2]


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
@pytest.mark.parametrize(
    "asked", [{"source_prompt": PROMPT}, {"source_prompt": f" {PROMPT}\n"}, {"keyword": " "}]
)
def test_prompts_that_agree_change_nothing_and_say_so(components, photo, settings, asked, caplog):
    with caplog.at_level(logging.WARNING):
        result = edit(components, photo, PROMPT, settings=settings, **asked)
    assert caplog.text.count("do not differ") == 1
    assert result.image.tobytes() == photo.tobytes()
    assert not np.any(result.region)


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
def test_prompts_that_agree_leave_a_mask_alone_and_say_so(components, photo, settings, caplog):
    box = (0.2, 0.2, 0.8, 0.9)
    asked = {"source_prompt": f" {PROMPT}\n", "mask": box, "settings": settings}
    result = edit(components, photo, PROMPT, **asked)
    assert caplog.text.count("nothing in the mask will change") == 1
    assert result.image.tobytes() == photo.tobytes()
    caplog.clear()
    anew = edit(components, photo, PROMPT, settings=settings, mask=box)
    varied = edit(
        components, photo, PROMPT, **{**asked, "settings": replace(settings, variation=0.8)}
    )
    for other in (anew, varied):
        assert other.image.tobytes() != photo.tobytes()
    assert "do not differ" not in caplog.text


def test_prompts_that_agree_leave_the_packaged_model_alone_too(session, photo, caplog):
    for said in ("A dog  on the Beach.", " the dog on a beach"):
        result = session.edit(photo, "a dog on a beach", source_prompt=said)
        assert result.image.tobytes() == photo.tobytes()
    assert caplog.text.count("do not differ") == 2
    assert changed(session.edit(photo, "at night", source_prompt="by day"), photo).any()


def test_noises_that_agree_give_an_empty_mask():
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    assert not from_noise_difference(noise, noise + 1e-7 * noise.roll(1, dims=-1)).any()


def test_an_autoencoder_that_knows_one_value_gives_it_in_both_modes(components, photo):
    class MeanOnly:
        encode = staticmethod(components.autoencoder.encode)
        decode = staticmethod(components.autoencoder.decode)

        def posterior(self, pixels):
            latents = self.encode(pixels)
            return Posterior(latents, torch.zeros_like(latents))

    sure = replace(components, autoencoder=MeanOnly())
    edits = [
        edit(sure, photo, PROMPT, seed=seed, settings=RELEASED).edited.tobytes() for seed in (0, 1)
    ]
    assert edits[0] == edits[1]


def test_a_region_is_of_each_picture_alone():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 3, 4, 16, 16, generator=generator)
    first[:, :, 4:9, 4:9] += 3
    second[1] *= 100
    masks = from_noise_difference(first, second)
    assert torch.equal(masks[:1], from_noise_difference(first[:1], second[:1]))
    assert masks[0].unique().tolist() == [0, 1]


@pytest.mark.parametrize("settings", MODES, ids=["paper", "released"])
def test_variation_renews_the_noise_of_what_changes_and_nothing_else(components, photo, settings):
    box = (0.25, 0.25, 0.75, 0.75)
    asked = {"mask": box, "source_prompt": "a cat", "seed": 3}
    plain = edit(components, photo, PROMPT, settings=settings, **asked)
    again = edit(components, photo, PROMPT, settings=replace(settings, variation=0.0), **asked)
    assert again.edited.tobytes() == plain.edited.tobytes()
    varied = replace(settings, variation=0.5)
    results = [
        edit(components, photo, PROMPT, settings=varied, **{**asked, "seed": seed})
        for seed in (3, 3, 4)
    ]
    assert results[0].edited.tobytes() == results[1].edited.tobytes()
    assert len({result.edited.tobytes() for result in (plain, *results[1:])}) == 3
    for result in results:
        assert not (changed(result, photo) & (values(result.region) == 0)).any()
    request = EditRequest(image=photo, prompt=PROMPT, seed=3, settings=settings)
    assert choose(components, replace(request, settings=varied)).follows_seed
    assert choose(components, request).follows_seed == (settings is RELEASED)


def test_a_preset_names_the_mode_of_edits_that_choose_none(components, photo):
    preset = RECIPES.get("swiftedit").apply(PRESET)
    assert preset.edit_mode == "released"
    released = replace(components, preset=preset)
    default, chosen, other = (
        edit(of, photo, PROMPT, seed=3, settings=settings)
        for of, settings in (
            (released, EditSettings()),
            (components, RELEASED),
            (released, EditSettings(mode=EditMode.PAPER)),
        )
    )
    assert default.image.tobytes() == chosen.image.tobytes() != other.image.tobytes()
    assert default.reconstruction is not None
    assert other.reconstruction is None
