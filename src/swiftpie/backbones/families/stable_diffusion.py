"""Stable Diffusion 1.5, 2.1, XL and SDXS: Turbo, SwiftBrush, Lightning, Hyper-SD and LCM.

The Turbos take 1 to 4 steps; every further step costs as much as the first.
"""

from dataclasses import replace
from functools import partial

from swiftpie.backbones.hub import Host, RepoReference
from swiftpie.backbones.presets import (
    SD15_BASE,
    SD21_BASE,
    SD_NETWORKS,
    SDXL_BASE,
    Capability,
    Preset,
    Recipe,
    Use,
    WeightsKind,
    fiftieths,
    published,
    trailing,
)
from swiftpie.config import Renoise
from swiftpie.registry import by_name

SDXL_NETWORKS = (*SD_NETWORKS, "text_encoder_2")

_preset = partial(Preset, image_size_px=512)
_of_version_2 = partial(_preset, family="sd21", timesteps=(999,), prediction_type="epsilon")
_turbo = partial(
    _preset,
    # Free up to a yearly revenue of a million dollars, and registered; see their LICENSE.md.
    licence="Stability AI Community License",
    is_commercial=None,
    timesteps=(999,),
    more_steps=(2, 3, 4),
    prediction_type="epsilon",
    noise_scale="sigma",
)
_for_15 = partial(
    Preset, family="sd15", base=SD15_BASE, image_size_px=512, prediction_type="epsilon"
)
_for_xl = partial(
    Preset,
    family="sdxl",
    base=SDXL_BASE,
    networks=SDXL_NETWORKS,
    image_size_px=1024,
    prediction_type="epsilon",
)


def _lightning(num_steps: int) -> Preset:
    return _for_xl(
        name=f"sdxl-lightning-{num_steps}",
        summary=f"{num_steps} steps, distilled progressively with a discriminator.",
        source="hub:ByteDance/SDXL-Lightning",
        file=f"sdxl_lightning_{num_steps}step_unet.safetensors",
        kind=WeightsKind.UNET,
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        timesteps=trailing(num_steps),
        noise_scale="sigma",
    )


def _dmd2(num_steps: int, timesteps: tuple[int, ...]) -> Preset:
    """Return a preset of DMD2 at the timesteps of its card: at others, it draws badly."""
    return _for_xl(
        name=f"dmd2-sdxl-{num_steps}",
        summary=f"{'One step' if num_steps == 1 else f'{num_steps} steps'}, distilled by matching "
        "distributions; its one-step file is a pickle.",
        source="hub:tianweiy/DMD2",
        file=f"dmd2_sdxl_{num_steps}step_unet_fp16.{'bin' if num_steps == 1 else 'safetensors'}",
        kind=WeightsKind.UNET,
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        timesteps=timesteps,
        renoise="lcm",
    )


def _hyper(
    name: str,
    file: str,
    *,
    timesteps: tuple[int, ...] = (999,),
    kind: WeightsKind = WeightsKind.LORA,
    renoise: Renoise = "tcd",
    is_unified: bool = False,
) -> Preset:
    """Return a preset of Hyper-SD; one LoRA is for 1 to 8 steps, with a sampler of its own."""
    steps = "One step" if len(timesteps) == 1 else f"{len(timesteps)} steps"
    return _for_xl(
        name=name,
        summary=f"{'1 to 8 steps' if is_unified else steps}, distilled from trajectories cut into "
        "segments.",
        source="hub:ByteDance/Hyper-SD",
        file=f"Hyper-{file}.safetensors",
        kind=kind,
        licence="openrail++",  # in its LICENSE.md, for all but what is made for FLUX and SD3
        is_commercial=True,  # openrail++ allows it, with limits on what for
        timesteps=timesteps,
        more_steps=tuple(range(2, 9)) if is_unified else (),
        spacing="fiftieths" if is_unified else "trailing",
        renoise=renoise,
        eta=1.0 if is_unified else 0.0,
    )


_moving = partial(
    _for_15,
    kind=WeightsKind.MOTION,
    betas="linear",
    capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.ANIMATE}),
)


