"""Public networks with the identity branches of an adapter, taken apart for folders and back."""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor

from swiftpie.backbones.adapters import fit, join, open_adapter, with_defaults
from swiftpie.backbones.components import Components
from swiftpie.backbones.networks import widened
from swiftpie.backbones.preset import Family, Preset, WeightsKind, describe, read_preset
from swiftpie.backbones.published import check_parts
from swiftpie.errors import CapabilityError, InputError
from swiftpie.models.vision import ClipIdentityEncoder
from swiftpie.pipelines.hub.modules import (
    OPTIONAL,
    SETTINGS,
    Modules,
    bundle,
    take_apart,
    text_of,
    unknown_fingerprint,
)


def as_published(components: Components) -> dict[str, Any]:
    """Return the fields of `Modules` for a folder: networks without anything of an adapter.

    They share the weights of `components`, whose networks stay as they are.

    Raises:
        CapabilityError: Nobody publishes networks like these.
    """
    modules, encoder = take_apart(components), components.image_encoder
    if components.preset.family is Family.TINY:
        return modules
    if not isinstance(encoder, ClipIdentityEncoder | None):
        raise CapabilityError(
            f"The image encoder is a {type(encoder).__name__}; the folder of a Stable Diffusion "
            "pipeline has a place for CLIP's only. Load them with from_preset(…, adapter=…)."
        )
    whole = replace(components.preset, kind=WeightsKind.PIPELINE, file=None, base=None)
    reference = modules["reference_unet"]
    return modules | {
        "unet": _without_branches(modules["unet"]),
        "reference_unet": None if reference is None else _without_branches(reference),
        "image_encoder": None if encoder is None else encoder.tower,
        "preset": describe(whole),
    }


def furnish(modules: Mapping[str, Any], adapter: Path | None) -> Components:
    """Return networks from the fields of `Modules` as they are in a folder.

    Args:
        modules: The fields by name; published U-Nets have no identity branches yet.
        adapter: File of those branches.

    Raises:
        InputError: The U-Net has branches already.
        WeightsError: The parts do not belong together.
    """
    preset, unet = read_preset(modules["preset"]), modules["unet"]
    if preset.family is Family.TINY:
        return bundle(modules, unet, fingerprint=modules["fingerprint"])
    _check_bare(unet)
    opened = None if adapter is None else open_adapter(adapter)
    check_parts(preset, unet, text=text_of(modules), autoencoder=widened(modules["vae"]))
    denoiser, projector = fit(
        unet, opened, family=preset.family, reference=modules["reference_unet"]
    )
    encoder = None if projector is None else join(modules["image_encoder"], projector)
    is_same = str(unet.dtype) == modules["dtype"]
    return bundle(
        {**modules, "image_encoder": encoder, "preset": describe(with_defaults(preset, opened))},
        denoiser,
        fingerprint=modules["fingerprint"] if is_same else unknown_fingerprint(),
    )


def adopt(
    pipeline: DiffusionPipeline, preset: Preset, adapter: Path | None, changes: Mapping[str, Any]
) -> Components:
    """Return networks that share the weights of a pipeline of diffusers, which stays as it is.

    Args:
        pipeline: Of Stable Diffusion 1.x, 2.x or XL.
        preset: What its weights are.
        adapter: File of identity branches for them.
        changes: Modules to take instead of its own.

    Raises:
        InputError: A module is missing.
        WeightsError: The parts do not belong together.
    """
    names = {one.name for one in fields(Modules)}
    own = {name: module for name, module in pipeline.components.items() if name in names}
    modules = dict.fromkeys(names) | own | dict(changes) | {"preset": describe(preset)}
    needed = names - {*OPTIONAL} - SETTINGS | ({"image_encoder"} if adapter else set())
    if lacking := sorted(name for name in needed if modules[name] is None):
        raise InputError(
            f"The {type(pipeline).__name__} has no {lacking[0]}. Pipelines of Stable Diffusion are "
            f"needed, and with an adapter the encoder that it reads. Pass {lacking[0]}=…."
        )
    _check_bare(modules["unet"])
    return furnish(modules | {"unet": _sharing_weights(modules["unet"])}, adapter)


def _sharing_weights(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a second U-Net around the same weights."""
    weights = [*unet.parameters(), *unet.buffers()]
    return copy.deepcopy(unet, {id(one): one for one in weights})


def _without_branches(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Return a second U-Net around the same weights, those of identity branches left out."""
    plain = _sharing_weights(unet)
    plain.set_attn_processor(AttnProcessor())
    return plain


def _check_bare(unet: UNet2DConditionModel) -> None:
    """Refuse a U-Net that is more than its publisher's.

    Raises:
        InputError: Something was installed on it.
    """
    layers = {name for name, _ in unet.named_parameters()}
    extra = sorted(name for name in layers if ".processor." in name or ".lora_" in name)
    if extra or hasattr(unet, "_hf_hook") or getattr(unet, "encoder_hid_proj", None) is not None:
        raise InputError(
            f"Something is installed on the U-Net already ({extra[0] if extra else 'a hook'}). One "
            "as published is needed. Call unload_ip_adapter(), fuse_lora() and "
            "unload_lora_weights(), or remove_all_hooks() first, or share a pipeline of SwiftPie "
            "with from_pipe()."
        )
