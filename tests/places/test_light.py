import math

import pytest
import torch
from PIL import Image

from swiftpie.geometry.layout import from_box
from swiftpie.geometry.relief import height
from swiftpie.geometry.shading import Illumination
from swiftpie.lexicon import NIGHT, PLAIN, WINTER
from swiftpie.models.light import Lens
from swiftpie.places.light import Probe, light_gains
from swiftpie.places.own_pixels import OwnPixels
from swiftpie.scenes import scene_library

EVEN = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
SIDE, BOX = 256, (0.45, 0.5, 0.55, 0.7)
DARK, LENS = [0.0] * 390, Lens(0.4)


def sun(right, away, up, strength=1.0):
    """Return the probe of a blue sky with a sun."""
    sky = [0.1, 0.12, 0.16] * 64 + [0.1] * 192
    length = math.hypot(right, away, up)
    return Probe.of([*sky, right / length, away / length, up / length, *[strength] * 3])


@pytest.fixture(scope="module")
def post():
    """Return a grey post in its place, without light of its own, and where it is."""
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 6:122, 38:90] = 1
    frame = torch.cat([0.5 * mask.expand(-1, 3, -1, -1), mask], 1)
    own = OwnPixels(height(mask), (frame.mul(255).round().to(torch.uint8),))
    sprite = own.sprite_at(from_box(BOX), EVEN, picture_px=SIDE)
    return sprite, sprite.outline_in((SIDE, SIDE))[1]


def lit(post, probe, *, place=0.6):
    """Return the log of what light does to ground and subject, over a picture, (3, H, W)."""
    picture = torch.full((1, 3, SIDE, SIDE), place)
    gains = light_gains(picture, *post, probe, of=(SIDE, SIDE), lens=LENS)
    (rows, columns), factors = gains.around((SIDE, SIDE))
    ground = torch.zeros(3, SIDE, SIDE)
    ground[:, rows, columns] = factors[0].log()
    return ground, gains


def test_a_subject_is_bright_towards_the_sun_and_its_shadow_lies_on_the_other_side(post):
    darker = []
    for right in (1.0, -1.0):
        ground, gains = lit(post, sun(right, -0.3, 0.7))
        beside = ground.mean(0)[160:200]
        darker.append(float(beside[:, :114].min() - beside[:, 142:].min()))
        shown = post[0].plain((64, 64), gains.patch)[:, 3:] > 0.9
        log = gains.subject.log().mean(1, keepdim=True)
        assert abs(float(log[shown].mean())) < 1e-3  # as bright as before
        sides = [log[..., part][shown[..., part]].mean() for part in (slice(31), slice(33, 64))]
        assert (sides[1] - sides[0]) * right > 0.01
    assert darker[0] < -0.05 < 0.05 < darker[1]


@pytest.mark.parametrize("probe", [sun(0.8, -0.6, 0.7), Probe.of(DARK), Probe.of(())])
def test_far_from_a_subject_a_place_keeps_its_light(post, probe):
    ground, gains = lit(post, probe)
    assert not ground[:, :60].any()
    assert not ground[:, :, :20].any()
    assert torch.isfinite(gains.subject).all()
    assert ground.amax() < 0.2  # hardly anything is lighter beside it


def test_what_ends_outside_of_the_picture_is_lit_as_far_as_it_can_be_seen(post):
    sprite, _ = post
    moved = sprite._replace(layout=from_box((0.92, 0.5, 1.02, 0.7)))
    extent = moved.outline_in((SIDE, SIDE))[1]
    ground, _ = lit((moved, extent), sun(0.8, -0.6, 0.7))
    assert ground[:, 160:, 200:].min() < -0.1


def test_the_probe_of_a_photograph_follows_its_hour_and_no_season():
    probe = Probe.of(scene_library().probe("beach", 0.0))
    day, night = (
        Image.new("RGB", (64, 64), (200, 190, 170)),
        Image.new("RGB", (64, 64), (30, 35, 60)),
    )
    dark = probe.shown_in(PLAIN._replace(time=NIGHT), day, night)
    assert 0 < dark.panorama.mean() < 0.1 * probe.panorama.mean()
    assert not dark.sun.any()
    assert probe.shown_in(PLAIN._replace(season=WINTER), day, night) is probe
    half = probe.towards(dark, 0.5)
    assert torch.allclose(half.panorama, (probe.panorama + dark.panorama) / 2)
