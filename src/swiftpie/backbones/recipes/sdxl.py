"""Stable Diffusion XL in 1 to 4 steps, with IP-Adapter."""

from functools import partial

from swiftpie.backbones.presets import SDXL_BASE
from swiftpie.backbones.recipes import Recipe, Use, published
from swiftpie.registry import by_name

WITH_A_PROMPT = {"identity_scale": 0.5}  # what IP-Adapter's authors advise beside a prompt
FOR_FACES = {"identity_scale": 0.8}  # what FastFace draws with

_recipe = partial(
    Recipe,
    adapter=published("h94/IP-Adapter", "sdxl_models/ip-adapter_sdxl_vit-h.safetensors"),
    image_encoder=published("h94/IP-Adapter", "models/image_encoder"),
    # XL's own overflows in float16; this one has the same latents and does not.
    autoencoder=published("madebyollin/sdxl-vae-fp16-fix"),
    scales=WITH_A_PROMPT,
    # A public adapter has no detail branch. This one needs no training; we never saw what it draws.
    detail="joint",
    detail_mask="inline",
)
_of_base = partial(_recipe, base=published(SDXL_BASE))
# What FastFace draws with. Adapter and face encoder are for non-commercial research only.
_face_id = partial(
    _of_base,
    use=Use.FACE,
    adapter=published("h94/IP-Adapter-FaceID", "ip-adapter-faceid-plusv2_sdxl.bin"),
    allow_pickle=True,
    face_encoder="insightface",  # with whose vectors the adapter was trained
    detail=None,  # FastFace steers the semantic branch alone
    detail_mask=None,
    scales=FOR_FACES,
)

RECIPES = by_name(
    _recipe(
        name="sdxl-turbo",
        summary="512 px in one step, or up to 4; the one to try first.",
        preset="sdxl-turbo",
        weights=published("stabilityai/sdxl-turbo"),
    ),
    _of_base(
        name="sdxl-lightning-4",
        summary="1024 px in 4 steps; every part may be used commercially.",
        preset="sdxl-lightning-4",
        weights=published("ByteDance/SDXL-Lightning", "sdxl_lightning_4step_unet.safetensors"),
    ),
    _of_base(
        name="hyper-sdxl-1",
        summary="1024 px in one step, or up to 8; needs the extra `lora`.",
        preset="hyper-sdxl-1-lora",
        weights=published("ByteDance/Hyper-SD", "Hyper-SDXL-1step-lora.safetensors"),
    ),
    _of_base(
        name="lcm-sdxl",
        summary="1024 px in 4 steps, or 1 to 8, with light guidance; needs the extra `lora`.",
        preset="lcm-lora-sdxl",
        weights=published("latent-consistency/lcm-lora-sdxl", "pytorch_lora_weights.safetensors"),
    ),
    _of_base(
        name="face-plus",
        summary="A person's face, 1024 px in 4 steps; every part may be used commercially.",
        preset="sdxl-lightning-4",
        use=Use.FACE,
        weights=published("ByteDance/SDXL-Lightning", "sdxl_lightning_4step_unet.safetensors"),
        adapter=published(
            "h94/IP-Adapter", "sdxl_models/ip-adapter-plus-face_sdxl_vit-h.safetensors"
        ),
        face_encoder="opencv",
        detail=None,  # FastFace steers the semantic branch alone
        detail_mask=None,
        scales=FOR_FACES,
    ),
    _face_id(
        name="faceid-lightning",
        summary="A face by its vector, 1024 px in 4 steps; for non-commercial research only.",
        preset="sdxl-lightning-4",
        weights=published("ByteDance/SDXL-Lightning", "sdxl_lightning_4step_unet.safetensors"),
    ),
    _face_id(
        name="faceid-hyper",
        summary="A face by its vector, 4 steps by Hyper-SD's LoRA (extra `lora`); for research.",
        preset="hyper-sdxl-4",
        weights=published("ByteDance/Hyper-SD", "Hyper-SDXL-4steps-lora.safetensors"),
    ),
    _face_id(
        name="faceid-lcm",
        summary="A face by its vector, 4 steps by the LCM LoRA (extra `lora`); for research.",
        preset="lcm-lora-sdxl",
        weights=published("latent-consistency/lcm-lora-sdxl", "pytorch_lora_weights.safetensors"),
    ),
)
