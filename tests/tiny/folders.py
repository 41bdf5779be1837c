"""Tiny random models in the folder layouts of the hub, one of each Stable Diffusion family."""

import json

import diffusers
import torch
from diffusers import MotionAdapter, StableDiffusionPipeline, StableDiffusionXLPipeline
from transformers import CLIPTextModelWithProjection

from swiftpie.backbones.hub import FACTS
from swiftpie.backbones.presets import PRESETS
from tests.tiny.adapters import make_lora, make_own_adapter, make_public_adapter
from tests.tiny.networks import (
    EMBEDS,
    WIDTHS,
    image_encoder,
    text_encoder,
    tiny_autoencoder,
    tiny_tokenizer,
    tiny_twin,
    tiny_unet,
)

SCHEDULERS = {  # as the repositories have them
    name: getattr(diffusers, settings["_class_name"]).from_config(settings)
    for name, settings in FACTS["schedulers"].items()
}
SDXS, TURBO = "IDKiro/sdxs-512-dreamshaper", "stabilityai/sd-turbo"


def make_pipeline(folder, family, *, variant=None, is_shallow=True, scheduler=None):
    """Write a whole pipeline into `folder`, an image encoder in the folder above, and return it."""
    torch.manual_seed(1)
    vae = tiny_twin() if family == "sdxs" else tiny_autoencoder()
    networks = {"unet": tiny_unet(family, is_shallow=is_shallow), "vae": vae}
    first = WIDTHS[family] if family != "sdxl" else 16
    networks["text_encoder"] = text_encoder(first)
    others = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if family == "sdxl":
        wide = text_encoder(WIDTHS[family] - first, kind=CLIPTextModelWithProjection)
        networks["text_encoder_2"] = wide
        others = {"tokenizer_2": tiny_tokenizer()}
    kind = StableDiffusionXLPipeline if family == "sdxl" else StableDiffusionPipeline
    pipeline = kind(
        **networks,
        **others,
        tokenizer=tiny_tokenizer(),
        scheduler=scheduler or SCHEDULERS[SDXS if family == "sdxs" else TURBO],
    )
    pipeline.save_pretrained(folder, variant=variant)
    make_image_encoder(folder.parent / "encoder")
    return folder


def make_image_encoder(folder, *, features=EMBEDS):
    torch.manual_seed(2)
    image_encoder(features=features).save_pretrained(folder)
    return folder


def make_model(folder, family, *, adapter="own", is_shallow=True, **settings):
    """Write a pipeline and an adapter, "own" or "public", into `folder`; return what loads them."""
    make_pipeline(folder / "pipeline", family, is_shallow=is_shallow)
    make = {"own": make_own_adapter, "public": make_public_adapter}[adapter]
    make(folder / f"{adapter}.safetensors", family, is_shallow=is_shallow, **settings)
    return choices_in(folder, f"{adapter}.safetensors")


def choices_in(folder, adapter="own.safetensors"):
    """Return what loads the pipeline in `folder`, with an adapter there or elsewhere, or none."""
    seen = {"adapter": folder / adapter, "image_encoder": folder / "encoder"} if adapter else {}
    return {"weights": folder / "pipeline", **seen}


def make_unet(folder, family, *, seed=5, is_shallow=True):
    unet = tiny_unet(family, is_shallow=is_shallow)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in unet.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    unet.save_pretrained(folder)
    return folder


def make_motion(folder, *, is_shallow=True):
    """Write motion modules for 1.5 and a LoRA, in the layout of diffusers; return the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(8)
        modules = MotionAdapter(
            block_out_channels=(16, 32, 32, 32),
            motion_layers_per_block=1 if is_shallow else 2,
            motion_norm_num_groups=8,
        )
    modules.save_pretrained(folder)
    make_lora(folder / PRESETS.get("animatelcm").lora, "sd15", is_shallow=is_shallow)
    return folder


def save_whole(pipeline, folder, *, tokenizer, pieces=False):
    """Write a pipeline as the hub has it, with the class of its `tokenizer`; return the folder.

    Its text encoder is written in two `pieces`, if requested.
    """
    pipeline.save_pretrained(folder)
    if pieces:
        (folder / "text_encoder" / "model.safetensors").unlink()
        size = sum(weight.nbytes for weight in pipeline.text_encoder.parameters())
        pipeline.text_encoder.save_pretrained(
            folder / "text_encoder", max_shard_size=size // 2 + 4096
        )
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", tokenizer]
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
