"""The networks of a preset as the parts of a diffusers pipeline, and back."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    TCDScheduler,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
    PreTrainedTokenizerBase,
)

from swiftpie.backbones.components import Components
from swiftpie.backbones.preset import Family, Preset, describe, read_preset
from swiftpie.backbones.scheduling import schedule_of
from swiftpie.errors import InputError
from swiftpie.models.autoencoder import PatchAutoencoder
from swiftpie.models.denoiser import Denoiser
from swiftpie.models.inversion import TinyInversion, UNetInversion
from swiftpie.models.latents import LatentAutoencoder
from swiftpie.models.layout_predictor import LayoutPredictor
from swiftpie.models.text import Pooling, TextTower, TwoTextTowers
from swiftpie.models.tiny import TinyDenoiser
from swiftpie.models.unet import UNetDenoiser
from swiftpie.models.vision import ClipIdentityEncoder, ConvImageEncoder
from swiftpie.schedules import TRAIN_TIMESTEPS, NoiseScale, Renoise

SCALED_LINEAR = {
    "num_train_timesteps": TRAIN_TIMESTEPS,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}


@dataclass(frozen=True, eq=False)
class Modules:
    """What a pipeline registers, under the names that diffusers uses; the last ones are settings.

    The image encoder of a public adapter is CLIP's in a folder; in memory the adapter's projector
    is around it, as the identity branches are inside of the U-Net.
    """

    unet: TinyDenoiser | UNet2DConditionModel
    vae: PatchAutoencoder | AutoencoderKL | AutoencoderTiny
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerBase
    scheduler: SchedulerMixin
    text_encoder_2: CLIPTextModelWithProjection | None = None
    tokenizer_2: PreTrainedTokenizerBase | None = None
    image_encoder: ConvImageEncoder | ClipIdentityEncoder | CLIPVisionModelWithProjection | None = (
        None
    )
    layout_predictor: LayoutPredictor | None = None
    reference_unet: UNet2DConditionModel | None = None
    inversion_unet: TinyInversion | UNet2DConditionModel | None = None
    preset: dict | None = None  # type: ignore[type-arg]  # diffusers compares plain classes
    fingerprint: str = ""
    dtype: str = ""  # of the U-Net that the fingerprint is of, as "torch.float32"


SETTINGS = frozenset({"preset", "fingerprint", "dtype"})
OPTIONAL = (
    "text_encoder_2",
    "tokenizer_2",
    "image_encoder",
    "layout_predictor",
    "reference_unet",
    "inversion_unet",
)


def take_apart(components: Components) -> dict[str, Any]:
    """Return the fields of `Modules` for loaded networks; nothing is copied."""
    return _networks(components) | {
        "scheduler": scheduler_of(components.preset),
        "preset": describe(components.preset),
        "fingerprint": components.fingerprint,
        "dtype": str(components.denoiser.installation.unet.dtype),
    }


def _networks(components: Components) -> dict[str, Any]:
    denoiser, text, vae = components.denoiser, components.text, components.autoencoder
    first = text.first if isinstance(text, TwoTextTowers) else text
    assert isinstance(first, TextTower), "every preset reads prompts by CLIP"
    parts = {
        "unet": denoiser.unet if isinstance(denoiser, UNetDenoiser) else denoiser,
        "vae": vae.network if isinstance(vae, LatentAutoencoder) else vae,
        "text_encoder": first.encoder,
        "tokenizer": first.tokenizer,
        "image_encoder": components.image_encoder,
        "layout_predictor": components.layout_predictor,
    }
    if isinstance(text, TwoTextTowers):
        parts |= {"text_encoder_2": text.second, "tokenizer_2": text.second_tokenizer}
    if isinstance(denoiser, UNetDenoiser):
        parts["reference_unet"] = denoiser.reference
    inversion = components.inversion
    parts["inversion_unet"] = inversion.unet if isinstance(inversion, UNetInversion) else inversion
    return parts


def put_together(modules: Mapping[str, Any], loaded: Components | None) -> Components:
    """Return networks from the fields of `Modules` as they are in memory.

    Args:
        modules: The fields by name.
        loaded: The networks as they were before some of `modules` were exchanged, if they were.

    Raises:
        InputError: A denoiser was exchanged whose identity branches no module holds.
    """
    is_tiny = read_preset(modules["preset"]).family is Family.TINY
    return bundle(
        modules,
        modules["unet"] if is_tiny else _same_denoiser(modules, loaded),
        fingerprint=modules["fingerprint"] if loaded is None else unknown_fingerprint(),
    )


def bundle(modules: Mapping[str, Any], denoiser: Denoiser, *, fingerprint: str) -> Components:
    """Return networks from the fields of `Modules`, `denoiser` around the U-Net."""
    preset = read_preset(modules["preset"])
    vae, inversion = modules["vae"], modules["inversion_unet"]
    is_published = isinstance(inversion, UNet2DConditionModel)
    return Components(
        preset=preset,
        schedule=schedule_of(preset),
        text=text_of(modules),
        image_encoder=modules["image_encoder"],
        autoencoder=vae if isinstance(vae, PatchAutoencoder) else LatentAutoencoder(vae),
        denoiser=denoiser,
        layout_predictor=modules["layout_predictor"],
        inversion=UNetInversion(inversion) if is_published else inversion,
        fingerprint=fingerprint,
    )


def text_of(modules: Mapping[str, Any]) -> TextTower | TwoTextTowers:
    """Return what reads prompts from the fields of `Modules`."""
    is_tiny = read_preset(modules["preset"]).family is Family.TINY
    pooling = Pooling.MEAN if is_tiny else Pooling.END
    first = TextTower(modules["tokenizer"], modules["text_encoder"], pooling)
    second = modules["text_encoder_2"]
    return first if second is None else TwoTextTowers(first, modules["tokenizer_2"], second)


def unknown_fingerprint() -> str:
    """Return what equals the fingerprint of no other networks."""
    return f"exchanged-{uuid.uuid4().hex}"


def is_made_of(components: Components, modules: Mapping[str, Any]) -> bool:
    """Whether `components` are these very networks; schedulers and settings aside."""
    own = _networks(components)
    compared = modules.keys() - SETTINGS - {"scheduler"}
    return all(own.get(name) is modules[name] for name in compared)


def _same_denoiser(modules: Mapping[str, Any], loaded: Components | None) -> Denoiser:
    """Return the denoiser of `loaded`, whose identity branches were installed when it was loaded.

    Raises:
        InputError: It was exchanged, or never was loaded.
    """
    denoiser = None if loaded is None else loaded.denoiser
    if isinstance(denoiser, UNetDenoiser):
        before, now = (
            (denoiser.unet, denoiser.reference),
            (modules["unet"], modules["reference_unet"]),
        )
        if all(one is other for one, other in zip(before, now, strict=True)):
            return denoiser
    raise InputError(
        "The U-Net was exchanged, and the identity branches live inside of it. Load the preset "
        "with the other one instead: from_preset(…, weights=…)."
    )


def scheduler_of(preset: Preset) -> SchedulerMixin:
    """Return the diffusers scheduler that takes the steps of `preset`."""
    noise_scale = NoiseScale(preset.noise_scale)
    if noise_scale is NoiseScale.FLOW:
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=TRAIN_TIMESTEPS)
    shared = {
        **SCALED_LINEAR,
        "prediction_type": preset.prediction_type,
        "timestep_spacing": "trailing",
    }
    match Renoise(preset.renoise):
        case Renoise.LCM:
            return LCMScheduler(**shared)
        case Renoise.TCD:
            return TCDScheduler(**shared)
        case Renoise.EULER_ANCESTRAL:
            return EulerAncestralDiscreteScheduler(**shared)
        case Renoise.DDIM:
            if noise_scale is NoiseScale.SIGMA:
                return EulerDiscreteScheduler(**shared)
            return DDIMScheduler(**shared, clip_sample=False)


def check_scheduler(scheduler: SchedulerMixin, preset: Preset) -> None:
    """Refuse a scheduler that was exchanged: one-step weights know one way only.

    Raises:
        InputError: It takes other steps than `preset` was trained for.
    """
    own = scheduler_of(preset)
    if type(scheduler) is not type(own) or _settings(scheduler) != _settings(own):
        raise InputError(
            f"The scheduler is a {type(scheduler).__name__} with other settings than preset "
            f"{preset.name!r} was trained with; {type(own).__name__} is needed. Put it back, or "
            "choose another preset."
        )


def check_processors(components: Components) -> None:
    """Refuse a U-Net whose attention was exchanged, as slicing and xFormers do.

    Raises:
        InputError: Its identity branches are gone.
    """
    installation = components.denoiser.installation
    branches = {id(one) for one in (*installation.semantic.values(), *installation.detail.values())}
    if {id(one) for one in installation.unet.attn_processors.values()} != branches:
        raise InputError(
            "The attention processors of the U-Net were exchanged, and the identity branches are "
            "such processors. Load the pipeline again, without attention slicing or xFormers."
        )


def _settings(scheduler: SchedulerMixin) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if name[0] != "_"}
