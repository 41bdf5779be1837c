"""Loads a model of full size with random weights and tells what memory and time it takes.

Run `python -m benchmarks.full_size` in the folder of the repository; the weights go to a
temporary folder, 5 GB for SD2.1 and 12 GB for SDXL. Pictures are noise: only figures count.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

import swiftpie
from swiftpie.attention.detail import Merge
from swiftpie.attention.install import Plan
from swiftpie.models.unet import UP_AND_MIDDLE
from tests.backbones.tiny_models import tiny_tokenizer, vocabulary

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
PRESETS = {"sd21": "sd-turbo", "sdxl": "sdxl-turbo"}
TOKEN_WIDTHS = {"sd21": 1024, "sdxl": 2048}
NUM_TOKENS, FEATURES = 4, 1024  # of a plain IP-Adapter on CLIP ViT-H
VOCABULARY = 49408  # CLIP's; the tokenizer here uses few of them

SD21_UNET = {
    "sample_size": 64,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
TEXT_SIZES = {  # width, layers, heads, width of the projection
    "clip-l": (768, 12, 12, 768),
    "open-clip-h": (1024, 23, 16, 1024),
    "open-clip-g": (1280, 32, 20, 1280),
}


def main() -> None:
    """Make a model in one process and measure it in this one, so that making costs nothing."""
    options = parse_options()
    if options.make is not None:
        make_model(options.make, family=options.family, dtype=DTYPES[options.dtype])
        return
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        arguments = ["--family", options.family, "--dtype", options.dtype, "--make", folder]
        command = [sys.executable, "-m", "benchmarks.full_size", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        facts = measure(Path(folder), options)
    json.dump(facts, sys.stdout, indent=2)
    sys.stdout.write("\n")


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=sorted(PRESETS), default="sd21")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--side-px", type=int, default=512)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-edit", action="store_true", help="leave the second U-Net out")
    parser.add_argument("--folder", help="where the temporary folder goes")
    parser.add_argument("--make", type=Path, help="only write the model there")
    return parser.parse_args()


def measure(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Load, encode, personalize and edit once; return what it took."""
    can_edit = not options.no_edit
    stages: dict[str, float] = {}
    timings: dict[str, dict[str, float]] = {}
    plan = Plan(TOKEN_WIDTHS[options.family], merge=Merge.JOINT, detail=UP_AND_MIDDLE)
    started = time.perf_counter()
    session = swiftpie.load(
        PRESETS[options.family],
        device=options.device,
        dtype=DTYPES[options.dtype],
        weights=folder / "pipeline",
        adapter=folder / "adapter.safetensors",
        image_encoder=folder / "image_encoder",
        inversion=folder / "pipeline" / "unet" if can_edit else None,
        plan=plan,
        offline=True,
    )
    stages["load"] = time.perf_counter() - started
    loaded_mib = peak_memory_mib()
    size = (options.side_px, options.side_px)
    started = time.perf_counter()
    identity = session.encode_identity(reference(options.side_px))
    stages["encode_identity"] = time.perf_counter() - started
    started = time.perf_counter()
    result = session.personalize(identity, "a red cube on the moon", size_px=size)
    stages["personalize"] = time.perf_counter() - started
    timings["personalize"] = dict(result.timings_ms)
    if can_edit:
        started = time.perf_counter()
        edited = session.edit(result.images[0], "a blue cone", source_prompt="a red cube")
        stages["edit"] = time.perf_counter() - started
        timings["edit"] = dict(edited.timings_ms)
    unet = session.components.denoiser.installation.unet
    return {
        "family": options.family,
        "dtype": options.dtype,
        "device": options.device,
        "threads": torch.get_num_threads(),
        "side_px": options.side_px,
        "unet_parameters": sum(weight.numel() for weight in unet.parameters()),
        "weights_mib": sum(f.stat().st_size for f in folder.rglob("*.safetensors")) / 2**20,
        "peak_memory_mib": {"after_loading": loaded_mib, "in_the_end": peak_memory_mib()},
        "seconds": stages,
        "timings_ms": timings,
    }


