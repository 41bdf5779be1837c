"""Where training examples come from: the user's photos, or pictures that the base draws."""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from swiftpie.attention.condition import INLINE_MASK, silent_condition
from swiftpie.errors import ConfigError, ImageError
from swiftpie.geometry.layout import SUBJECT_FILL
from swiftpie.imageio.images import fit_square
from swiftpie.masks import resize_mask
from swiftpie.noise import draw_noise, predict_clean
from swiftpie_lab.data.photographs import PhotoViews, augment, open_photos
from swiftpie_lab.training.stages.adapter.networks import (
    AdapterBase,
    AdapterStageSettings,
    Source,
    attention_alone,
)

logger = logging.getLogger(__name__)

ROW_STRIDE = 1_000_003  # as for photos: rows of a batch are draws of their own
LEAST_FRESH, MOST_FRESH = 0.3, 1.0  # share of new noise in a warm-up's input
INVERTED = 0.5  # share of noise that comes from the inversion network, if there is one

# fmt: off
SUBJECTS = (
    "dog", "cat", "horse", "bear", "rabbit", "owl", "parrot", "turtle", "frog", "robot", "doll",
    "teddy", "vase", "teapot", "mug", "bowl", "lamp", "clock", "chair", "backpack", "handbag",
    "boot", "sneaker", "hat", "umbrella", "guitar", "violin", "camera", "car", "bicycle",
    "motorbike", "boat", "train", "cake", "pumpkin", "cactus", "sunflower", "candle", "lantern",
    "kettle",
)
LOOKS = (
    "red", "blue", "green and white", "golden", "striped", "spotted", "wooden", "shiny metal",
    "old and worn", "knitted", "black", "pink", "transparent glass", "marble", "hand-painted",
    "checkered",
)
PLACES = (
    "on a beach", "in the snow", "in a forest", "on a wooden table", "in a kitchen",
    "on a street at night", "in a meadow", "in front of mountains", "on a sofa",
    "on a stone wall", "in a garden", "in a desert",
)
# fmt: on


class Examples(NamedTuple):
    """One batch: prompts, noise and references."""

    noise: Tensor  # (B, C, h, w) standard normal, what the student starts from
    latents: Tensor  # (B, C, h, w) what it should arrive at
    pixels: Tensor  # (B, 3, S, S) the same as a picture
    mask: Tensor  # (B, 1, S, S) the subject in it
    reference: Tensor  # (B, 3, S, S) reference frames, grey (0) outside of the subject
    reference_mask: Tensor  # (B, 1, S, S)
    captions: list[str]
    names: list[str]  # words for the subject


@dataclass(frozen=True, eq=False)
class PhotoExamples:
    """Photos to be drawn again, from noise that knows nothing of them or is their inversion."""

    base: AdapterBase
    views: PhotoViews

    @torch.no_grad()
    def batch(self, size: int, draw: int) -> Examples:
        """Return batch number `draw`."""
        photos = self.views.batch(size, draw)
        pixels, mask, reference, seen = (photo.to(self.base.device) for photo in photos[:4])
        latents = self.base.autoencoder.encode(pixels)
        seeds = [draw * ROW_STRIDE + row for row in range(size)]
        shape = (latents.shape[1], latents.shape[2], latents.shape[3])
        noise = draw_noise(seeds, shape).to(latents)
        inversion = self.base.components.inversion
        if inversion is not None:
            inverted = inversion(latents, self.base.components.text.encode(photos.captions))
            chance = torch.rand(size, generator=torch.Generator().manual_seed(draw % 2**63))
            is_inverted = (chance < INVERTED).to(noise.device)[:, None, None, None]
            noise = torch.where(is_inverted, inverted.to(noise), noise)
        names = photos.names
        return Examples(noise, latents, pixels, mask, reference, seen, photos.captions, names)


