"""Public adapter families, random and small, through diffusers' own loader and through ours."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import BranchPlan, install
from swiftpie.backbones.load.ip_adapter import fuse_lora, load_into, read_ip_adapter
from swiftpie.models.vision import Feature

BOUND = 1e-5
WIDTHS = {"sd15": 24, "sd21": 32, "sdxl": 40, "sdxs": 24}  # of a token; in full size 768 to 2048
SCALES = (0.3, 1.0)
HIDDEN, EMBEDS, FACE = 48, 20, 16  # of features; in full size 1280, 1024 or 1280, and 512
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


def tiny_unet(backbone, *, is_shallow=False):
    """A random U-Net with the layers of `backbone`, or fewer of each kind, and few channels."""
    torch.manual_seed(0)
    cross, plain = "CrossAttnDownBlock2D", "DownBlock2D"
    settings = {
        "sample_size": 16,
        "block_out_channels": (16, 32, 32, 32),
        "cross_attention_dim": WIDTHS[backbone],
        "attention_head_dim": 4,
        "norm_num_groups": 8,
        "layers_per_block": 1 if is_shallow else 2,
    }
    if backbone == "sd21":
        settings |= {"attention_head_dim": (2, 4, 4, 4), "use_linear_projection": True}
    if backbone == "sdxs":
        settings |= {
            "block_out_channels": (16, 32, 32),
            "down_block_types": (plain, cross, cross),
            "mid_block_type": None,
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "layers_per_block": 1,
        }
    if backbone == "sdxl":
        settings |= {
            "block_out_channels": (16, 32, 32),
            "down_block_types": (plain, cross, cross),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "transformer_layers_per_block": (1, 1, 1) if is_shallow else (1, 2, 10),
            "attention_head_dim": (2, 4, 4),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 12,
        }
    return UNet2DConditionModel(**settings).eval().requires_grad_(False)


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


def features_for(projector, *, batch=2):
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(batch, 9, projector.feature_width, generator=generator)
    face = torch.randn(batch, FACE, generator=generator)
    return {
        Feature.EMBEDS: (hidden[:, 0],),
        Feature.HIDDEN: (hidden,),
        Feature.FACE: (face,),
        Feature.FACE_AND_HIDDEN: (face, hidden),
    }[projector.feature]


def theirs(unet, source, *, folder=None):
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    place = {"subfolder": "", "weight_name": source if folder else None}
    pipeline.load_ip_adapter(folder or source, image_encoder_folder=None, **place)
    return pipeline


def their_tokens(pipeline, features, *, version=0):
    """Tokens (B, K, D) of diffusers' projector; features have one picture a sample."""
    [projection] = pipeline.unet.encoder_hid_proj.image_projection_layers
    if version:
        projection.shortcut = version == 2
        projection.clip_embeds = features[1][:, None]
    return projection(features[0])


def unet_inputs(unet):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    call = {
        "sample": draw(2, 4, 16, 16),
        "timestep": 999,
        "encoder_hidden_states": draw(2, 7, unet.config.cross_attention_dim),
    }
    extra = {}
    if unet.config.addition_embed_type == "text_time":
        extra = {"text_embeds": draw(2, 12), "time_ids": torch.ones(2, 6)}
    return call, extra


def their_output(pipeline, features, *, scale):
    pipeline.set_ip_adapter_scale(scale)
    call, extra = unet_inputs(pipeline.unet)
    extra["image_embeds"] = [features[0][:, None]]
    return pipeline.unet(**call, added_cond_kwargs=extra).sample


def our_output(unet, tokens, *, scale):
    call, extra = unet_inputs(unet)
    silent = silent_condition(call["sample"], width=tokens.shape[-1])
    strength = torch.full_like(silent.identity_scale, scale)
    condition = silent._replace(
        identity_tokens=tokens[:, None], identity_scale=strength, identity_background_scale=strength
    )
    keywords = {"condition": condition, "notes": {}}
    return unet(**call, added_cond_kwargs=extra, cross_attention_kwargs=keywords).sample


def difference(first, second):
    assert first.shape == second.shape
    return (first - second).abs().max().item()


def compare(name, *, is_shallow=False):
    backbone, _, settings = FILES[name]
    version = settings.get("version", 0)
    unet = tiny_unet(backbone, is_shallow=is_shallow)
    tensors = adapter_tensors(name, unet)
    adapter = read_ip_adapter(tensors, face_version=version or None)
    features = features_for(adapter.projector)
    tokens = adapter.projector.module(*features)
    pipeline = theirs(tiny_unet(backbone, is_shallow=is_shallow), tensors)
    rows = [
        (f"{name}: tokens", difference(tokens, their_tokens(pipeline, features, version=version)))
    ]
    installation = install(unet, BranchPlan(token_width=tokens.shape[-1]))
    load_into(adapter, installation)
    silent = our_output(unet, tokens, scale=0.0)
    fuse_lora(adapter, unet)
    for scale in SCALES:
        expected = their_output(pipeline, features, scale=scale)
        found = our_output(unet, tokens, scale=scale)
        rows.append((f"{name}: U-Net at scale {scale}", difference(found, expected)))
    effect = difference(our_output(unet, tokens, scale=0.0), found)
    assert effect > 100 * BOUND, f"{name} does nothing"  # else equality would say nothing
    if adapter.lora:
        effect = difference(our_output(unet, tokens, scale=0.0), silent)
        assert effect > 100 * BOUND, f"the LoRA of {name} does nothing"
    return [(what, largest, BOUND) for what, largest in rows]


@torch.no_grad()
def rows():
    return [row for name in FILES for row in compare(name)]
