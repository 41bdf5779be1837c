"""One table of what each metric of `METRICS` says of small pictures, and what parts of them do."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from transformers import CLIPImageProcessor, ViTConfig, ViTModel

from swiftpie.faces import FaceBox
from swiftpie_lab.evaluation.case import METRICS, Evidence, Expected, ReferencePhoto, on_white
from swiftpie_lab.evaluation.copies import is_copy
from swiftpie_lab.evaluation.judges import IMAGENET_MEAN, IMAGENET_STD, Dino, JudgeReading, Networks
from swiftpie_lab.evaluation.metrics.perceptual import crop_face, likeness
from swiftpie_lab.evaluation.metrics.pixels import frame_ssim

RED, CRAB, HAMSTER = torch.eye(3)[0][:, None, None], "1f980", "1f439"


def at(rows, columns=slice(None)):
    """Return a mask of 32 px with 1 in these rows and columns."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., rows, columns] = 1
    return mask


def noisy(size, seed=0):
    return size * torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


NOTHING, SQUARE, LEFT = 0 * at(0), at(slice(8, 24), slice(8, 24)), at(slice(None), slice(0, 16))
PLAIN = torch.zeros(1, 3, 32, 32)
TEXTURED = {"truth": noisy(0.1), "picture": noisy(0.1) * (1 + SQUARE)}
LIT, UNLIT = (Expected(where=SQUARE, is_lit=is_lit) for is_lit in (True, False))
EDITED = PLAIN + 0.5 * LEFT
EDIT = {"source": PLAIN, "truth": EDITED, "picture": EDITED, "mask": LEFT, "claimed": LEFT}
OTHER = (PLAIN + noisy(0.4, 1)).clamp(-1, 1)
BLACK = 1e3 * float((OTHER * (1 - LEFT)).abs().mean())
MSE = float(((PLAIN - OTHER) / 2 * (1 - SQUARE)).square().mean())


class Brightness:
    def similarity(self, image, text):
        return np.mean(np.asarray(image)) / 255 - len(text)


class Colour:
    """The direction of a picture's mean colour, in place of a network."""

    def picture(self, image):
        mean = torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32)).mean((0, 1))
        return torch.nn.functional.normalize(mean[None], dim=1)


class Loud:
    """The mean difference of two pictures, in place of LPIPS."""

    def distance(self, first, second):
        return float((first - second).abs().mean())


def networks(**others):
    return Networks(others=others)


def panel(code):
    return Networks(panel=SimpleNamespace(nearest=lambda *_: code))


ASKED = {"place": "park", "time": "night", "colour": "red"}
WHOLE = Expected(where=SQUARE, subject=CRAB, answers=ASKED, view=(30.0, -5.0))
SEEN = {"place": "park", "time": "day", "colour": "red", "pose": "lying", "material": "glass"}
READING = JudgeReading(subject=CRAB, answers=SEEN, view=(24.0, 5.0))
READ = {"expected": WHOLE, "reading": READING}
SAID = EDIT | {"networks": Networks(clip=Brightness()), "picture": torch.ones_like(PLAIN)}


LOUD = networks(lpips=Loud())


