from dataclasses import replace

import pytest
import torch
from PIL import Image

from swiftpie.errors import ConfigError
from swiftpie.models.cutout import load, packaged
from swiftpie_lab.training.stages.cutout import CutoutConfig, outline, soft_iou_loss

MAX_BYTES = 1.2 * 2**20


@pytest.fixture(scope="module")
def stage(context):
    # The packaged subjects are all held out, but for the two hats.
    built = CutoutConfig(batch_size=2, num_textures=8).build(context)
    return replace(built, train=built.held_out)


@pytest.fixture(scope="module")
def network(stage):
    return stage.network()


def folder_of(place, mode, names):
    """Pictures of one colour each; their files fall on both sides of the split."""
    place.mkdir()
    for number, name in enumerate(names):
        Image.new(mode, (80, 60), (200, 10 * number, 30, 255)[: len(mode)]).save(place / name)
    return place


@pytest.mark.thorough
def test_photographed_subjects_stand_in_photographs(context, tmp_path):
    names = [f"{number}.png" for number in range(24)]
    photos = str(folder_of(tmp_path / "photos", "RGB", names))
    cutouts = str(folder_of(tmp_path / "cutouts", "RGBA", names))
    plain, built = (
        CutoutConfig(batch_size=2, num_textures=8, photos=photos, cutouts=given).build(context)
        for given in ("", cutouts)
    )
    first, again, without = (one.held_out.draw(6, seed=3) for one in (built, built, plain))
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.mask, without.mask)
    assert 0 <= first.mask.min() <= first.mask.max() <= 1
    assert first.pixels.abs().max() <= 1
    with pytest.raises(ConfigError, match=r"stage\.photos"):
        CutoutConfig(cutouts=cutouts).build(context)


def test_training_goes_on_from_the_packaged_network(context):
    stage = CutoutConfig(num_textures=8, start="mini").build(context)
    shipped = packaged().state_dict()
    values = stage.network().state_dict()
    assert all(torch.equal(value, shipped[name]) for name, value in values.items())


def disc(radius, side=32):
    grid = torch.arange(side) - side / 2 + 0.5
    return (torch.hypot(grid[:, None], grid) < radius).float()[None, None]


def test_a_right_guess_costs_nothing_and_a_wrong_one_nearly_all():
    mask = disc(10)
    assert soft_iou_loss(40 * mask - 20, mask) < 0.01
    assert soft_iou_loss(20 - 40 * mask, mask) > 0.99


def test_overlap_is_that_of_the_sets_for_sure_guesses():
    mask, guess = disc(10), disc(6)
    expected = 1 - (guess.sum() + 1) / (mask.sum() + 1)
    torch.testing.assert_close(soft_iou_loss(400 * guess - 200, mask), expected)


def test_the_outline_is_a_band_on_both_sides():
    band = outline(disc(10))[0, 0, 16]
    assert band[16 - 10 + 1] == band[16 - 10 - 2] == 1
    assert band[16] == band[0] == 0


def test_the_same_step_gives_the_same_losses_and_another_step_others(stage, network):
    first, again, other = (stage.losses(network, step) for step in (1, 1, 2))
    assert set(first) == {"pixels", "area", "outline"}
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["area"], other["area"])


def test_one_step_downhill_lowers_the_loss(stage):
    network = stage.network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    before = sum(stage.losses(network, 5).values())
    before.backward()
    optimizer.step()
    assert float(sum(stage.losses(network, 5).values()).detach()) < float(before.detach())


@pytest.mark.thorough
def test_the_sample_holds_shares_and_a_picture(stage, network, tmp_path):
    figures = stage.sample(network, tmp_path / "samples.png")
    assert set(figures) == {"median_iou", "good_share"}
    assert all(0 <= share <= 1 for share in figures.values())
    assert (tmp_path / "samples.png").is_file()


def test_the_exported_network_is_small_and_comes_back_as_it_was(stage, network, tmp_path):
    stage.export(network, tmp_path)
    (weights,) = tmp_path.rglob("*.safetensors")
    assert weights.stat().st_size <= MAX_BYTES
    pixels = stage.train.draw(2, seed=0).pixels
    with torch.no_grad():
        found, expected = load(tmp_path / "cutout")(pixels), network(pixels)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)
    assert next(network.parameters()).dtype == torch.float32
