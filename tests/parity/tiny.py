"""Sessions with small random networks of each family, and what they draw, before rounding."""

import threading
from dataclasses import replace
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

import swiftpie
from swiftpie.backbones.components import load_components
from swiftpie.backbones.presets import PRESETS
from swiftpie.engine.session import Session
from swiftpie.types import GenerationResult
from tests.tiny.folders import make_model

PROMPT = "a red cube beside a cat"
SIDE_PX = 128
FAMILIES = ("sd15", "sd21", "sdxl")


class Drawn(NamedTuple):
    latents: Tensor  # (B, C, h, w)
    result: GenerationResult


class Recorder:
    def __init__(self, autoencoder):
        self.autoencoder, self.last = autoencoder, threading.local()

    def encode(self, pixels):
        return self.autoencoder.encode(pixels)

    def decode(self, latents):
        self.last.latents, self.last.pixels = latents, self.autoencoder.decode(latents)
        return self.last.pixels


class Spy:
    def __init__(self, denoiser):
        self.denoiser, self.installation = denoiser, denoiser.installation
        self.encode_reference = denoiser.encode_reference
        self.read_reference, self.place_subjects = denoiser.read_reference, denoiser.place_subjects
        self.calls = []

    def __call__(self, *arguments):
        self.calls.append(arguments)
        return self.denoiser(*arguments)


def recording(session, **changes):
    components = replace(session.components, **changes)
    if not isinstance(components.autoencoder, Recorder):
        components = replace(components, autoencoder=Recorder(components.autoencoder))
    return Session(components)


def tiny_session(family, folder, *, is_shallow=True, **plan):
    """A session with an adapter of our own."""
    if family == "mini":
        return recording(swiftpie.load("mini", size_px=128))
    sizes = {"family": family, "image_size_px": SIDE_PX}
    choices = make_model(folder, family, is_shallow=is_shallow, **plan)
    components = load_components(replace(PRESETS.get("sd-turbo"), **sizes), **choices)
    return recording(Session(components))


def draw(session, subjects, **settings):
    settings.setdefault("seed", 0)
    settings.setdefault("scene", "words")
    result = session.personalize(subjects, settings.pop("prompt", PROMPT), **settings)
    return Drawn(session.components.autoencoder.last.latents, result)


def picture(number):
    drawn = Image.new("RGBA", (SIDE_PX, SIDE_PX))
    pen = ImageDraw.Draw(drawn)
    left = 10 + 4 * number
    pen.ellipse((left, 20, 118, 112), fill=(220 - 50 * number, 40 + 60 * number, 70, 255))
    pen.rectangle((left + 20, 40, left + 50, 60), fill=(30, 90, 220 - 60 * number, 255))
    pen.line((50, 100, 100, 50 + 10 * number), fill=(250, 240, 60, 255), width=4)
    return drawn


def difference(found, expected):
    assert found.shape == expected.shape
    size = max(1.0, expected.abs().max().item())
    return float((found.double() - expected.double()).abs().max() / size)


@torch.no_grad()
def calls_of(session, subjects, **settings):
    spy = Spy(session.components.denoiser)
    drawn = draw(recording(session, denoiser=spy), subjects, **settings)
    return drawn, spy.calls
