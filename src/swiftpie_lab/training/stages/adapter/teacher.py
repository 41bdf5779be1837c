"""The personalised multi-step teacher of the adapter, and what its scores say."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from swiftpie.attention.condition import AttentionCondition
from swiftpie.backbones.adapters import install_adapter, open_adapter, wrap_image_encoder
from swiftpie.backbones.load.networks import read_image_encoder, read_unet
from swiftpie.backbones.load.weights import NetworkReader
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.models.denoiser import UNetDenoiser, read_references
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.noise import PredictionType
from swiftpie.types import TextCondition
from swiftpie_lab.training.critics import add_low_rank, low_rank_parts, without_low_rank
from swiftpie_lab.training.losses import (
    FIRST_COMPARED,
    LAST_COMPARED,
    Levels,
    clean_loss,
    clean_of,
    dmd_gradient,
    guide,
    noised,
)
from swiftpie_lab.training.stages.adapter.examples import Examples
from swiftpie_lab.training.stages.adapter.networks import (
    AdapterBase,
    AdapterStageSettings,
    TeacherSettings,
    attention_alone,
    checkpoint_block,
    shorten_frozen,
    single_subject,
)
from swiftpie_lab.training.stages.adapter.student import StudentPass

SHARED = ("cross_attention_dim", "in_channels", "addition_embed_type")  # within a family
NOISE_SEED = 2**31  # apart from what a batch and its chances are drawn with


class TeacherConditions(NamedTuple):
    """What teacher and fake score know about a batch besides its noise."""

    text: TextCondition
    attention: AttentionCondition


@dataclass(frozen=True, eq=False)
class AdapterTeacher:
    """A frozen multi-step U-Net with the branches of an adapter and a low-rank change.

    The stage owns and trains the change, see `use_low_rank`. Without it this is the teacher, with
    it the fake score.
    """

    denoiser: UNetDenoiser
    encoder: ClipIdentityEncoder  # references to the adapter's tokens
    settings: TeacherSettings
    low_rank: Mapping[str, nn.Linear]  # factors of a change of zero, to start from

    def clean(self, noisy: Tensor, levels: Levels, conditions: TeacherConditions) -> Tensor:
        """Return the clean latents (B, C, h, w) that are predicted, in float64."""
        condition = attention_alone(conditions.attention, noisy)
        raw = self.denoiser(noisy, levels.timesteps, conditions.text, condition, {}).sample
        return clean_of(noisy, raw, levels, self.settings.predicts)

    @torch.no_grad()
    def conditions(
        self, base: AdapterBase, examples: Examples, outcome: StudentPass
    ) -> TeacherConditions:
        """Return the teacher's conditions for what the student of `outcome` received.

        The subject is shown as strongly as the student's stronger branch shows it, in the same
        region: the teacher's adapter may have one branch only.
        """
        with without_low_rank(self.denoiser.unet):
            read = read_references(
                self.denoiser,
                self.encoder,
                base.autoencoder,
                pixels=examples.reference,
                mask=examples.reference_mask,
                empty_text=base.empty_text,
            )
        student = outcome.attention
        scale = torch.maximum(student.identity_scale, student.detail_scale)
        scale = self.settings.strength * scale
        single = single_subject(examples.latents, read.tokens, read.keys, read.values)
        attention = single._replace(
            coverage=student.coverage,
            region=student.region,
            identity_scale=scale,
            detail_scale=scale,
        )
        return TeacherConditions(outcome.text, attention)

    @torch.no_grad()
    def without_conditions(
        self, base: AdapterBase, conditions: TeacherConditions
    ) -> TeacherConditions:
        """Return `conditions` without prompt and without subject, for guidance."""
        silent = torch.zeros_like(conditions.attention.identity_scale)
        attention = conditions.attention._replace(identity_scale=silent, detail_scale=silent)
        return TeacherConditions(base.empty_text.repeat(len(conditions.text.pooled)), attention)


def load_teacher(settings: AdapterStageSettings, base: AdapterBase) -> AdapterTeacher:
    """Load the teacher that `settings` name, its low-rank change zero.

    Raises:
        ConfigError: A part is not named, or the U-Net predicts a flow.
        CapabilityError: Its adapter reads faces.
        WeightsError: A part cannot be read or does not fit the others.
        MissingExtra: peft is not installed.
    """
    unet_folder, adapter_file = parts_of(settings.teacher)
    reader = NetworkReader(device=str(base.device), dtype=torch.float32, allow_pickle=False)
    unet = read_unet(unet_folder, reader, name="teacher")
    check_family(unet, base.denoiser.unet, folder=unet_folder, setting="teacher.unet")
    family = base.components.preset.family
    denoiser, projector = install_adapter(unet, open_adapter(adapter_file), family=family)
    assert projector is not None, "there is an adapter"
    if projector.face_width:
        raise CapabilityError(
            f"The teacher's adapter '{adapter_file}' reads face vectors, which photos of subjects "
            "do not have. Set stage.teacher.adapter to one that reads CLIP's features."
        )
    folder = settings.teacher.image_encoder
    tower = base.tower if folder is None else read_image_encoder(folder, reader)
    encoder = wrap_image_encoder(tower, projector)
    add_low_rank(denoiser.unet, rank=settings.teacher.rank, alpha=settings.teacher.alpha)
    if settings.mixed_precision:
        shorten_frozen(denoiser)
    if settings.checkpointing:
        denoiser.unet.enable_gradient_checkpointing(checkpoint_block)
    return AdapterTeacher(denoiser.eval(), encoder, settings.teacher, low_rank_parts(denoiser.unet))


def parts_of(teacher: TeacherSettings) -> tuple[Path, Path]:
    """Return the folder of the U-Net and the adapter.

    Raises:
        ConfigError: One of them is not named, or the U-Net predicts a flow.
    """
    if teacher.unet is None or teacher.adapter is None:
        lacking = "unet" if teacher.unet is None else "adapter"
        raise ConfigError(
            f"stage.loss.matching is above 0 and stage.teacher.{lacking} is not set. Matching "
            "needs a multi-step U-Net and an adapter that it wears: set stage.teacher.unet to a "
            "folder and stage.teacher.adapter to a file, or stage.loss.matching to 0."
        )
    if teacher.predicts is PredictionType.FLOW:
        raise ConfigError(
            "stage.teacher.predicts is flow, which has other noise levels than Stable Diffusion. "
            "Choose epsilon, v_prediction or sample, as the teacher was trained."
        )
    return teacher.unet, teacher.adapter


def check_family(
    unet: UNet2DConditionModel, student: UNet2DConditionModel, *, folder: Path, setting: str
) -> None:
    """Check that a teacher reads the text and the latents of its student.

    Raises:
        WeightsError: It does not.
    """
    for what in SHARED:
        found, needed = unet.config[what], student.config[what]
        if found != needed:
            raise WeightsError(
                f"The teacher in '{folder}' has {what} {found}, and the student has {needed}. One "
                f"of the same family is needed. Choose another folder for stage.{setting}."
            )


def noise_generator(draw: int) -> torch.Generator:
    """Return randomness for `draw` that its batch has no part in."""
    return torch.Generator().manual_seed((NOISE_SEED + draw) % 2**63)


@torch.no_grad()
def score_difference(
    teacher: AdapterTeacher,
    generated: Tensor,
    conditions: TeacherConditions,
    blank: TeacherConditions,
    generator: torch.Generator,
) -> Tensor:
    """Return the gradient for `generated` (B, C, h, w) at a random timestep a sample, in float64.

    From arXiv:2405.14867. Differs from the paper: the teacher wears an adapter, and guidance
    strengthens prompt and subject together, away from `blank`, which has neither. `teacher` wears
    the fake score's low-rank change; `generator` decides timesteps and noise.
    """
    noisy, levels = noised(generated, generator, first=FIRST_COMPARED, last=LAST_COMPARED)
    fake = teacher.clean(noisy, levels, conditions)
    with without_low_rank(teacher.denoiser.unet):
        real = teacher.clean(noisy, levels, conditions)
        if teacher.settings.guidance != 1.0:
            unguided = teacher.clean(noisy, levels, blank)
            real = guide(real, unguided, teacher.settings.guidance)
    return dmd_gradient(generated, real, fake)


def fake_loss(
    teacher: AdapterTeacher,
    generated: Tensor,
    conditions: TeacherConditions,
    generator: torch.Generator,
) -> Tensor:
    """Return how badly the fake score denoises `generated` (B, C, h, w), at any timestep.

    Differs from arXiv:2405.14867: the loss of noise is capped where there is little of it.
    """
    noisy, levels = noised(generated.detach(), generator)
    clean = teacher.clean(noisy, levels, conditions)
    return clean_loss(clean, generated.detach(), levels).float()
