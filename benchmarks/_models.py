"""Models of full size with random weights, in the layouts of the hub, and what they draw.

Run by other benchmarks as `python -m benchmarks._models FAMILY DTYPE FOLDER`, in a process of its
own so that making weights costs the measured one nothing.
"""

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderTiny,
    Flux2Transformer2DModel,
    ModelMixin,
    MotionAdapter,
    UNet2DConditionModel,
)
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from swiftpie.engine.graphs.runtime import Precision
from tests.tiny import klein
from tests.tiny.adapters import make_public_adapter
from tests.tiny.folders import make_pipeline
from tests.tiny.networks import tiny_tokenizer, vocabulary

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
KLEIN, MOTION = "klein", "motion"
PRESETS = {
    "sd21": "sd-turbo",
    "sdxl": "sdxl-turbo",
    "sdxs": "sdxs-512",
    KLEIN: "flux2-klein-4b",
    MOTION: "motion-lightning-1",
}
WITHOUT_ADAPTER = frozenset({KLEIN, "sdxs"})  # their denoiser reads references by itself
TOKEN_WIDTHS = {"sd21": 1024, "sdxl": 2048, MOTION: 768}
NUM_TOKENS, FEATURES = 4, 1024  # of a plain IP-Adapter on CLIP ViT-H
ADAPTER, TINY_DECODER = "adapter.safetensors", "tiny_decoder"
MODULES = "modules"  # the folder of motion modules
REHEARSAL = "rehearsal"  # the family of tiny networks
SUBJECT = "a red cube"
PLACES = ("on the moon", "on a beach", "in a forest", "at night", "in the snow", "under water")
LOUDNESS = 16  # of random tiny decoders
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
SDXS_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "mid_block_type": None,
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
SD15_UNET: dict[str, Any] = {"sample_size": 64, "attention_head_dim": 8, "cross_attention_dim": 768}
UNETS: dict[str, dict[str, Any]] = {
    "sd21": SD21_UNET,
    "sdxl": SDXL_UNET,
    "sdxs": SDXS_UNET,
    MOTION: SD15_UNET,
}
TEXTS = {"sd21": "open-clip-h", "sdxl": "clip-l", "sdxs": "clip-l", MOTION: "clip-l"}
TEXT_SIZES = {  # width, layers, heads, width of the projection
    "clip-l": (768, 12, 12, 768),
    "open-clip-h": (1024, 23, 16, 1024),
    "open-clip-g": (1280, 32, 20, 1280),
}


KLEIN_DENOISER: dict[str, Any] = {
    "in_channels": 128,
    "num_layers": 5,
    "num_single_layers": 20,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
    "guidance_embeds": False,
}
KLEIN_TEXT: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}


@dataclass(frozen=True)
class Scene:
    """A model on disk and the size of its pictures."""

    folder: Path
    family: str
    dtype: torch.dtype
    device: torch.device
    side_px: int
    num_images: int = 1  # that one pass draws; edits change one
    can_edit: bool = True
    is_plain: bool = False  # without references, for edits by ChordEdit
    precision: Precision | None = None  # of OpenVINO, ours and the peer's; None: the best

    @property
    def has_adapter(self) -> bool:
        """Whether an adapter and an image encoder are loaded."""
        return not self.is_plain and self.family not in WITHOUT_ADAPTER

    @property
    def inverts(self) -> bool:
        """Whether edits take a second U-Net that inverts."""
        return self.can_edit and self.family not in WITHOUT_ADAPTER

    @property
    def drawing(self) -> str:
        """What a pipeline of diffusers does: without an adapter it draws from text alone."""
        return "personalize" if self.has_adapter else "generate"

    @property
    def subject(self) -> Image.Image:
        """The reference, on a transparent ground."""
        return reference(self.side_px)

    @property
    def on_white(self) -> Image.Image:
        """The reference without transparency, which others do not read."""
        ground = Image.new("RGBA", (self.side_px, self.side_px), "white")
        return Image.alpha_composite(ground, self.subject).convert("RGB")

    def picture(self, number: int) -> Image.Image:
        """Return a picture to edit, another one for each round."""
        ground = Image.new("RGBA", (self.side_px, self.side_px), (40, 90, 40 * (number % 6), 255))
        return Image.alpha_composite(ground, self.subject).convert("RGB")


def prompt(number: int, *, ahead: int = 0) -> str:
    """Return a prompt, another one for each round; `ahead` moves its subject elsewhere."""
    return f"{SUBJECT} {PLACES[(number + ahead) % len(PLACES)]}"


