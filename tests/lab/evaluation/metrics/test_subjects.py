import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, ViTConfig, ViTModel

from swiftpie_lab.evaluation.case import Reference, on_white
from swiftpie_lab.evaluation.judges import IMAGENET_MEAN, IMAGENET_STD, Dino
from swiftpie_lab.evaluation.metrics.perceptual import likeness


class Colour:
    """The direction of a picture's mean colour, in place of a network."""

    def picture(self, image):
        mean = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)).mean((0, 1))
        return torch.nn.functional.normalize(mean[None], dim=1)


def ball(colour, ground):
    image, mask = Image.new("RGB", (60, 40), ground), Image.new("L", (60, 40))
    mask.paste(255, (20, 10, 40, 30))
    image.paste(colour, (20, 10, 40, 30))
    return Reference(image, mask)


def test_a_cutout_is_square_and_white_around_the_subject():
    cutout = ball("red", "blue").cutout
    assert cutout.size == (24, 24)
    assert cutout.getpixel((0, 0)) == (255, 255, 255, 0)
    assert cutout.getpixel((12, 12)) == (255, 0, 0, 255)
    assert on_white(Image.new("RGB", (8, 8)), Image.new("L", (8, 8))) is None


def test_masked_likeness_does_not_see_the_ground():
    network, references = Colour(), (ball("red", "blue"), ball("red", "green"))
    other = ball("red", "yellow")
    whole = likeness(network, other.image, references, is_masked=False)
    assert whole < 0.8
    assert likeness(network, other.cutout, references, is_masked=True) == pytest.approx(1)
    assert likeness(network, other.cutout, (Reference(other.image, None),), is_masked=True) is None


def test_dino_reads_pictures_as_its_authors_do():
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    model = ViTModel(config, add_pooling_layer=False).eval()
    processor = CLIPImageProcessor(
        size={"shortest_edge": 256}, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )
    image = Image.effect_noise((311, 277), 90).convert("RGB")
    with torch.no_grad():
        pixels = processor(image, return_tensors="pt")["pixel_values"]
        expected = model(pixels).last_hidden_state[:, 0]
    found = Dino(model).picture(image)
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-4, rtol=0)
