"""Settings of the adapter stage."""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from swiftpie.attention.condition import Block
from swiftpie.data.photographs import Augmentation
from swiftpie.schedules import PredictionType


class Source(StrEnum):
    """Where subjects come from."""

    PHOTOS = "photos"  # of the user
    SYNTHETIC = "synthetic"  # drawn by the base itself, for a warm-up


@dataclass(frozen=True)
class LossWeights:
    """Factors of the loss terms; 0 leaves a term out, and what it costs."""

    latents: float = 0.0  # squared error of latents
    subject: float = 1.0  # perceptual distance on the subject
    whole: float = 0.1  # perceptual distance anywhere
    identity: float = 0.5  # one minus the cosine of image-encoder vectors of the subject
    maps: float = 0.05  # identity attention that misses the subject
    adversarial: float = 0.1  # of the discriminator in latents
    prompt: float = 0.1  # cosine of picture and prompt below the threshold, given a prompt_model
    matching: float = 0.0  # difference of the fake score's and the teacher's clean latents


@dataclass(frozen=True)
class AdapterDrops:
    """How often a sample lacks a condition, and how often its scales are random."""

    semantic: float = 0.10
    detail: float = 0.30
    both: float = 0.05
    text: float = 0.05
    rescaled: float = 0.30


@dataclass(frozen=True)
class TeacherSettings:
    """The personalised multi-step teacher, and the fake score that follows the student."""

    unet: Path | None = None  # folder of its U-Net, of the preset's family
    adapter: Path | None = None  # that it wears: an IP-Adapter or SwiftPie's own
    image_encoder: Path | None = None  # that its adapter reads; the student's if none
    predicts: PredictionType = PredictionType.EPSILON
    guidance: float = 4.5  # towards the prompt and the subject
    strength: float = 1.0  # of its adapter where the student's is 1
    student_every: int = 5  # steps of the fake score for each of the student
    rank: int = 64  # of the fake score's difference to the teacher
    alpha: int = 128  # that difference is scaled by alpha / rank


@dataclass(frozen=True)
class AdapterSettings:
    """What is trained, on what and how."""

    data: Path = Path("photos")  # a folder a subject inside, or tars
    source: Source = Source.PHOTOS
    preset: str = "sd-turbo"
    weights: Path | None = None  # as `--weights` of other commands; the hub if none
    base: str | None = None  # as `--base`
    adapter: Path | None = None  # to start from: SwiftPie's own or an IP-Adapter
    image_encoder: Path | None = None  # CLIP's vision tower; the public one if none
    reference: Path | None = None  # a U-Net that reads references; the base itself if none
    inversion: Path | None = None  # SwiftEdit's network: half of the noise is then inverted
    perceptual: Path | None = None  # a vision model of transformers; the autoencoder if none
    prompt_model: Path | None = None  # a CLIP model of transformers for the loss of prompts
    prompt_threshold: float = 0.35  # cosine that is enough, see `PromptJudge`
    prompt_steps: int = 4000  # after which the weight of that loss is 0
    size_px: int = 0  # of pictures and references; 0 is the preset's
    batch_size: int = 4
    pixel_samples: int = 2  # pictures of a batch that are decoded for losses in pixels
    num_tokens: int = 4  # identity tokens of a new projector
    gate: float = 0.1  # initial weight of the detail branch; 0 would teach its keys nothing
    semantic: tuple[Block, ...] = (Block.MIDDLE, Block.UP)  # where identity tokens are attended to
    detail: tuple[Block, ...] = (Block.UP,)  # where reference features are attended to
    cross_view: float = 0.5  # share of references that are another photo of the subject
    cache_mib: int = 1024  # of decoded photos
    checkpointing: bool = True  # compute activations twice instead of keeping them
    autocast: bool = True  # to bfloat16
    loss: LossWeights = field(default_factory=LossWeights)
    drops: AdapterDrops = field(default_factory=AdapterDrops)
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    augmentation: Augmentation = field(default_factory=Augmentation)
