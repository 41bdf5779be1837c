"""What every distillation stage asks of a denoiser: conditions, predictions and whole samplings."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from swiftpie.backbones.preset import trailing
from swiftpie.data.stickers import StickerBatch
from swiftpie.models.denoiser import Prediction, SubjectCondition
from swiftpie.models.reference import read_references
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.schedules import PredictionType, build_schedule
from swiftpie.training.scores import LAST_TIMESTEP, guide, integrate
from swiftpie.training.stages.one_step.networks import OneStepNetworks
from swiftpie.training.stages.one_step.showing import (
    Drops,
    References,
    absent_subject,
    condition_of,
    imperfect,
    random_region,
    show,
)
from swiftpie.training.stages.one_step.stage import OneStepStage
from swiftpie.types import TextCondition

if TYPE_CHECKING:
    from swiftpie.attention.condition import Notes

NOISE_SEED = 2**30  # above any draw; the generator reads 32 bits of a seed
NOTHING_DROPPED = Drops(everything=0.0, semantic=0.0, detail=0.0, aligned=0.0)


class Encoded(NamedTuple):
    """All that a denoiser is told about a batch besides its noise."""

    text: TextCondition
    no_text: TextCondition  # the empty prompt, B rows
    subject: SubjectCondition
    has_subject: bool  # whether there is a reference


def encode(
    stage: OneStepStage,
    networks: OneStepNetworks,
    batch: StickerBatch,
    *,
    drops: Drops,
    seed: int,
    text_drop: float = 0.0,
) -> Encoded:
    """Return the conditions of `batch` with its true layout.

    Args:
        stage: Has the autoencoder of `networks`.
        networks: Whose encoders to use.
        batch: Pictures of one subject each.
        drops: How often each part is withheld.
        seed: Decides what is, alike for all networks.
        text_drop: Share of pictures that lose their prompt.
    """
    generator = torch.Generator().manual_seed(seed)
    chance = torch.rand(2, generator=generator)
    has_prompt = torch.rand(len(batch.captions), generator=generator) >= text_drop
    given = zip(batch.captions, has_prompt.tolist(), strict=True)
    text = stage.encode_text(networks, [caption if shown else "" for caption, shown in given])
    empty = stage.encode_text(networks, [""])
    no_text = empty.repeat(len(batch.noise))
    if float(chance[0]) < drops.everything:
        absent = absent_subject(batch.noise, width=text.pooled.shape[1])
        return Encoded(text, no_text, absent, has_subject=False)
    mask = imperfect(batch.reference_mask, float(chance[1]))
    references = _read(stage, networks, batch.reference * mask, mask, empty_text=empty)
    views = len(batch.noise) // len(mask)
    rows = torch.arange(len(mask), device=mask.device).repeat_interleave(views)
    cells = (batch.noise.shape[2], batch.noise.shape[3])
    shown = show(
        references.select(rows),
        batch.layout,
        random_region(batch.mask, cells, generator=generator),
        drops=drops,
        views=views,
        generator=generator,
    )
    subject = condition_of([shown], batch.noise, autoencoder=stage.autoencoder)
    return Encoded(text, no_text, subject, has_subject=True)


def _read(
    stage: OneStepStage,
    networks: OneStepNetworks,
    pixels: Tensor,
    mask: Tensor,
    *,
    empty_text: TextCondition,
) -> References:
    features = read_references(
        networks.denoiser,
        networks.image_encoder,
        stage.autoencoder,
        pixels=pixels,
        mask=mask,
        empty_text=empty_text,
    )
    return References(pixels, mask, features)


def noise_generator(draw: int) -> torch.Generator:
    """Return randomness for `draw` that its batch has no part in.

    A batch is drawn from the same seed, and streams of one seed hold the same numbers, only
    shifted: noise from there would tell what the picture is.
    """
    return torch.Generator().manual_seed(NOISE_SEED + draw)


@contextmanager
def fast_precision(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16, with the attention whose backward pass is fast on small grids."""
    with torch.autocast(device.type, torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
        yield


def predict(
    denoiser: TinyDenoiser,
    latents: Tensor,
    timesteps: Tensor | float,
    encoded: Encoded,
    *,
    notes: "Notes | None" = None,
) -> Prediction:
    """Return what `denoiser` says about `latents` (B, C, h, w) at one timestep or (B,)."""
    notes = {} if notes is None else notes
    prediction: Prediction = denoiser(latents, timesteps, encoded.text, encoded.subject, notes)
    return Prediction(*(value.float() for value in prediction))


def predict_once(
    stage: OneStepStage, networks: OneStepNetworks, batch: StickerBatch, *, drops: Drops, seed: int
) -> Prediction:
    """Return what `networks` make of the batch's own noise in one step; see `encode`."""
    with fast_precision(batch.noise.device):
        encoded = encode(stage, networks, batch, drops=drops, seed=seed)
        return predict(networks.denoiser, batch.noise, LAST_TIMESTEP, encoded)


@torch.no_grad()
def encode_for_teacher(
    stage: OneStepStage, teacher: OneStepNetworks, batch: StickerBatch, *, drops: Drops, seed: int
) -> Encoded:
    """Return the conditions of `batch` for networks that are not trained; see `encode`."""
    with fast_precision(batch.noise.device):
        return encode(stage, teacher, batch, drops=drops, seed=seed)


def predict_guided(
    denoiser: TinyDenoiser,
    latents: Tensor,
    timesteps: Tensor | float,
    encoded: Encoded,
    *,
    scale: float,
) -> Prediction:
    """Return the prediction at guidance `scale` towards the prompt; 1 takes one pass, not two.

    The subject is given in both passes: guidance strengthens the prompt, not the identity.
    """
    prompted = predict(denoiser, latents, timesteps, encoded)
    if scale == 1.0:
        return prompted
    blank = predict(denoiser, latents, timesteps, encoded._replace(text=encoded.no_text))
    return prompted._replace(sample=guide(prompted.sample, blank.sample, scale))


@torch.no_grad()
def sample_ddim(
    denoiser: TinyDenoiser, noise: Tensor, encoded: Encoded, *, steps: int, scale: float
) -> Prediction:
    """Return clean latents after `steps` DDIM steps from `noise`, and the mask of the last."""
    schedule = build_schedule(trailing(steps), PredictionType.SAMPLE)
    masks: list[Tensor] = []

    def step(latents: Tensor, timestep: float) -> Tensor:
        with fast_precision(latents.device):
            prediction = predict_guided(denoiser, latents, timestep, encoded, scale=scale)
        masks[:] = [prediction.subject_mask]
        return prediction.sample

    return Prediction(sample=integrate(step, noise, schedule), subject_mask=masks[-1])
