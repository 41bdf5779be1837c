"""SDXL-Lightning, Hyper-SD, DMD2 and LCM-LoRA: a base in 1 to 8 steps, by one file of weights."""

from functools import partial

from swiftpie.backbones.presets import (
    SD15_BASE,
    SDXL_BASE,
    SDXL_NETWORKS,
    Preset,
    Renoise,
    WeightsKind,
    fiftieths,
    trailing,
)
from swiftpie.registry import by_name

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
    preset = partial(
        _for_xl,
        name=f"sdxl-lightning-{num_steps}",
        source="hub:ByteDance/SDXL-Lightning",
        kind=WeightsKind.UNET,
        licence="openrail++",
        is_commercial=True,  # openrail++ allows it, with limits on what for
        timesteps=trailing(num_steps),
        noise_scale="sigma",
    )
    if num_steps == 1:  # the file with x0 in its name is the one that predicts clean latents
        return preset(
            file="sdxl_lightning_1step_unet_x0.safetensors",
            prediction_type="sample",
            summary="One step; an experiment, say its authors.",
        )
    return preset(
        file=f"sdxl_lightning_{num_steps}step_unet.safetensors",
        summary=f"{num_steps} steps, distilled progressively with a discriminator.",
    )


def _hyper(
    name: str,
    file: str,
    *,
    timesteps: tuple[int, ...] = (999,),
    kind: WeightsKind = WeightsKind.LORA,
    renoise: Renoise = "tcd",
) -> Preset:
    is_unified = renoise == "tcd"  # one LoRA for 1 to 8 steps, with a sampler of its own
    steps = "One step" if len(timesteps) == 1 else f"{len(timesteps)} steps"
    return (_for_15 if "sd15" in name else _for_xl)(
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


_dmd2 = partial(_for_xl, source="hub:tianweiy/DMD2", licence="CC-BY-NC-4.0", is_commercial=False)

PRESETS = by_name(
    *map(_lightning, (1, 2, 4, 8)),
    # For 1.5 the names of these files follow those for XL; they were not looked up.
    _hyper("hyper-sd15-1", "SD15-1step-lora"),
    # An older listing of this one ends in -unet.
    _hyper(
        "hyper-sdxl-1", "SDXL-1step-Unet", timesteps=(800,), kind=WeightsKind.UNET, renoise="lcm"
    ),
    _hyper("hyper-sdxl-1-lora", "SDXL-1step-lora"),
    # Their authors' scheduler keeps the noise of timestep 0, 0.03, in the end; ours ends clean.
    *(
        _hyper(
            f"hyper-{family.lower()}-{num_steps}",
            f"{family}-{num_steps}steps-lora",
            timesteps=trailing(num_steps),
            renoise="ddim",
        )
        for family in ("SD15", "SDXL")
        for num_steps in (2, 4, 8)
    ),
    _dmd2(
        name="dmd2-sdxl-1",
        summary="One step; a pickle, which has to be converted to safetensors first.",
        file="dmd2_sdxl_1step_unet_fp16.bin",
        kind=WeightsKind.UNET,
        timesteps=(399,),
        renoise="lcm",
        needs_pickle=True,
    ),
    _dmd2(
        name="dmd2-sdxl-4",
        summary="4 steps, fresh noise between them.",
        file="dmd2_sdxl_4step_unet_fp16.safetensors",
        kind=WeightsKind.UNET,
        timesteps=trailing(4),
        renoise="lcm",
    ),
    _dmd2(
        name="dmd2-sdxl-4-lora",
        summary="4 steps, fresh noise between them; fits most fine-tuned models.",
        file="dmd2_sdxl_4step_lora_fp16.safetensors",
        kind=WeightsKind.LORA,
        timesteps=trailing(4),
        renoise="lcm",
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
)
