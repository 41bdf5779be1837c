"""Loads presets of the Stable Diffusion families from folders in the layout of diffusers."""

from dataclasses import replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel

from swiftpie.attention.install import Plan
from swiftpie.backbones.adapters import (
    OpenAdapter,
    check_family,
    check_image_encoder,
    fill,
    open_adapter,
)
from swiftpie.backbones.checkpoints.lora import fuse_lora_file
from swiftpie.backbones.choices import Choices
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
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.schedules import scaled_linear_step

REFERENCE_TIMESTEP = 250  # little noise: the reference U-Net still sees every detail
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
        dtype=choices.get("dtype") or torch.float32,
        allow_pickle=choices.get("allow_pickle", False),
    )
    sources = locate(preset, choices, prefers_half=reader.dtype in HALVES)
    adapter = _open_adapter(choices, reader)
    unet = _read_unet(sources, reader, preset)
    if adapter is not None:
        check_family(adapter, unet)
    text = read_text(sources.pipeline, reader, preset.family)
    autoencoder = read_autoencoder(sources.pipeline, reader)
    _check_parts(preset, unet, text_width=width_of(text), autoencoder=autoencoder)
    plan = choices.get("plan") or _default_plan(adapter, unet)
    denoiser = _build_denoiser(unet, plan, adapter, reader=reader, choices=choices)
    image_encoder = None
    if adapter is not None:
        projector = fill(denoiser, adapter, family=preset.family.value)
        image_encoder = _read_image_encoder(sources.pipeline, reader, projector, choices)
    return Components(
        preset=_with_defaults(preset, adapter),
        schedule=schedule_of(preset),
        text=text,
        image_encoder=image_encoder,
        autoencoder=LatentAutoencoder(autoencoder),
        denoiser=denoiser.to(device=device, dtype=reader.dtype).eval().requires_grad_(False),
        layout_predictor=None,
        inversion=_read_inversion(unet, reader, choices),
        fingerprint=fingerprint_files(reader.files, settings=_settings(reader.dtype, plan)),
    )


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
    if choices.get("image_encoder") is not None and choices.get("adapter") is None:
        raise ConfigError(
            "An image encoder was chosen without the adapter that reads it. An adapter decides "
            "which encoder is needed. Pass `adapter=` (--adapter) too."
        )


def _open_adapter(choices: Choices, reader: Reader) -> OpenAdapter | None:
    chosen = choices.get("adapter")
    if chosen is None:
        return None
    reader.files["adapter"] = Path(chosen)
    return open_adapter(Path(chosen), allow_pickle=reader.allow_pickle)


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


def _check_parts(
    preset: Preset,
    unet: UNet2DConditionModel,
    *,
    text_width: int,
    autoencoder: AutoencoderKL | AutoencoderTiny,
) -> None:
    """Refuse networks that cannot work together.

    Raises:
        WeightsError: They cannot.
    """
    is_sdxl = unet.config.addition_embed_type == "text_time"
    facts = {
        "width of the text": (text_width, unet.config.cross_attention_dim),
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


def _default_plan(adapter: OpenAdapter | None, unet: UNet2DConditionModel) -> Plan:
    """Return the branches that there are weights for, none of detail without an adapter."""
    if adapter is not None:
        return adapter.plan
    return Plan(token_width=unet.config.cross_attention_dim, detail=frozenset())


def _build_denoiser(
    unet: UNet2DConditionModel,
    plan: Plan,
    adapter: OpenAdapter | None,
    *,
    reader: Reader,
    choices: Choices,
) -> UNetDenoiser:
    folder = choices.get("reference")
    settings = None if adapter is None else adapter.settings
    timestep = REFERENCE_TIMESTEP if settings is None else settings.t_ref
    return UNetDenoiser(
        unet,
        plan,
        reference_step=scaled_linear_step(timestep),
        reference=folder and read_unet(Path(folder), reader, name="reference"),
    )


def _read_image_encoder(
    pipeline: Path, reader: Reader, projector: Projector, choices: Choices
) -> ClipIdentityEncoder:
    folder = pipeline / IMAGE_ENCODER
    if choices.get("image_encoder") is not None or not folder.is_dir():
        folder = locate_image_encoder(projector, choices, prefers_half=reader.dtype in HALVES)
    tower = read_image_encoder(folder, reader)
    check_image_encoder(projector, tower.config)
    projector.module.to(device=reader.device, dtype=reader.dtype)
    encoder = ClipIdentityEncoder(tower, projector.module, projector.feature)
    return encoder.to(reader.device).eval()


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


def _with_defaults(preset: Preset, adapter: OpenAdapter | None) -> Preset:
    """Return `preset` with the strengths that the adapter recommends."""
    if adapter is None or adapter.settings is None:
        return preset
    return replace(preset, defaults={**preset.defaults, **adapter.settings.defaults})


def _settings(dtype: torch.dtype, plan: Plan) -> str:
    """Return what else decides about the features of an identity."""
    return f"{dtype} {plan.merge.value} {' '.join(sorted(plan.detail))}"
