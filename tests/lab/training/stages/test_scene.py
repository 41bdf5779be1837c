import functools
from dataclasses import replace

import pytest
import torch

from swiftpie.mini.scene_network import UNCOVERED, scene_relighter
from swiftpie_lab.training.context import Context
from swiftpie_lab.training.stages.scene import SceneConfig
from swiftpie_world.places import PLACES, SCENE_PLACES
from tests.lab.training.stages.conftest import check_learning


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scene")
    config = SceneConfig(size_px=128, batch_size=2, validation_pictures=2, covered_share=0.0)
    return config.build(Context(data=folder, runs=folder, device="cpu"))


def test_training_goes_on_from_the_packaged_network(tmp_path):
    config = SceneConfig(start="mini", size_px=128)
    network = config.build(Context(data=tmp_path, runs=tmp_path, device="cpu")).network()
    shipped = scene_relighter().network.state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, shipped[name])
    assert network.config.num_seasons == UNCOVERED + 1
    assert all(weight.requires_grad for weight in network.parameters())


@torch.no_grad()
def test_a_seed_is_a_batch(stage):
    first, again, other = (stage.batch(3, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.place, again.place)
    assert torch.equal(first.reference, again.reference)
    assert not torch.equal(first.place, other.place)
    assert first.place.abs().amax() <= 1


@torch.no_grad()
def test_places_from_words_alone_have_no_reference_and_are_named(stage):
    batch = stage.batch(8, seed=1, missing=True, is_training=False)
    assert (batch.reference == 0).all()
    assert (batch.condition.place < len(PLACES)).all()
    shown = stage.batch(8, seed=1, missing=False, is_training=False)
    assert (shown.reference != 0).flatten(1).any(dim=1).all()
    assert (shown.condition.place == len(PLACES)).any()


@pytest.mark.thorough
@torch.no_grad()
def test_training_deals_all_places_of_the_library_and_validation_the_named_ones(stage):
    generator = torch.Generator().manual_seed(4)
    has_reference, lacks = torch.zeros(400, dtype=torch.bool), torch.ones(400, dtype=torch.bool)
    deal = functools.partial(stage._settings, generator=generator, held_out=False)
    dealt = {setting.place for setting in deal(has_reference, is_training=True)}
    assert max(dealt) < len(SCENE_PLACES)
    assert len(dealt) > len(PLACES) + 30
    for rows, is_training in ((lacks, True), (has_reference, False), (lacks, False)):
        assert all(setting.place < len(PLACES) for setting in deal(rows, is_training=is_training))
    batch = stage.batch(40, seed=3)
    assert batch.condition.place.max() == len(PLACES)


@pytest.mark.thorough
@torch.no_grad()
def test_some_references_are_seen_by_another_camera_as_their_truth_is(stage):
    batch = stage.batch(40, seed=2)
    has_reference = (batch.reference != 0).flatten(1).any(dim=1)
    plain = (torch.stack(batch.condition[1:]) == 0).all(dim=0) & has_reference
    assert plain.any()
    for row in plain.nonzero().flatten().tolist():
        torch.testing.assert_close(batch.place[row], batch.reference[row], atol=1e-4, rtol=0)


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
    whole = stage.batch(6, seed=1)
    assert torch.equal(pooled._training_batch(5).place, whole.place[4:])


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


@pytest.mark.thorough
@pytest.mark.parametrize("start", ["", "mini"])
def test_what_takes_seasons_away_learns_from_the_first_step(start, tmp_path):
    """Plain summer would not: there all that the network adds is silenced."""
    config = SceneConfig(
        start=start, size_px=128, batch_size=2, covered_share=1.0, missing_share=0.0
    )
    stage = config.build(Context(data=tmp_path, runs=tmp_path, device="cpu"))
    network = stage.network()
    sum(stage.losses(network, 3).values()).backward()
    gradients = {name: float(weight.grad.norm()) for name, weight in network.named_parameters()}
    assert gradients["leave.weight"] > 0.01 * gradients["finish.weight"]


def test_all_of_the_network_learns_is_judged_and_exported(stage, tmp_path):
    stage = replace(stage, config=replace(stage.config, covered_share=0.25))
    check_learning(stage, rate=0.01, draw=5)
    network = stage.network()
    figures = stage.sample(network.eval(), tmp_path / "samples.png")
    assert figures["covered_psnr_db"] > 5
    assert figures["held_out_psnr_db"] > 5
    stage.export(network, tmp_path)
    assert (tmp_path / "scene" / "config.json").is_file()
