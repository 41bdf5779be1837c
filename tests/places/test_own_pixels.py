import numpy as np
import pytest
import torch
from PIL import Image

from swiftpie.geometry.layout import from_box
from swiftpie.geometry.relief import height
from swiftpie.geometry.shading import Illumination
from swiftpie.imageio.images import plane, to_tensor
from swiftpie.places.own_pixels import OwnPixels, gains_between, without_own_light

EVEN = Illumination(torch.ones(1, 3), torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]]))
SIDE = 256
SQUARE = torch.zeros(1, 4, 128, 128)
SQUARE[..., 32:96, 32:96] = torch.tensor([0.4, 0.4, 0.4, 1.0]).view(1, 4, 1, 1)


def delicate(colour):
    """Return a subject with lines of one pixel and with holes."""
    alpha = np.zeros((SIDE, SIDE), np.uint8)
    alpha[80:200, 60:200] = 255
    alpha[100:140:8, 80:180:8] = 0
    alpha[20:80, 90] = alpha[20:80, 160] = alpha[200:240, 70] = alpha[60, 20:240] = 255
    pixels = np.full((SIDE, SIDE, 3), colour, np.uint8)
    return Image.fromarray(np.dstack([pixels, alpha]), "RGBA")


@pytest.mark.parametrize(
    ("colour", "place"), [(120, 250), (255, 255), (0, 0)], ids=["grey", "white", "black"]
)
def test_no_pixel_of_a_subject_is_lost_and_none_is_added(session, colour, place):
    identity = session.encode_identity(delicate(colour))
    ground = Image.new("RGB", (384, 384), (place,) * 3)
    result = session.personalize(identity, "a thing", scene=ground, box=(0.1, 0.1, 0.9, 0.9))
    own = without_own_light(identity, EVEN)
    expected = own.sprite_at(result.layouts[0], EVEN, picture_px=384).outline_in((384, 384))[0]
    shown = plane(result.subject_masks[0])
    assert (shown - expected).abs().max() <= 1.5 / 255
    assert (shown > 0.9).float().mean() > 0.1
    if colour == 120:  # each opaque pixel is darker than the place, none has its colour
        assert to_tensor(result.images[0])[:, :, shown[0, 0] > 0.9].max() < 0.7


def test_a_drawing_gives_soft_factors_of_colour_and_no_details():
    drawing = SQUARE[:, :3] * 1.5 * 2 - 1
    drawing[..., 32:96:2, 32:96] *= 0.9
    drawn_mask = SQUARE[:, 3:].clone()
    drawn_mask[..., 32:96, 60:70] = 0  # where the denoiser drew no subject
    found = gains_between(SQUARE, drawing, drawn_mask)
    inside = found[..., 8:24, 8:24]
    assert inside.mean() == pytest.approx(1.5, abs=0.1)
    assert inside.std() < 0.03


def test_a_drawing_adds_no_hue_by_day_and_one_for_all_at_other_times():
    tints = torch.ones(1, 3, 128, 128)
    tints[:, 0, :, :64], tints[:, 1] = 1.5, 0.75  # red on the left, and not green enough
    drawing = SQUARE[:, :3] * tints * 2 - 1
    by_day, dark = (gains_between(SQUARE, drawing, SQUARE[:, 3:], by_day=day) for day in (1.0, 0.0))
    torch.testing.assert_close(by_day, by_day.mean(dim=1, keepdim=True).expand_as(by_day))
    hue = dark / by_day
    torch.testing.assert_close(hue, hue[..., :1, :1].expand_as(hue))
    red, green, blue = hue[0, :, 0, 0].tolist()
    assert red > blue > green
    assert 0.299 * red + 0.587 * green + 0.114 * blue == pytest.approx(1)


@pytest.mark.parametrize("strength", [0.6, 1.0, 1.5])
def test_the_light_of_a_photograph_is_taken_off_without_more_colour(session, strength):
    identity = session.encode_identity(delicate((140, 90, 60)))
    light = EVEN._replace(ambient=torch.full((1, 3), strength))
    pixels = without_own_light(identity, light).levels[0]
    colours = pixels[0, :3, pixels[0, 3] == 255].float()
    assert (colours.amax(dim=0) - colours.amin(dim=0)).max() <= 81  # a level for rounding
    assert bool(colours.mean() > 100) is (strength < 1)


def test_detail_that_a_camera_sharpened_is_weakened(session):
    noise = np.random.default_rng(0).integers(60, 196, (SIDE, SIDE, 4), dtype=np.uint8)
    noise[..., 3] = np.pad(np.full((200, 200), 255), 28)
    identity = session.encode_identity(Image.fromarray(noise, "RGBA"))
    frames = without_own_light(identity, EVEN).levels[0], identity.large
    own, shown = (frame[0, :3, 64:160, 64:160].float().std() for frame in frames)
    assert 0.5 < own / shown < 0.9


def test_a_subject_in_its_own_light_keeps_its_pixels():
    generator = torch.Generator().manual_seed(1)
    frame = torch.rand(1, 4, SIDE, SIDE, generator=generator).round(decimals=2)
    frame[:, 3:] = 0
    frame[..., 20:236, 20:236] = frame[..., 20:236, 20:236].clamp_max(0.9)
    frame[:, 3:, 20:236, 20:236] = 1
    frame[:, :3] *= frame[:, 3:]
    own = OwnPixels.of(height(frame[:, 3:]), (frame.mul(255).round().to(torch.uint8),))
    whole = (0.05, 0.05, 0.95, 0.95)  # a subject fills nine tenths of its frame
    shown = own.sprite_at(from_box(whole), EVEN, picture_px=SIDE).render((SIDE, SIDE))
    assert (shown - frame).abs().max() < 0.02
