"""Public adapter families, random and small, through diffusers' own loader and through ours."""

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from swiftpie.attention.condition import silent_condition
from swiftpie.attention.install import BranchPlan, install
from swiftpie.backbones.load.ip_adapter import fuse_lora, load_into, read_ip_adapter
from swiftpie.models.vision import Feature
from tests.tiny.adapters import FILES, adapter_tensors
from tests.tiny.networks import FACE, tiny_unet

BOUND = 1e-5
SCALES = (0.3, 1.0)


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
