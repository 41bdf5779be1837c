"""The personalised multi-step teacher, which a low-rank change turns into the fake score."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

from swiftpie.attention.condition import AttentionCondition, silent_condition
from swiftpie.backbones.adapters import fit, join, open_adapter
from swiftpie.backbones.weights import Reader, read_image_encoder, read_unet
from swiftpie.errors import CapabilityError, ConfigError, WeightsError
from swiftpie.models.denoiser import SubjectCondition
from swiftpie.models.reference import read_references
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import PredictionType
from swiftpie.training.low_rank import add_low_rank, low_rank_parts, without_low_rank
from swiftpie.training.scores import Levels, clean_of
from swiftpie.training.stages.adapter.base import Base, checkpoint_block
from swiftpie.training.stages.adapter.examples import Examples
from swiftpie.training.stages.adapter.forward import Outcome
from swiftpie.training.stages.adapter.settings import AdapterSettings, TeacherSettings
from swiftpie.types import TextCondition

SHARED = ("cross_attention_dim", "in_channels", "addition_embed_type")  # within a family


class Told(NamedTuple):
    """What teacher and fake score know about a batch besides its noise."""

    text: TextCondition
    attention: AttentionCondition


@dataclass(frozen=True, eq=False)
class Teacher:
    """A frozen multi-step U-Net with the branches of an adapter and a low-rank change.

    The change belongs to whoever trains it, see `wear_low_rank`; without it this is the teacher,
    with it the fake score.
    """

    denoiser: UNetDenoiser
    encoder: ClipIdentityEncoder  # references to the adapter's tokens
    settings: TeacherSettings
    low_rank: Mapping[str, nn.Linear]  # factors of a change of zero, to start from

    def clean(self, noisy: Tensor, levels: Levels, told: Told) -> Tensor:
        """Return the clean latents (B, C, h, w) that are predicted, in float64."""
        nothing = noisy.new_zeros(len(noisy), 1, 0)
        condition = SubjectCondition(told.attention, pooled=nothing, aligned=nothing)
        raw = self.denoiser(noisy, levels.timesteps, told.text, condition, {}).sample
        return clean_of(noisy, raw, levels, self.settings.predicts)

    @torch.no_grad()
    def tell(self, base: Base, examples: Examples, outcome: Outcome) -> Told:
        """Return for the teacher what the student of `outcome` was told.

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
                empty_text=base.components.text.encode([""]),
            )
        student = outcome.attention
        scale = torch.maximum(student.identity_scale, student.detail_scale)
        scale = self.settings.strength * scale
        silent = silent_condition(examples.latents, width=read.tokens.shape[-1])
        attention = silent._replace(
            identity_tokens=read.tokens[:, None],
            keys={name: rows[:, None] for name, rows in read.keys.items()},
            values={name: rows[:, None] for name, rows in read.values.items()},
            coverage=student.coverage,
            mask=student.mask,
            identity_scale=scale,
            detail_scale=scale,
        )
        return Told(outcome.text, attention)

    @torch.no_grad()
    def tell_nothing(self, base: Base, told: Told) -> Told:
        """Return `told` without prompt and without subject, for guidance."""
        silent = torch.zeros_like(told.attention.identity_scale)
        attention = told.attention._replace(identity_scale=silent, detail_scale=silent)
        empty = base.components.text.encode([""])
        return Told(empty.repeat(len(told.text.pooled)), attention)


def load_teacher(settings: AdapterSettings, base: Base) -> Teacher:
    """Load the teacher that `settings` name, its low-rank change zero.

    Raises:
        ConfigError: A part is not named, or the U-Net predicts a flow.
        CapabilityError: Its adapter reads faces.
        WeightsError: A part cannot be read or does not fit the others.
        MissingExtra: peft is not installed.
    """
    unet_folder, adapter_file = parts_of(settings.teacher)
    reader = Reader(device=str(base.device), dtype=torch.float32, allow_pickle=False)
    unet = read_unet(unet_folder, reader, name="teacher")
    _check_family(unet, base.denoiser.unet, folder=unet_folder)
    family = base.components.preset.family
    denoiser, projector = fit(unet, open_adapter(adapter_file), family=family)
    assert projector is not None, "there is an adapter"
    if projector.face_width:
        raise CapabilityError(
            f"The teacher's adapter '{adapter_file}' reads face vectors, which photos of subjects "
            "do not have. Set stage.teacher.adapter to one that reads CLIP's features."
        )
    encoder = join(_tower(settings.teacher, base, reader), projector)
    add_low_rank(denoiser.unet, rank=settings.teacher.rank, alpha=settings.teacher.alpha)
    if settings.checkpointing:
        denoiser.unet.enable_gradient_checkpointing(checkpoint_block)
    return Teacher(denoiser.eval(), encoder, settings.teacher, low_rank_parts(denoiser.unet))


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


def _check_family(
    unet: UNet2DConditionModel, student: UNet2DConditionModel, *, folder: Path
) -> None:
    """Refuse a teacher whose text or latents are not the student's.

    Raises:
        WeightsError: It is for another family.
    """
    for what in SHARED:
        found, needed = unet.config[what], student.config[what]
        if found != needed:
            raise WeightsError(
                f"The teacher in '{folder}' has {what} {found}, and the student has {needed}. One "
                "of the same family is needed. Choose another folder for stage.teacher.unet."
            )


def _tower(teacher: TeacherSettings, base: Base, reader: Reader) -> CLIPVisionModelWithProjection:
    if teacher.image_encoder is None:
        return base.tower
    return read_image_encoder(teacher.image_encoder, reader)
