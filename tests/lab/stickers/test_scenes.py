import pytest
import torch

from swiftpie_lab.stickers.scenes import SCENES
from swiftpie_lab.world.fields import read_fields


def draw_fields(size_px, seed=0):
    noise = torch.randn(6, 32, 16, 16, generator=torch.Generator().manual_seed(seed))
    return read_fields(noise, size_px=size_px)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_scenes_draw_finite_pictures_that_vary_with_the_noise(scene):
    pictures = scene.draw(draw_fields(48)).expand(6, 3, 48, 48)
    assert torch.isfinite(pictures).all()
    assert pictures.flatten(1).std(dim=1).min() > 0.01
    assert (pictures[0] - pictures[1]).abs().max() > 0.01
    assert pictures.clamp(0, 1).sub(pictures).abs().mean() < 0.03


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_scenes_look_the_same_at_another_size(scene):
    small, large = (
        scene.draw(draw_fields(size_px)).clamp(0, 1).expand(6, 3, size_px, size_px)
        for size_px in (64, 128)
    )
    reduced = torch.nn.functional.avg_pool2d(large, 2)
    assert (reduced - small).abs().mean() < 0.05


@pytest.mark.parametrize(
    "scene", [scene for scene in SCENES if scene.foreground], ids=lambda scene: scene.name
)
def test_foregrounds_leave_the_upper_part_free(scene):
    fields = draw_fields(64)
    edge, base = torch.full((6, 1, 1, 1), 0.75), torch.full((6, 1, 1, 1), 0.85)
    colour, coverage = scene.foreground(fields, edge, base)
    assert torch.isfinite(colour).all()
    assert coverage[:, :, :38].max() < 0.01
    assert 0.1 < coverage[:, :, 48:54].mean() <= 1


def test_scenes_have_distinct_names_and_enough_phrases():
    assert len(SCENES) >= 24
    assert len({scene.name for scene in SCENES}) == len(SCENES)
    phrases = [phrase for scene in SCENES for phrase in scene.phrases]
    assert len(set(phrases)) == len(phrases)
    assert all(3 <= len(scene.phrases) <= 6 for scene in SCENES)
