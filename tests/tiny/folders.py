"""Tiny random models in the folder layouts of the hub, one of each Stable Diffusion family."""

import json

import torch
from diffusers import DEISMultistepScheduler, EulerDiscreteScheduler, MotionAdapter
from transformers import CLIPTextModelWithProjection

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

PIPELINES = {"sd15": "StableDiffusionPipeline", "sd21": "StableDiffusionPipeline"}
PIPELINES |= {"sdxl": "StableDiffusionXLPipeline", "sdxs": PIPELINES["sd15"]}


def make_pipeline(folder, family, *, variant=None, is_shallow=True):
    """Write a whole pipeline into `folder`, an image encoder in the folder above, and return it."""
    torch.manual_seed(1)
    vae = tiny_twin() if family == "sdxs" else tiny_autoencoder()
    networks = {"unet": tiny_unet(family, is_shallow=is_shallow), "vae": vae}
    first = WIDTHS[family] if family != "sdxl" else 16
    networks["text_encoder"] = text_encoder(first)
    if family == "sdxl":
        wide = text_encoder(WIDTHS[family] - first, kind=CLIPTextModelWithProjection)
        networks["text_encoder_2"] = wide
    for name, network in networks.items():
        network.save_pretrained(folder / name, variant=variant)
        if name.startswith("text_encoder"):
            tiny_tokenizer().save_pretrained(folder / name.replace("text_encoder", "tokenizer"))
    scheduler = scheduler_of(family)
    scheduler.save_pretrained(folder / "scheduler")
    make_image_encoder(folder.parent / "encoder")
    kinds = {name: ["diffusers", type(network).__name__] for name, network in networks.items()}
    for name in [name for name in networks if name.startswith("text")]:
        kinds[name][0] = "transformers"
        kinds[name.replace("text_encoder", "tokenizer")] = ["transformers", "CLIPTokenizer"]
    kinds["scheduler"] = ["diffusers", type(scheduler).__name__]
    empty = ("feature_extractor", "image_encoder")
    for name in empty if family == "sdxl" else (*empty, "safety_checker"):
        kinds[name] = [None, None]
    index = {"_class_name": PIPELINES[family], "_diffusers_version": "0.40.0", **kinds}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def scheduler_of(family):
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    if family == "sdxs":
        return DEISMultistepScheduler(**betas, steps_offset=1)
    return EulerDiscreteScheduler(**betas, timestep_spacing="trailing", steps_offset=1)


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
