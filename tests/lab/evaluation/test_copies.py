import numpy as np
from PIL import Image, ImageDraw

from swiftpie_lab.evaluation.copies import is_copy

SIDE_PX = 96


def disc(draw_inside):
    image, cover = (
        Image.new("RGB", (SIDE_PX, SIDE_PX), "white"),
        Image.new("L", (SIDE_PX, SIDE_PX)),
    )
    ImageDraw.Draw(cover).ellipse((6, 6, SIDE_PX - 7, SIDE_PX - 7), fill=255)
    draw_inside(ImageDraw.Draw(image))
    image.putalpha(cover)
    return image


def spots(drawing):
    for x, y in np.random.default_rng(0).integers(12, SIDE_PX - 12, (40, 2)):
        drawing.ellipse((int(x), int(y), int(x) + 7, int(y) + 7), fill="black")


def one_spot(drawing):
    drawing.ellipse((40, 40, 55, 55), fill="black")


def test_the_same_details_turned_are_a_copy_and_others_are_none():
    assert is_copy(disc(spots), disc(spots).rotate(12, Image.Resampling.BICUBIC))
    assert not is_copy(disc(spots), disc(one_spot))
