"""Files of adapters with small random tensors: the public ones, ours, and LoRAs."""

import torch
from safetensors.torch import save_file

from swiftpie.attention.condition import Block
from swiftpie.attention.install import BranchPlan
from swiftpie.backbones.adapters import save_adapter
from swiftpie.backbones.load.ip_adapter import load_into, read_ip_adapter
from swiftpie.backbones.load.safe import flatten
from swiftpie.models.denoiser import UNetDenoiser
from swiftpie.noise import scaled_linear_step
from tests.tiny.networks import EMBEDS, FACE, HIDDEN, WIDTHS, tiny_unet

INNER = 128  # of a resampler: two heads of 64
RANK = 3  # of the LoRA in FaceID files; in full size 128

# As released (h94/IP-Adapter and IP-Adapter-FaceID): what differs between the files is the
# family of the projector, the backbone, and the encoder, whose width is `EMBEDS` here.
FILES = {
    "ip-adapter_sd15": ("sd15", "linear", {}),
    "ip-adapter_sd15_vit-G": ("sd15", "linear", {"features": EMBEDS + 5}),
    "ip-adapter-plus_sd15": ("sd15", "plus", {}),
    "ip-adapter-full-face_sd15": ("sd15", "full", {}),
    "ip-adapter_sdxl": ("sdxl", "linear", {"features": EMBEDS + 5}),
    "ip-adapter_sdxl_vit-h": ("sdxl", "linear", {}),
    "ip-adapter-plus_sdxl_vit-h": ("sdxl", "plus", {"inner": 192}),
    "ip-adapter-faceid_sd15": ("sd15", "face", {"rank": RANK}),
    "ip-adapter-faceid-portrait_sd15": ("sd15", "face", {"num_tokens": 16}),
    "ip-adapter-faceid_sdxl": ("sdxl", "face", {"rank": RANK}),
    "ip-adapter-faceid-portrait_sdxl": ("sdxl", "face", {"num_tokens": 16}),
    "ip-adapter-faceid-plus_sd15": ("sd15", "face_plus", {"version": 1, "rank": RANK}),
    "ip-adapter-faceid-plusv2_sd15": ("sd15", "face_plus", {"version": 2, "rank": RANK}),
    "ip-adapter-faceid-plusv2_sdxl": ("sdxl", "face_plus", {"version": 2, "rank": RANK}),
    "swiftedit ip_adapter.bin": ("sd21", "linear", {}),
}
ADAPTERS = {  # the plain one of every family
    "sd15": "ip-adapter_sd15",
    "sd21": "swiftedit ip_adapter.bin",
    "sdxl": "ip-adapter_sdxl_vit-h",
}
FACES = {name: FILES[name] for name in FILES if "faceid" in name}
PICKLED = {"ip-adapter-faceid-plus_sd15"}  # as published; the others are read as safetensors
UP_AND_MIDDLE = frozenset({Block.MIDDLE, Block.UP})


def adapter_tensors(name, unet):
    """The file called `name` in small, random, as nested dictionaries."""
    backbone, _, settings = FILES[name]
    generator = torch.Generator().manual_seed(len(name))
    shapes = {}
    paths = [path.removesuffix(".processor") for path in unet.attn_processors]
    for number, path in enumerate(paths):
        layer = unet.get_submodule(path)
        if layer.is_cross_attention:
            for part in "kv":
                shape = (layer.inner_dim, WIDTHS[backbone])
                shapes[f"{number}.to_{part}_ip.weight"] = shape
        if "rank" in settings:
            shapes |= lora_shapes(number, layer, rank=settings["rank"])
    return {
        "image_proj": projector_tensors(name, generator),
        "ip_adapter": _random(shapes, generator),
    }


def projector_tensors(name, generator=None):
    """What of that file makes identity tokens; none of it depends on a U-Net."""
    backbone, family, settings = FILES[name]
    drawn_by = generator or torch.Generator().manual_seed(len(name))
    return _random(projector_shapes(family, WIDTHS[backbone], **settings), drawn_by)