def _animates(num_steps: int) -> Preset:
    """Return a preset of AnimateDiff-Lightning, which has a file for each number of steps."""
    summary = f"Animations in {num_steps} steps, distilled progressively with a discriminator."
    return _moving(
        name=f"motion-lightning-{num_steps}",
        summary=summary if num_steps > 1 else "Animations in one step; an experiment.",
        source="hub:ByteDance/AnimateDiff-Lightning",
        file=f"animatediff_lightning_{num_steps}step_diffusers.safetensors",
        licence="creativeml-openrail-m",
        is_commercial=True,  # it allows it, with limits on what for
        timesteps=trailing(num_steps),
        noise_scale="sigma",
    )


PRESETS = by_name(
    # The authors' script rounds the share of signal at 999 to 0.0047; this is exact, 0.00466.
    _of_version_2(
        name="swiftbrush-v1",
        summary="One step, distilled from Stable Diffusion 2.1 without images.",
        source="hub:thuanz123/swiftbrush",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
    ),
    _of_version_2(
        name="swiftbrush-v2",
        summary="One step, in the release of SwiftEdit, which the recipe `swiftedit` gets.",
        source="local:swiftedit_weights/sbv2_0.5",
        # The code is BSD-3-Clause-Clear; the weights derive from SD-Turbo's.
        licence="as SD-Turbo",
        is_commercial=None,
        capabilities=frozenset({Capability.TEXT, Capability.PERSONALIZE, Capability.EDIT}),
        kind=WeightsKind.UNET,
        base=SD21_BASE,
    ),
    _turbo(
        name="sd-turbo",
        summary="1 to 4 steps, distilled from Stable Diffusion 2.1 with a discriminator.",
        source="hub:stabilityai/sd-turbo",
        family="sd21",
    ),
    _turbo(
        name="sdxl-turbo",
        summary="1 to 4 steps, distilled from Stable Diffusion XL with a discriminator.",
        # Its LICENSE.md is the Community License; its card is stricter, and counts.
        licence="sai-nc-community, by its card",
        is_commercial=False,
        source="hub:stabilityai/sdxl-turbo",
        family="sdxl",
        networks=SDXL_NETWORKS,
        renoise="euler_ancestral",
    ),
    _preset(
        name="instaflow",
        summary="One step of a straightened flow, from Stable Diffusion 1.5.",
        source="hub:XCLiu/instaflow_0_9B_from_sd_1_5",
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="sd15",
        timesteps=(1000,),
        prediction_type="flow",
        noise_scale="flow",
    ),
    # Its scheduler stops at the noise of timestep 0; so does this one, without fresh noise.
    _preset(
        name="sdxs-512",
        summary="One step, a third of Stable Diffusion 1.5, with a tiny autoencoder: for CPUs.",
        source="hub:IDKiro/sdxs-512-dreamshaper",
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        family="sdxs",
        timesteps=(999,),
        prediction_type="epsilon",
        renoise="tcd",
        detail="joint",  # no adapter is published for its layers
        detail_mask="inline",
    ),
    *map(_lightning, (2, 4, 8)),
    replace(
        _lightning(1),
        summary="One step that predicts the picture itself; an experiment of its authors.",
        file="sdxl_lightning_1step_unet_x0.safetensors",
        prediction_type="sample",
    ),
    _dmd2(1, (399,)),
    _dmd2(4, (999, 749, 499, 249)),
    # An older listing of this one ends in -unet.
    _hyper(
        "hyper-sdxl-1", "SDXL-1step-Unet", timesteps=(800,), kind=WeightsKind.UNET, renoise="lcm"
    ),
    _hyper("hyper-sdxl-1-lora", "SDXL-1step-lora", is_unified=True),
    # As their authors' scheduler, they keep the noise of timestep 0, 0.03, in the end.
    *(
        _hyper(
            f"hyper-sdxl-{num_steps}", f"SDXL-{num_steps}steps-lora", timesteps=trailing(num_steps)
        )
        for num_steps in (2, 4, 8)
    ),
    *(
        preset(
            name=f"lcm-lora-{preset.keywords['family']}",
            summary="1 to 8 steps; fits most fine-tuned models; sharper with guidance of 1 to 2.",
            source=f"hub:latent-consistency/{repository}",
            file="pytorch_lora_weights.safetensors",  # as diffusers names a LoRA
            kind=WeightsKind.LORA,
            licence="openrail++",
            is_commercial=True,  # openrail++ allows it, with limits on what for
            timesteps=fiftieths(4),
            more_steps=(1, 2, 3, 5, 6, 7, 8),
            spacing="fiftieths",
            renoise="lcm",
        )
        for preset, repository in ((_for_15, "lcm-lora-sdv1-5"), (_for_xl, "lcm-lora-sdxl"))
    ),
    _moving(
        name="animatelcm",
        summary="Animations in 4 steps, or 1 to 8, by consistency of pictures and of motion.",
        source="hub:wangfuyun/AnimateLCM",
        lora="AnimateLCM_sd15_t2v_lora.safetensors",
        licence="as its card states",
        is_commercial=None,
        timesteps=fiftieths(4),
        more_steps=(1, 2, 3, 5, 6, 7, 8),
        spacing="fiftieths",
        renoise="lcm",
    ),
    *map(_animates, (1, 2, 4, 8)),
)


