"""What the adapter's student is shown, one pass of it, and the loss terms that follow."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from swiftpie.attention.condition import MAP_PREFIX, Notes, silent_condition
from swiftpie.geometry.layout import warp
from swiftpie.masks import grow, resize_mask
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import add_noise, draw_noise, predict_clean
from swiftpie.pipelines.request import cells_of
from swiftpie.types import TextCondition
from swiftpie_lab.data.photographs import PhotoViews, open_photos
from swiftpie_lab.training.dists import Dists
from swiftpie_lab.training.losses import Compare, masked_mean
from swiftpie_lab.training.stages.adapter.networks import (
    AdapterBase,
    AdapterDrops,
    AdapterNetworks,
    AdapterStageSettings,
    LossWeights,
    attention_alone,
    use_trained_layers,
)

ROW_STRIDE = 1_000_003  # rows of a batch are draws of their own, as for photos

LEAST_SCALE, MOST_SCALE = 0.5, 1.2  # range of a branch's scale, where scales are random
EARLIEST_READ, LATEST_READ = 100, 400  # timesteps at which references are read in training
WHOLE, EXACT = 0.6, 0.8  # cumulative shares of regions: all, the mask, the mask grown
CROP_MARGIN = 1.1  # side of a crop over the longer side of its subject
CROP_PX = 224


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
    """Photos to be drawn again, from noise that knows nothing of them."""

    base: AdapterBase
    views: PhotoViews

    @torch.no_grad()
    def batch(self, size: int, draw: int) -> Examples:
        """Return batch number `draw`."""
        photos = self.views.batch(size, draw)
        pixels, mask, reference, seen = (photo.to(self.base.device) for photo in photos[:4])
        with self.base.autocast():
            latents = self.base.autoencoder.encode(pixels)
        shape = (latents.shape[1], latents.shape[2], latents.shape[3])
        noise = draw_noise([draw * ROW_STRIDE + row for row in range(size)], shape).to(latents)
        views = (noise, latents, pixels, mask, reference, seen)
        return Examples(*views, photos.captions, photos.names)


def open_examples(base: AdapterBase, settings: AdapterStageSettings) -> PhotoExamples:
    """Return the photos that the settings name."""
    size_px = settings.size_px or base.components.preset.image_size_px
    cells_of(base.components.preset, (size_px, size_px))  # refuses what the networks cannot draw
    photos = open_photos(settings.data, size_px=size_px, cache_mib=settings.cache_mib)
    return PhotoExamples(base, PhotoViews(photos, settings.augmentation, settings.cross_view))


class StudentPass(NamedTuple):
    """What one pass gives the losses."""

    clean: Tensor  # (B, C, h, w) float32
    maps: list[Tensor]  # identity attention maps (B, 1, h, w)
    text: TextCondition  # the student's
    subject: Tensor  # (B, D) mean identity token, without gradient


@dataclass(frozen=True)
class Chances:
    """The conditions that each sample is trained without, drawn once a batch."""

    identity_scale: Tensor  # (B, 1)
    detail_scale: Tensor  # (B, 1)
    has_text: list[bool]
    region: Tensor  # (B, 1, 1, 1) in [0, 1], which kind of region
    read_at: int  # timestep of the reference
    step: Tensor  # () in [0, 1), which step of the schedule


def draw_chances(size: int, drops: AdapterDrops, *, seed: int) -> Chances:
    """Draw what a batch of `size` lacks."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    chance = torch.rand(8, size, 1, generator=generator)
    is_rescaled = chance[0] < drops.rescaled
    scales = LEAST_SCALE + (MOST_SCALE - LEAST_SCALE) * chance[1:3]
    identity, detail = torch.where(is_rescaled, scales, torch.ones_like(scales))
    both = chance[3] < drops.both
    identity = identity.masked_fill(both | (chance[4] < drops.semantic), 0.0)
    detail = detail.masked_fill(both | (chance[5] < drops.detail), 0.0)
    read_at = int(torch.randint(EARLIEST_READ, LATEST_READ + 1, (), generator=generator))
    has_text, region = (chance[6, :, 0] >= drops.text).tolist(), chance[7][:, :, None, None]
    step = torch.rand((), generator=generator)
    return Chances(identity, detail, has_text, region, read_at, step)


def no_drops(size: int, *, read_at: int) -> Chances:
    """Return the chances with which nothing is withheld, as pipelines draw by default."""
    ones = torch.ones(size, 1)
    return Chances(ones, ones, [True] * size, torch.zeros(size, 1, 1, 1), read_at, torch.zeros(()))