def wish(seen=None, **asked):
    reading = replace(READING, **{"view": (0.0, 0.0)} | (seen or {}))
    return {"expected": Expected(where=SQUARE, **asked), "reading": reading}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("mask-iou", {"claimed": at(slice(8, 16), slice(8, 24))}, 0.5),
        ("psnr", {}, 60),
        ("psnr", {"picture": PLAIN + 0.2}, 20),  # a tenth of the range
        ("subject-psnr", {"picture": PLAIN + 0.2 * SQUARE + (1 - SQUARE)}, 20),
        ("subject-psnr", {"mask": NOTHING}, None),
        ("sharpness-subject", TEXTURED, 2),
        ("sharpness-background", TEXTURED, 1),  # steps across the subject's border do not count
        ("sharpness-background", {"picture": noisy(0.1)}, None),  # the truth is smooth
        ("sharpness-subject", TEXTURED | {"mask": NOTHING}, None),
        ("lighting-error", {"expected": LIT}, 0),
        ("lighting-error", {"expected": LIT, "picture": PLAIN + 6 / 127.5 * RED}, 2),
        ("lighting-error", {"expected": LIT, "picture": 1 - SQUARE.expand(1, 3, -1, -1)}, 0),
        ("lighting-error", {"expected": UNLIT}, None),
        ("outside-psnr", EDIT, 60),
        ("inside-psnr", EDIT, 60),
        ("stray-pixels", EDIT, 0),
        ("time", {"time_ms": 3.0}, 3),
        ("outside-psnr", EDIT | {"picture": EDITED + 0.2 * (1 - LEFT)}, 20),
        ("inside-psnr", EDIT | {"picture": EDITED + 0.2 * (1 - LEFT)}, 60),
        ("outside-psnr", EDIT | {"picture": EDITED - 0.2 * LEFT}, 60),
        ("inside-psnr", EDIT | {"picture": EDITED - 0.2 * LEFT}, 20),
        ("outside-psnr", EDIT | {"mask": 1 + NOTHING}, None),
        ("inside-psnr", EDIT | {"mask": NOTHING}, None),
        ("stray-pixels", EDIT | {"picture": EDITED + at(20, slice(20, 23)) / 255}, 3),
        ("unedited-mse", {"source": PLAIN, "picture": OTHER}, 1e4 * MSE),
        ("unedited-psnr", {"source": PLAIN, "picture": OTHER}, -10 * math.log10(MSE)),
        ("unedited-psnr", {"source": PLAIN}, None),  # infinite
        ("unedited-ssim", {"source": PLAIN, "mask": 1 + NOTHING}, None),  # all is edited
        ("unedited-lpips", {"source": PLAIN, "networks": LOUD}, 0),
        ("unedited-lpips", EDIT | {"networks": LOUD}, 0),  # only what was edited
        ("unedited-lpips", {"source": OTHER, "mask": LEFT, "networks": LOUD}, BLACK),
        ("clip-whole", SAID, 100),
        ("clip-edited", SAID, 50),  # all is black but the edited half
        ("clip-whole", SAID | {"prompt": "long"}, 0),
        ("clip-large", SAID | {"prompt": "long"}, -3),
        ("subject-retrieval", {"networks": panel(CRAB)}, 1),
        ("subject-retrieval", {"networks": panel(HAMSTER)}, 0),
        ("subject-recognition", READ, 1),
        ("place-accuracy", READ, 1),
        ("time-accuracy", READ, 0),
        ("setting-accuracy", READ, 0),
        ("wish-accuracy", READ, 1),
        ("pose-accuracy", READ, None),
        ("yaw-error", READ, 6),
        ("pitch-error", READ, 10),
        ("identity", {}, None),  # without a face
        ("face-ratio", {}, None),
        ("face-shown", {}, 0),
        ("wish-success", wish(subject=CRAB), 1),
        ("wish-success-in-words", wish(subject=CRAB), None),
        ("wish-success", wish(subject=HAMSTER), 0),
        ("wish-success", wish(gone=HAMSTER), 1),
        ("wish-success-in-words", wish({"subject": HAMSTER}, gone=HAMSTER), 0),
        ("wish-success-in-words", wish(answers={"material": "glass"}), 1),
        ("wish-success", wish(answers={"material": "wood"}), 0),
        ("wish-success", wish({"view": (38.0, -6.0)}, view=(26.0, 5.0)), 1),
        ("wish-success", wish({"view": (8.0, 1.0)}, view=(26.0, 5.0)), 0),
        ("wish-success", wish({"view": (3.0, 12.0)}, view=(0.0, 16.0)), 1),
        ("wish-success", wish({"view": (3.0, -12.0)}, view=(0.0, 16.0)), 0),
        ("wish-success", wish(gone=HAMSTER, answers={"place": "beach"}), 0),
    ],
)
def test_a_metric_says_what_its_definition_does(name, changes, expected):
    known = {"picture": PLAIN, "truth": PLAIN, "mask": SQUARE}
    known |= {"expected": Expected(where=SQUARE, subject=CRAB)}
    wanted = None if expected is None else pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert METRICS.get(name).score(Evidence(**known | changes)) == wanted


