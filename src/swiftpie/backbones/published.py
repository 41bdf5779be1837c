"""Loads presets of the Stable Diffusion families from folders in the layout of diffusers."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from swiftpie.attention.install import Plan
from swiftpie.backbones.adapters import OpenAdapter, fit, join, open_adapter, with_defaults
from swiftpie.backbones.checkpoints.lora import fuse_lora_file
from swiftpie.backbones.choices import Choices, Precision
from swiftpie.backbones.components import Components
from swiftpie.backbones.networks import (
    HALVES,
    Reader,
    read_autoencoder,
    read_image_encoder,
    read_text,
    read_unet,
    width_of,
)
from swiftpie.backbones.preset import Family, Preset, WeightsKind
from swiftpie.backbones.scheduling import schedule_of
from swiftpie.backbones.sources import Sources, locate, locate_image_encoder
from swiftpie.backbones.weights import fingerprint_files
from swiftpie.errors import ConfigError, WeightsError
from swiftpie.models.inversion import UNetInversion
from swiftpie.models.latents import LatentAutoencoder
from swiftpie.models.projection import Projector
from swiftpie.models.text import TextTower, TwoTextTowers
from swiftpie.models.vision import ClipIdentityEncoder

IMAGE_ENCODER = "image_encoder"  # folder of a pipeline; most have none


def load_published(preset: Preset, *, device: str, choices: Choices) -> Components:
    """Load every network of a Stable Diffusion preset, and what was chosen besides.

    Raises:
        ConfigError: A choice would have no effect.
        WeightsError: A part is missing, unreadable or does not fit the others.
        MissingExtra: The preset is a LoRA, and the package that reads it is not installed.
    """
    _check_choices(preset, choices)
    reader = Reader(
        device=device,
        dtype=_dtype(choices.get("dtype")),
        allow_pickle=choices.get("allow_pickle", False),
    )
    sources = locate(preset, choices, prefers_half=reader.dtype in HALVES)
    adapter = _open_adapter(choices, reader)
    unet = _read_unet(sources, reader, preset)
    text = read_text(sources.pipeline, reader, preset.family)
    autoencoder = read_autoencoder(sources.pipeline, reader)
    check_parts(preset, unet, text=text, autoencoder=autoencoder)
    denoiser, projector = fit(
        unet,
        adapter,
        family=preset.family,
        plan=choices.get("plan"),
        reference=_read_reference(reader, choices),
    )
    image_encoder = None
    if projector is not None:
        image_encoder = _read_image_encoder(sources.pipeline, reader, projector, choices)
    settings = _settings(reader.dtype, denoiser.installation.plan, adapter)
    return Components(
        preset=with_defaults(preset, adapter),
        schedule=schedule_of(preset),
        text=text,
        image_encoder=image_encoder,
        autoencoder=LatentAutoencoder(autoencoder),
        denoiser=denoiser.eval().requires_grad_(False),
        layout_predictor=None,
        inversion=_read_inversion(unet, reader, choices),
        fingerprint=fingerprint_files(reader.files, settings=settings),
    )


def _dtype(chosen: torch.dtype | str | None) -> torch.dtype:
    """Return the type of numbers to compute with.

    Raises:
        ConfigError: It is called by a name that it does not have.
    """
    if not isinstance(chosen, str):
        return chosen or torch.float32
    if chosen not in get_args(Precision):
        raise ConfigError(
            f"The dtype {chosen!r} does not exist. One of {', '.join(get_args(Precision))} is "
            "needed. Leave it out for float32."
        )
    dtype: torch.dtype = getattr(torch, chosen)
    return dtype


def _check_choices(preset: Preset, choices: Choices) -> None:
    """Refuse what would be left unused.

    Raises:
        ConfigError: Something would.
    """
    if choices.get("base") is not None and preset.kind is WeightsKind.PIPELINE:
        raise ConfigError(
            f"Preset {preset.name!r} was loaded with a base, and it is a whole pipeline already. "
            "Only presets that are a denoiser or a LoRA need one. Pass `weights=` (--weights)."
        )
    if choices.get("adapter") is not None:
        return
    if choices.get("image_encoder") is not None:
        raise ConfigError(
            "An image encoder was chosen without the adapter that reads it. An adapter decides "
            "which encoder is needed. Pass `adapter=` (--adapter) too."
        )
    for name in ("face_version", "lora_scale"):
        if choices.get(name) is not None:
            raise ConfigError(
                f"`{name}` was chosen without an adapter, and it says how to load one. Pass "
                "`adapter=` (--adapter) too."
            )


def _open_adapter(choices: Choices, reader: Reader) -> OpenAdapter | None:
    chosen = choices.get("adapter")
    if chosen is None:
        return None
    reader.files["adapter"] = Path(chosen)
    return open_adapter(
        Path(chosen),
        face_version=choices.get("face_version"),
        lora_scale=choices.get("lora_scale"),
        allow_pickle=reader.allow_pickle,
    )


def _read_unet(sources: Sources, reader: Reader, preset: Preset) -> UNet2DConditionModel:
    folder, weights = sources.pipeline / "unet", None
    if sources.unet is not None and sources.unet.is_dir():
        folder = sources.unet
    elif sources.unet is not None:
        weights = sources.unet
    unet = read_unet(folder, reader, weights=weights)
    if sources.lora is not None:
        reader.files["lora"] = sources.lora
        fuse_lora_file(unet, sources.lora, family=preset.family, allow_pickle=reader.allow_pickle)
    return unet


def check_parts(
    preset: Preset,
    unet: UNet2DConditionModel,
    *,
    text: TextTower | TwoTextTowers,
    autoencoder: AutoencoderKL | AutoencoderTiny,
) -> None:
    """Refuse networks that cannot work together.

    Raises:
        WeightsError: They cannot.
    """
    is_sdxl = unet.config.addition_embed_type == "text_time"
    facts = {
        "width of the text": (width_of(text), unet.config.cross_attention_dim),
        "latent channels": (autoencoder.config.latent_channels, preset.latent_channels),
        "channels of the U-Net": (unet.config.in_channels, preset.latent_channels),
        "size conditioning of SDXL": (is_sdxl, preset.family is Family.SDXL),
    }
    for what, (found, needed) in facts.items():
        if found != needed:
            raise WeightsError(
                f"These networks do not belong to preset {preset.name!r}: {what} is {found}, and "
                f"{needed} is needed. Pass weights of the family {preset.family.value!r}."
            )


def _read_reference(reader: Reader, choices: Choices) -> UNet2DConditionModel | None:
    folder = choices.get("reference")
    return None if folder is None else read_unet(Path(folder), reader, name="reference")


def _read_image_encoder(
    pipeline: Path, reader: Reader, projector: Projector, choices: Choices
) -> ClipIdentityEncoder:
    folder = pipeline / IMAGE_ENCODER
    if choices.get("image_encoder") is not None or not folder.is_dir():
        folder = locate_image_encoder(projector, choices, prefers_half=reader.dtype in HALVES)
    return join(read_image_encoder(folder, reader), projector)


def _read_inversion(
    unet: UNet2DConditionModel, reader: Reader, choices: Choices
) -> UNetInversion | None:
    """Return the inversion network; it is left out of the fingerprint, identities do without it.

    Raises:
        WeightsError: It is for another family.
    """
    chosen = choices.get("inversion")
    if chosen is None:
        return None
    inversion = read_unet(Path(chosen), replace(reader, files={}), name="inversion")
    for what in ("cross_attention_dim", "in_channels", "addition_embed_type"):
        found, needed = inversion.config[what], unet.config[what]
        if found != needed:
            raise WeightsError(
                f"The inversion network in '{chosen}' has {what} {found}, and the denoiser has "
                f"{needed}. One for the same family is needed. Choose another folder."
            )
    return UNetInversion(inversion)


def _settings(dtype: torch.dtype, plan: Plan, adapter: OpenAdapter | None) -> str:
    """Return what else decides about the features of an identity."""
    variant = "" if adapter is None else adapter.variant
    return f"{dtype} {plan.merge.value} {' '.join(sorted(plan.detail))}{variant}"