def peak_memory_mib() -> float:
    """Return the most main memory of this process so far, pages of mapped files among it."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**10 if sys.platform != "darwin" else peak / 2**20


def reference(side_px: int) -> Image.Image:
    """Return a subject on a transparent ground."""
    picture = Image.new("RGBA", (side_px, side_px))
    box = [side_px // 8, side_px // 6, 7 * side_px // 8, 5 * side_px // 6]
    ImageDraw.Draw(picture).ellipse(box, fill=(200, 40, 70, 255))
    return picture


def make_model(folder: Path, *, family: str, dtype: torch.dtype) -> None:
    """Write a pipeline, an image encoder and an adapter in the layouts of the hub."""
    torch.set_num_threads(1)
    pipeline = folder / "pipeline"
    sizes = SDXL_UNET if family == "sdxl" else SD21_UNET
    unet = write_network(pipeline / "unet", lambda: UNet2DConditionModel(**sizes), dtype)
    write_network(pipeline / "vae", autoencoder, dtype)
    write_text(pipeline, "", CLIPTextModel, dtype, "clip-l" if family == "sdxl" else "open-clip-h")
    if family == "sdxl":
        write_text(pipeline, "_2", CLIPTextModelWithProjection, dtype, "open-clip-g")
    write_network(folder / "image_encoder", vision_tower, dtype)
    shapes = adapter_shapes(unet, TOKEN_WIDTHS[family])
    tensors = {name: random_tensor(shape, dtype) for name, shape in shapes.items()}
    save_file(tensors, folder / "adapter.safetensors")


def write_network(folder: Path, build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """Write config and random weights of a network that itself never has any; return it."""
    with torch.device("meta"):
        network = build()
    folder.mkdir(parents=True)
    if isinstance(network, (UNet2DConditionModel, AutoencoderKL)):
        network.save_config(folder)
        name = "diffusion_pytorch_model"
    else:
        network.config.save_pretrained(folder)
        name = "model"
    tensors = {key: random_tensor(t.shape, dtype) for key, t in network.state_dict().items()}
    variant = "" if dtype is torch.float32 else ".fp16"
    save_file(tensors, folder / f"{name}{variant}.safetensors")
    return network


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return weights that keep the size of what passes; vectors are scales of norms or biases."""
    if len(shape) == 1:
        return torch.full(shape, 0.5, dtype=dtype)
    reach = math.sqrt(3 / math.prod(shape[1:]))
    return torch.empty(shape, dtype=dtype).uniform_(-reach, reach)


def write_text(
    pipeline: Path, suffix: str, kind: type[nn.Module], dtype: torch.dtype, size: str
) -> None:
    """Write one text encoder and its tokenizer."""
    width, layers, heads, projected = TEXT_SIZES[size]
    config = CLIPTextConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=projected,
        bos_token_id=len(vocabulary()) - 2,
        eos_token_id=len(vocabulary()) - 1,
    )
    write_network(pipeline / f"text_encoder{suffix}", lambda: kind(config), dtype)
    tiny_tokenizer().save_pretrained(pipeline / f"tokenizer{suffix}")


def autoencoder() -> AutoencoderKL:
    """Return that of Stable Diffusion."""
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=4,
    )


def vision_tower() -> CLIPVisionModelWithProjection:
    """Return CLIP ViT-H, 224 px."""
    config = CLIPVisionConfig(
        hidden_size=1280,
        intermediate_size=5120,
        num_hidden_layers=32,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=FEATURES,
    )
    return CLIPVisionModelWithProjection(config)


def adapter_shapes(unet: nn.Module, width: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a plain IP-Adapter for `unet`."""
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.proj.weight": (NUM_TOKENS * width, FEATURES),
        "image_proj.proj.bias": (NUM_TOKENS * width,),
        "image_proj.norm.weight": (width,),
        "image_proj.norm.bias": (width,),
    }
    for number, path in enumerate(unet.attn_processors):
        layer = unet.get_submodule(path.removesuffix(".processor"))
        if layer.is_cross_attention:
            for part in "kv":
                name = f"ip_adapter.{number}.to_{part}_ip.weight"
                shapes[name] = (layer.inner_dim, width)
    return shapes


if __name__ == "__main__":
    main()