def run_student(
    base: AdapterBase, networks: AdapterNetworks, examples: Examples, chances: Chances
) -> StudentPass:
    """Predict the clean latents of `examples`, with gradients for `networks` alone."""
    use_trained_layers(base, networks, reference_timestep=chances.read_at)
    captions = [
        caption if has_text else ""
        for caption, has_text in zip(examples.captions, chances.has_text, strict=True)
    ]
    with torch.no_grad():
        text = base.components.text.encode(captions)
    tokens, keys, values = _read_references(base, networks, examples)
    cells = (examples.latents.shape[2], examples.latents.shape[3])
    pairs = zip(captions, examples.names, strict=True)
    words = [base.components.text.find_words(caption, [name]) for caption, name in pairs]
    exact, chance = resize_mask(examples.mask, cells), chances.region.to(examples.mask)
    masked = torch.where(chance < EXACT, exact, grow(exact, 1))
    attention = silent_condition(examples.latents, width=tokens.shape[-1])._replace(
        identity_tokens=tokens[:, None],
        keys={name: rows[:, None] for name, rows in keys.items()},
        values={name: rows[:, None] for name, rows in values.items()},
        coverage=resize_mask(examples.reference_mask, cells)[:, None],
        region=torch.where(chance < WHOLE, torch.ones_like(exact), masked),
        class_tokens=torch.stack(words).to(base.device),
        identity_scale=chances.identity_scale.to(tokens.device),
        detail_scale=chances.detail_scale.to(tokens.device),
    )
    schedule = base.components.schedule
    notes: Notes = {}
    index = int(float(chances.step) * len(schedule.steps))
    step = schedule.steps[index]
    if index == 0:
        latents = schedule.initial_latents(examples.noise)
    else:  # later steps start from the noised target
        latents = add_noise(examples.latents, examples.noise, step)
    condition = attention_alone(attention, latents)
    with base.autocast(base.denoiser.unet):
        prediction = base.denoiser(latents, step.timestep, text, condition, notes)
    clean = predict_clean(latents, prediction.sample, step, schedule.prediction_type)
    maps = [value for name, value in notes.items() if name.startswith(MAP_PREFIX)]
    subject = tokens.mean(1).detach().float()
    return StudentPass(clean, maps, text, subject)


def _read_references(
    base: AdapterBase, networks: AdapterNetworks, examples: Examples
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Return tokens (B, K, D), and keys and values (B, N, D) by layer."""
    with torch.no_grad():
        reader = base.reader(base.projector.feature)
        features = reader(examples.reference, examples.reference_mask)
        denoiser, seen = base.denoiser, (examples.reference, examples.reference_mask)
        encoded = denoiser.encode_reference(base.autoencoder, *seen)
        empty = base.empty_text.repeat(len(encoded))
        with base.autocast(denoiser.unet):
            notes = denoiser.read_reference(encoded, empty) if denoiser.installation.detail else {}
    tokens = networks.projector(features)
    unet = base.denoiser.unet
    projected = {
        name: layer.project(unet.get_submodule(name), notes[name])
        for name, layer in networks.detail_layers().items()
    }
    keys = {name: pair[0] for name, pair in projected.items()}
    return tokens, keys, {name: pair[1] for name, pair in projected.items()}


def picture_terms(
    drawn: Tensor,
    examples: Examples,
    *,
    weights: LossWeights,
    compare: Compare | Dists,
    judge: ClipIdentityEncoder,
) -> dict[str, Tensor]:
    """Return the terms that compare pixels `drawn` (b, 3, S, S) with the first b examples.

    Terms of weight 0 are left out; `judge` is the image encoder without a projector.
    """
    count = len(drawn)
    truth, mask = examples.pixels[:count], examples.mask[:count]
    terms: dict[str, Tensor] = {}
    if isinstance(compare, Dists):
        shown = {"subject": mask, "whole": torch.ones_like(mask)}  # around subjects all is grey
        for name, where in shown.items():
            if weight := getattr(weights, name):
                terms[name] = weight * compare(drawn * where, truth * where).mean()
    elif weights.subject or weights.whole:
        maps = compare(drawn, truth)
        terms["subject"] = weights.subject * masked_mean(maps, mask)
        terms["whole"] = weights.whole * masked_mean(maps, torch.ones_like(mask))
    if weights.identity:
        cosine = identity_cosine(judge, drawn, truth, mask=mask)
        terms["identity"] = weights.identity * (1 - cosine).mean()
    return terms


def identity_cosine(
    judge: ClipIdentityEncoder, drawn: Tensor, truth: Tensor, *, mask: Tensor
) -> Tensor:
    """Return how alike the encoder finds the subjects of two pictures, (B,) in [-1, 1].

    Both are cropped and masked where the true subject is; only `drawn` gets a gradient.
    """
    affine = crop_around(mask)
    size = (CROP_PX, CROP_PX)
    region = warp(mask, affine, size).clamp(0, 1)
    with torch.no_grad():
        wanted = judge(warp(truth, affine, size), region)
    return F.cosine_similarity(judge(warp(drawn, affine, size), region), wanted, dim=1)


def crop_around(mask: Tensor) -> Tensor:
    """Return maps (B, 2, 3) from a square crop around each subject to the picture (B, 1, H, W)."""
    rows = []
    height, width = mask.shape[-2:]
    for solid in mask[:, 0] > 0.5:
        places = solid.nonzero() if solid.any() else torch.ones_like(solid).nonzero()
        low, high = places.amin(0).tolist(), (places.amax(0) + 1).tolist()
        side = CROP_MARGIN * max((high[0] - low[0]) / height, (high[1] - low[1]) / width)
        x, y = (low[1] + high[1]) / width - 1, (low[0] + high[0]) / height - 1
        rows.append([[side, 0.0, x], [0.0, side, y]])
    return torch.tensor(rows, device=mask.device)