@dataclass(frozen=True, eq=False)
class SyntheticExamples:
    """Pictures that the base draws from a rich prompt; the student gets a poor one.

    It also gets the same noise with new noise mixed in, so that the layout is partly known. With
    the same noise and prompt, the best it could do is to ignore the reference.
    """

    base: AdapterBase
    settings: AdapterStageSettings
    size_px: int

    @torch.no_grad()
    def batch(self, size: int, draw: int) -> Examples:
        """Return batch number `draw`."""
        generator = torch.Generator().manual_seed(draw % 2**63)
        prompts = [make_prompt(generator) for _ in range(size)]
        preset = self.base.components.preset
        cells = self.size_px // preset.latent_cell_px
        shape = (preset.latent_channels, cells, cells)
        seeds = [draw * ROW_STRIDE + row for row in range(size)]
        first, fresh = draw_noise(seeds, shape), draw_noise([-1 - seed for seed in seeds], shape)
        names = [prompt.name for prompt in prompts]
        latents, mask = self._draw(first, [prompt.rich for prompt in prompts], names)
        pixels = self.base.autoencoder.decode(latents).clamp(-1, 1)
        frames = [self._reference(pixels, mask, row, generator) for row in range(size)]
        share = torch.empty(size, 1, 1, 1).uniform_(LEAST_FRESH, MOST_FRESH, generator=generator)
        mixed = (1 - share.square()).sqrt() * first + share * fresh
        return Examples(
            mixed.to(latents),
            latents,
            pixels,
            mask=mask,
            reference=torch.cat([frame[0] for frame in frames]),
            reference_mask=torch.cat([frame[1] for frame in frames]),
            captions=[prompt.poor for prompt in prompts],
            names=names,
        )

    def _draw(self, noise: Tensor, prompts: list[str], names: list[str]) -> tuple[Tensor, Tensor]:
        base = self.base
        schedule = base.components.schedule
        text = base.components.text.encode(prompts)
        latents = schedule.initial_latents(noise.to(base.device))
        words = [
            base.components.text.find_words(prompt, [name])
            for prompt, name in zip(prompts, names, strict=True)
        ]
        silent = silent_condition(latents, width=base.projector.width)
        silent = silent._replace(class_tokens=torch.stack(words).to(latents))
        notes: dict[str, Tensor] = {}
        step = schedule.steps[0]
        with base.autocast():
            prediction = base.denoiser(
                latents, step.timestep, text, attention_alone(silent, latents), notes
            )
        clean = predict_clean(latents, prediction.sample, step, schedule.prediction_type)
        return clean, resize_mask(notes[INLINE_MASK].float(), (self.size_px, self.size_px))

    def _reference(
        self, pixels: Tensor, mask: Tensor, row: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        picture, region = pixels[row : row + 1], mask[row : row + 1]
        try:
            frame, framed = fit_square(picture, region, size_px=self.size_px, fill=SUBJECT_FILL)
        except ImageError:  # attention saw no subject: all of the picture is
            frame, framed = picture, torch.ones_like(region)
        other = pixels[(row + 1) % len(pixels)][None]
        changes = self.settings.augmentation
        return augment(frame * framed, framed, other, settings=changes, generator=generator)


ExampleSource = PhotoExamples | SyntheticExamples
"""An endless, numbered source of batches."""


def open_examples(base: AdapterBase, settings: AdapterStageSettings) -> ExampleSource:
    """Return the supply that the settings name; what is wrong with photos is logged at once.

    Raises:
        InputError: There are no photos, or the networks cannot draw pictures of that size.
        ConfigError: The base does not draw in one step, which a warm-up needs.
    """
    size_px = settings.size_px or base.components.preset.image_size_px
    base.components.cells_of((size_px, size_px))  # refuses what the networks cannot draw
    match settings.source:
        case Source.PHOTOS:
            photos = open_photos(settings.data, size_px=size_px, cache_mib=settings.cache_mib)
            logger.warning("%s", photos.check())
            return PhotoExamples(
                base, PhotoViews(photos, settings.augmentation, settings.cross_view)
            )
        case Source.SYNTHETIC:
            if len(base.components.schedule.steps) > 1:
                raise ConfigError(
                    f"Preset {settings.preset!r} draws in several steps, and a warm-up learns from "
                    "pictures of one step. Choose a one-step preset, or stage.source=photos."
                )
            return SyntheticExamples(base, settings, size_px)


class Prompt(NamedTuple):
    """A pair of prompts about one subject."""

    rich: str  # with its looks
    poor: str  # without
    name: str  # the words for the subject, which both contain


def make_prompt(generator: torch.Generator) -> Prompt:
    """Draw a pair of prompts."""
    name, look, place = (
        words[int(torch.randint(len(words), (), generator=generator))]
        for words in (SUBJECTS, LOOKS, PLACES)
    )
    return Prompt(f"a photo of a {look} {name} {place}", f"a photo of a {name} {place}", name)
