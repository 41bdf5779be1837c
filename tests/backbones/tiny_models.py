"""Tiny random models in the folder layouts of the hub, one of each Stable Diffusion family."""

import json

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DEISMultistepScheduler,
    EulerDiscreteScheduler,
    MotionAdapter,
)
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan
from swiftpie.backbones.adapters import save_adapter
from swiftpie.backbones.load.ip_adapter import load_into, read_ip_adapter
from swiftpie.backbones.load.safe import flatten
from swiftpie.backbones.presets import PRESETS
from swiftpie.models.denoiser import UNetDenoiser
from swiftpie.noise import scaled_linear_step
from tests.parity.ip_adapter import EMBEDS, HIDDEN, WIDTHS, adapter_tensors, tiny_unet

ADAPTERS = {  # names of public files, see tests.parity.ip_adapter
    "sd15": "ip-adapter_sd15",
    "sd21": "swiftedit ip_adapter.bin",
    "sdxl": "ip-adapter_sdxl_vit-h",
}
UP_AND_MIDDLE = frozenset({Block.MIDDLE, Block.UP})
POOLED = 12  # width of SDXL's text vector, as `tiny_unet` expects it
PIPELINES = {"sd15": "StableDiffusionPipeline", "sd21": "StableDiffusionPipeline"}
PIPELINES |= {"sdxl": "StableDiffusionXLPipeline", "sdxs": PIPELINES["sd15"]}
TOKENS = ["<|startoftext|>", "<|endoftext|>"]


def make_pipeline(folder, family, *, variant=None, is_shallow=False):
    """Write a whole pipeline into `folder`, an image encoder in the folder above, and return it."""
    torch.manual_seed(1)
    vae = tiny_twin() if family == "sdxs" else tiny_autoencoder()
    networks = {"unet": tiny_unet(family, is_shallow=is_shallow), "vae": vae}
    first = WIDTHS[family] if family != "sdxl" else 16
    networks["text_encoder"] = text_tower(CLIPTextModel, first)
    if family == "sdxl":
        networks["text_encoder_2"] = text_tower(CLIPTextModelWithProjection, WIDTHS[family] - first)
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


def same(first, second):
    """Whether two files or networks hold the same tensors; their names have to be alike."""
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


TOWER = {"hidden_size": HIDDEN, "intermediate_size": 64, "num_hidden_layers": 2}
TOWER |= {"num_attention_heads": 4, "image_size": 32, "patch_size": 8}


def make_image_encoder(folder, *, features=EMBEDS):
    torch.manual_seed(2)
    config = CLIPVisionConfig(**TOWER, projection_dim=features)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def make_public_adapter(path, family, *, name=None, is_shallow=False):
    tensors = adapter_tensors(name or ADAPTERS[family], tiny_unet(family, is_shallow=is_shallow))
    save_file(flatten(tensors), path)
    return path


def make_own_adapter(path, family, *, is_shallow=False, **changes):
    unet = tiny_unet(family, is_shallow=is_shallow)
    adapter = read_ip_adapter(adapter_tensors(ADAPTERS[family], unet))
    settings = {"gate": 0.5, "semantic": UP_AND_MIDDLE, "detail": UP_AND_MIDDLE} | changes
    plan = BranchPlan(token_width=WIDTHS[family], **settings)
    denoiser = UNetDenoiser(unet, plan, reference_step=scaled_linear_step(100))
    load_into(adapter, denoiser.installation)
    save_adapter(
        path,
        installation=denoiser.installation,
        projector=adapter.projector.module,
        family=family,
        t_ref=100,
        defaults={"identity_scale": 0.8, "detail_scale": 0.6},
    )
    return path


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


def make_unet(folder, family, *, seed=5, is_shallow=False):
    unet = tiny_unet(family, is_shallow=is_shallow)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in unet.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    unet.save_pretrained(folder)
    return folder


def make_lora(path, family, *, rank=2, is_shallow=False, seed=6):
    """Write a LoRA of queries and keys, spelled as published ones are, and return its path."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, layer in tiny_unet(family, is_shallow=is_shallow).named_modules():
        if name.endswith(("to_q", "to_k")):
            key = f"lora_unet_{name.replace('.', '_')}"
            down = torch.randn(rank, layer.in_features, generator=generator)
            up = torch.randn(layer.out_features, rank, generator=generator) / rank
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
            tensors[f"{key}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)
    return path


def make_motion(folder, *, is_shallow=False):
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


def outspoken(network):
    for weight in network.parameters():
        if weight.ndim == 2:
            nn.init.normal_(weight, std=1.5 * weight.shape[1] ** -0.5)
    return network


def tiny_autoencoder():
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        scaling_factor=0.18215,
    ).eval()


def tiny_twin():
    """An autoencoder of the tiny kind, smaller still, whose pictures are neither dark nor flat."""
    network = AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(1, 1, 1, 1),
    ).eval()
    last = network.decoder.layers[-1]
    with torch.no_grad():
        last.weight.mul_(8)
        last.bias.fill_(0.5)
    return network


def text_tower(kind, width):
    config = CLIPTextConfig(
        vocab_size=len(vocabulary()),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        projection_dim=POOLED,
        bos_token_id=len(vocabulary()) - 2,
        eos_token_id=len(vocabulary()) - 1,
        pad_token_id=0,
    )
    return kind(config).eval()


def tiny_tokenizer():
    return CLIPTokenizer(vocab=vocabulary(), merges=[], model_max_length=77)


def vocabulary():
    letters = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *TOKENS]
    return {token: number for number, token in enumerate(tokens)}
