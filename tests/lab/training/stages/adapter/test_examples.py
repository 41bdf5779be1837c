from dataclasses import replace

import pytest
import torch

from swiftpie.errors import CapabilityError, ConfigError, InputError
from swiftpie.noise import PredictionType, build_schedule
from swiftpie_lab.training.stages.adapter.examples import make_prompt, open_examples
from swiftpie_lab.training.stages.adapter.networks import LossWeights, Source


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


@pytest.mark.thorough
def test_an_inversion_network_gives_half_of_the_noise(build, place):
    plain = build()
    stage = build(inversion=place / "pipeline" / "unet")
    pairs = [
        (stage.example_source.batch(4, n).noise, plain.example_source.batch(4, n).noise)
        for n in range(4)
    ]
    same = [torch.equal(a, b) for own, two in pairs for a, b in zip(own, two, strict=True)]
    assert 0 < sum(same) < len(same)


def test_what_cannot_be_trained_is_refused(build, tmp_path):
    with pytest.raises(CapabilityError, match="'mini' has no adapter"):
        build(preset="mini")
    with pytest.raises(InputError, match="no folder"):
        build(data=tmp_path / "nowhere")
    with pytest.raises(InputError, match="multiples of"):
        build(size_px=70)


def test_a_warm_up_needs_a_base_that_draws_in_one_step(build):
    stage = build()
    schedule = build_schedule((999, 499), PredictionType.EPSILON)
    base = replace(stage.base, components=replace(stage.base.components, schedule=schedule))
    with pytest.raises(ConfigError, match="in several steps"):
        open_examples(base, replace(stage.settings, source=Source.SYNTHETIC))
