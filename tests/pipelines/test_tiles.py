from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie import Session
from swiftpie.backbones.choices import schedule_of
from swiftpie.pipelines.denoise import MOST_TILES, Clock, in_tiles, late_schedule, num_tiles
from swiftpie.pipelines.edit_region import canvas_for
from swiftpie.pipelines.request import RepaintRequest
from swiftpie.pipelines.settings import EditMethod, EditSettings
from swiftpie.pipelines.techniques.repaint import begin_from_noise, open_window
from tests.pipelines.tiny_editor import SIDE_PX, tiny_editor


def with_four_steps(components):
    return replace(components, preset=replace(components.preset, more_steps=(4,)))


@pytest.fixture(scope="module")
def components():
    return with_four_steps(tiny_editor())


@pytest.fixture(scope="module")
def plan(components):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    mask = torch.zeros(1, 1, 300, 300)
    mask[..., 20:280, 20:280] = 1
    request = RepaintRequest(image=Image.fromarray(noise), mask=mask, seed=3)
    return begin_from_noise(components, open_window(components, request, Clock()))


def test_tiles_are_as_many_as_the_enlargement_takes(components):
    counts = [num_tiles(components, times=times) for times in (0.5, 1.0, 1.7, 1.8, 2.5, 9.0)]
    assert counts == [1, 1, 2, 3, 3, MOST_TILES]
    assert num_tiles(tiny_editor(), times=9.0) == 1  # it knows no late step


def test_the_step_of_tiles_is_the_last_of_four(components):
    schedule = late_schedule(components)
    four = schedule_of(replace(components.preset, timesteps=(999, 749, 499, 249)))
    assert schedule.steps == four.steps[-1:]
    assert schedule.steps[0].sigma < 0.75
    assert late_schedule(tiny_editor()) is None


def test_each_tile_is_one_step_from_what_it_shows(plan):
    drawing = torch.rand(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(1)) * 2 - 1
    corner = torch.zeros(1, 1, SIDE_PX, SIDE_PX)
    corner[..., :8, :8] = 1
    found = in_tiles(plan.start, drawing, corner, count=2, seed=5)
    side = SIDE_PX + 96
    assert found.shape == (1, 3, side, side)
    plain = in_tiles(plan.start, drawing, torch.zeros_like(corner), count=2, seed=5)
    enlarged = torch.nn.functional.interpolate(
        drawing, (side, side), mode="bicubic", align_corners=False
    ).clamp(-1, 1)
    assert torch.allclose(plain, enlarged, atol=1e-5)
    assert torch.equal(found[..., SIDE_PX:, :], plain[..., SIDE_PX:, :])
    assert (found[..., :96, :96] - plain[..., :96, :96]).abs().mean() > 0.01
    assert torch.equal(found, in_tiles(plan.start, drawing, corner, count=2, seed=5))
    assert not torch.equal(found, in_tiles(plan.start, drawing, corner, count=2, seed=6))


@pytest.mark.thorough
def test_a_large_region_of_a_photograph_is_drawn_in_tiles_and_a_small_one_is_not(
    components, sprite
):
    photo = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    )
    tiled, plain = Session(components), Session(tiny_editor())
    for box, differs in ((0.05, 0.05, 0.95, 0.95), True), ((0.4, 0.4, 0.5, 0.5), False):
        first, second = (result.remove(photo, mask=box, seed=1) for result in (tiled, plain))
        region = np.asarray(first.region) > 0
        assert ("tiles" in first.timings_ms) == differs
        assert "tiles" not in second.timings_ms
        pictures = [np.asarray(result.image, dtype=np.int16) for result in (first, second)]
        assert (pictures[0] != pictures[1]).any() == differs
        assert not (pictures[0] != np.asarray(photo))[~region].any()
    identity = tiled.encode_identity(sprite)
    result = tiled.insert(photo, identity, prompt="a dog", box=(0.1, 0.1, 0.9, 0.9), seed=1)
    assert "tiles" in result.timings_ms


def test_a_large_edit_by_chord_is_drawn_in_tiles_where_the_model_knows_a_late_step(components):
    photo = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (300, 420, 3), dtype=np.uint8)
    )
    chord = {"source_prompt": "a cat", "seed": 1, "settings": EditSettings(method=EditMethod.CHORD)}
    tiled, plain = Session(components), Session(tiny_editor())
    for box, differs in ((0.02, 0.1, 0.95, 0.9), True), ((0.4, 0.4, 0.5, 0.5), False):
        first, second = (
            result.edit(photo, "a dog", mask=box, **chord) for result in (tiled, plain)
        )
        assert ("tiles" in first.timings_ms) == differs
        assert "tiles" not in second.timings_ms
        assert first.image.size == first.edited.size == photo.size
        assert (first.image.tobytes() != second.image.tobytes()) == differs
        apart = (np.asarray(first.image) != np.asarray(photo)).any(axis=2)
        assert apart.any()
        assert not apart[np.asarray(first.region) == 0].any()


@pytest.mark.parametrize("size", [(300, 420), (37, 211)])
def test_an_enlarged_canvas_leaves_as_it_would_at_its_own_size(size):
    canvas = canvas_for(size, side_px=128, unit_px=16)
    small = Image.fromarray(
        np.random.default_rng(1).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    ).resize(canvas.padded[::-1], Image.Resampling.BICUBIC)
    large = small.resize([round(1.75 * side) for side in small.size], Image.Resampling.BICUBIC)
    first, second = (np.asarray(canvas.leave(result), float) for result in (small, large))
    assert first.shape == second.shape == (*size, 3)
    assert np.abs(first - second).max() < 8
