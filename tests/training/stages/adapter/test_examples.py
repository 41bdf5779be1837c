"""What the student is asked to draw, and the settings that cannot be met."""

from dataclasses import replace

import pytest
import torch

from swiftpie.errors import CapabilityError, ConfigError, InputError, WeightsError
from swiftpie.schedules import PredictionType, build_schedule
from swiftpie.training.perceptual import (
    feature_distance,
    masked_mean,
    model_features,
)
from swiftpie.training.stages.adapter_examples import make_prompt, open_examples
from swiftpie.training.stages.adapter_settings import AdapterDrops, LossWeights, Source
from swiftpie.training.stages.adapter_student import crop_around, draw_chances


def test_a_warm_up_hides_the_looks_and_keeps_part_of_the_noise(build):
    stage = build(source="synthetic", loss=LossWeights(latents=1, adversarial=0, identity=0))
    batch, again = (stage.example_source.batch(2, 7) for _ in range(2))
    assert torch.equal(batch.noise, again.noise)
    assert torch.equal(batch.reference, again.reference)
    assert not torch.equal(batch.noise, stage.example_source.batch(2, 8).noise)
    assert (batch.reference * (batch.reference_mask == 0)).abs().max() == 0
    terms = next(stage.updates(stage.network(), 0, 7)).terms
    assert terms.keys() == {"latents", "maps", "subject", "whole"}
    assert all(torch.isfinite(term) for term in terms.values())


def test_prompts_of_a_warm_up_name_the_subject_twice_and_its_looks_once():
    prompt = make_prompt(torch.Generator().manual_seed(1))
    rich, poor = prompt.rich.split(), prompt.poor.split()
    assert prompt.name in rich
    assert prompt.name in poor
    assert set(poor) < set(rich)


def test_targets_of_photos_are_the_photos(build):
    stage = build()
    batch = stage.example_source.batch(2, 0)
    torch.testing.assert_close(batch.latents, stage.base.autoencoder.encode(batch.pixels))
    assert batch.noise.std() > 0.8


def test_an_inversion_network_gives_half_of_the_noise(build, place):
    plain = build()
    stage = build(inversion=place / "pipeline" / "unet")
    pairs = [
        (stage.example_source.batch(4, n).noise, plain.example_source.batch(4, n).noise)
        for n in range(4)
    ]
    same = [torch.equal(a, b) for one, two in pairs for a, b in zip(one, two, strict=True)]
    assert 0 < sum(same) < len(same)


def test_conditions_are_withheld_as_often_as_the_settings_say():
    drops = AdapterDrops(semantic=0.1, detail=0.3, both=0.05, text=0.05, rescaled=0.3)
    chances = draw_chances(20_000, drops, seed=5)
    shares = [
        float((chances.identity_scale == 0).float().mean()),
        float((chances.detail_scale == 0).float().mean()),
        1 - sum(chances.has_text) / len(chances.has_text),
    ]
    assert shares == pytest.approx([0.145, 0.335, 0.05], abs=0.01)
    scaled = chances.identity_scale[chances.identity_scale > 0]
    assert float((scaled != 1).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert scaled.min() >= 0.5
    assert scaled.max() <= 1.2


def test_a_crop_holds_its_subject():
    mask = torch.zeros(1, 1, 40, 40)
    mask[..., 10:20, 20:40] = 1
    scale, zero, x = crop_around(mask)[0, 0].tolist()
    assert (scale, zero, x) == pytest.approx((1.1 * 0.5, 0, 0.5))


def test_a_vision_model_of_the_user_judges_pictures(build, place):
    stage = build(perceptual=place / "encoder")
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    same = stage.compare(pictures, pictures)
    other = stage.compare(pictures, pictures.flip(0))
    assert [one.shape for one in same] == [(2, 1, 4, 4)] * 2
    mask = torch.ones(2, 1, 64, 64)
    assert masked_mean(same, mask) == 0
    assert masked_mean(other, mask) > 0.01
    with pytest.raises(WeightsError, match="no vision model"):
        model_features(place / "photos", torch.device("cpu"))


def test_only_places_under_the_mask_count():
    distance = feature_distance(lambda pixels: [pixels])
    first = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    second = first.clone()
    second[..., :4] = -first[..., :4]
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    maps = distance(first, second)
    assert float(masked_mean(maps, left)) == pytest.approx(4)
    assert float(masked_mean(maps, 1 - left)) == 0


def test_what_cannot_be_trained_is_refused(build, tmp_path):
    with pytest.raises(CapabilityError, match="'mini' has no adapter"):
        build(preset="mini")
    with pytest.raises(InputError, match="does not exist"):
        build(data=tmp_path / "nowhere")
    with pytest.raises(InputError, match="multiples of"):
        build(size_px=70)


def test_a_warm_up_needs_a_base_that_draws_in_one_step(build):
    stage = build()
    schedule = build_schedule((999, 499), PredictionType.EPSILON)
    base = replace(stage.base, components=replace(stage.base.components, schedule=schedule))
    with pytest.raises(ConfigError, match="in several steps"):
        open_examples(base, replace(stage.settings, source=Source.SYNTHETIC))


def test_bases_of_several_steps_learn_from_photos(build):
    stage = build()
    schedule = build_schedule((999, 499), PredictionType.EPSILON)
    base = replace(stage.base, components=replace(stage.base.components, schedule=schedule))
    longer = replace(stage, base=base)
    for draw in range(3):
        terms = next(longer.updates(longer.network(), draw, draw)).terms
        assert all(torch.isfinite(term) for term in terms.values())