def lora_shapes(number, layer, *, rank):
    linears = {"q": layer.to_q, "k": layer.to_k, "v": layer.to_v, "out": layer.to_out[0]}
    shapes = {}
    for name, linear in linears.items():
        shapes[f"{number}.to_{name}_lora.down.weight"] = (rank, linear.in_features)
        shapes[f"{number}.to_{name}_lora.up.weight"] = (linear.out_features, rank)
    return shapes


def projector_shapes(
    family, width, *, features=EMBEDS, num_tokens=4, inner=INNER, hidden=HIDDEN, face=FACE, **others
):
    assert others.keys() <= {"version", "rank"}
    match family:
        case "linear":
            return affine("proj", num_tokens * width, features) | norm("norm", width)
        case "full":
            wide = affine("proj.0", hidden, hidden) | affine("proj.2", width, hidden)
            return wide | norm("proj.3", width)
        case "face":
            return _face(face, num_tokens * width) | norm("norm", width)
        case "plus":
            latents = {"latents": (1, 16, inner)}
            return latents | _resampler("", inner=inner, heads=inner, width=width, hidden=hidden)
    sizes = {"inner": width, "heads": inner, "width": width, "hidden": hidden}
    resampler = _resampler("perceiver_resampler.", **sizes)
    return _face(face, num_tokens * width) | norm("norm", width) | resampler


def _face(features, out):
    return affine("proj.0", 2 * features, features) | affine("proj.2", out, 2 * features)


def _resampler(prefix, *, inner, heads, width, hidden):
    """Shapes of a resampler; `heads` is the width of all heads together."""
    shapes = affine(f"{prefix}proj_in", inner, hidden)
    shapes |= affine(f"{prefix}proj_out", width, inner) | norm(f"{prefix}norm_out", width)
    for number in range(4):
        layer = f"{prefix}layers.{number}"
        shapes |= norm(f"{layer}.0.norm1", inner) | norm(f"{layer}.0.norm2", inner)
        shapes |= {f"{layer}.0.to_q.weight": (heads, inner)}
        shapes |= {f"{layer}.0.to_kv.weight": (2 * heads, inner)}
        shapes |= {f"{layer}.0.to_out.weight": (inner, heads)}
        shapes |= norm(f"{layer}.1.0", inner)
        shapes |= {f"{layer}.1.1.weight": (4 * inner, inner)}
        shapes |= {f"{layer}.1.3.weight": (inner, 4 * inner)}
    return shapes


def affine(name, out, features):
    return {f"{name}.weight": (out, features), f"{name}.bias": (out,)}


def norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _random(shapes, generator):
    return {
        name: torch.randn(shape, generator=generator) / shape[-1] ** (len(shape) > 1 and 0.5)
        for name, shape in shapes.items()
    }


def make_public_adapter(path, family, *, name=None, is_shallow=True):
    tensors = adapter_tensors(name or ADAPTERS[family], tiny_unet(family, is_shallow=is_shallow))
    save_file(flatten(tensors), path)
    return path


def released_tensors(unet):
    """An adapter as SwiftEdit released its own, around a U-Net with processors in it."""
    saved = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()}
    paths, public = list(unet.attn_processors), adapter_tensors("swiftedit ip_adapter.bin", unet)
    for name, tensor in public["ip_adapter"].items():
        number, rest = name.split(".", 1)
        saved[f"unet.{paths[int(number)]}.{rest}"] = tensor
        saved[f"adapter_modules.{number}.{rest}"] = tensor
    for name, tensor in public["image_proj"].items():
        saved[f"image_proj_model.{name}"] = tensor
    return saved


def make_own_adapter(path, family, *, is_shallow=True, **changes):
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


def face_adapter(folder, name, *, is_shallow=True):
    tensors = adapter_tensors(name, tiny_unet(FACES[name][0], is_shallow=is_shallow))
    if name in PICKLED:
        torch.save(tensors, folder / f"{name}.bin")
        return folder / f"{name}.bin"
    save_file(flatten(tensors), folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


def make_lora(path, family, *, rank=2, is_shallow=True, seed=6):
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