def reference(side_px: int) -> Image.Image:
    """Return a subject on a transparent ground."""
    picture = Image.new("RGBA", (side_px, side_px))
    box = [side_px // 8, side_px // 6, 7 * side_px // 8, 5 * side_px // 6]
    ImageDraw.Draw(picture).ellipse(box, fill=(200, 40, 70, 255))
    return picture


def main() -> None:
    """Write a model."""
    family, dtype, folder = sys.argv[1:]
    if family == REHEARSAL:
        make_rehearsal(Path(folder))
    else:
        make_model(Path(folder), family=family, dtype=DTYPES[dtype])


def make_elsewhere(folder: Path, *, family: str, dtype: str) -> None:
    """Write a model of `family` into `folder` by another process."""
    command = [sys.executable, "-m", "benchmarks._models", family, dtype, str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_rehearsal(folder: Path) -> None:
    """Write a tiny model in the shape of Stable Diffusion 2.1, to try a benchmark in seconds."""
    torch.set_num_threads(1)
    make_pipeline(folder / "pipeline", "sd21", is_shallow=False)
    (folder / "encoder").rename(folder / "image_encoder")
    make_public_adapter(folder / ADAPTER, "sd21", is_shallow=False)
    write_network(folder / TINY_DECODER, tiny_decoder, torch.float32)


def make_model(folder: Path, *, family: str, dtype: torch.dtype) -> None:
    """Write a pipeline, an image encoder and an adapter in the layouts of the hub."""
    torch.set_num_threads(1)
    if family == KLEIN:
        make_klein(folder / "pipeline", dtype)
        return
    pipeline, has_adapter = folder / "pipeline", family not in WITHOUT_ADAPTER
    unet = write_network(pipeline / "unet", lambda: UNet2DConditionModel(**UNETS[family]), dtype)
    write_network(pipeline / "vae", autoencoder if has_adapter else tiny_decoder, dtype)
    write_text(pipeline, "", CLIPTextModel, dtype, TEXTS[family])
    if not has_adapter:
        return
    if family == MOTION:
        write_network(folder / MODULES, MotionAdapter, dtype)
    if family == "sdxl":
        write_text(pipeline, "_2", CLIPTextModelWithProjection, dtype, "open-clip-g")
    write_network(folder / "image_encoder", vision_tower, dtype)
    shapes = adapter_shapes(unet, TOKEN_WIDTHS[family])
    tensors = {name: random_tensor(shape, dtype) for name, shape in shapes.items()}
    save_file(tensors, folder / ADAPTER)
    write_network(folder / TINY_DECODER, tiny_decoder, dtype)


def make_klein(folder: Path, dtype: torch.dtype) -> None:
    """Write the networks of a pipeline in the layout of the hub."""
    write_network(folder / "transformer", lambda: Flux2Transformer2DModel(**KLEIN_DENOISER), dtype)
    write_network(folder / "vae", AutoencoderKLFlux2, dtype)
    write_network(
        folder / "text_encoder",
        lambda: Qwen3ForCausalLM(Qwen3Config(**KLEIN_TEXT)),
        dtype,
        without="lm_head.weight",
    )
    klein.tokenizer().save_pretrained(folder / "tokenizer")


def write_network(
    folder: Path, build: Callable[[], Any], dtype: torch.dtype, *, without: str = ""
) -> Any:  # noqa: ANN401 - what `build` returns
    """Write config and random weights of a network that itself never has any; return it.

    `without` is the name of a weight that is tied to another one. Tiny decoders, which are not
    normalised, would draw black and white alone, so the last layer of one is quieter.
    """
    with torch.device("meta"):
        network: Any = build()
    folder.mkdir(parents=True)
    if isinstance(network, ModelMixin):
        network.save_config(folder)
        name = "diffusion_pytorch_model"
    else:
        network.config.save_pretrained(folder)
        name = "model"
    found = {key: t.shape for key, t in network.state_dict().items() if key != without}
    tensors = {key: random_tensor(shape, dtype) for key, shape in found.items()}
    if isinstance(network, AutoencoderTiny):
        tensors[f"decoder.layers.{len(network.decoder.layers) - 1}.weight"] /= LOUDNESS
    variant = "" if dtype is torch.float32 else ".fp16"
    save_file(tensors, folder / f"{name}{variant}.safetensors")
    return network


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Return weights that keep the size of what passes; vectors are scales of norms or biases."""
    if len(shape) == 1:
        return torch.full(shape, 0.5, dtype=dtype)
    reach = math.sqrt(3 / math.prod(shape[1:]))
    device = "cuda" if torch.cuda.is_available() else "cpu"  # which takes seconds a gigabyte
    return torch.empty(shape, dtype=dtype, device=device).uniform_(-reach, reach).cpu()


def write_text(
    pipeline: Path,
    suffix: str,
    kind: Callable[[CLIPTextConfig], Any],
    dtype: torch.dtype,
    size: str,
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


def tiny_decoder() -> AutoencoderTiny:
    """Return a network of the shape of TAESD."""
    return AutoencoderTiny()


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


def adapter_shapes(unet: UNet2DConditionModel, width: int) -> dict[str, tuple[int, ...]]:
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
