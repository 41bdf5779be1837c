from dataclasses import replace

import pytest
import torch

from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.scene import UNCOVERED, SceneConfig


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    config = SceneConfig(size_px=128, batch_size=2, validation_pictures=2, covered_share=0.0)
    return config.build(Context(data=folder, runs=folder, device="cpu"))


@pytest.mark.thorough
@torch.no_grad()
def test_a_share_of_references_is_in_autumn_or_winter_and_summer_is_asked_for(stage):
    dealt = {}
    for share in (0.0, 1.0):
        config = replace(
            stage.config, covered_share=share, plain_share=0.0, missing_share=0.2, cast_share=0.0
        )
        dealt[share] = replace(stage, config=config).batch(24, seed=2)
    bare, covered = dealt[0.0], dealt[1.0]
    has_reference = (covered.reference != 0).flatten(1).any(dim=1)
    assert torch.equal(covered.place[~has_reference], bare.place[~has_reference])
    assert (covered.condition.season[has_reference] == UNCOVERED).all()
    assert (covered.condition.season[~has_reference] < UNCOVERED).all()
    differs = (covered.reference - covered.place).abs()[has_reference].flatten(1).amax(dim=1)
    assert (differs > 0.1).all()
    whitest = covered.reference.amin(dim=1).flatten(1) > 0.7
    greenest = covered.place.amin(dim=1).flatten(1) > 0.7
    assert whitest[has_reference].float().mean() > greenest[has_reference].float().mean()


@torch.no_grad()
def test_batches_drawn_at_once_are_parts_of_one_and_repeat(stage):
    pooled = replace(stage, config=replace(stage.config, batches_at_once=3))
    network, numbers = pooled.network(), (3, 4, 5, 0, 4)
    parts = [pooled.losses(network, number)["place"] for number in numbers]
    assert parts[1] == parts[4]
    assert len(set(map(float, parts))) == 4
    assert torch.equal(pooled._training_batch(5).place, stage.batch(6, seed=1).place[4:])


@pytest.mark.thorough
@torch.no_grad()
def test_textures_lie_on_references_and_truths_alike(stage):
    rough = replace(stage, config=replace(stage.config, texture_share=1.0))
    bare, textured = (drawer.batch(16, seed=2) for drawer in (stage, rough))
    has_reference = (bare.reference != 0).flatten(1).any(dim=1)
    changed = (textured.reference != bare.reference).flatten(1).any(dim=1)
    assert torch.equal(changed, has_reference)
    assert torch.equal(textured.place[~has_reference], bare.place[~has_reference])
    noise = (textured.reference - bare.reference)[has_reference].flatten(1)
    other = (textured.place - bare.place)[has_reference].flatten(1)
    assert (torch.cosine_similarity(noise, other) > 0.3).all()