def _released(path: str) -> str:
    """Return how a part of SwiftEdit's release is called: a place in the archive it comes as."""
    place = f"swiftedit_weights/{path}"
    return str(RepoReference("Qualcomm-AI-research/SwiftEdit", place, "v1.0", Host.GITHUB))


# The only public adapter of this family, trained through SwiftBrush, which began as SD-Turbo.
_of_version_21 = partial(
    Recipe,
    adapter=_released("ip_adapter_ckpt-90k/ip_adapter.bin"),
    image_encoder=published("h94/IP-Adapter", "models/image_encoder"),
    allow_pickle=True,
)

WITH_A_PROMPT = {"identity_scale": 0.5}  # what IP-Adapter's authors advise with a prompt
FOR_FACES = {"identity_scale": 0.8}  # what FastFace draws with

_of_xl = partial(
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
_of_base = partial(_of_xl, base=published(SDXL_BASE))
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

# No public source is known here for a commit of these modules, so their newest files are taken.
_of_motion = partial(
    Recipe,
    use=Use.ANIMATE,
    base=published(SD15_BASE),
    adapter=published("h94/IP-Adapter", "models/ip-adapter_sd15.safetensors"),
    image_encoder=published("h94/IP-Adapter", "models/image_encoder"),
    scales=WITH_A_PROMPT,
    detail="joint",  # as of Stable Diffusion XL's recipes
    detail_mask="inline",
)

RECIPES = by_name(
    _of_version_21(
        name="sd-turbo",
        summary="512 px in one step, or up to 4, with the adapter of SwiftEdit's release.",
        preset="sd-turbo",
        weights=published("stabilityai/sd-turbo"),
        scales={"identity_scale": 0.5},
        detail="joint",  # as of Stable Diffusion XL's recipes
        detail_mask="inline",
    ),
    _of_version_21(
        name="swiftedit",
        summary="Edits of photographs by a sentence, 512 px in one step, with SwiftEdit's weights.",
        preset="swiftbrush-v2",
        use=Use.EDIT,
        weights=_released("sbv2_0.5"),
        base=published(SD21_BASE),
        inversion=_released("inverse_ckpt-120k/unet_ema"),
        edit_mode="released",  # as these weights were published to be used
    ),
    _of_xl(
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
    _of_motion(
        name="animatelcm",
        summary="Animations, 512 px in 4 steps, or 1 to 8; needs the extra `lora`.",
        preset="animatelcm",
        weights=published("wangfuyun/AnimateLCM"),
    ),
    _of_motion(
        name="motion-lightning-4",
        summary="Animations, 512 px in 4 steps; every part may be used commercially.",
        preset="motion-lightning-4",
        weights=published(
            "ByteDance/AnimateDiff-Lightning", "animatediff_lightning_4step_diffusers.safetensors"
        ),
    ),
    Recipe(
        name="sdxs",
        summary="512 px in one step, the quickest without a graphics card; no adapter is needed.",
        preset="sdxs-512",
        weights="IDKiro/sdxs-512-dreamshaper@76f720262bb051da75666b22c902a78c8e16c763",
        detail="joint",
        detail_mask="inline",
    ),
)


def __getattr__(name: str) -> object:
    """Return `FAMILIES`, which load PyTorch, when they are needed first."""
    if name == "FAMILIES":
        from swiftpie.backbones import unet_family

        return unet_family.FAMILIES
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
