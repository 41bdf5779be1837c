"""Subjects of known shape, and noisy photos of them."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 420, 300


def ellipse(box=(130, 60, 290, 250)):
    truth = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(truth).ellipse(box, fill=255)
    return truth


def star():
    angles = np.arange(10) * np.pi / 5
    radii = np.where(np.arange(10) % 2, 55, 125)
    points = np.stack([210 + radii * np.sin(angles), 150 - radii * np.cos(angles)], axis=-1)
    truth = Image.new("L", (WIDTH, HEIGHT), 0)
    ImageDraw.Draw(truth).polygon([tuple(p) for p in points.tolist()], fill=255)
    return truth


def photo(truth, ground="white", *, subject=(190, 60, 40), noise=6.0):
    """Draw the subject `truth`, shaded and with a label, on a noisy ground."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    grounds = {
        "white": np.full((HEIGHT, WIDTH, 3), 248.0),
        "blue": np.broadcast_to([70.0, 110.0, 170.0], (HEIGHT, WIDTH, 3)),
        "dark": np.full((HEIGHT, WIDTH, 3), 24.0),
        "gradient": (120 + 110 * x / WIDTH)[..., None] * np.array([1.0, 0.97, 0.9]),
        "vignette": (240 - 0.5 * np.hypot(x - 210, y - 150))[..., None] * np.ones(3),
        "horizon": np.where(y > 190, 120.0, 215.0)[..., None] * np.array([1.0, 0.98, 0.95]),
    }
    shade = (0.75 + 0.5 * x / WIDTH)[..., None]
    body = np.array(subject) * shade
    body = np.where((abs(y - 150) < 14)[..., None], [240, 210, 70], body)
    soft = np.asarray(truth.filter(ImageFilter.GaussianBlur(1)), np.float32)[..., None] / 255
    values = soft * body + (1 - soft) * grounds[ground]
    values = values + np.random.default_rng(0).normal(0, noise, values.shape)
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def as_mask(truth):
    return torch.from_numpy(np.array(truth, dtype=np.float32))[None, None] / 255


def corner():
    """Return a white disk where four rooms meet, whose edges no filling can continue."""
    rooms = [(220, 60, 60), (40, 90, 200), (240, 230, 90), (20, 40, 20)]
    picture = Image.new("RGB", (320, 240))
    for number, colour in enumerate(rooms):
        left, top = 160 * (number % 2), 120 * (number // 2)
        ImageDraw.Draw(picture).rectangle((left, top, left + 160, top + 120), fill=colour)
    ImageDraw.Draw(picture).ellipse((110, 70, 210, 170), fill=(255, 255, 255))
    return picture
