"""What a batch practises, what enters the denoiser for it, and what should come out."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import NamedTuple

from torch import Tensor

from swiftpie.data.renderer import draw_frames
from swiftpie.data.stickers import StickerBatch
from swiftpie.layout import Layout
from swiftpie.models.denoiser import Prediction
from swiftpie.models.layout_predictor import LayoutScores
from swiftpie.schedules import add_noise, scaled_linear_step

REFINING_TIMESTEPS = (749, 499, 249)  # the later steps of two and of four


class Task(StrEnum):
    """What the pictures of one batch practise."""

    PLACED_BY_NOISE = "placed_by_noise"
    PLACED_FREELY = "placed_freely"  # as by a user's box
    PAIR = "pair"  # two subjects
    REPAINT = "repaint"  # a part of the picture is given, as in editing
    REFINE = "refine"  # a later step of several, on the model's own draft


@dataclass(frozen=True)
class Tasks:
    """Shares of the batches; what is left is placed by the noise."""

    placed_freely: float = 0.16
    pair: float = 0.13
    repaint: float = 0.15
    refine: float = 0.10

    def choose(self, chance: float) -> Task:
        """Return the task that belongs to a number in [0, 1)."""
        for name, share in asdict(self).items():
            if chance < share:
                return Task(name)
            chance -= share
        return Task.PLACED_BY_NOISE


class Start(NamedTuple):
    """What enters the denoiser."""

    latents: Tensor  # (B, C, h, w)
    timestep: float


class Answer(NamedTuple):
    """What a batch should have become."""

    pixels: Tensor  # (B, 3, R, R) in [-1, 1]
    masks: Tensor  # (B, S, R, R) in [0, 1], a subject each
    hats: Tensor  # (B, 1, R, R) in [0, 1], what stands out of the subjects
    layout: Layout | None  # None where it cannot be told from the noise


class Outcome(NamedTuple):
    """What one forward pass gives the losses."""

    prediction: Prediction
    scores: LayoutScores | None
    maps: list[Tensor]  # identity attention maps (B, S, h, w); none without a reference


def refined_start(noise: Tensor, draft: Tensor, *, chance: int) -> Start:
    """Return what enters a later step: the draft (B, C, h, w) and the same noise, mixed."""
    step = scaled_linear_step(REFINING_TIMESTEPS[chance])
    return Start(add_noise(draft.float(), noise, step), step.timestep)


def hats_of(batch: StickerBatch) -> Tensor:
    """Return where hats stand out of the subjects they are on, (B, 1, R, R)."""
    views = len(batch.noise) // len(batch.frames)
    bare = draw_frames(
        batch.frames.repeat_interleave(views, dim=0), batch.layout, size_px=batch.mask.shape[-1]
    )
    return (batch.mask - bare[:, 3:]).clamp(min=0)
