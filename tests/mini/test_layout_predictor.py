import pytest
import torch

from swiftpie.geometry.layout import whole_frame
from swiftpie.geometry.shading import relit
from swiftpie.mini.layout_predictor import NUMBERS, LayoutPredictor, illumination

ROWS = 3


def inputs():
    generator = torch.Generator().manual_seed(0)
    mask = torch.zeros(ROWS, 1, 128, 128)
    mask[..., 32:96, 40:88] = 1
    noise = torch.randn(ROWS, 32, 16, 16, generator=generator)
    return noise, (2 * torch.rand(ROWS, 3, 128, 128, generator=generator) - 1) * mask, mask


def predictor():
    torch.manual_seed(0)
    return LayoutPredictor(text_width=8, hidden=16)


def test_an_untrained_reader_leaves_subjects_as_they_are():
    noise, pixels, mask = inputs()
    with torch.no_grad():
        found = predictor().light(noise, torch.zeros(ROWS, 8), pixels=pixels, mask=mask, given=None)
    assert (relit(pixels, mask, found, whole_frame(pixels)) - pixels).abs().max() < 0.1


def test_only_cells_that_are_given_say_something():
    noise, pixels, mask = inputs()
    reader, text = predictor(), torch.zeros(ROWS, 8)
    with torch.no_grad():
        reader.light_reader.vote.bias[9] = 5.0  # all are sure
        reader.light_reader.vote.bias[3] = -0.5  # that it is dark
        known = torch.zeros(ROWS, 4, 128, 128)
        hidden = reader.light(noise, text, pixels=pixels, mask=mask, given=known)
        seen = reader.light(noise, text, pixels=pixels, mask=mask, given=known + 1)
        none = reader.light(noise, text, pixels=pixels, mask=mask, given=None)
    assert (hidden.scene.ambient - none.scene.ambient).abs().max() < 0.1
    assert (hidden.scene.ambient - seen.scene.ambient)[:, 0].min() > 0.1
    assert torch.equal(hidden.own.ambient, seen.own.ambient)


def test_numbers_say_which_way_light_comes_from_how_bright_it_is_and_its_colour():
    towards, ambient, tint = (0.0, 0.3, 0.4), (0.4, 0.0, -0.4), (0.5, 0.0, -0.5)
    found = illumination(torch.tensor([[*towards, *ambient, *tint], [0.0] * NUMBERS]))
    torch.testing.assert_close(found.direction[0], torch.tensor(towards) / 0.5, atol=1e-2, rtol=0)
    for values, even in (found.ambient, found.colour):
        red, green, blue = (values - even.mean()).tolist()
        assert red - green == pytest.approx(green - blue, abs=1e-6)
        assert red > green > blue
    assert found.colour[0].mean() > found.colour[1].mean()
    assert (found.colour[1] == found.colour[1, 0]).all()