def test_a_metric_without_what_it_reads_has_no_score():
    for evidence in (Evidence(picture=PLAIN), Evidence(picture=PLAIN, expected=LIT)):
        scores = {name: metric.score(evidence) for name, metric in METRICS.all().items()}
        assert {name for name, score in scores.items() if score is not None} == {"face-shown"}


def test_a_face_that_leaves_the_picture_is_cropped_at_its_border():
    image = Image.new("RGB", (20, 10))
    assert crop_face(image, FaceBox(5, 2, 9, 8)).size == (4, 6)
    assert crop_face(image, FaceBox(-3, -3, 5, 40)).size == (5, 10)
    assert crop_face(image, FaceBox(30, 30, 40, 40)).size == (1, 1)


def ball(colour, ground):
    image, mask = Image.new("RGB", (60, 40), ground), Image.new("L", (60, 40))
    mask.paste(255, (20, 10, 40, 30))
    image.paste(colour, (20, 10, 40, 30))
    return ReferencePhoto(image, mask)


def test_masked_likeness_does_not_see_the_ground():
    cutout = ball("red", "blue").cutout
    assert cutout.size == (24, 24)
    assert cutout.getpixel((0, 0)) == (255, 255, 255, 0)
    assert cutout.getpixel((12, 12)) == (255, 0, 0, 255)
    assert on_white(Image.new("RGB", (8, 8)), Image.new("L", (8, 8))) is None
    network, references = Colour(), (ball("red", "blue"), ball("red", "green"))
    other = ball("red", "yellow")
    assert likeness(network, other.image, references, is_masked=False) < 0.8
    assert likeness(network, other.cutout, references, is_masked=True) == pytest.approx(1)
    assert (
        likeness(network, other.cutout, (ReferencePhoto(other.image, None),), is_masked=True)
        is None
    )


@torch.no_grad()
def test_dino_reads_pictures_as_its_authors_do():
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTModel(ViTConfig(hidden_size=32, **sizes), add_pooling_layer=False).eval()
    processor = CLIPImageProcessor(
        size={"shortest_edge": 256}, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )
    image = Image.effect_noise((311, 277), 90).convert("RGB")
    pixels = processor(image, return_tensors="pt")["pixel_values"]
    expected = model(pixels).last_hidden_state[:, 0]
    found = Dino(model).picture(image)
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-4, rtol=0)


def disc(places, side=96):
    image, cover = Image.new("RGB", (side, side), "white"), Image.new("L", (side, side))
    ImageDraw.Draw(cover).ellipse((6, 6, side - 7, side - 7), fill=255)
    for x, y in places.tolist():
        ImageDraw.Draw(image).ellipse((x, y, x + 7, y + 7), fill="black")
    image.putalpha(cover)
    return image


def test_the_same_details_turned_are_a_copy_and_others_are_none():
    spots = disc(np.random.default_rng(0).integers(12, 84, (40, 2)))
    assert is_copy(spots, spots.rotate(12, Image.Resampling.BICUBIC))
    assert not is_copy(spots, disc(np.array([[44, 44]])))


def test_ssim_of_the_unedited_part_is_that_of_each_window_in_float64():
    first, second = torch.rand(2, 1, 3, 14, 13, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 14, 13)
    mask[..., 4:8, 5:9] = 1
    pair = [((one.double() + 1) / 2 * (1 - mask)).numpy() for one in (first, second)]
    one, other = (np.pad(each[0], ((0, 0), (5, 5), (5, 5)), mode="reflect") for each in pair)
    line = np.exp(-(np.arange(-5, 6.0) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for channel, row, column in np.ndindex(3, 14, 13):
        a, b = (each[channel, row : row + 11, column : column + 11] for each in (one, other))
        x, y = (window * a).sum(), (window * b).sum()
        shared = (window * (a - x) * (b - y)).sum()
        spread = (window * ((a - x) ** 2 + (b - y) ** 2)).sum()
        lit = (2 * x * y + 1e-4) / (x * x + y * y + 1e-4)
        values.append(lit * (2 * shared + 9e-4) / (spread + 9e-4))
    assert frame_ssim(first, second, 1 - mask) == pytest.approx(100 * np.mean(values), rel=1e-4)
    assert frame_ssim(first, first, 1 - mask) == pytest.approx(100)
