"""DMD2: Stable Diffusion XL in 1 or 4 steps by matching distributions."""

from swiftpie.backbones.preset import SDXL_BASE, Preset, WeightsKind, by_name


def _preset(
    *,
    file: str,
    kind: WeightsKind,
    timesteps: tuple[int, ...],
    summary: str,
    needs_pickle: bool = False,
) -> Preset:
    return Preset(
        name=f"dmd2-sdxl-{len(timesteps)}",
        summary=summary,
        source="hub:tianweiy/DMD2",
        file=file,
        kind=kind,
        base=SDXL_BASE,
        licence="CC-BY-NC-4.0",
        is_commercial=False,
        family="sdxl",
        image_size_px=1024,
        timesteps=timesteps,
        prediction_type="epsilon",
        renoise="lcm",
        needs_pickle=needs_pickle,
    )


PRESETS = by_name(
    _preset(
        file="dmd2_sdxl_1step_unet_fp16.bin",
        kind=WeightsKind.UNET,
        timesteps=(399,),
        summary="One step; a pickle, which has to be converted to safetensors first.",
        needs_pickle=True,
    ),
    # The LoRA, because the whole denoiser of 4 steps is a pickle too.
    _preset(
        file="dmd2_sdxl_4step_lora_fp16.safetensors",
        kind=WeightsKind.LORA,
        timesteps=(999, 749, 499, 249),
        summary="4 steps, fresh noise between them.",
    ),
)
